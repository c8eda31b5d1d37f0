"""A TCP proxy on the loopback that can behave as a bad network does.

What a black hole holds back is delivered when it ends, also for connections that one side has given up meanwhile: a
network repeats what was sent, so that a commit may arrive after everybody has stopped waiting for it.
"""

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import cast

_RESET = struct.pack("ii", 1, 0)  # a close with these values of SO_LINGER sends a reset
SLOW_SECONDS = (0.02, 0.25)  # how late each piece arrives on a slow way


class Flow(Enum):
    """What happens to bytes on their way."""

    PASS = "pass"
    SLOW = "slow"
    HOLD = "hold"


class Proxy:
    """Passes connections on to the first of `targets()` that takes them; these are ports on the loopback."""

    def __init__(self, targets: Callable[[], Sequence[int]], seed: int = 0) -> None:
        self.port = 0
        self.up = self.down = Flow.PASS  # from the client to the target, and back
        self._targets = targets
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()

    @property
    def connections(self) -> int:
        """How many connections it has."""
        return len(self._pipes)

    async def open(self) -> None:
        """Take connections, after `refuse` on the same port as before."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Pipe(self).client, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections; `open` ends that."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def reset(self) -> None:
        """Reset all connections on both sides."""
        for pipe in list(self._pipes):
            pipe.reset()

    def flow(self, up: Flow, down: Flow) -> None:
        """Change what happens to bytes from now on, and to those that were held back."""
        self.up, self.down = up, down
        for pipe in list(self._pipes):
            pipe.go_on()

    def close(self) -> None:
        """End everything."""
        self.refuse()
        self.reset()

    def delay(self) -> float:
        """The next delay of a slow way."""
        return self._random.uniform(*SLOW_SECONDS)


class _End(asyncio.Protocol):
    """One side of a connection. `held` are bytes for it, each with the earliest moment of its delivery."""

    def __init__(self, pipe: "_Pipe") -> None:
        self.pipe = pipe
        self.transport: asyncio.Transport | None = None
        self.held: deque[tuple[float, bytes]] = deque()
        self.is_ending = False  # the other side has ended; this one has to, after the held bytes
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.pipe.made(self)

    def data_received(self, data: bytes) -> None:
        self.pipe.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:  # the interface
        self.is_lost = True
        self.pipe.lost(self)

    def abort(self) -> None:
        """Reset the connection."""
        self.is_lost = True
        if self.transport is not None:
            sock: socket.socket = self.transport.get_extra_info("socket")
            if sock.fileno() != -1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class _Pipe:
    """The two sides of a connection."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.client, self.target = _End(self), _End(self)
        self._connecting: asyncio.Task[None] | None = None
        self._timers: dict[_End, asyncio.TimerHandle] = {}
        self._loop = asyncio.get_running_loop()

    def made(self, end: _End) -> None:
        if end is self.client:
            self.proxy._pipes.add(self)
        self.go_on()

    def received(self, end: _End, data: bytes) -> None:
        to = self._other(end)
        late = self.proxy.delay() if self._flow_to(to) is Flow.SLOW else 0.0
        to.held.append((max(self._loop.time() + late, to.held[-1][0] if to.held else 0.0), data))
        self._deliver(to)

    def lost(self, end: _End) -> None:
        self._other(end).is_ending = True
        self._deliver(self._other(end))
        if self.client.is_lost and (self.target.is_lost or self.target.transport is None):
            self._forget()

    def reset(self) -> None:
        self.client.abort()
        self.target.abort()
        self._forget()

    def go_on(self) -> None:
        """Do what the flow allows now."""
        if self.target.transport is None and self._connecting is None and self._flow_to(self.target) is not Flow.HOLD:
            self._connecting = asyncio.create_task(self._connect())
        self._deliver(self.client)
        self._deliver(self.target)

    async def _connect(self) -> None:
        if self.client.is_lost:
            return
        for port in self.proxy._targets():
            try:
                await self._loop.create_connection(lambda: self.target, "127.0.0.1", port)
            except OSError:
                continue
            return
        self.reset()

    def _deliver(self, end: _End) -> None:
        """Give this side what is held for it and due."""
        if end.transport is None or self._flow_to(end) is Flow.HOLD:
            return
        now = self._loop.time()
        while end.held and end.held[0][0] <= now:
            _, data = end.held.popleft()
            if not end.is_lost:
                end.transport.write(data)
        if timer := self._timers.pop(end, None):
            timer.cancel()
        if end.held:
            self._timers[end] = self._loop.call_at(end.held[0][0], self._deliver, end)
        elif end.is_ending and not end.is_lost:
            end.transport.close()

    def _forget(self) -> None:
        self.proxy._pipes.discard(self)
        for timer in self._timers.values():
            timer.cancel()
        if self._connecting is not None and self.target.transport is None:
            self._connecting.cancel()

    def _flow_to(self, end: _End) -> Flow:
        return self.proxy.up if end is self.target else self.proxy.down

    def _other(self, end: _End) -> _End:
        return self.target if end is self.client else self.client
