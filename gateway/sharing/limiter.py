"""Limits how many things of one kind run at once: fair between API keys, and for a provider fewer after a 429."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.clock import Clock
from gateway.domain.health.limits import AdaptiveLimit, lowered, raised, scaled

Slot = asyncio.Future[None]  # done as soon as the call that it belongs to may run


class FairQueue:
    """A semaphore with a queue for each API key. The queues are served one after another."""

    def __init__(self, places: int, share: int | None = None) -> None:
        """`places`: how many may run at once. `share`: how many of one API key; `None`: as many as there are places."""
        self._places = places
        self._share = share
        self._active = 0
        self._running: Counter[str] = Counter()  # by API key
        # By API key, each with its slots in the order of arrival. Adding a slot, taking the first one and removing any
        # one take the same time however many wait: a stop cancels tens of thousands at once.
        self._waiting: OrderedDict[str, OrderedDict[Slot, None]] = OrderedDict()

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

    def waiting_of(self, key: str) -> int:
        """How many of an API key wait for a slot."""
        return len(self._waiting.get(key, ()))

    def has_share_left(self, key: str) -> bool:
        """Whether an API key runs fewer than its share."""
        return self._share is None or self._running[key] < self._share

    def resize(self, places: int) -> None:
        """Change how many may run at once. With 0 nothing more begins."""
        self._places = places
        self._admit()

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot and use it for the length of the `with` block. `key` is the API key that the call is for."""
        slot = self.request(key)
        try:
            await slot
        except asyncio.CancelledError:
            self.withdraw(key, slot)
            raise
        try:
            yield
        finally:
            self.leave(key)

    def request(self, key: str) -> Slot:
        """Ask for a slot. It is done when it may be used; then `leave` ends its use, and before that `withdraw`."""
        slot: Slot = asyncio.get_running_loop().create_future()
        if self._active < self.limit and self.has_share_left(key) and key not in self._waiting:
            self._grant(key, slot)
        else:
            self._waiting.setdefault(key, OrderedDict())[slot] = None
        return slot

    def withdraw(self, key: str, slot: Slot) -> None:
        """Give a slot up that has not been used: one that waits, was cancelled, or has just become free."""
        queue = self._waiting.get(key)
        if queue is not None and slot in queue:
            del queue[slot]
            if not queue:
                del self._waiting[key]
        elif slot.done() and not slot.cancelled():  # pass it on
            self.leave(key)

    def leave(self, key: str) -> None:
        """End the use of a slot."""
        self._active -= 1
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        self._admit()

    def _grant(self, key: str, slot: Slot) -> None:
        self._active += 1
        self._running[key] += 1
        slot.set_result(None)

    def _admit(self) -> None:
        """Give free slots to waiting calls: one to each API key in turn, except those that have their share."""
        passed_over = 0
        while passed_over < len(self._waiting) and self._active < self.limit:
            key, queue = next(iter(self._waiting.items()))
            self._waiting.move_to_end(key)
            if not self.has_share_left(key):
                passed_over += 1
                continue
            passed_over = 0
            slot, _ = queue.popitem(last=False)
            if not queue:
                del self._waiting[key]
            if not slot.done():  # a cancelled call may not have left its queue yet
                self._grant(key, slot)


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

    def take_share(self, ceiling: int) -> None:
        """Change the ceiling because the account is shared with more or fewer processes; see `scaled`."""
        self._adaptive = scaled(self._adaptive, ceiling)
        self._admit()

    def record_success(self) -> None:
        """A call succeeded. If all slots were in use, the limit rises by one after a full round of successes."""
        if self._adaptive.value < self._adaptive.ceiling and self._active >= self._adaptive.places:
            self._adaptive = raised(self._adaptive)
            self._admit()

    def record_429(self) -> None:
        """A call was answered with 429: the limit sinks."""
        self._adaptive = lowered(self._adaptive, self._clock.now())
