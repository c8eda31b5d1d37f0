"""Fetches an image that a client wants to have stored, through the fetcher that is guarded against SSRF."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog

from gateway.domain.errors import InvalidImage
from gateway.fetch.fetcher import Fetcher, FetchFailed, FetchRefused, FetchTooLarge
from gateway.media.image_header import IMAGE_MAX
from gateway.sharing.room import Room

log = structlog.get_logger()
FETCHES_MAX = 8  # at the same time: each holds a whole image in memory
TIMEOUT_SECONDS = 30.0  # the client waits for the answer
_ACCEPT = {"Accept": "image/png,image/jpeg,image/webp,image/*;q=0.8,*/*;q=0.5"}


class RemoteImages:
    """Gets the bytes of images at URLs that clients name."""

    def __init__(self, fetcher: Fetcher) -> None:
        """`fetcher` decides which addresses may be reached."""
        self._fetcher = fetcher
        self._fetches = Room(FETCHES_MAX, f"{FETCHES_MAX} images are being fetched already.")

    @asynccontextmanager
    async def fetched(self, url: str, param: str, key: str, room: Room) -> AsyncIterator[bytes]:
        """The bytes at a URL, at most `IMAGE_MAX`; whether they are an image is not checked here.

        They count in `room` until the end of the block. `key` is the API key of the client that named the URL. Raises
        `InvalidImage` with the reason for what cannot be fetched, and `Overloaded`.
        """
        with room.place(key, size=0) as place:
            try:
                async with asyncio.timeout(None) as until_lost:
                    place.when_lost = when_lost = partial(until_lost.reschedule, 0)
                    with self._fetches.place(key, when_lost) as fetch:
                        content = await self._get(url, param, key, partial(room.grow, place))
            except TimeoutError as error:
                if not until_lost.expired():
                    raise
                raise (self._fetches if fetch.is_lost else room).full() from error
            place.when_lost = None  # what has arrived is stored in a moment
            yield content

    async def _get(self, url: str, param: str, key: str, count: Callable[[int], None]) -> bytes:
        try:
            return await self._fetch(url, key, count)
        except FetchTooLarge as error:
            why = f"the image has more than {IMAGE_MAX // 2**20} MB, the most that is taken"
            raise _refused(param, why) from error
        except (FetchRefused, FetchFailed) as error:
            raise _refused(param, str(error)) from error

    async def _fetch(self, url: str, key: str, count: Callable[[int], None]) -> bytes:
        async with self._fetcher.get(
            url, client=key, max_bytes=IMAGE_MAX, timeout_seconds=TIMEOUT_SECONDS, open_headers=_ACCEPT
        ) as fetched:
            if not fetched.is_whole:
                raise FetchFailed(f"its server answered with HTTP status {fetched.status}")
            chunks: list[bytes] = []
            async for chunk in fetched.chunks():
                count(len(chunk))
                chunks.append(chunk)
            return b"".join(chunks)


def _refused(param: str, why: str) -> InvalidImage:
    log.info("image_not_fetched", param=param, error=why)
    message = f"`{param}`: the URL could not be fetched: {why.rstrip('.')}. Send the image itself instead."
    return InvalidImage(message, param=param)
