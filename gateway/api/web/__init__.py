"""HTTP for all resources of the API: bodies, queries, headers, streams, errors, keys."""
