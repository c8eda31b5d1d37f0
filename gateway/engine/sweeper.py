"""What nobody needs any more: the sweeper removes it, now and then, a little at a time."""

import asyncio
from datetime import datetime, timedelta

import structlog

from gateway.artifacts.store import ArtifactStore
from gateway.clock import Clock, wait
from gateway.domain.errors import StoreUnavailable
from gateway.domain.ledger_clock import SweepHold
from gateway.inputs.blobs import Blobs
from gateway.store.port import Store

log = structlog.get_logger()
INTERVAL_SECONDS = 3600.0
BLOB_AGE = timedelta(hours=1)  # far longer than a create takes from putting its blobs to naming them in the ledger
BATCH = 200  # rows or files at once: what the event loop does for them takes about a millisecond


class Sweeper:
    """Removes what is past its life, files of results first, and blobs that no file names."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        artifacts: ArtifactStore,
        clock: Clock,
        *,
        keep_purchases: timedelta,
        hold: SweepHold | None = None,
    ) -> None:
        """`keep_purchases`: how long what deleted generations may have cost is kept, from their delete.

        `hold`: the clock may be wrong, so that for a while another time decides what is due.
        """
        self._store = store
        self._blobs = blobs
        self._artifacts = artifacts
        self._clock = clock
        self._keep_purchases = keep_purchases
        self._hold = hold
        self._wake = asyncio.Event()
        self._stopping = False
        self._hurried = False
        self._next_at: datetime | None = None  # of a whole round

    async def run(self) -> None:
        """Sweep at once and then every hour, until `stop`; what `soon` asks for is done in between."""
        while not self._stopping:
            try:
                await self._round(self._clock.now())
            except StoreUnavailable as error:
                log.warning("sweep_put_off", error=str(error))
            except Exception:  # nothing depends on a round; the next one may do better
                log.exception("sweep_failed")
            if not self._stopping:
                await wait(self._clock, self._wake, self._seconds_left())

    def soon(self) -> None:
        """A generation was deleted: its files are to go now."""
        self._hurried = True
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return after the batch it is at."""
        self._stopping = True
        self._wake.set()

    def _seconds_left(self) -> float:
        return INTERVAL_SECONDS if self._next_at is None else (self._next_at - self._clock.now()).total_seconds()

    async def _round(self, now: datetime) -> None:
        hurried, self._hurried = self._hurried, False
        whole = not hurried or self._next_at is None or now >= self._next_at
        if whole:
            self._next_at = now + timedelta(seconds=INTERVAL_SECONDS)
        due = now if self._hold is None else self._hold.moment(now)
        await self._remove_results(due)
        if whole:
            await self._sweep(due)

    async def _remove_results(self, now: datetime) -> None:
        """The file goes before the row that tells of it; one that cannot go has its turn again in an hour."""
        gone, stuck = 0, 0
        while not self._stopping and (names := await self._store.results.expired(now, BATCH)):
            try:
                await self._artifacts.remove(names)
            except StoreUnavailable:
                removed = [name for name in names if await self._is_removed(name)]
            else:
                removed = names
            left = [name for name in names if name not in removed]
            await self._store.results.forget(removed, now)
            await self._store.results.put_off(left, now + timedelta(seconds=INTERVAL_SECONDS))
            gone, stuck = gone + len(removed), stuck + len(left)
        if gone:
            log.info("results_removed", files=gone)
        if stuck:
            log.error("results_not_removed", files=stuck)

    async def _is_removed(self, name: str) -> bool:
        """Of several that could not be removed together, whether one goes by itself."""
        try:
            await self._artifacts.remove([name])
        except StoreUnavailable as error:
            log.warning("result_not_removed", name=name, reason=error.reason or error.detail)
            return False
        return True

    async def _sweep(self, now: datetime) -> None:
        began = self._clock.now()
        forgotten = await self._forget(now)
        removed = await self._remove_blobs(now - BLOB_AGE)
        if forgotten or removed:
            seconds = (self._clock.now() - began).total_seconds()
            log.info("swept", rows=forgotten, blobs=removed, duration_seconds=seconds)

    async def _forget(self, now: datetime) -> int:
        total = 0
        store = self._store
        for forget in (store.forget, store.library.expire, store.uploads.expire, store.webhooks.expire):
            while not self._stopping and (count := await forget(now, BATCH)):
                total += count
        while not self._stopping and (count := await store.purchases.expire(now - self._keep_purchases, BATCH)):
            total += count
        return total

    async def _remove_blobs(self, before: datetime) -> int:
        total = 0
        for folder in await self._blobs.folders():
            if self._stopping:
                break
            total += await self._remove_from(folder, before)
        return total

    async def _remove_from(self, folder: str, before: datetime) -> int:
        """A blob that the ledger does not name may still get its name while it is not older than `BLOB_AGE`."""
        total = 0
        old = await self._blobs.old(folder, before)
        for start in range(0, len(old), BATCH):
            if self._stopping:
                break
            batch = old[start : start + BATCH]
            named = await self._store.named_blobs(batch)
            total += await self._blobs.remove(folder, [name for name in batch if name not in named], before)
        return total
