"""What an operator does about the generations that a restore holds: list them, release them, let them fail."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from gateway.clock import Clock
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.generation.model import Generation
from gateway.domain.generation.restored import let_fail, release
from gateway.domain.generation.transitions import Write
from gateway.generations.drivers import Drivers
from gateway.generations.notifier import Notifier
from gateway.store.pages import cut
from gateway.store.port import Store

log = structlog.get_logger()
_CHUNK = 100  # generations read at a time


class RestoredGenerations:
    """The held generations of all clients, for operators."""

    def __init__(self, *, store: Store, drivers: Drivers, notifier: Notifier, clock: Clock) -> None:
        self._store = store
        self._drivers = drivers
        self._notifier = notifier
        self._clock = clock

    async def page(self, *, limit: int, after: str | None = None) -> tuple[Sequence[Generation], bool]:
        """At most `limit` held generations, the oldest first, and whether more follow."""
        return cut(await self._store.restored_page(limit + 1, after), limit)

    async def release(self, generation_id: str) -> Generation:
        """Let the generation buy again, knowing that this may pay twice. Raises `NotFound`, and `Conflict`."""
        return await self._change(generation_id, "restored_released", release)

    async def release_all(self) -> int:
        """Release every generation that is held now; returns how many."""
        count = 0
        after: str | None = None
        while chunk := await self._store.restored_page(_CHUNK, after):
            for generation in chunk:
                with suppress(Conflict, NotFound):  # it has ended meanwhile
                    await self.release(generation.id)
                    count += 1
            after = chunk[-1].id
            await asyncio.sleep(0)  # let other requests run
        return count

    async def fail(self, generation_id: str) -> Generation:
        """End the generation as failed. Raises `NotFound`, and `Conflict`."""
        return await self._change(
            generation_id, "restored_failed", lambda generation: let_fail(generation, self._clock.now())
        )

    async def _change(
        self, generation_id: str, event: str, change: Callable[[Generation], Sequence[Write]]
    ) -> Generation:
        while True:
            generation = await self._store.get(generation_id)
            if generation is None:
                raise NotFound(f"The generation {generation_id[:100]!r} does not exist.", param="id")
            if await self._write(generation, event, change(generation)):
                return await self._store.get(generation_id) or generation
            await asyncio.sleep(0)  # its driver has changed it meanwhile: decide by what is stored now

    async def _write(self, generation: Generation, event: str, writes: Sequence[Write]) -> bool:
        if await self._store.write(generation, writes, self._clock.now()) is None:
            return False
        log.info(event, generation=generation.id)
        self._notifier.changed(generation.id)
        self._drivers.wake(generation.id)
        return True
