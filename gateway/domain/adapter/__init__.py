"""Everything that a provider module imports: the contract, its values, and helpers to read replies.

Start at `contract`. `refusals` classifies refused calls; providers/README.md says how to write an adapter.
"""
