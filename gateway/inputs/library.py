"""Input images that clients upload once and name in as many requests as they like."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlencode

import structlog

from gateway.clock import Clock
from gateway.domain.errors import ArtifactMissing, InvalidImage, InvalidParameter, NotFound
from gateway.ids import new_id
from gateway.inputs.blobs import Blobs
from gateway.media.image_header import inspect_large
from gateway.store.files import FileLimits, FilePage, FileQuery, Library, StoredFile, is_file_id
from gateway.tokens import Signer

log = structlog.get_logger()
FILE_TOKEN = "file"  # noqa: S105  # the purpose of a token, not one
EXPIRES_MIN_SECONDS = 3600  # as OpenAI has it; less only where nothing is kept for so long


def file_link(base: str, signer: Signer, key: str, file_id: str, until: datetime) -> str:
    """A URL that hands over a file to whoever has it, until that moment; the key does not show in it."""
    token = signer.sign(FILE_TOKEN, key, file_id, until=until)
    return f"{base}/v1/files/{file_id}/content?{urlencode({'token': token})}"


class Files:
    """Every call belongs to one API key; what another key owns does not exist, nor does what came with a create."""

    def __init__(
        self, *, library: Library, blobs: Blobs, signer: Signer, clock: Clock, keep: timedelta, limits: FileLimits
    ) -> None:
        """`keep` is how long a file stays that was uploaded for no shorter time."""
        self._library = library
        self._blobs = blobs
        self._signer = signer
        self._clock = clock
        self._keep = keep
        self._limits = limits

    async def add(
        self, content: bytes, *, key: str, filename: str, purpose: str, seconds: int | None = None
    ) -> StoredFile:
        """Keep an image, for so many seconds where they are given: durable when this returns."""
        now = self._clock.now()
        keep = self._keep if seconds is None else self._checked(seconds)
        try:
            facts = await inspect_large(content)
        except InvalidImage as error:
            raise InvalidImage(f"`file`: {error.detail}", param="file") from error
        await self._library.check_room(key, facts.bytes, self._limits, now)  # before the disk has anything of it
        file = StoredFile(
            id=new_id("file_", now),
            key=key,
            sha256=await self._blobs.put(content),
            facts=facts,
            created_at=now,
            inline=False,
            filename=filename or f"image.{facts.content_type.removeprefix('image/').replace('jpeg', 'jpg')}",
            purpose=purpose,
            expires_at=now + keep,
        )
        await self._library.add(file, self._limits)
        log.info("file_stored", file=file.id, bytes=facts.bytes, content_type=facts.content_type)
        return file

    def _checked(self, seconds: int) -> timedelta:
        most = int(self._keep.total_seconds())
        least = min(EXPIRES_MIN_SECONDS, most)
        if not least <= seconds <= most:
            param = "expires_after[seconds]"
            told = f"`{param}` must be a whole number from {least} to {most}, for which files are kept here."
            raise InvalidParameter(told, param=param)
        return timedelta(seconds=seconds)

    async def get(self, file_id: str, key: str) -> StoredFile:
        """One file; `NotFound` once it has expired."""
        found = await self._library.get(file_id, key, self._clock.now()) if is_file_id(file_id) else None
        if found is None:
            raise _not_found(file_id)
        return found

    async def admitted(self, file_id: str, token: str) -> StoredFile | None:
        """The file that a token was signed for; `None` for a token that is not good, whether there is a file or not.

        A token lasts as long as it says: a provider may have one of a file that came inline, or of one that has expired
        since a generation began to use it.
        """
        for file in await self._library.holders(file_id) if file_id.isascii() else ():
            if self._signer.admits(token, FILE_TOKEN, file.key, file.id, now=self._clock.now()):
                return file
        return None

    async def page(
        self, key: str, *, limit: int, order: Literal["asc", "desc"], after: str | None, purpose: str | None
    ) -> FilePage:
        """The key's files in the order of their uploads."""
        query = FileQuery(key=key, now=self._clock.now(), limit=limit, order=order, after=after, purpose=purpose)
        return await self._library.page(query)

    async def delete(self, file_id: str, key: str) -> None:
        """Remove a file; `FileInUse` while an open generation uses it."""
        if not is_file_id(file_id) or not await self._library.delete(file_id, key, self._clock.now()):
            raise _not_found(file_id)
        log.info("file_deleted", file=file_id)

    async def content(self, file: StoredFile) -> AsyncIterator[bytes]:
        """The bytes, in small pieces; `ArtifactMissing` when they are gone, before the first piece."""
        if not await self._blobs.has(file.sha256):
            log.error("file_missing", file=file.id)
            raise ArtifactMissing("The file is lost; upload it again.", param="id")
        return self._blobs.chunks(file.sha256)


def _not_found(file_id: str) -> NotFound:
    return NotFound(f"There is no file {file_id[:100]!r}.", param="id")
