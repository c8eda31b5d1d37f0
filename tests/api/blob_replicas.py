"""What several gateways have of one place for images in a bucket, on one clock."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import obstore
from msgspec.structs import replace

from gateway.buckets.opening import bucket_of
from gateway.clock import Timer
from gateway.inputs.blob_bucket import BlobBucket
from gateway.inputs.blob_cache import BlobCache
from gateway.inputs.blob_folder import BlobFolder
from gateway.inputs.blobs import CHUNK
from gateway.live import Live

from ..e2e.s3_server import S3Server

NOW = datetime(2026, 3, 2, 12, 59, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONTENT = os.urandom(3 * CHUNK + 7)
DIGEST = sha256(CONTENT).hexdigest()
LARGEST = 4 * CHUNK


class StillClock:
    """A clock that a test sets. It has no timers."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("blobs use no timers")


class Replicas:
    """Each has a folder of its own."""

    def __init__(self, server: S3Server, folder: Path, prefix: str) -> None:
        self.clock = StillClock()
        self.folder = folder
        self.settings = server.settings(folder, url=f"s3://results/{prefix}")
        self.bucket = bucket_of(self.settings)
        self.named: set[str] = set()

    def open(self, name: str, cache_bytes: int = 2**30, *, has_others: bool = False, **changes: Any) -> BlobBucket:
        cache = BlobCache(
            self.folder / name / "cache",
            self.clock,
            max_bytes=Live(cache_bytes),
            min_free_bytes=Live(0),
            largest=LARGEST,
        )
        bucket = bucket_of(
            replace(self.settings, **changes),
            client={"connect_timeout": "1s", "timeout": "2s"},
            retries={"max_retries": 0},
        )
        return BlobBucket(bucket, cache, self.before(name), self.clock, has_others=has_others)

    def before(self, name: str) -> BlobFolder:
        return BlobFolder(self.folder / name / "inputs", self.clock, min_free_bytes=Live(0))

    def objects(self) -> list[str]:
        return sorted(entry["path"] for page in obstore.list(self.bucket) for entry in page)

    async def sweep(self, blobs: BlobBucket, **changes: Any) -> int:
        async def named(digests: Sequence[str]) -> set[str]:
            return self.named & set(digests)

        choices: Any = {"named": named, "of_all": True, "going": lambda: True, **changes}
        return await blobs.sweep(self.clock.moment - HOUR, **choices)


async def read(blobs: BlobBucket, digest: str = DIGEST) -> bytes:
    assert await blobs.has(digest)
    chunks = [chunk async for chunk in blobs.chunks(digest)]
    assert max(map(len, chunks)) <= CHUNK
    return b"".join(chunks)


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The URL of a server that takes connections and answers nothing."""
    end = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await end.wait()
        writer.close()

    listening = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        end.set()
