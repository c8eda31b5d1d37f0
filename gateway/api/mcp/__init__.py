"""`/mcp`: the gateway as a server of the Model Context Protocol.

`litestar-mcp` has the transport: JSON-RPC over HTTP, the headers, streams of progress. Everything that a client reaches
through it is in this package: `entrance` admits a request, `handshake` reads those of older clients, `service` answers
the methods, `tools` has the tools, and `tasks` shows generations as tasks. No handler of the HTTP API becomes a tool, a
resource or a prompt.
"""
