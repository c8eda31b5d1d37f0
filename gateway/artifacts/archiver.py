"""Archives the file of an output: downloads, hashes and checks it, and moves it into the artifact store.

A transfer ends when no byte has arrived for 30 seconds; its whole time is limited only by the generous limits of
`fetch/file_body.py`. The state machine repeats a download that failed, later each time, until the provider's link ends.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import aclosing, nullcontext
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import structlog

from gateway.artifacts.file_writer import HashingFileWriter, Written
from gateway.artifacts.result_download import RESULT_MAX, NoResult, NotNow, ResultDownloads, check_answer
from gateway.artifacts.store import ArtifactStore, remove_files
from gateway.artifacts.thumbnails import Thumbnails, thumbnail_name
from gateway.clock import Clock
from gateway.domain.adapter.task import Artifact
from gateway.domain.errors import InvalidImage, StoreUnavailable
from gateway.domain.generation.archiving import FileArchived, FileFact, FileUnread
from gateway.domain.generation.model import ArchivedFile, Generation, Output
from gateway.domain.routing.image_limits import ImageFacts
from gateway.failpoints import reach
from gateway.fetch.fetcher import (
    AddressRefused,
    Fetcher,
    FetchFailed,
    FetchRefused,
    RedirectRefused,
)
from gateway.live import Live
from gateway.media.image_header import IMAGE_MAX, inspect
from gateway.media.image_result import EXTENSIONS as IMAGE_EXTENSIONS
from gateway.media.image_result import ImageChecker, NotChecked
from gateway.media.video_header import Media, read_media
from gateway.sharing.limiter import FairLimiter
from gateway.store.artifacts import BEGUN_LIFE
from gateway.store.port import Store
from gateway.telemetry import ArchiveFinished, Observer
from gateway.upstream.provider import Provider

log = structlog.get_logger()
THUMBNAIL_SECONDS = 3.0  # to fetch the provider's own thumbnail: the result waits for it, and is worth more
STORE_SECONDS = 30.0  # without downloads after the artifact store has failed, which would fail again
VIDEO_EXTENSIONS = {"video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm", "video/x-matroska": "mkv"}
EXTENSIONS = {**VIDEO_EXTENSIONS, **IMAGE_EXTENSIONS}  # media type → extension, of the results that are archived
THUMBNAIL_TYPES = frozenset({"image/jpeg", "image/png", "image/webp", "image/gif"})  # those that all browsers show
THUMBNAIL_ACCEPT = "image/webp,image/png,image/jpeg,*/*;q=0.8"


class Archiver:
    """Archives the files of outputs. Each try ends in a fact for the state machine, and may be repeated."""

    def __init__(
        self,
        *,
        store: Store,
        artifacts: ArtifactStore,
        fetcher: Fetcher,
        downloads: ResultDownloads,
        providers: Mapping[str, Provider],
        clock: Clock,
        keep: Live[timedelta],
        thumbnails: Thumbnails,
        observer: Observer,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._fetcher = fetcher
        self._downloads = downloads
        self._clock = clock
        self._keep = keep
        self._thumbnails = thumbnails
        self._observer = observer
        self._writer = HashingFileWriter()
        self._images = ImageChecker()
        self._providers = providers
        # By provider, and whether the output has ended. Files of ended outputs have limits of their own: their many
        # tries must not delay files that clients wait for.
        self._limiters: dict[tuple[str, bool], FairLimiter] = {}
        self._store_fails_until = clock.now()

    async def archive(self, generation: Generation, index: int) -> FileFact | None:
        """Try once to archive the file of an output. `None` when the generation was deleted."""
        output = generation.output(index)
        provider = generation.route(generation.attempt(output.attempt_id or "")).provider
        reach("done_not_kept")
        began = self._clock.now()
        if began < self._store_fails_until:  # a file that is downloaded now could not be stored
            return FileUnread(index=index, unstored=True)
        reason: str | Exception
        try:
            return await self._archive_once(generation, output, provider)
        except FetchRefused as error:
            may_change = isinstance(error, AddressRefused | RedirectRefused)
            fact, reason = FileUnread(index=index, final=not may_change), str(error)
        except NoResult as error:
            fact, reason = FileUnread(index=index, missing=True), str(error)
        except NotNow as error:
            fact, reason = FileUnread(index=index, retry_after_seconds=error.retry_after_seconds), str(error)
        except (FetchFailed, NotChecked) as error:
            fact, reason = FileUnread(index=index), str(error)
        except OSError as error:  # an error of the disk: errors of the network are `FetchFailed`
            fact, reason = FileUnread(index=index, unstored=True), str(error)
        except StoreUnavailable as error:
            self._store_fails_until = max(self._store_fails_until, self._clock.now() + timedelta(seconds=STORE_SECONDS))
            fact, reason = FileUnread(index=index, unstored=True), error.reason or error.detail
        except Exception as error:  # noqa: BLE001  # an unexpected error says nothing about the file: try again
            fact, reason = FileUnread(index=index), error
        self._observer.observe(
            ArchiveFinished(
                generation=generation.id,
                index=index,
                provider=provider,
                duration_seconds=(self._clock.now() - began).total_seconds(),
                final=fact.final,
                missing=fact.missing,
                error=reason,
            )
        )
        return fact

    def recorded(self, archived: ArchivedFile) -> None:
        """Start to draw a thumbnail, unless the provider gave one. To be called when the ledger has the file."""
        self._thumbnails.begin(archived.name)

    async def ended(self, generation_id: str) -> None:
        """Called when the driver of this generation has ended: no more of its files will be recorded."""
        await self._thumbnails.forget(generation_id)

    def close(self) -> None:
        """Let the threads end that write files. `archive` must not be called any more."""
        self._writer.close()

    async def _archive_once(self, generation: Generation, output: Output, provider: str) -> FileFact | None:
        began = self._clock.now()
        partial, copy, thumbnail = (self._artifacts.partial() for _ in range(3))
        spare = [partial, copy, thumbnail]
        limiter = self._limiter(provider, late=output.status.terminal)
        try:
            async with nullcontext() if limiter is None else limiter.slot(generation.owner):
                download = self._downloads.of(generation, output)
                async with aclosing(download.chunks()) as chunks:
                    written = await self._writer.write(chunks, partial, RESULT_MAX, flush=self._artifacts.flushes)
                media = await self._media(generation, partial, download.broke_off)
                thumbnail_type = await self._fetch_thumbnail(output, thumbnail, generation.owner)
            archived = self._archived(generation, output, written, media, thumbnail_type)
            names = [name for name in (archived.name, archived.thumbnail) if name is not None]
            if not await self._store.archived_files.announce(generation.id, names, began + BEGUN_LIFE):
                return None
            if archived.thumbnail is not None and thumbnail_type is not None:
                await self._artifacts.put(archived.thumbnail, thumbnail, thumbnail_type)
            is_drawn = self._thumbnails.enabled.current and thumbnail_type is None
            if is_drawn:  # `put` moves `partial` away
                is_drawn = await asyncio.to_thread(_linked, partial, copy)
            await self._artifacts.put(archived.name, partial, archived.content_type)
            if is_drawn:
                spare.remove(copy)
                await self._thumbnails.prepare(generation.id, output.index, archived.name, copy, generation.kind)
        finally:
            await asyncio.shield(asyncio.to_thread(remove_files, *spare))
        self._observer.observe(
            ArchiveFinished(
                generation=generation.id,
                index=output.index,
                provider=provider,
                duration_seconds=(self._clock.now() - began).total_seconds(),
                bytes=archived.bytes,
            )
        )
        return FileArchived(output.index, archived)

    def _limiter(self, name: str, *, late: bool) -> FairLimiter | None:
        """The limit of downloads from a provider, as it is configured now; `None` if the provider is not configured."""
        provider = self._providers.get(name)
        if provider is None:
            return None
        ceiling = max(provider.concurrency // 2, 1) if late else provider.concurrency
        limiter = self._limiters.setdefault((name, late), FairLimiter(ceiling, self._clock))
        if limiter.ceiling != ceiling:
            limiter.resize(ceiling)
        return limiter

    async def _media(self, generation: Generation, path: Path, broke_off: FetchFailed | None) -> Media:
        """What the file is. Raises `NoResult` when it is not a file of this kind, and `NotChecked`.

        When the transfer ended early, `broke_off` is raised unless the structure of the file shows that nothing is
        missing.
        """
        media: Media | ImageFacts | str
        if generation.kind == "image":
            media = await self._images.read(path, generation.owner)
            if not isinstance(media, str):
                media = Media(content_type=media.content_type, whole=True, width=media.width, height=media.height)
        else:
            media = await asyncio.to_thread(read_media, path)
        if broke_off is not None and not (isinstance(media, Media) and media.whole):
            raise broke_off
        if not isinstance(media, Media):
            raise NoResult(f"the file {media}")
        return media

    def _archived(
        self, generation: Generation, output: Output, written: Written, media: Media, thumbnail_type: str | None
    ) -> ArchivedFile:
        attempt = generation.attempt(output.attempt_id or "")
        # Each try has a name of its own: the sweeper may remove the files of an earlier try while this one is written.
        name = f"{generation.id}/{output.index}-{attempt.number}-{token_hex(4)}"
        artifact = output.artifact or Artifact(url="")
        return ArchivedFile(
            name=f"{name}.{EXTENSIONS.get(media.content_type, 'bin')}",
            bytes=written.bytes,
            sha256=written.sha256,
            content_type=media.content_type,
            kept_until=self._clock.now() + self._keep.current,
            duration_seconds=artifact.duration_seconds if media.duration_seconds is None else media.duration_seconds,
            width=media.width or artifact.width,
            height=media.height or artifact.height,
            thumbnail=None
            if thumbnail_type is None
            else thumbnail_name(name, generation.kind, IMAGE_EXTENSIONS[thumbnail_type]),
            thumbnail_type=thumbnail_type,
        )

    async def _fetch_thumbnail(self, output: Output, to: Path, client: str) -> str | None:
        """Write the provider's own thumbnail to `to` and return its media type.

        `None` when the provider gave none, or the link of the result itself, or when it cannot be fetched quickly.
        """
        url = None if output.artifact is None else output.artifact.thumbnail_url
        if url is None or (output.artifact is not None and url == output.artifact.url):
            return None
        try:
            async with self._fetcher.get(
                url,
                client=client,
                max_bytes=IMAGE_MAX,
                timeout_seconds=THUMBNAIL_SECONDS,
                open_headers={"Accept": THUMBNAIL_ACCEPT},
            ) as fetched:
                if not fetched.is_whole:
                    check_answer(fetched, self._clock)
                content = b"".join([chunk async for chunk in fetched.chunks()])
            kind = inspect(content).content_type
            if kind not in THUMBNAIL_TYPES:
                return None
            await asyncio.to_thread(to.write_bytes, content)
        except (FetchRefused, FetchFailed, InvalidImage, NoResult, OSError) as error:
            log.info("thumbnail_not_stored", index=output.index, error=str(error))
            return None
        return kind


def _linked(path: Path, other: Path) -> bool:
    """Give the file another name; False on a file system without hard links, where the result has no thumbnail."""
    try:
        os.link(path, other)
    except OSError as error:
        log.info("thumbnail_not_stored", error=str(error))
        return False
    return True
