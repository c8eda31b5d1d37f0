"""Models as clients see them. `views` imports no web framework, so the command line loads it fast."""
