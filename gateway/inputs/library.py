"""Files that clients upload once, and name as input images in any number of requests."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import unquote, urlencode

import structlog

from gateway.clock import Clock
from gateway.domain.errors import (
    ArtifactMissing,
    InvalidImage,
    InvalidParameter,
    NotFound,
)
from gateway.ids import new_id
from gateway.inputs.blobs import Blobs
from gateway.live import Live
from gateway.media.image_header import inspect_large
from gateway.store.files import FileLimits, FilePage, FileQuery, Library, StoredFile, is_file_id
from gateway.tokens import Signer

log = structlog.get_logger()
FILE_TOKEN = "file"  # noqa: S105  # the purpose that a token is signed for, not a token
EXPIRES_MIN_SECONDS = 3600  # OpenAI's own minimum of `expires_after`; lower only where `files.keep_days` is shorter
_LINK = re.compile(r"https?://[^\s?#]{1,2048}/v1/files/(file_[0-9A-HJKMNP-TV-Z]{26})/content\?token=([\w.%~-]{1,200})")
_LINK_MAX = 4096  # characters of a URL that can be a link of ours


def file_link(base: str, signer: Signer, key: str, file_id: str, until: datetime) -> str:
    """A signed URL that gives the file to its holder until `until`. The API key does not appear in it."""
    token = signer.sign(FILE_TOKEN, key, file_id, until=until)
    return f"{base}/v1/files/{file_id}/content?{urlencode({'token': token})}"


class FileLibrary:
    """Uploaded files. Each call sees the files of one API key only, and no image that came with a create."""

    def __init__(
        self,
        *,
        library: Library,
        blobs: Blobs,
        signer: Signer,
        clock: Clock,
        keep: Live[timedelta],
        limits: Live[FileLimits],
        adopted_by: Callable[[str], Sequence[str]],
    ) -> None:
        """`keep` is how long a file is kept when the client asked for no shorter time.

        `adopted_by` gives the owner ids whose things an owner id has now: links from before are signed with those.
        """
        self._adopted_by = adopted_by
        self._library = library
        self._blobs = blobs
        self._signer = signer
        self._clock = clock
        self._keep = keep
        self._limits = limits

    async def add(
        self,
        content: bytes,
        *,
        key: str,
        filename: str,
        purpose: str,
        seconds: int | None = None,
        param: str = "file",
        evict: bool = False,
    ) -> StoredFile:
        """Store an image for `seconds`, or for as long as configured. It is durable when this returns.

        `param` is the client's name of the image, for errors. With `evict` the oldest files of the key are deleted if
        there is no room otherwise; a file that an open generation uses stays. Raises `InvalidImage`,
        `InvalidParameter`, `FileLimitReached` or `StoreUnavailable`.
        """
        now = self._clock.now()
        keep = self._keep.current if seconds is None else self._checked(seconds)
        try:
            facts = await inspect_large(content)
        except InvalidImage as error:
            raise InvalidImage(f"`{param}`: {error.detail}", param=param) from error
        # Before anything is written:
        await self._library.check_room(key, facts.bytes, self._limits.current, now, evict=evict)
        file = StoredFile(
            id=new_id("file_", now),
            key=key,
            sha256=await self._blobs.put(content, key),
            facts=facts,
            created_at=now,
            inline=False,
            filename=filename or f"image.{facts.content_type.removeprefix('image/').replace('jpeg', 'jpg')}",
            purpose=purpose,
            expires_at=now + keep,
        )
        for evicted in await self._library.add(file, self._limits.current, evict=evict):
            log.info("file_evicted", file=evicted)
        log.info("file_stored", file=file.id, bytes=facts.bytes, content_type=facts.content_type)
        return file

    def linked(self, key: str, url: str) -> str | None:
        """The id of the key's own file whose link (`file_link`) this URL is; None for any other URL.

        The token in the link decides, not the host: no other gateway can sign one.
        """
        match = _LINK.fullmatch(url) if url[:4].lower() == "http" and len(url) < _LINK_MAX else None
        return match[1] if match is not None and self._admits(unquote(match[2]), key, match[1]) else None

    def _admits(self, token: str, key: str, file_id: str) -> bool:
        now = self._clock.now()
        return any(
            self._signer.admits(token, FILE_TOKEN, owner, file_id, now=now) for owner in (key, *self._adopted_by(key))
        )

    def _checked(self, seconds: int) -> timedelta:
        most = int(self._keep.current.total_seconds())
        least = min(EXPIRES_MIN_SECONDS, most)
        if not least <= seconds <= most:
            param = "expires_after[seconds]"
            message = f"`{param}` must be a whole number of seconds from {least} to {most}."
            raise InvalidParameter(message, param=param)
        return timedelta(seconds=seconds)

    @property
    def limits(self) -> FileLimits:
        """How much one key may have."""
        return self._limits.current

    async def check_inline(self, key: str, sizes: Iterable[int]) -> None:
        """Raise `FileLimitReached` if the key has no room for images of so many bytes that came within a create."""
        if size := sum(sizes):
            await self._library.check_room_inline(key, size, self._limits.current, self._clock.now())

    async def get(self, file_id: str, key: str) -> StoredFile:
        """One file. Raises `NotFound` when it does not exist, or has expired."""
        file = await self._library.get(file_id, key, self._clock.now()) if is_file_id(file_id) else None
        if file is None:
            raise _not_found(file_id)
        return file

    async def admitted(self, file_id: str, token: str) -> StoredFile | None:
        """The file that the token was signed for; `None` for a token that is not valid, whether the file exists or not.

        The token alone decides for how long. A provider may hold one for an image that came with a create, or for a
        file that has expired since a generation began to use it.
        """
        for file in await self._library.holders(file_id) if file_id.isascii() else ():
            if self._admits(token, file.key, file.id):
                return file
        return None

    async def page(
        self, key: str, *, limit: int, order: Literal["asc", "desc"], after: str | None, purpose: str | None
    ) -> FilePage:
        """A page of the key's files, in the order of their uploads."""
        query = FileQuery(key=key, now=self._clock.now(), limit=limit, order=order, after=after, purpose=purpose)
        return await self._library.page(query)

    async def delete(self, file_id: str, key: str) -> None:
        """Remove a file. Raises `NotFound`, or `FileInUse` while an open generation uses it."""
        if not is_file_id(file_id) or not await self._library.delete(file_id, key, self._clock.now()):
            raise _not_found(file_id)
        log.info("file_deleted", file=file_id)

    async def content(self, file: StoredFile) -> AsyncIterator[bytes]:
        """The bytes in small pieces. Raises `ArtifactMissing` or `StoreUnavailable` before the first piece."""
        if not await self._blobs.has(file.sha256, file.key):
            log.error("file_missing", file=file.id)
            raise ArtifactMissing("The file is lost; upload it again.", param="id")
        return self._blobs.chunks(file.sha256, file.key)


def _not_found(file_id: str) -> NotFound:
    return NotFound(f"The file {file_id[:100]!r} does not exist.", param="id")
