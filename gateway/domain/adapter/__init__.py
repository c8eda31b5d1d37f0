"""All that a provider module imports: the contract, its values, and helpers to read replies."""
