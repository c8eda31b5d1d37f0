"""What the API and the engine call: one module a concern, all I/O but the store."""
