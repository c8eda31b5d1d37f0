"""This process as one of several replicas: whether it lives, and how much the others have to do."""

import asyncio
from collections.abc import Callable

from gateway.clock import boot_seconds
from gateway.domain.replicas import Load, is_sure
from gateway.store.replicas import Beat, Replicas


class Membership:
    """Implements `Liveness`. The time is that since the start of the machine: it goes on in a suspension."""

    def __init__(self, replicas: Replicas, elapsed: Callable[[], float] = boot_seconds) -> None:
        self._replicas = replicas
        self._elapsed = elapsed
        self._sent_at: float | None = None  # when the last heartbeat was sent that succeeded; None: no replica
        self._confirmed = asyncio.Event()
        self._seen = Beat(others=(), has_dead=False, waiting=0)

    @property
    def is_sure(self) -> bool:
        """See `Liveness`. On a ledger that has lost commits nothing is bought until the gateway is started again."""
        return self.lost is None and is_sure(self._sent_at, self._elapsed())

    @property
    def lost(self) -> str | None:
        """See `Replicas`."""
        return self._replicas.lost

    @property
    def age(self) -> float:
        """Seconds since the last heartbeat was sent that succeeded."""
        return float("inf") if self._sent_at is None else self._elapsed() - self._sent_at

    async def sure(self) -> None:
        """See `Liveness`."""
        while not self.is_sure:
            self._confirmed.clear()
            await self._confirmed.wait()

    def load(self, own: int) -> Load:
        """How much each replica has to do, as the last heartbeat saw the others."""
        return Load(own=own, others=self._seen.others, waiting=self._seen.waiting)

    async def join(self) -> None:
        """Become a replica with a new id."""
        self._sent_at = None
        sent_at = self._elapsed()
        await self._replicas.join()
        self._confirm(sent_at)

    async def beat(self, driven: int, *, draining: bool) -> Beat | None:
        """Say that this replica lives. None: it does not, and everything that it drives has to stop."""
        sent_at = self._elapsed()
        beat = await self._replicas.beat(driven, draining=draining)
        if beat is None:
            self._sent_at = None
        else:
            self._seen = beat
            self._confirm(sent_at)
        return beat

    async def leave(self) -> None:
        """Be a replica no longer; nothing may be submitted after that."""
        self._sent_at = None
        await self._replicas.leave()

    def _confirm(self, sent_at: float) -> None:
        self._sent_at = sent_at
        self._confirmed.set()
