"""The built-in adapters: one package for each provider. They share no code with one another."""
