"""What the commands of `gateway.cli` do: they build on the rest, and nothing builds on them."""
