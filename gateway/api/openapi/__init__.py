"""The OpenAPI document: a table of operations a resource, schemas from the wire structures themselves."""
