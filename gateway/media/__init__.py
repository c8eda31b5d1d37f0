"""Images and videos as bytes: headers are read in this process, decoders run in another one."""
