"""Removes, every hour and in batches, files of results and rows that have expired, and blobs that no row names."""

import asyncio
from datetime import datetime, timedelta

import structlog

from gateway.artifacts.store import ArtifactStore
from gateway.clock import Clock, wait
from gateway.domain.errors import StoreUnavailable
from gateway.domain.ledger_clock import SweepHold
from gateway.engine.old_rows import KeepFor, OldRows
from gateway.inputs.blobs import Blobs
from gateway.live import Live
from gateway.store.port import Store

log = structlog.get_logger()
INTERVAL_SECONDS = 3600.0
KEEP_ALL = Live(KeepFor())
BLOB_AGE = timedelta(hours=1)  # far longer than a create takes between writing a blob and naming it in the ledger
BATCH_OF_HISTORY = 25  # generations at once: the event loop needs about 4 milliseconds for them
BATCH = 200  # rows or results at once: the event loop needs about a millisecond for them


class Sweeper:
    """Removes files of results, then expired rows, then blobs that no file names any more."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        artifacts: ArtifactStore,
        clock: Clock,
        *,
        keep_purchases: Live[timedelta],
        keep: Live[KeepFor] = KEEP_ALL,
        hold: SweepHold | None = None,
        by_turns: bool = False,
    ) -> None:
        """`keep_purchases`: how long the cost of a deleted generation is kept, counted from the delete.

        `keep`: how long other rows are kept.

        `hold`: the clock may be wrong, so for a while another time decides what has expired.

        `by_turns`: several processes share the ledger, and `take_turn` says when this one removes what all have in
        common. It removes blobs of its own folder in any case, because the others may not see that.
        """
        self._store = store
        self._blobs = blobs
        self._artifacts = artifacts
        self._clock = clock
        self._keep_purchases = keep_purchases
        self._old_rows = OldRows(store, keep)
        self._hold = hold
        self._by_turns = by_turns
        self._has_turn = False
        self._wake = asyncio.Event()
        self._stopping = False
        self._results_due = False  # a generation was deleted, so results are to be removed before the hour is over
        self._next_at: datetime | None = None  # of a whole round

    async def run(self) -> None:
        """Sweep at once and then every hour, until `stop`. After `soon`, files of results are removed in between."""
        while not self._stopping:
            try:
                await self._round(self._clock.now())
            except StoreUnavailable as error:
                log.warning("sweep_postponed", error=str(error))
            except Exception:  # nothing depends on this round, and the next one may succeed
                log.exception("sweep_failed")
            if not self._stopping:
                await wait(self._clock, self._wake, self._seconds_left())

    def soon(self) -> None:
        """Remove files of results now: a generation was deleted."""
        self._results_due = True
        self._wake.set()

    def take_turn(self) -> None:
        """Do a whole round now: among several processes it is the turn of this one."""
        self._has_turn = True
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return after its current batch."""
        self._stopping = True
        self._wake.set()

    def _seconds_left(self) -> float:
        """Seconds until the next whole round."""
        return INTERVAL_SECONDS if self._next_at is None else (self._next_at - self._clock.now()).total_seconds()

    async def _round(self, now: datetime) -> None:
        results_only, self._results_due = self._results_due and not self._has_turn, False
        has_turn, self._has_turn = self._has_turn or not self._by_turns, False
        is_whole = not results_only or self._next_at is None or now >= self._next_at
        if is_whole:
            self._next_at = now + timedelta(seconds=INTERVAL_SECONDS)
        expired_at = now if self._hold is None else self._hold.moment(now)
        if has_turn or results_only:
            await self._remove_results(expired_at)
        if is_whole:
            await self._sweep(expired_at, with_rows=has_turn)

    async def _remove_results(self, now: datetime) -> None:
        """Remove expired results: each file before its row. A file that cannot be removed is tried again in an hour."""
        removed_count, stuck_count = 0, 0
        while not self._stopping and (names := await self._store.archived_files.expired(now, BATCH)):
            try:
                await self._artifacts.remove(names)
            except StoreUnavailable:
                removed = [name for name in names if await self._remove_one(name)]
            else:
                removed = names
            stuck = [name for name in names if name not in removed]
            await self._store.archived_files.forget(removed, now)
            await self._store.archived_files.postpone(stuck, now + timedelta(seconds=INTERVAL_SECONDS))
            removed_count, stuck_count = removed_count + len(removed), stuck_count + len(stuck)
        if removed_count:
            log.info("results_removed", files=removed_count)
        if stuck_count:
            log.error("results_not_removed", files=stuck_count)

    async def _remove_one(self, name: str) -> bool:
        """Remove one file of a batch that could not be removed together. Returns whether that succeeded."""
        try:
            await self._artifacts.remove([name])
        except StoreUnavailable as error:
            log.warning("result_not_removed", name=name, reason=error.reason or error.detail)
            return False
        return True

    async def _sweep(self, now: datetime, *, with_rows: bool) -> None:
        began = self._clock.now()
        rows = 0
        if with_rows:
            await self._count_history()
            rows = await self._remove_rows(now)
        blobs = await self._blobs.sweep(
            now - BLOB_AGE, self._store.named_blobs, of_all=with_rows, going=lambda: not self._stopping
        )
        if rows or blobs:
            seconds = (self._clock.now() - began).total_seconds()
            log.info("sweep_finished", rows=rows, blobs=blobs, duration_seconds=seconds)

    async def _count_history(self) -> None:
        """Count what generations from before accounts and usage existed. After that there is nothing to do."""
        total = 0
        for count_some in (self._store.money.fill, self._store.usage.count_history):
            while not self._stopping and (count := await count_some(BATCH_OF_HISTORY)):
                total += count
        if total:
            log.info("history_counted", generations=total)

    async def _remove_rows(self, now: datetime) -> int:
        """Remove expired rows of every kind, and return how many there were."""
        total = 0
        store = self._store
        for remove in (store.forget, store.library.expire, store.uploads.expire, self._old_rows.deliveries):
            while not self._stopping and (count := await remove(now, BATCH)):
                total += count
        for expire in (store.purchases.expire, store.money.expire):
            while not self._stopping and (count := await expire(now - self._keep_purchases.current, BATCH)):
                total += count
        return total + await self._old_rows.remove(now, lambda: self._stopping)
