"""Generations that a restored ledger holds. `views` imports no web framework, so the command line loads it fast."""
