"""Brings the file of an output into the artifact store: fetched, hashed, checked, then recorded in the ledger.

A transfer is cut when no byte has come for 30 seconds, and has no limit on its whole time but the generous ones of
`fetch/file_body.py`. What could not be fetched is tried again, later each time, until the provider's link ends.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import httpx
import structlog
from msgspec.structs import replace

from gateway.artifacts.file_writer import Writer, Written
from gateway.artifacts.store import ArtifactStore, remove_files
from gateway.artifacts.thumbnails import Thumbnails
from gateway.clock import Clock
from gateway.domain.adapter.contract import HttpCall, HttpReply
from gateway.domain.adapter.task import Artifact
from gateway.domain.errors import InvalidImage, StoreUnavailable
from gateway.domain.generation.archiving import Drawn, FileFact, FileKept, FileUnread
from gateway.domain.generation.model import Generation, Kept, Output
from gateway.failpoints import reach
from gateway.fetch.download import Answer, Download
from gateway.fetch.fetcher import (
    REDIRECTS,
    AddressRefused,
    BrokeOff,
    Fetcher,
    FetchFailed,
    FetchRefused,
    RedirectRefused,
)
from gateway.fetch.file_body import TOTAL_SECONDS
from gateway.media.image_header import IMAGE_MAX, inspect
from gateway.media.video_header import Media, read_media
from gateway.store.artifacts import BEGUN_LIFE
from gateway.store.port import Store
from gateway.telemetry import ArchiveFinished, Observer
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.limiter import Lane
from gateway.upstream.provider import Provider

log = structlog.get_logger()
RESULT_MAX = 4 * 1024**3  # bytes of a result
PICTURE_SECONDS = 3.0  # for a provider's own picture, which nothing waits for longer
STORE_SECONDS = 30.0  # in which nothing is fetched, once the artifact store has failed
EXTENSIONS = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm", "video/x-matroska": "mkv"}
IMAGE_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/gif": "gif"}
VIDEO_ACCEPT, IMAGE_ACCEPT = "video/*,*/*;q=0.8", "image/webp,image/png,image/jpeg,*/*;q=0.8"
_GONE = frozenset({404, 410})  # the answers that say: there is no such file


class _NoResult(Exception):
    """Nothing is there, or something that is not what was asked for."""


class _NotNow(FetchFailed):
    """Its host answered with something else than the file, and may say when to ask again."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


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
        observer: Observer,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._fetcher = fetcher
        self._providers = providers
        self._upstream = upstream
        self._clock = clock
        self._keep = keep
        self._thumbnails = thumbnails
        self._observer = observer
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
        began = self._clock.now()
        if self._clock.now() < self._store_fails_until:  # what is fetched now could not be put anywhere
            return FileUnread(index=index, unstored=True)
        why: str | Exception
        try:
            return await self._keep_one(generation, output, provider)
        except FetchRefused as error:
            may_change = isinstance(error, AddressRefused | RedirectRefused)
            fact, why = FileUnread(index=index, final=not may_change), str(error)
        except _NoResult as error:
            fact, why = FileUnread(index=index, missing=True), str(error)
        except _NotNow as error:
            fact, why = FileUnread(index=index, retry_after_seconds=error.retry_after_seconds), str(error)
        except FetchFailed as error:
            fact, why = FileUnread(index=index), str(error)
        except OSError as error:  # of the disk: what the network raises is a `FetchFailed`
            fact, why = FileUnread(index=index, unstored=True), str(error)
        except StoreUnavailable as error:
            self._store_fails_until = max(self._store_fails_until, self._clock.now() + timedelta(seconds=STORE_SECONDS))
            fact, why = FileUnread(index=index, unstored=True), error.reason or error.detail
        except Exception as error:  # noqa: BLE001  # what nobody has thought of says nothing about the file
            fact, why = FileUnread(index=index), error
        self._observer.observe(
            ArchiveFinished(
                generation=generation.id,
                index=index,
                provider=provider,
                duration_seconds=(self._clock.now() - began).total_seconds(),
                final=fact.final,
                missing=fact.missing,
                error=why,
            )
        )
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
                download = self._download(generation, output, provider)
                async with aclosing(download.chunks()) as chunks:
                    written = await self._writer.write(chunks, partial, RESULT_MAX, flush=self._artifacts.flushes)
                media = await _media(partial, download.broke_off)
                picture_type = await self._providers_picture(output, picture)
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
        self._observer.observe(
            ArchiveFinished(
                generation=generation.id,
                index=output.index,
                provider=provider,
                duration_seconds=(self._clock.now() - began).total_seconds(),
                bytes=kept.bytes,
            )
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

    def _download(self, generation: Generation, output: Output, provider: str) -> Download:
        """An output's file, as its host hands it over."""
        artifact = output.artifact

        def ask(headers: Mapping[str, str]) -> AbstractAsyncContextManager[Answer]:
            if artifact is None or artifact.needs_credential:
                return self._with_credential(generation, output, provider, headers)
            return self._openly(artifact.url, headers)

        return Download(ask, max_bytes=RESULT_MAX, check=self._check)

    @asynccontextmanager
    async def _openly(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        sent = {"Accept": VIDEO_ACCEPT, **headers}
        async with self._fetcher.get(
            url, max_bytes=RESULT_MAX, timeout_seconds=TOTAL_SECONDS, open_headers=sent
        ) as fetched:
            yield fetched

    @asynccontextmanager
    async def _with_credential(
        self, generation: Generation, output: Output, name: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        """A file that the provider hands over to its own key alone: only ever asked for below its base URL.

        Where the provider redirects to the file, the key does not go along.
        """
        provider = self._providers.get(name)
        call = None if provider is None else content_call(generation, output, provider)
        if provider is None or call is None:
            raise FetchRefused("The provider that keeps this file is no longer configured.")
        call = replace(call, headers={**call.headers, **headers})
        signed = provider.adapter.authorize(call, provider.credential, self._clock.now())
        try:
            response = await self._upstream.stream(
                signed, base_url=provider.base_url, timeout_seconds=TOTAL_SECONDS, headers=provider.headers
            )
        except (NotSent, NoAnswer) as error:
            raise FetchFailed(str(error)) from error
        try:
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                yield _Streamed(name, response)
                return
        finally:
            await response.aclose()
        async with self._openly(redirected_to(provider.base_url + call.path, response), headers) as answer:
            yield answer

    def _check(self, answer: Answer) -> None:
        """Raise for an answer that is not the file."""
        status = answer.status
        if status in _GONE:
            raise _NoResult(f"the answer was {status}")
        wait = None
        with suppress(ArithmeticError, ValueError):  # a wait that is no sensible time
            wait = retry_after_seconds(HttpReply(status=status, headers=answer.headers), self._clock.now)
        raise _NotNow(f"the answer was {status}", wait)

    async def _providers_picture(self, output: Output, to: Path) -> str | None:
        """The media type of the provider's own picture, once it is at `to`; `None` where it is not to be had soon."""
        url = None if output.artifact is None else output.artifact.thumbnail_url
        if url is None:
            return None
        try:
            async with self._fetcher.get(
                url, max_bytes=IMAGE_MAX, timeout_seconds=PICTURE_SECONDS, open_headers={"Accept": IMAGE_ACCEPT}
            ) as fetched:
                if not fetched.is_whole:
                    self._check(fetched)
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


def redirected_to(url: str, response: httpx.Response) -> str:
    """Where a redirect leads, as text: it is not checked here."""
    location = response.headers["location"].strip().replace(" ", "%20")
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchFailed("the provider redirects to what is not a valid URL") from error


class _Streamed:
    """An answer of a provider's to its own key."""

    def __init__(self, host: str, response: httpx.Response) -> None:
        self.host = host
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._response = response

    async def raw(self) -> AsyncIterator[bytes]:
        """See `Answer`."""
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx.HTTPError as error:
            raise BrokeOff(f"{self.host} broke the transfer off, or nothing more came") from error


async def _media(path: Path, broke_off: FetchFailed | None) -> Media:
    """What the file is; of one whose transfer ended early only what is whole by its own structure counts."""
    found = await asyncio.to_thread(read_media, path)
    if broke_off is not None and not (isinstance(found, Media) and found.whole):
        raise broke_off
    if not isinstance(found, Media):
        raise _NoResult(f"the file {found}")
    return found
