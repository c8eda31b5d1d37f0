"""Values and rules without I/O and without a clock: the standard library and msgspec alone."""
