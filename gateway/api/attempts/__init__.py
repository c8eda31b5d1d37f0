"""Attempts as operators see them. `views` imports no web framework, so the command line loads it fast."""
