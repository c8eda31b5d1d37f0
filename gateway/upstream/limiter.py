"""Calls of one kind to one provider: so many at once, in turn between API keys, fewer after a 429."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.clock import Clock
from gateway.domain.health.limits import Limit, lowered, raised


class Lane:
    """A semaphore whose limit moves and whose queue has a place for every API key."""

    def __init__(self, ceiling: int, clock: Clock) -> None:
        self._clock = clock
        self._limit = Limit(ceiling=ceiling, value=float(ceiling))
        self._active = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def limit(self) -> int:
        """How many may run at once now."""
        return self._limit.places

    @property
    def ceiling(self) -> int:
        """How many may run at once at best, as configured."""
        return self._limit.ceiling

    @property
    def active(self) -> int:
        """How many run now."""
        return self._active

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(map(len, self._waiting.values()))

    def record_success(self) -> None:
        """A call was answered: while the lane was full, one more may run after a full round of these."""
        if self._limit.value < self._limit.ceiling and self._active >= self._limit.places:
            self._limit = raised(self._limit)
            self._admit()

    def record_429(self) -> None:
        """A call was answered with 429."""
        self._limit = lowered(self._limit, self._clock.now())

    @asynccontextmanager
    async def place(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn, hold it, give it back."""
        await self._enter(key)
        try:
            yield
        finally:
            self._active -= 1
            self._admit()

    async def _enter(self, key: str) -> None:
        if self._active < self.limit:  # then nobody waits
            self._active += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(key, turn)
            else:  # it had just been given: whoever is next shall have it
                self._active -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._waiting and self._active < self.limit:
            key, turns = next(iter(self._waiting.items()))
            turn = turns.popleft()
            self._waiting.move_to_end(key)
            if not turns:
                del self._waiting[key]
            if not turn.done():
                self._active += 1
                turn.set_result(None)

    def _forget(self, key: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(key)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[key]
