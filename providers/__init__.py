"""The built-in adapters: one module a provider, nothing shared between them."""
