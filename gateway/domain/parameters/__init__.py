"""What the values of a request mean: sizes, ratios, durations, and the ways they are written."""
