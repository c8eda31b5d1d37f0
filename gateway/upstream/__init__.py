"""Calls to providers: clients, concurrency limits, and the health of routes."""
