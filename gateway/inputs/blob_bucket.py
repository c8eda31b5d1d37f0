"""Blobs in a bucket, where every gateway on the ledger puts and reads them.

A blob is the object `inputs/ab/abcd…/2026-03-02T12Z`: its digest, and the hour in which it was put. A create names only
a blob that was put in its own hour or the one before, and only older objects are removed. So no removal can meet the
put of a create, and nothing has to be locked: an object store knows no rename, and no delete on a condition.
"""

import asyncio
import contextlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any, TypeVar

import obstore
import structlog
from obstore.exceptions import BaseError

from gateway.buckets.opening import NO_BUCKET, Bucket, reason_of
from gateway.clock import Clock
from gateway.domain.errors import StoreUnavailable
from gateway.inputs.blob_cache import BlobCache, DamagedBlob, NotCached, whole
from gateway.inputs.blob_folder import BlobFolder
from gateway.inputs.blobs import BATCH, CHUNK, RETRY_AFTER_SECONDS, Going, Named
from gateway.media.image_header import IMAGE_MAX
from gateway.sharing.limiter import FairQueue

T = TypeVar("T")
log = structlog.get_logger()
CLIENT: dict[str, Any] = {"connect_timeout": "5s", "timeout": "30s"}  # for each try of a request of the bucket
RETRIES: dict[str, Any] = {"max_retries": 2, "retry_timeout": timedelta(seconds=20)}
PUT_SECONDS = 45.0  # with the wait for a place; the client of a create waits for it
READ_SECONDS = 45.0  # with the wait for a place; a submit waits for it, and holds a place of its provider meanwhile
PUTS_MAX = 16  # at the same time
READS_MAX = 8
REMEMBERED_MAX = 10_000  # digests, about 2 MB
# For so long after its start a gateway among several waits for an image that it does not find: another one may still
# copy it from a folder that the ledger had before. After that time such an image is lost.
COPIED_WITHIN = timedelta(hours=6)
FOLDER = "inputs"
_OBJECT = re.compile(r"inputs/[0-9a-f]{2}/([0-9a-f]{64})/(\d{4}-\d\d-\d\dT\d\dZ)")
_HOUR = "%Y-%m-%dT%HZ"  # texts have the order of the hours


