"""Fetches an image that a client wants to have stored, through the fetcher that is guarded against SSRF."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from gateway.domain.errors import InvalidImage, Overloaded
from gateway.fetch.fetcher import Fetcher, FetchFailed, FetchRefused, FetchTooLarge
from gateway.media.image_header import IMAGE_MAX

log = structlog.get_logger()
FETCHES_MAX = 8  # at the same time: each holds a whole image in memory
FETCHES_PER_KEY = 4  # of one API key: slow servers that one client names leave places for the others
TIMEOUT_SECONDS = 30.0  # the client waits for the answer
BUSY_SECONDS = 5.0  # after which a client may ask again whether there is room
_ACCEPT = {"Accept": "image/png,image/jpeg,image/webp,image/*;q=0.8,*/*;q=0.5"}


class Room(Protocol):
    """Counts the bytes that all requests hold in memory. `grow` raises `Overloaded` if there is no room for more."""

    def grow(self, size: int, by: int) -> None:
        """Count `by` more bytes of something that had `size` until now."""
        ...

    def release(self, size: int) -> None:
        """Stop counting something of this size."""
        ...


class RemoteImages:
    """Gets the bytes of images at URLs that clients name."""

    def __init__(self, fetcher: Fetcher) -> None:
        """`fetcher` decides which addresses may be reached."""
        self._fetcher = fetcher
        self._open: Counter[str] = Counter()  # by API key

    @asynccontextmanager
    async def fetched(self, url: str, param: str, key: str, room: Room) -> AsyncIterator[bytes]:
        """The bytes at a URL, at most `IMAGE_MAX`; whether they are an image is not checked here.

        They count in `room` until the end of the block. `key` is the API key of the client that named the URL. Raises
        `InvalidImage` with the reason for what cannot be fetched, and `Overloaded`.
        """
        held = _Held(room)
        try:
            yield await self._get(url, param, key, held)
        finally:
            held.release()

    async def _get(self, url: str, param: str, key: str, held: "_Held") -> bytes:
        if self._open.total() >= FETCHES_MAX:
            raise Overloaded(f"{FETCHES_MAX} images are being fetched already.", retry_after=BUSY_SECONDS)
        if self._open[key] >= FETCHES_PER_KEY:
            raise Overloaded(
                f"{FETCHES_PER_KEY} images are being fetched for your key already.", retry_after=BUSY_SECONDS
            )
        self._open[key] += 1
        try:
            return await self._fetch(url, held)
        except FetchTooLarge as error:
            why = f"the image has more than {IMAGE_MAX // 2**20} MB, the most that is taken"
            raise _refused(param, why) from error
        except (FetchRefused, FetchFailed) as error:
            raise _refused(param, str(error)) from error
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def _fetch(self, url: str, held: "_Held") -> bytes:
        async with self._fetcher.get(
            url, max_bytes=IMAGE_MAX, timeout_seconds=TIMEOUT_SECONDS, open_headers=_ACCEPT
        ) as fetched:
            if not fetched.is_whole:
                raise FetchFailed(f"its server answered with HTTP status {fetched.status}")
            chunks: list[bytes] = []
            async for chunk in fetched.chunks():
                held.add(len(chunk))
                chunks.append(chunk)
            return b"".join(chunks)


class _Held:
    """How many bytes of one image are counted in a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def add(self, by: int) -> None:
        self._room.grow(self._size, by)
        self._size += by

    def release(self) -> None:
        self._room.release(self._size)
        self._size = 0


def _refused(param: str, why: str) -> InvalidImage:
    log.info("image_not_fetched", param=param, error=why)
    message = f"`{param}`: the URL could not be fetched: {why.rstrip('.')}. Send the image itself instead."
    return InvalidImage(message, param=param)
