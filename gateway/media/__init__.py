"""Images and videos as bytes. This process only reads headers; decoders run in processes of their own."""
