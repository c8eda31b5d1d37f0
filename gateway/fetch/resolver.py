"""Resolves host names with the system's resolver, on threads of its own: slow name servers delay only other names.

The system's resolver cannot be interrupted: a name whose servers do not answer occupies a thread for up to a minute,
also when nobody waits for it any more. So each client gets a few threads at a time, waiting clients take turns, a name
is resolved once for all who wait for it, and a name that had no address is not resolved again for a while.
"""

import asyncio
import socket
import threading
from collections import OrderedDict
from collections.abc import Sequence
from queue import SimpleQueue

from gateway.sharing.limiter import FairQueue, Slot

RESOLVERS = 64  # threads; one is started when a name needs it, and none costs more than its stack
RESOLVERS_PER_CLIENT = 4  # of them for the names of one client
FAILED_SECONDS = 10.0  # for which a name that had no address counts as one without
FAILED_MAX = 1000  # names that are remembered as without an address

_Name = tuple[str, int]  # host and port


class _Lookup:
    """One name that waits for a thread, or has one."""

    __slots__ = ("answer", "client", "has_thread", "name", "slot", "waiting")

    def __init__(self, name: _Name, client: str, slot: Slot) -> None:
        self.name = name
        self.client = client  # whose share it takes
        self.slot = slot
        self.has_thread = False
        self.answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self.waiting = 0  # calls


class Resolvers:
    """Resolves up to `RESOLVERS` names at the same time, in one event loop.

    These are daemon threads. The threads of an executor would delay the exit of the process.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[asyncio.AbstractEventLoop, _Lookup] | None] = SimpleQueue()
        self._threads = 0
        self._lookups: dict[_Name, _Lookup] = {}  # those that wait or have a thread
        self._places = FairQueue(RESOLVERS, share=RESOLVERS_PER_CLIENT)
        self._failed: OrderedDict[_Name, float] = OrderedDict()  # until when, in the time of the event loop

    async def resolve(self, host: str, port: int, client: str) -> Sequence[str]:
        """The addresses of a name, for the client that named it. Raises `OSError` when it has no address."""
        name = (host, port)
        now = asyncio.get_running_loop().time()
        if self._failed.get(name, 0) > now:
            raise socket.gaierror(socket.EAI_NONAME, "the name had no address a moment ago")
        lookup = self._lookups.get(name)
        if lookup is None:
            lookup = self._lookups[name] = _Lookup(name, client, self._places.request(client))
            self._start_when_granted(lookup)
        elif not lookup.has_thread and lookup.client != client and self._places.has_share_left(client):
            # It waits for a share that another client has used up, which must not delay this client.
            self._places.withdraw(lookup.client, lookup.slot)
            lookup.client, lookup.slot = client, self._places.request(client)
            self._start_when_granted(lookup)
        lookup.waiting += 1
        try:
            return await asyncio.shield(lookup.answer)
        finally:
            lookup.waiting -= 1
            if not lookup.waiting:
                self._give_up(lookup)

    def close(self) -> None:
        """Let each thread end after the name that it is resolving."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _start_when_granted(self, lookup: _Lookup) -> None:
        def start(slot: Slot) -> None:
            if slot is lookup.slot and self._lookups.get(lookup.name) is lookup:  # else it was given up meanwhile
                self._start(lookup)

        lookup.slot.add_done_callback(start)

    def _start(self, lookup: _Lookup) -> None:
        lookup.has_thread = True
        self._queue.put((asyncio.get_running_loop(), lookup))
        if self._threads < self._places.active:
            self._threads += 1
            threading.Thread(target=self._work, name=f"resolver-{self._threads}", daemon=True).start()

    def _give_up(self, lookup: _Lookup) -> None:
        """Forget a lookup that nobody waits for, unless it has a thread: that one cannot be interrupted."""
        if not lookup.has_thread and self._lookups.get(lookup.name) is lookup:
            del self._lookups[lookup.name]
            self._places.withdraw(lookup.client, lookup.slot)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            loop, lookup = call
            result: Sequence[str] | Exception
            try:
                result = _getaddrinfo(*lookup.name)
            except Exception as error:  # noqa: BLE001  # it is raised where `resolve` was called
                result = error
            try:
                loop.call_soon_threadsafe(self._finish, lookup, result)
            except RuntimeError:  # the event loop is closed: the process ends
                return

    def _finish(self, lookup: _Lookup, result: Sequence[str] | Exception) -> None:
        del self._lookups[lookup.name]
        if not isinstance(result, Exception):
            lookup.answer.set_result(result)
        else:
            self._failed[lookup.name] = asyncio.get_running_loop().time() + FAILED_SECONDS
            self._failed.move_to_end(lookup.name)
            if len(self._failed) > FAILED_MAX:
                self._failed.popitem(last=False)
            lookup.answer.set_exception(result)
            lookup.answer.exception()  # nobody may be left to read it
        self._places.leave(lookup.client)


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
