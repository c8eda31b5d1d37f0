"""The requests of clients where several processes work on one ledger, which counts them for all.

`domain/request_leases.py` says how a process gets pieces of a client's limit. Of each client a process asks for one
piece at a time, and all requests that wait for it share the answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from gateway.clients.rates import headers_of, reached
from gateway.clock import boot_seconds
from gateway.domain.request_leases import Lease, asking, given_back, most, piece, remaining, renewed, spent
from gateway.store.request_rates import RequestRates


class _Client:
    """What this process has of the limit of one client, and the requests that wait for more."""

    __slots__ = ("lease", "task", "waiting")

    def __init__(self) -> None:
        self.lease: Lease | None = None  # None: the ledger was not asked yet
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.task: asyncio.Task[None] | None = None  # asks for the next piece


class SharedRates:
    """Implements `Rates`."""

    def __init__(self, ledger: RequestRates, elapsed: Callable[[], float] = boot_seconds) -> None:
        """`elapsed` gives seconds that never go back, and that count while the machine is suspended."""
        self._ledger = ledger
        self._elapsed = elapsed
        self._clients: dict[str, _Client] = {}

    async def take(self, owner: str, per_minute: int) -> None:
        """See `Rates`."""
        client = self._clients.setdefault(owner, _Client())
        if client.task is None and client.lease is not None:
            now = self._elapsed()
            after = spent(client.lease, now)
            if after is not None:
                client.lease = after
                return
            if now < client.lease.empty_until:
                raise reached(per_minute, client.lease.empty_until - now)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        client.waiting.append(place)
        if client.task is None:
            client.task = asyncio.create_task(self._ask(owner, client, per_minute), name="request-rates")
        await place

    def give_back(self, owner: str) -> None:
        """See `Rates`. The ledger hears of it when it is asked the next time."""
        client = self._clients.get(owner)
        if client is not None and client.lease is not None:
            client.lease = given_back(client.lease)

    def headers(self, owner: str, per_minute: int) -> Mapping[str, str]:
        """See `Rates`. What other processes have taken since this one last asked is missing."""
        client, now = self._clients.get(owner), self._elapsed()
        full = most(per_minute)
        left = full if client is None or client.lease is None else remaining(client.lease, per_minute, now)
        return headers_of(per_minute, left, max(full - left, 0.0) * 60 / per_minute)

    async def _ask(self, owner: str, client: _Client, per_minute: int) -> None:
        """Ask for pieces until nobody waits."""
        try:
            while client.waiting:
                await self._next_piece(owner, client, per_minute)
        except Exception as error:  # noqa: BLE001  # each request that waits gets it
            for place in client.waiting:
                if not place.done():
                    place.set_exception(error)
            client.waiting.clear()
        finally:
            client.task = None
            for place in client.waiting:  # only if the event loop ends
                place.cancel()

    async def _next_piece(self, owner: str, client: _Client, per_minute: int) -> None:
        wanted = max(piece(per_minute), len(client.waiting))
        asked_at = self._elapsed()
        client.lease, returned = asking(client.lease or Lease())
        taken = await self._ledger.take(owner, per_minute, most=most(per_minute), wanted=wanted, returned=returned)
        left = taken.requests
        while left and client.waiting:
            place = client.waiting.popleft()
            if not place.done():  # one that was cancelled needs none
                place.set_result(None)
                left -= 1
        is_empty = taken.requests < wanted
        client.lease = renewed(
            client.lease, per_minute, spare=left, unused=taken.unused, is_empty=is_empty, asked_at=asked_at
        )
        while is_empty and client.waiting:
            place = client.waiting.popleft()
            if not place.done():
                place.set_exception(reached(per_minute, max(client.lease.empty_until - self._elapsed(), 0.0)))
