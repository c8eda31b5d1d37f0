"""The commands of `gateway.cli`, one module each. They may import the whole gateway; only `cli` imports them."""
