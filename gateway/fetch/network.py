"""The network below one request: connections to addresses that were checked, within the request's limits."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import httpcore

from gateway.domain.public_addresses import Address

HEAD_MAX = 64 * 1024  # bytes before the body, those of interim replies included
READ = 128 * 1024  # bytes that are read at once
BUFFER = 64 * 1024  # bytes of a connection; reading stops at twice as many


class PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the first of the addresses that answers, whatever the host is called; `deadline` is the loop's time.

    It is that of the head of the reply, which is limited in size, too; `head_is_read` sets the body's.
    """

    def __init__(self, network: httpcore.AsyncNetworkBackend, addresses: Sequence[Address], deadline: float) -> None:
        self._network = network
        self._addresses = addresses
        self._deadline = deadline
        self._opened: httpcore.AsyncNetworkStream | None = None
        self._head_left: int | None = HEAD_MAX

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # it was resolved, once
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's own interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See `httpcore`; the last address's failure where none answers."""
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
        """What comes from now on is the body, which has a deadline of its own."""
        self._head_left = None
        self._deadline = deadline

    def seconds_left(self, limit: float | None) -> float:
        """The limit of one step, cut to what is left for all."""
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise httpcore.ReadTimeout("no time is left")
        return left if limit is None else min(limit, left)

    def bytes_left(self, asked: int) -> int:
        """How much may be read at once."""
        if self._head_left is None:
            return asked
        if self._head_left == 0:
            raise httpcore.RemoteProtocolError("the head is too long")
        return min(asked, self._head_left)

    def count(self, size: int) -> None:
        """So much was read."""
        if self._head_left is not None:
            self._head_left -= size

    async def aclose(self) -> None:
        """Close the connection, in whatever state it is."""
        if self._opened is not None:
            await self._opened.aclose()


class _Limited(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, limits: PinnedNetwork) -> None:
        self._stream = stream
        self._limits = limits

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # as above
        # httpcore asks for 64 KB and takes whatever comes: of several large bodies at once, larger pieces cost less.
        wanted = self._limits.bytes_left(max(max_bytes, READ))
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
    """Connections over asyncio's streams; httpcore's own hold up to 8 MB each on uvloop, for they stop reading late."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # as above
        local_address: str | None = None,  # noqa: ARG002  # nobody asks for one, nor for options
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  # as above
    ) -> httpcore.AsyncNetworkStream:
        """See `httpcore`; `host` is an address."""
        async with _within(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            reader, writer = await asyncio.open_connection(host, port, limit=BUFFER)
        return _Stream(reader, writer)


class _Secured(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool:
        super().eof_received()
        return False  # TLS has no half of a connection to keep open, and would warn


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._below: asyncio.StreamWriter | None = None  # kept: a writer that is collected closes its connection

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
        reader = asyncio.StreamReader(BUFFER)  # another: what came in the clear is no part of any reply
        protocol = _Secured(reader)
        # What stops reading is the connection below: uvloop's TLS loses what it holds back when its peer hangs up.
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
        self._writer.transport.abort()  # a close would wait for a peer that does not read


@asynccontextmanager
async def _within(
    seconds: float | None, late: type[httpcore.TimeoutException], broken: type[httpcore.NetworkError]
) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise late from error
    except OSError as error:  # those of `ssl` among them
        raise broken from error
