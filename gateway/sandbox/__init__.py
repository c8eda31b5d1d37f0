"""Imitates the three providers as documented, over real HTTP. It imports nothing else of the gateway."""
