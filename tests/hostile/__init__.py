"""Attacks on a running gateway, and what they cost it. They know an address, and nothing of a server."""
