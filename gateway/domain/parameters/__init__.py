"""The meaning of the values of a request: sizes, ratios and durations, and the many ways to write them."""
