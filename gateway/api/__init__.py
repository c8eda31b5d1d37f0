"""The HTTP API: controllers by resource, wire structures, errors."""
