"""Finds the file of an output for a client: in the artifact store, or at its provider."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

import httpx
import structlog
from msgspec import Struct

from gateway.artifacts.archiver import EXTENSIONS
from gateway.artifacts.result_download import RESULT_MAX, NoResult, ResultDownloads, content_call
from gateway.artifacts.store import ArtifactStore, remove_files
from gateway.clock import Clock
from gateway.domain.adapter.content_encoding import BodyDecoder, UndecodableBody
from gateway.domain.errors import ArtifactExpired, ArtifactMissing, NotFound, ProviderUnavailable
from gateway.domain.generation.model import ArchivedFile, Generation, Output
from gateway.domain.media_types import OCTETS, sent_type
from gateway.fetch.fetcher import WHOLE, FetchFailed, FetchRefused
from gateway.fetch.file_body import TOTAL_SECONDS
from gateway.live import Live
from gateway.media.image_decode import BYTES_MAX as IMAGE_BYTES_MAX
from gateway.media.image_result import HEAD_BYTES, begins_image
from gateway.upstream.client import NoAnswer, NotSent, Upstream
from gateway.upstream.provider import Provider

log = structlog.get_logger()
Variant = Literal["video", "image", "thumbnail"]  # of the file of an output: the result itself, or its thumbnail
CHUNK_BYTES = 256 * 1024  # of a copied file that are read at once
RETRY_SECONDS = 30  # after which a client may ask again for a file that its provider did not give
LINK_SECONDS = 3600.0  # the life of a link to the artifact store; a player that pauses longer gets a new one


class Redirect(Struct, frozen=True):
    """A URL at which its holder gets the file."""

    url: str


class Stream(Struct, frozen=True, kw_only=True):
    """A file that the gateway passes through from a provider."""

    chunks: AsyncGenerator[bytes]  # already started, so closing it closes the connection
    content_type: str
    length: int | None  # in bytes
    filename: str  # suggested for the client's folder


class File(Struct, frozen=True, kw_only=True):
    """A file in the artifact store: it is complete and never changes."""

    name: str
    size: int  # in bytes
    digest: str  # SHA-256 in hex; a thumbnail has that of its result with a suffix
    content_type: str
    filename: str  # suggested for the client's folder
    kept_until: datetime


class Copied(Struct, frozen=True):
    """A file on the disk of this machine. The caller of `copy_image` removes it."""

    path: Path
    size: int  # in bytes


class ResultAccess:
    """Gives access to the files of outputs."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        upstream: Upstream,
        downloads: ResultDownloads,
        store: ArtifactStore,
        clock: Clock,
        *,
        redirect: Live[bool],
    ) -> None:
        """With `redirect` clients are sent to the artifact store itself, if it can make links."""
        self._providers = providers
        self._upstream = upstream
        self._downloads = downloads
        self._store = store
        self._clock = clock
        self._redirect = redirect

    async def open(self, generation: Generation, index: int, variant: Variant = "video") -> Redirect | Stream | File:
        """How the client gets the file of an output: its thumbnail, or else the result itself.

        Raises `NotFound` when the output has no such file, `ArtifactExpired` or `ArtifactMissing` when it is gone, and
        `ProviderUnavailable` or `StoreUnavailable` when it cannot be read now.
        """
        output = next((output for output in generation.outputs if output.index == index), None)
        if output is None or output.artifact is None or not output.status.terminal:
            state = "does not exist" if output is None else f"is {output.status} and has no file"
            raise NotFound(f"Output {index} of {generation.id} {state}.", param="index")
        if output.kept is not None and (variant != "thumbnail" or output.kept.thumbnail is not None):
            return await self._archived(generation, index, output.kept, variant)
        if variant == "thumbnail":
            if output.artifact.thumbnail_url is None:
                raise NotFound(f"Output {index} of {generation.id} has no thumbnail.", param="variant")
            return Redirect(output.artifact.thumbnail_url)
        if not output.artifact.needs_credential:
            return Redirect(output.artifact.url)
        return await self._through(generation, output)

    async def copy_image(self, generation: Generation, index: int) -> Copied:
        """Download an image that only its provider has, in the same way as it is archived.

        Raises `ProviderUnavailable` with the reason if the provider does not give it whole, or it is not an image, and
        `StoreUnavailable`. On a failure no file is left.
        """
        path = self._store.partial()
        try:
            size = await self._copy_image(generation, generation.output(index), path)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(remove_files, path))
            if isinstance(error, FetchRefused | FetchFailed | NoResult | OSError):
                message = f"The file of output {index} could not be fetched: {error}."
                raise ProviderUnavailable(message, retry_after=RETRY_SECONDS) from error
            raise
        return Copied(path, size)

    async def _copy_image(self, generation: Generation, output: Output, path: Path) -> int:
        """Write the file to this path, and return its size in bytes."""
        download, size = self._downloads.of(generation, output, max_bytes=IMAGE_BYTES_MAX), 0
        with await asyncio.to_thread(path.open, "wb") as file:
            async with aclosing(download.chunks()) as chunks:
                async for chunk in chunks:
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if download.broke_off is not None:
            raise download.broke_off
        if not begins_image(await asyncio.to_thread(_head, path)):
            raise NoResult("what its provider sent is not an image")
        return size

    def read(self, file: File, part: range) -> AsyncIterator[bytes]:
        """The bytes of a file in this range of positions, in small pieces."""
        return self._store.read(file.name, part.start, part.stop)

    async def read_copy(self, file: Copied) -> AsyncIterator[bytes]:
        """The bytes of a copied file, in small pieces."""
        with await asyncio.to_thread(file.path.open, "rb") as opened:
            while chunk := await asyncio.to_thread(opened.read, CHUNK_BYTES):
                yield chunk

    async def remove_copies(self, files: Iterable[Copied]) -> None:
        """Remove copied files."""
        await asyncio.shield(asyncio.to_thread(remove_files, *(file.path for file in files)))

    async def link(self, file: File, *, inline: bool) -> Redirect | None:
        """A link to the artifact store itself, or `None` when the gateway has to send the file."""
        if not self._redirect.current:
            return None
        left = (file.kept_until - self._clock.now()).total_seconds()
        seconds = int(min(left, LINK_SECONDS)) + 1
        sent = sent_type(file.content_type)
        url = await self._store.link(
            file.name, seconds=seconds, filename=file.filename, content_type=sent, inline=inline and sent != OCTETS
        )
        return None if url is None else Redirect(url)

    async def _archived(self, generation: Generation, index: int, archived: ArchivedFile, variant: Variant) -> File:
        until = f"{archived.kept_until:%Y-%m-%d %H:%M:%S} UTC"
        if self._clock.now() >= archived.kept_until:
            raise ArtifactExpired(f"The file of output {index} was kept until {until}.", param="index")
        name = archived.name
        digest, content_type = archived.sha256, archived.content_type
        if variant == "thumbnail" and archived.thumbnail is not None:
            name = archived.thumbnail
            digest, content_type = f"{archived.sha256}-thumbnail", archived.thumbnail_type or ""
        size = await self._store.size(name)
        if size is None or (variant != "thumbnail" and size != archived.bytes):
            log.error("artifact_missing", generation=generation.id, output=index, name=name, size=size)
            raise ArtifactMissing(
                f"The file of output {index} was to be kept until {until}, but it is not in the artifact store;"
                " `provider_url` may still lead to it.",
                param="index",
            )
        return File(
            name=name,
            size=size,
            digest=digest,
            content_type=content_type,
            filename=f"{generation.id}-{index}{_suffix(generation, variant)}.{name.rpartition('.')[2]}",
            kept_until=archived.kept_until,
        )

    async def _through(self, generation: Generation, output: Output) -> Stream:
        """A file that the provider gives to the holder of its key only. The key is sent only below its base URL."""
        provider = self._providers.get(generation.route(generation.attempt(output.attempt_id or "")).provider)
        call = None if provider is None else content_call(generation, output, provider)
        if provider is None or call is None:
            raise ProviderUnavailable("The provider that keeps this file is no longer configured.")
        signed = provider.adapter.authorize(call, provider.credential, self._clock.now())
        try:
            response = await self._upstream.stream(
                signed, base_url=provider.base_url, timeout_seconds=TOTAL_SECONDS, headers=provider.headers
            )
        except (NotSent, NoAnswer) as error:
            raise ProviderUnavailable("The provider did not hand over the file.", retry_after=RETRY_SECONDS) from error
        if response.status_code not in WHOLE:
            await response.aclose()
            message = f"The provider answered {response.status_code} for the file."
            raise ProviderUnavailable(message, retry_after=RETRY_SECONDS)
        length = response.headers.get("content-length", "")
        decoder = BodyDecoder(response.headers.get("content-encoding", ""), RESULT_MAX)
        chunks = _chunks(response, decoder)
        try:
            await anext(chunks)
        except (httpx.HTTPError, UndecodableBody) as error:
            raise ProviderUnavailable("The file broke off before its first byte.", retry_after=RETRY_SECONDS) from error
        content_type = response.headers.get("content-type", "application/octet-stream")
        # A provider that names no type sends nearly always MP4. Of an image the type alone gives the extension.
        declared = EXTENSIONS.get(content_type.partition(";")[0].strip().lower(), "bin")
        return Stream(
            chunks=chunks,
            content_type=content_type,
            length=int(length) if length.isascii() and length.isdigit() and decoder.is_plain else None,
            filename=f"{generation.id}-{output.index}.{'mp4' if generation.kind == 'video' else declared}",
        )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _suffix(generation: Generation, variant: Variant) -> str:
    """What a browser's download of a thumbnail has in its name, where the image itself could have the same one."""
    return "-thumbnail" if variant == "thumbnail" and generation.kind == "image" else ""


async def _chunks(response: httpx.Response, decoder: BodyDecoder) -> AsyncGenerator[bytes]:
    """Yield b"" once the first bytes have arrived, so that errors surface before the response starts; then the content.

    What the provider has encoded is decoded here: the response to the client names no content encoding.
    """
    begun = False
    try:
        async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as chunks:
            async for chunk in chunks:
                for piece in decoder.pieces(chunk):
                    if not begun:
                        begun = True
                        yield b""
                    yield piece
        if rest := decoder.finish():
            if not begun:
                yield b""
            yield rest
        elif not begun:
            yield b""
    finally:
        await response.aclose()
