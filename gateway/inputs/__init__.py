"""The images that a client sends: kept, checked, converted, and uploaded to providers."""
