"""Calls to providers: the client, limits of concurrency, and the health of routes."""
