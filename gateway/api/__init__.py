"""The HTTP API: one module or package for each resource. What the resources share is in `web` and in `generations`."""
