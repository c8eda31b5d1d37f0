"""The shapes of other APIs over the same generations: one module for each dialect.

A module has three parts: pure functions from the dialect's request to the fields of the one create request, pure
functions from a generation's `Summary` to the dialect's answers and errors, and handlers with the paths. It has no rule
about money, files, retries or ownership: those are in `gateway.api.generations.creating` and below.
"""
