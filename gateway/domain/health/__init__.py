"""How well a route works: circuit breaker, concurrency limit, retry budget."""
