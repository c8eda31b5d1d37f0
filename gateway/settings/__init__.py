"""The configuration: reads a TOML file and the environment into one checked value."""
