"""Limits how many things of one kind run at once: fair between API keys, and for a provider fewer after a 429."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.clock import Clock
from gateway.domain.health.limits import AdaptiveLimit, lowered, raised


class FairQueue:
    """A semaphore with a queue for each API key. The queues are served one after another."""

    def __init__(self, places: int) -> None:
        """`places`: how many may run at once."""
        self._places = places
        self._active = 0
        # By API key, each with its slots in the order of arrival. Adding a slot, taking the first one and removing any
        # one take the same time however many wait: a stop cancels tens of thousands at once.
        self._waiting: OrderedDict[str, OrderedDict[asyncio.Future[None], None]] = OrderedDict()

    @property
    def limit(self) -> int:
        """How many may run at once now."""
        return self._places

    @property
    def active(self) -> int:
        """How many run now."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot and use it for the length of the `with` block. `key` is the API key that the call is for."""
        await self._enter(key)
        try:
            yield
        finally:
            self._active -= 1
            self._admit()

    async def _enter(self, key: str) -> None:
        if self._active < self.limit:  # a free slot means that nothing waits
            self._active += 1
            return
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if key not in self._waiting:
            self._waiting[key] = OrderedDict()
        self._waiting[key][slot] = None
        try:
            await slot
        except asyncio.CancelledError:
            if slot.cancelled():
                self._forget(key, slot)
            else:  # the slot had just been given to this call: pass it on
                self._active -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        """Give free slots to waiting calls: one to each API key in turn."""
        while self._waiting and self._active < self.limit:
            key, queue = next(iter(self._waiting.items()))
            slot, _ = queue.popitem(last=False)
            self._waiting.move_to_end(key)
            if not queue:
                del self._waiting[key]
            if not slot.done():
                self._active += 1
                slot.set_result(None)

    def _forget(self, key: str, slot: asyncio.Future[None]) -> None:
        queue = self._waiting.get(key)
        if queue is not None and slot in queue:
            del queue[slot]
            if not queue:
                del self._waiting[key]


class FairLimiter(FairQueue):
    """The calls to a provider: a fair queue whose limit moves."""

    def __init__(self, ceiling: int, clock: Clock) -> None:
        super().__init__(ceiling)
        self._clock = clock
        self._adaptive = AdaptiveLimit(ceiling=ceiling, value=float(ceiling))

    @property
    def limit(self) -> int:
        """How many calls may run at once now."""
        return self._adaptive.places

    @property
    def ceiling(self) -> int:
        """How many calls may run at once at most, as configured."""
        return self._adaptive.ceiling

    def resize(self, ceiling: int, *, fresh: bool = False) -> None:
        """Change the ceiling. What was learnt below it stays, unless `fresh` says that it is about something else."""
        is_lowered = self._adaptive.value < self._adaptive.ceiling and not fresh
        value = min(self._adaptive.value, float(ceiling)) if is_lowered else float(ceiling)
        lowered_at = self._adaptive.lowered_at if is_lowered else None
        self._adaptive = AdaptiveLimit(ceiling=ceiling, value=value, lowered_at=lowered_at)
        self._admit()

    def record_success(self) -> None:
        """A call succeeded. If all slots were in use, the limit rises by one after a full round of successes."""
        if self._adaptive.value < self._adaptive.ceiling and self._active >= self._adaptive.places:
            self._adaptive = raised(self._adaptive)
            self._admit()

    def record_429(self) -> None:
        """A call was answered with 429: the limit sinks."""
        self._adaptive = lowered(self._adaptive, self._clock.now())
