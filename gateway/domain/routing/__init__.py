"""Which routes can serve a request, in which order, and at which price."""
