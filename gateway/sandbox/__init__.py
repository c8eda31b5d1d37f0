"""The three upstreams as documented, over real HTTP; imports nothing else of the gateway."""
