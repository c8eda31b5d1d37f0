"""Brings the marker in the artifact store up to date while the gateway works, and warns the operator."""

import asyncio
import contextlib

from gateway.artifacts.far_marker import FarMarker
from gateway.domain.errors import StoreUnavailable
from gateway.store.port import Store


class LineageWatch:
    """Works between `start` and `stop`."""

    def __init__(self, store: Store, far: FarMarker) -> None:
        self._store = store
        self._far = far
        self._held = 0  # generations, when `look` was called last
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow the ledger from now on. The event loop's own time is used, which no test clock stops."""
        await self.look()
        self._task = asyncio.create_task(self._run(), name="lineage")

    async def stop(self) -> None:
        """Write the marker once more, unless it is in a bucket, which may answer late."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._far.is_local:
            await self._follow()

    async def look(self) -> None:
        """Count the generations that wait for an operator again. Raises `StoreUnavailable`."""
        self._held = await self._store.held_after_restore()

    def warnings(self) -> list[str]:
        """What an operator should do after a restore, and about the marker."""
        warnings = [] if self._far.trouble is None else [self._far.trouble]
        if self._held:
            warnings.append(
                f"{self._held} generation(s) buy nothing since an older ledger was restored: release them, attach their"
                " tasks or let them fail (`video-gateway restored`, /v1/admin/restored)"
            )
        return warnings

    async def _follow(self) -> None:
        lineage = self._store.lineage
        with contextlib.suppress(StoreUnavailable):  # the marker is older for a while, and so it recognises less
            await lineage.newest()
        await self._far.follow(lineage.marker, lineage.newest)

    async def _run(self) -> None:
        while True:
            await self._follow()
            with contextlib.suppress(StoreUnavailable):  # the health check shows that the store does not work
                await self.look()
            await asyncio.sleep(self._far.follow_seconds)
