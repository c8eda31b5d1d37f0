"""A provider that accepts every submit and never finishes a task. It is as cheap as possible, and counts requests."""

import asyncio

submits = polls = 0


class Pending(asyncio.Protocol):
    """Serves keep-alive HTTP/1.1, one request after another on a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the connection for the answers."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        global submits, polls  # noqa: PLW0603  # two counters of one process
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, rest = self.received.partition(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            if len(rest) < length:
                return
            self.received = rest[length:]
            if head.startswith(b"POST"):
                submits += 1
                body = b'{"id":"task-%d","status":"pending","object":"video.generation.task"}' % submits
            elif head.startswith(b"GET /counted"):
                body = b'{"submits":%d,"polls":%d}' % (submits, polls)
            else:
                polls += 1
                body = b'{"id":"task-1","status":"pending","progress":0,"results":null,"error":null}'
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )


async def main() -> None:
    """Serve on a free loopback port, and print its base URL."""
    server = await asyncio.get_running_loop().create_server(Pending, "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
