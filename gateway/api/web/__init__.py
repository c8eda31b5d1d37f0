"""HTTP as the API uses it, whatever the resource: bodies, queries, headers, streams, errors."""
