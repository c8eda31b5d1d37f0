"""The HTTP API: one module a resource; what the resources share is in `web` and in `generations`."""
