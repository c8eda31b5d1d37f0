"""The configuration: a TOML file and the environment become one checked value."""
