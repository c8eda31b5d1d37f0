"""Values and rules; no I/O, the standard library and msgspec alone."""