class BlobBucket:
    """`Blobs` in a bucket, with a cache on this machine, and with those that a folder had before.

    A blob is looked for in the cache, then in the bucket, then in that folder.
    """

    def __init__(
        self, bucket: Bucket, cache: BlobCache, before: BlobFolder, clock: Clock, *, has_others: bool = False
    ) -> None:
        """`before`: where the gateway put blobs when it had no bucket. They are read, and copied in the first sweep.

        `has_others`: other gateways on the ledger may have such a folder, too.
        """
        self._bucket = bucket
        self._cache = cache
        self._before = before
        self._clock = clock
        self._lost_from = clock.now() + (COPIED_WITHIN if has_others else timedelta())
        self._is_copied = False  # whether all blobs in `before` are in the bucket
        self._put_in: OrderedDict[str, str] = OrderedDict()  # digest → the last hour in which this process put it
        self._puts, self._reads = FairQueue(PUTS_MAX), FairQueue(READS_MAX)
        self._under_way: dict[Hashable, asyncio.Task[Any]] = {}

    async def put(self, content: bytes, client: str = "") -> str:
        """See `Blobs`. What this process has put in the same hour is there still, and is not sent again."""
        digest = await asyncio.to_thread(_digest, content)
        hour = _hour(self._clock.now())
        if self._put_in.get(digest) != hour:
            await self._once(("put", digest, hour), lambda: self._put(content, digest, hour, client))
        await self._cache.put(digest, content)
        return digest

    async def get(self, digest: str, client: str = "") -> bytes | None:
        """See `Blobs`."""
        content = await self._cache.get(digest)
        if content is None and await self._fetched(digest, client):
            content = await self._cache.get(digest)
            if content is None:  # the disk has no room for it
                async with _answering("read", READ_SECONDS), self._reads.slot(client):
                    content = await self._first(digest, _joined)
        return await self._last(digest) if content is None else content

    async def has(self, digest: str, client: str = "") -> bool:
        """See `Blobs`. If there is room for it, it is in the cache afterwards."""
        is_stored = await self._cache.has(digest) or await self._fetched(digest, client)
        return is_stored or await self._last(digest) is not None

    async def chunks(self, digest: str, client: str = "") -> AsyncIterator[bytes]:  # noqa: ARG002  # `has` took the turn
        """See `Blobs`."""
        try:
            async for chunk in self._cache.chunks(digest):
                yield chunk
        except FileNotFoundError:
            async with _answering("read", None):
                objects = [self._object(name) for name in (await self._objects(digest))[:1]]
                for source in objects or [self._before.chunks(digest)]:
                    async for chunk in whole(source, digest, IMAGE_MAX):
                        yield chunk

    async def sweep(self, before: datetime, named: Named, *, of_all: bool, going: Going) -> int:
        """See `Blobs`. The folder of before is copied to the bucket, and its files go when nothing names them."""
        await self._cache.sweep(before, named, going)
        total = await self._before.sweep(before, named, of_all=of_all, going=going)
        if of_all and going():
            total += await self._sweep(before, named, going)
        if not self._is_copied and going():
            await self._copy(named, going)
        return total

    async def close(self) -> None:
        """See `Blobs`."""
        for task in (tasks := list(self._under_way.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _once(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Callers with the same key share one call, which goes on if one of them is cancelled."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.ensure_future(work())
            task.add_done_callback(lambda done: self._ended(key, done))
        result: T = await asyncio.shield(task)
        return result

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # marks the error as seen: asyncio would log it where every waiter was cancelled

    async def _put(self, content: bytes, digest: str, hour: str, client: str) -> None:
        async with _answering("stored", PUT_SECONDS), self._puts.slot(client):
            await obstore.put_async(self._bucket, f"{_folder(digest)}/{hour}", content, use_multipart=False)
        self._put_in[digest] = hour
        self._put_in.move_to_end(digest)
        if len(self._put_in) > REMEMBERED_MAX:
            self._put_in.popitem(last=False)

    async def _from_before(self, digest: str) -> bytes | None:
        """The bytes as they are in the folder of before; `None` also if they are damaged."""
        content = await self._before.get(digest)
        if content is not None and await asyncio.to_thread(_digest, content) != digest:
            log.warning("stored_input_damaged", sha256=digest)
            return None
        return content

    async def _last(self, digest: str) -> bytes | None:
        """The bytes from the folder of before. Raises `StoreUnavailable` while they may still come from elsewhere."""
        content = await self._from_before(digest)
        if content is None and self._clock.now() < self._lost_from:
            raise StoreUnavailable(
                "The input cannot be read now.",
                retry_after=RETRY_AFTER_SECONDS,
                reason=f"artifacts.url: the image {digest} is not in the bucket; if a folder `inputs/` from before has"
                " it, start the gateway that has that folder",
            )
        return content

    async def _fetched(self, digest: str, client: str) -> bool:
        """Copy a blob into the cache if there is room for it; False if the bucket has no whole copy of it."""
        return await self._once(("get", digest), lambda: self._fetch(digest, client))

    async def _fetch(self, digest: str, client: str) -> bool:
        async with _answering("read", READ_SECONDS), self._reads.slot(client):
            if not await self._cache.room(IMAGE_MAX):
                return bool(await self._objects(digest))
            return await self._first(digest, lambda chunks: self._cached(digest, chunks)) or False

    async def _cached(self, digest: str, chunks: AsyncIterator[bytes]) -> bool:
        with contextlib.suppress(NotCached):
            await self._cache.fill(digest, chunks)
        return True

    async def _first(self, digest: str, use: Callable[[AsyncIterator[bytes]], Awaitable[T]]) -> T | None:
        """What `use` makes of the first whole object of a blob; `None` without one, also when looked at again.

        An object may be removed after it was listed, if a newer one was put meanwhile. And a transfer may be damaged.
        """
        is_damaged = False
        for _ in range(2):
            for name in await self._objects(digest):
                try:
                    return await use(whole(self._object(name), digest, IMAGE_MAX))
                except FileNotFoundError:
                    continue
                except DamagedBlob as error:
                    is_damaged = True
                    log.warning("stored_input_damaged", name=name, reason=str(error))
        if is_damaged:
            self._put_in.pop(digest, None)  # so that the next put of this content repairs it
        return None

    async def _objects(self, digest: str) -> list[str]:
        """The names of the objects of a blob, the newest first."""
        return sorted([name async for name, _, _ in self._listed(_folder(digest))], reverse=True)

    async def _object(self, name: str) -> AsyncIterator[bytes]:
        answer = await obstore.get_async(self._bucket, name)
        async for block in answer.stream(CHUNK):
            for place in range(0, len(block), CHUNK):
                yield bytes(block[place : place + CHUNK])

    async def _listed(self, prefix: str) -> AsyncIterator[tuple[str, str, str]]:
        """The name, the digest and the hour of each blob below a prefix."""
        async for page in obstore.list(self._bucket, prefix, chunk_size=BATCH):
            for entry in page:
                if match := _OBJECT.fullmatch(name := entry["path"]):
                    yield name, match[1], match[2]

    async def _sweep(self, before: datetime, named: Named, going: Going) -> int:
        """Remove the objects of earlier hours: all of a blob that nothing names, else all but the newest.

        It may run on two gateways at once: neither removes the newest object of a blob that is named.
        """
        total, until = 0, _hour(before)
        batch: list[tuple[str, str, str]] = []
        async with _answering("removed", None):
            async for item in self._listed(FOLDER):
                if not going():
                    return total
                if len(batch) >= BATCH and item[1] != batch[-1][1]:  # the objects of a blob stay together
                    total += await self._remove(batch, until, named)
                    batch = []
                batch.append(item)
            return total + await self._remove(batch, until, named)

    async def _remove(self, batch: list[tuple[str, str, str]], until: str, named: Named) -> int:
        """Remove what is due of some blobs; how many blobs are gone."""
        old = {digest for _, digest, hour in batch if hour < until}
        in_use = await named(sorted(old)) if old else set()
        count = 0
        for digest, objects in groupby(sorted(batch), lambda item: item[1]):
            names = [(name, hour) for name, _, hour in objects]
            doomed = [name for name, hour in names[:-1] if hour < until]
            if digest not in in_use and names[-1][1] < until:
                doomed.append(names[-1][0])
                count += 1
            for name in doomed:
                with contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._bucket, name)
        return count

    async def _copy(self, named: Named, going: Going) -> None:
        """Copy to the bucket what a file in the ledger names in the folder of before, and log when all is there."""
        total = 0
        for folder in await self._before.folders():
            digests = set(await self._before.digests(folder))
            async with _answering("read", None):
                digests -= {digest async for _, digest, _ in self._listed(f"{FOLDER}/{folder}")}
            for digest in sorted(await named(sorted(digests))) if digests else ():
                if not going():
                    return
                if (content := await self._from_before(digest)) is not None:
                    await self._put(content, digest, _hour(self._clock.now()), "")
                    total += 1
        self._is_copied = True
        if total:
            log.info("inputs_copied", count=total)


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _hour(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_HOUR)


def _folder(digest: str) -> str:
    return f"{FOLDER}/{digest[:2]}/{digest}"


@contextlib.asynccontextmanager
async def _answering(done: str, seconds: float | None) -> AsyncIterator[None]:
    """Raise an error of the bucket, and an answer that takes longer than `seconds`, as `StoreUnavailable`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except DamagedBlob:
        raise
    except TimeoutError as error:
        raise _unavailable(done, f"it did not answer within {seconds:g} seconds") from error
    except FileNotFoundError as error:
        raise _unavailable(done, NO_BUCKET) from error
    except (BaseError, OSError) as error:
        raise _unavailable(done, reason_of(error)) from error


def _unavailable(done: str, reason: str) -> StoreUnavailable:
    log.warning("bucket_failed", detail=f"the input cannot be {done} now", reason=f"artifacts.url: {reason}")
    return StoreUnavailable(
        f"The input cannot be {done} now.", retry_after=RETRY_AFTER_SECONDS, reason=f"artifacts.url: {reason}"
    )


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])
