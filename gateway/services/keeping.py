"""Brings the file of an output into the artifact store: fetched, hashed, checked, then told of in the ledger."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import httpx
import structlog

from gateway.domain.adapter import HttpCall
from gateway.domain.errors import InvalidImage, StoreUnavailable
from gateway.domain.generation import Generation, Kept, Output
from gateway.domain.keeping import Drawn, FileFact, FileKept, FileUnread
from gateway.domain.task import Artifact
from gateway.failpoints import reach
from gateway.services.artifact_store import ArtifactStore, remove_files
from gateway.services.clock import Clock
from gateway.services.fetch import AddressRefused, Fetcher, FetchFailed, FetchRefused
from gateway.services.images import IMAGE_MAX, inspect
from gateway.services.lanes import Lane
from gateway.services.media import Media, read_media
from gateway.services.providers import Provider
from gateway.services.thumbnails import Thumbnails
from gateway.services.upstream import NoAnswer, NotSent, Upstream
from gateway.services.writing import Writer, Written
from gateway.store.base import Store
from gateway.store.results import BEGUN_LIFE

log = structlog.get_logger()
RESULT_MAX = 4 * 1024**3  # bytes of a result
FETCH_SECONDS = 1800.0  # for all of it
STALL_SECONDS = 30.0  # without a byte
PICTURE_SECONDS = 3.0  # for a provider's own picture, which nothing waits for longer
STORE_SECONDS = 30.0  # in which nothing is fetched, once the artifact store has failed
EXTENSIONS = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm", "video/x-matroska": "mkv"}
IMAGE_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}
_GONE = frozenset({404, 410})  # the answers that say: there is no such file


class _NoResult(Exception):
    """Nothing is there, or something that is not what was asked for."""


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
        keep: timedelta,
        thumbnails: Thumbnails,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._fetcher = fetcher
        self._providers = providers
        self._upstream = upstream
        self._clock = clock
        self._keep = keep
        self._thumbnails = thumbnails
        self._writer = Writer()
        self._lanes = {name: Lane(one.concurrency, clock) for name, one in providers.items()}
        # What nobody waits for any more has a lane of its own: it is tried again and again, and is in nobody's way.
        self._late = {name: Lane(max(one.concurrency // 2, 1), clock) for name, one in providers.items()}
        self._store_fails_until = clock.now()

    async def keep(self, generation: Generation, index: int) -> FileFact | None:
        """Bring the file of an output into the store; `None` when the generation is gone."""
        output = generation.output(index)
        provider = generation.route(generation.attempt(output.attempt_id or "")).provider
        reach("done_not_kept")
        if self._clock.now() < self._store_fails_until:  # what is fetched now could not be put anywhere
            return FileUnread(index=index)
        try:
            return await self._keep_one(generation, output, provider)
        except FetchRefused as error:
            fact, why = FileUnread(index=index, final=not isinstance(error, AddressRefused)), str(error)
        except _NoResult as error:
            fact, why = FileUnread(index=index, missing=True), str(error)
        except (FetchFailed, NotSent, NoAnswer, httpx.HTTPError, OSError) as error:
            fact, why = FileUnread(index=index), str(error)
        except StoreUnavailable as error:
            self._store_fails_until = max(self._store_fails_until, self._clock.now() + timedelta(seconds=STORE_SECONDS))
            fact, why = FileUnread(index=index), error.reason or error.detail
        except Exception:  # what nobody has thought of says nothing about the file
            log.exception("keeping_broken", generation=generation.id, index=index, provider=provider)
            return FileUnread(index=index)
        told = {"generation": generation.id, "index": index, "provider": provider}
        log.warning("result_not_kept", **told, final=fact.final, missing=fact.missing, error=why)
        return fact

    async def picture(self, generation: Generation, index: int) -> FileFact | None:
        """What comes of drawing the first frame of a file that was kept just now."""
        kept = generation.output(index).kept
        return Drawn(index, None if kept is None else await self._thumbnails.of(kept.name))

    def close(self) -> None:
        """Let the threads go that write; nothing is to be kept from now on."""
        self._writer.close()

    async def _keep_one(self, generation: Generation, output: Output, provider: str) -> FileFact | None:
        began = self._clock.now()
        partial, beside, picture = (self._artifacts.partial() for _ in range(3))
        spare = [partial, beside, picture]
        lane = (self._late if output.status.terminal else self._lanes).get(provider)
        try:
            async with nullcontext() if lane is None else lane.place(generation.key):
                async with self._source(generation, output, provider) as chunks:
                    written = await self._writer.write(chunks, partial, RESULT_MAX, flush=self._artifacts.flushes)
                picture_type = await self._providers_picture(output, picture)
            media = await _media(partial)
            kept = self._kept(generation, output, written, media, picture_type)
            names = [name for name in (kept.name, kept.thumbnail) if name is not None]
            if not await self._store.results.tell(generation.id, names, began + BEGUN_LIFE):
                return None
            if kept.thumbnail is not None and picture_type is not None:
                await self._artifacts.put(kept.thumbnail, picture, picture_type)
            draws = self._thumbnails.enabled and picture_type is None
            if draws:
                await asyncio.to_thread(os.link, partial, beside)  # the store takes the other name
            await self._artifacts.put(kept.name, partial, kept.content_type)
            if draws:
                self._thumbnails.begin(generation.id, kept.name, beside)
                spare.remove(beside)
        finally:
            await asyncio.shield(asyncio.to_thread(remove_files, *spare))
        log.info(
            "result_kept",
            generation=generation.id,
            index=output.index,
            provider=provider,
            bytes=kept.bytes,
            duration_seconds=round((self._clock.now() - began).total_seconds(), 3),
        )
        return FileKept(output.index, kept, draws=draws)

    def _kept(
        self, generation: Generation, output: Output, written: Written, media: Media, picture_type: str | None
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
            signed, base_url=provider.base_url, timeout_seconds=STALL_SECONDS, headers=provider.headers
        )
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                _check(response.status_code)
                yield response.aiter_raw()
        except TimeoutError as error:
            raise FetchFailed(f"the file did not come within {FETCH_SECONDS:.0f} seconds") from error
        finally:
            await response.aclose()

    async def _providers_picture(self, output: Output, to: Path) -> str | None:
        """The media type of the provider's own picture, once it is at `to`; `None` where it is not to be had soon."""
        url = None if output.artifact is None else output.artifact.thumbnail_url
        if url is None:
            return None
        try:
            async with self._fetcher.get(url, max_bytes=IMAGE_MAX, timeout_seconds=PICTURE_SECONDS) as fetched:
                _check(fetched.status)
                content = b"".join([chunk async for chunk in fetched.chunks()])
            kind = inspect(content).content_type
            if kind not in IMAGE_EXTENSIONS:
                return None
            await asyncio.to_thread(to.write_bytes, content)
        except (FetchRefused, FetchFailed, InvalidImage, _NoResult, OSError) as error:
            log.info("thumbnail_not_kept", index=output.index, error=str(error))
            return None
        return kind


def content_call(generation: Generation, output: Output, provider: Provider) -> HttpCall | None:
    """The call that hands over an output's file to the provider's key; `None` where there is none."""
    attempt = generation.attempt(output.attempt_id or "")
    ref = next((task.ref for task in attempt.tasks if task.slot == output.index), None)
    if ref is None or provider.adapter.content is None:
        return None
    return provider.adapter.content(ref)


async def _media(path: Path) -> Media:
    found = await asyncio.to_thread(read_media, path)
    if not isinstance(found, Media):
        raise _NoResult(f"the file {found}")
    return found


def _check(status: int) -> None:
    if status in _GONE:
        raise _NoResult(f"the answer was {status}")
    if status != 200:
        raise FetchFailed(f"the answer was {status}")
