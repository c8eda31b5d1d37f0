"""Connections of one request, only to addresses that were checked (SSRF), and within the limits of the request."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import httpcore

from gateway.domain.public_addresses import Address

HEAD_MAX = 64 * 1024  # bytes before the body, including interim replies
READ_BYTES = 128 * 1024  # read at once
BUFFER_BYTES = 64 * 1024  # of a connection; asyncio stops reading from the socket at twice as many


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the first of the given addresses that answers. The host name is not resolved again.

    So a name server that gives another answer the second time (DNS rebinding) cannot lead to a private address.
    `deadline` is a time of the event loop, at first for the head of the reply. `head_is_read` sets that of the body.
    """

    def __init__(self, network: httpcore.AsyncNetworkBackend, addresses: Sequence[Address], deadline: float) -> None:
        self._network = network
        self._addresses = addresses
        self._deadline = deadline
        self._opened: httpcore.AsyncNetworkStream | None = None
        self._head_left: int | None = HEAD_MAX

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # it was resolved once, before the check
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See `httpcore`. Raises the error of the last address when no address answers."""
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                self._opened = await self._network.connect_tcp(
                    str(address), port, self.seconds_left(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Limited(self._opened, self)
        raise failure

    def head_is_read(self, deadline: float) -> None:
        """From now on the body is read: it has another deadline, and its size is not limited here."""
        self._head_left = None
        self._deadline = deadline

    def seconds_left(self, limit: float | None) -> float:
        """The time limit of one step in seconds, at most the time that is left until the deadline."""
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise httpcore.ReadTimeout("no time is left")
        return left if limit is None else min(limit, left)

    def bytes_left(self, wanted: int) -> int:
        """How many of the wanted bytes may be read now. Raises when the head has reached `HEAD_MAX`."""
        if self._head_left is None:
            return wanted
        if self._head_left == 0:
            raise httpcore.RemoteProtocolError("the head is too long")
        return min(wanted, self._head_left)

    def count(self, size: int) -> None:
        """Record that this many bytes were read."""
        if self._head_left is not None:
            self._head_left -= size

    async def aclose(self) -> None:
        """Close the connection in any state."""
        if self._opened is not None:
            await self._opened.aclose()


class _Limited(httpcore.AsyncNetworkStream):
    """A stream that keeps to the limits of its `PinnedNetwork`."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, limits: PinnedNetwork) -> None:
        self._stream = stream
        self._limits = limits

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        # httpcore asks for 64 KB but accepts more. With several large bodies at once, larger pieces cost less.
        wanted = self._limits.bytes_left(max(max_bytes, READ_BYTES))
        data = await self._stream.read(wanted, self._limits.seconds_left(timeout))
        self._limits.count(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        await self._stream.write(buffer, self._limits.seconds_left(timeout))

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, self._limits.seconds_left(timeout))
        return _Limited(stream, self._limits)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class StreamNetwork(httpcore.AsyncNetworkBackend):
    """Connections over asyncio streams. Those of httpcore stop reading late: on uvloop each buffers up to 8 MB."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        local_address: str | None = None,  # noqa: ARG002  # never given, nor are options
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  # as above
    ) -> httpcore.AsyncNetworkStream:
        """See `httpcore`; `host` is an address."""
        async with _within(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            reader, writer = await asyncio.open_connection(host, port, limit=BUFFER_BYTES)
        return _Stream(reader, writer)


class _Secured(asyncio.StreamReaderProtocol):
    """The protocol of a stream that speaks TLS."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False  # TLS cannot keep one direction open, and asyncio would log a warning


class _Stream(httpcore.AsyncNetworkStream):
    """A connection over a pair of asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # Referenced because a writer that is garbage-collected closes its connection.
        self._below: asyncio.StreamWriter | None = None

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        async with _within(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # as above
        async with _within(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(BUFFER_BYTES)  # a new one: bytes from before the TLS handshake must not count
        protocol = _Secured(reader)
        # So the reader pauses the TCP connection, not the TLS one: uvloop's TLS loses buffered data if the peer closes
        # while it is paused.
        protocol.connection_made(self._writer.transport)
        async with _within(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            secured = await loop.start_tls(
                self._writer.transport, protocol, ssl_context, server_hostname=server_hostname
            )
        if secured is None:
            raise httpcore.ConnectError("it was closed right after the handshake")
        self._below = self._writer
        self._reader, self._writer = reader, asyncio.StreamWriter(secured, protocol, reader, loop)
        return self

    async def aclose(self) -> None:
        self._writer.transport.abort()  # `close` would wait for a peer that does not read


@asynccontextmanager
async def _within(
    seconds: float | None, late: type[httpcore.TimeoutException], broken: type[httpcore.NetworkError]
) -> AsyncIterator[None]:
    """Raise `late` when the block takes longer, and `broken` for an error of the connection."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise late from error
    except OSError as error:  # includes the errors of `ssl`
        raise broken from error
