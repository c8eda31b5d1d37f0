"""Brings the file of an output into the artifact store: fetched, hashed, checked, then told of in the ledger."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import IO

import httpx
import structlog
from msgspec import Struct

from gateway.domain.adapter import HttpCall
from gateway.domain.errors import InvalidImage, StoreUnavailable
from gateway.domain.generation import Generation, Kept, Output
from gateway.domain.keeping import FileFact, FileKept, FileUnread
from gateway.domain.task import Artifact
from gateway.failpoints import reach
from gateway.services.artifact_store import ArtifactStore
from gateway.services.clock import Clock
from gateway.services.fetch import Fetcher, FetchFailed, FetchRefused
from gateway.services.frames import Frames
from gateway.services.images import IMAGE_MAX, inspect
from gateway.services.media import Media, read_media
from gateway.services.providers import Provider
from gateway.services.upstream import NoAnswer, NotSent, Upstream
from gateway.settings import ArtifactSettings
from gateway.store.base import Store

log = structlog.get_logger()
RESULT_MAX = 4 * 1024**3  # bytes of a result
FETCH_SECONDS = 1800.0  # for all of it
BLOCK = 256 * 1024  # bytes that are held of a result before they are written; the next come meanwhile
AT_ONCE = 8  # files of one provider
TOLD_LIFE = timedelta(days=1)  # of a file that was begun; once it is kept, its own time counts
EXTENSIONS = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm", "video/x-matroska": "mkv"}
IMAGE_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}
_GONE = frozenset({404, 410})  # the answers that say: there is no such file


class _NoResult(Exception):
    """Nothing is there, or something that is not what was asked for."""


class _Written(Struct, frozen=True):
    """A file on the disk, not in the store yet."""

    bytes: int
    sha256: str


class Keeper:
    """Keeps results. Each try ends in a fact, whatever happens on the way, and may be repeated."""

    def __init__(
        self,
        *,
        store: Store,
        artifacts: ArtifactStore,
        fetcher: Fetcher,
        providers: Mapping[str, Provider],
        upstream: Upstream,
        clock: Clock,
        settings: ArtifactSettings,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._fetcher = fetcher
        self._providers = providers
        self._upstream = upstream
        self._clock = clock
        self._keep = timedelta(days=settings.keep_days)
        self._draws = settings.thumbnails
        self._frames = Frames()
        self._places: dict[str, asyncio.Semaphore] = {}

    async def keep(self, generation: Generation, index: int) -> FileFact | None:
        """Bring the file of an output into the store; `None` when the generation is gone."""
        output = generation.output(index)
        route = generation.route(generation.attempt(output.attempt_id or ""))
        place = self._places.setdefault(route.provider, asyncio.Semaphore(AT_ONCE))
        async with place:
            reach("done_not_kept")
            try:
                return await self._keep_one(generation, output, route.provider)
            except FetchRefused as error:
                fact, why = FileUnread(index=index, final=True), str(error)
            except _NoResult as error:
                fact, why = FileUnread(index=index, missing=True), str(error)
            except (FetchFailed, NotSent, NoAnswer, httpx.HTTPError, OSError) as error:
                fact, why = FileUnread(index=index), str(error)
            except StoreUnavailable as error:
                fact, why = FileUnread(index=index), error.reason or error.detail
            except Exception:  # what nobody has thought of says nothing about the file
                log.exception("keeping_broken", generation=generation.id, index=index, provider=route.provider)
                return FileUnread(index=index)
        told = {"generation": generation.id, "index": index, "provider": route.provider}
        log.warning("result_not_kept", **told, final=fact.final, missing=fact.missing, error=why)
        return fact

    async def _keep_one(self, generation: Generation, output: Output, provider: str) -> FileFact | None:
        began = self._clock.now()
        partial = self._artifacts.partial()
        picture = self._artifacts.partial()
        try:
            async with self._source(generation, output, provider) as chunks:
                written = await _write(chunks, partial)
            media = await asyncio.to_thread(read_media, partial)
            if not isinstance(media, Media):
                raise _NoResult(f"the file {media}")
            picture_type = await self._thumbnail(output, partial, picture)
            kept = self._kept(generation, output, written, media, picture_type)
            names = [name for name in (kept.name, kept.thumbnail) if name is not None]
            if not await self._store.results.tell(generation.id, names, began + TOLD_LIFE):
                return None
            if kept.thumbnail is not None and kept.thumbnail_type is not None:
                await self._artifacts.put(kept.thumbnail, picture, kept.thumbnail_type)
            await self._artifacts.put(kept.name, partial, kept.content_type)
        finally:
            await asyncio.to_thread(_remove, partial, picture)
        log.info(
            "result_kept",
            generation=generation.id,
            index=output.index,
            provider=provider,
            bytes=kept.bytes,
            duration_seconds=round((self._clock.now() - began).total_seconds(), 3),
        )
        return FileKept(output.index, kept)

    def _kept(
        self, generation: Generation, output: Output, written: _Written, media: Media, picture_type: str | None
    ) -> Kept:
        attempt = generation.attempt(output.attempt_id or "")
        # Each try has a name of its own: what an earlier one left is removed while this one is written.
        name = f"{generation.id}/{output.index}-{attempt.number}-{token_hex(4)}"
        told = output.artifact or Artifact(url="")
        return Kept(
            name=f"{name}.{EXTENSIONS.get(media.content_type, 'bin')}",
            bytes=written.bytes,
            sha256=written.sha256,
            content_type=media.content_type,
            kept_until=self._clock.now() + self._keep,
            duration_seconds=told.duration_seconds if media.duration_seconds is None else media.duration_seconds,
            width=media.width or told.width,
            height=media.height or told.height,
            thumbnail=f"{name}.{IMAGE_EXTENSIONS[picture_type]}" if picture_type is not None else None,
            thumbnail_type=picture_type,
        )

    @asynccontextmanager
    async def _source(self, generation: Generation, output: Output, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an output's file, as the provider hands them over."""
        artifact = output.artifact
        if artifact is None or artifact.needs_credential:
            async with self._with_credential(generation, output, name) as chunks:
                yield chunks
            return
        async with self._fetcher.get(artifact.url, max_bytes=RESULT_MAX, timeout_seconds=FETCH_SECONDS) as fetched:
            _check(fetched.status)
            yield fetched.chunks()

    @asynccontextmanager
    async def _with_credential(
        self, generation: Generation, output: Output, name: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A file that the provider hands over to its own key alone: only ever asked for below its base URL."""
        provider = self._providers.get(name)
        call = None if provider is None else content_call(generation, output, provider)
        if provider is None or call is None:
            raise FetchRefused("The provider that keeps this file is no longer configured.")
        signed = provider.adapter.authorize(call, provider.credential, self._clock.now())
        response = await self._upstream.stream(
            signed, base_url=provider.base_url, timeout_seconds=FETCH_SECONDS, headers=provider.headers
        )
        try:
            _check(response.status_code)
            yield response.aiter_raw()
        finally:
            await response.aclose()

    async def _thumbnail(self, output: Output, video: Path, to: Path) -> str | None:
        """Its media type, once it is at `to`: the provider's own, else the first frame, else none."""
        url = None if output.artifact is None else output.artifact.thumbnail_url
        if url is not None:
            try:
                async with self._fetcher.get(url, max_bytes=IMAGE_MAX, timeout_seconds=60) as fetched:
                    if fetched.status == 200:
                        content = b"".join([chunk async for chunk in fetched.chunks()])
                        kind = inspect(content).content_type
                        if kind in IMAGE_EXTENSIONS:
                            await asyncio.to_thread(to.write_bytes, content)
                            return kind
            except (FetchRefused, FetchFailed, InvalidImage, OSError) as error:
                log.info("thumbnail_not_kept", index=output.index, error=str(error))
        return "image/jpeg" if self._draws and await self._frames.draw(video, to) else None


def content_call(generation: Generation, output: Output, provider: Provider) -> HttpCall | None:
    """The call that hands over an output's file to the provider's key; `None` where there is none."""
    attempt = generation.attempt(output.attempt_id or "")
    ref = next((task.ref for task in attempt.tasks if task.slot == output.index), None)
    if ref is None or provider.adapter.content is None:
        return None
    return provider.adapter.content(ref)


def _check(status: int) -> None:
    if status in _GONE:
        raise _NoResult(f"the answer was {status}")
    if status != 200:
        raise FetchFailed(f"the answer was {status}")


async def _write(chunks: AsyncIterator[bytes], path: Path) -> _Written:
    """Write what comes beside the loop, a block while the next one comes."""
    digest = sha256()
    size = 0
    held = bytearray()

    def flush(file: IO[bytes], block: bytearray) -> None:
        digest.update(block)
        file.write(block)

    file = await asyncio.to_thread(path.open, "wb")
    writing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    writing.set_result(None)
    try:
        async for chunk in chunks:
            held += chunk
            size += len(chunk)
            if size > RESULT_MAX:
                raise FetchFailed(f"The file has more than {RESULT_MAX:,} bytes.")
            if len(held) >= BLOCK:
                await writing
                writing = asyncio.ensure_future(asyncio.to_thread(flush, file, held))
                held = bytearray()
        await writing
        await asyncio.to_thread(flush, file, held)
    finally:
        await asyncio.wait([writing])  # a thread cannot be stopped: the file is open until it is done
        await asyncio.to_thread(file.close)
    return _Written(size, digest.hexdigest())


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
