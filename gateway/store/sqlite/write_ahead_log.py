"""Keeps the write-ahead log of the ledger short, also while reads on threads never leave a gap.

SQLite copies the log into the file while it goes on, but it starts the log from the beginning again only at a moment
when nobody reads an older state. With overlapping reads such a moment never comes: the log would grow until the disk
is full, and each read would become slower with it.
"""

import asyncio
from pathlib import Path

import structlog

from gateway.store.sqlite.file import LOG_BYTES
from gateway.store.sqlite.long_reads import LongReads
from gateway.store.sqlite.writer import CommitWriter

log = structlog.get_logger()
LOG_MAX_BYTES = 4 * LOG_BYTES  # beyond this size the reads pause until the log is empty
_COMMITS = 64  # transactions between two looks at the size


class WriteAheadLog:
    """Looks at the size of the log after commits. It serves the event loop of its writer."""

    def __init__(self, path: Path, writer: CommitWriter, long_reads: LongReads) -> None:
        self._path = path.with_name(path.name + "-wal")
        self._writer = writer
        self._long_reads = long_reads
        self._commits = 0
        self._limit = LOG_MAX_BYTES
        self._emptying: asyncio.Task[None] | None = None
        writer.on_commit = self._look

    async def close(self) -> None:
        """Wait for a checkpoint that is under way."""
        if self._emptying is not None:
            await asyncio.wait([self._emptying])

    def _look(self) -> None:
        self._commits += 1
        if self._commits % _COMMITS == 0 and self._emptying is None and self.size() > self._limit:
            self._emptying = asyncio.get_running_loop().create_task(self._empty(), name="checkpoint")

    def size(self) -> int:
        """Bytes of the log."""
        try:
            return self._path.stat().st_size
        except OSError:  # it is gone, which the writer finds out at its next commit
            return 0

    async def _empty(self) -> None:
        """Empty the log while no long read is under way. They take `READ_SECONDS` at most, so the pause is short."""
        size = self.size()
        await self._long_reads.pause()
        try:
            is_empty = await self._writer.checkpoint()
        finally:
            self._long_reads.resume()
            self._emptying = None
        if is_empty:
            self._limit = LOG_MAX_BYTES
            log.info("ledger_log_emptied", bytes=size)
            return
        self._limit = 2 * size  # so that a read of another program is met by few pauses, and by few lines in the log
        log.warning(
            "ledger_log_grows",
            bytes=size,
            detail="another program has read the ledger without an end since; end it, or the log fills the disk",
        )
