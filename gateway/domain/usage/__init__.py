"""What generations count for in the statistics of use: pure rules."""
