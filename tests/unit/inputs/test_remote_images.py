"""Images that the gateway fetches for an upload: what cannot be fetched is said, and only a few are held at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.domain.errors import InvalidImage, Overloaded
from gateway.fetch.fetcher import Fetcher, FetchTooLarge
from gateway.inputs.remote_images import FETCHES_MAX, RemoteImages
from gateway.live import Live
from gateway.sharing.room import Room

URL = "https://pictures.example/a.png"


class StubFetcher:
    def __init__(self, status: int = 200, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.gate = asyncio.Event()
        self.gate.set()

    @asynccontextmanager
    async def get(self, url: str, **_: Any) -> AsyncIterator[Any]:
        await self.gate.wait()
        if self.error is not None:
            raise self.error

        async def chunks() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        yield SimpleNamespace(status=self.status, is_whole=self.status == 200, chunks=chunks)


async def get(images: RemoteImages, key: str, url: str = URL) -> bytes:
    """The bytes at a URL, held in a room of which nothing is left over."""
    room = Room(2**20, "full")
    try:
        async with images.fetched(url, "url", key, room) as content:
            return content
    finally:
        assert room.taken == 0


async def test_the_bytes_count_among_those_of_all_requests() -> None:
    images: Any = RemoteImages(StubFetcher())  # type: ignore[arg-type]  # it has what is used
    room, small = Room(6, "full"), Room(5, "full")
    async with images.fetched(URL, "url", "key_a", room):
        assert room.taken == 6
    assert room.taken == 0
    with pytest.raises(Overloaded):
        async with images.fetched(URL, "url", "key_a", small):
            pass
    assert small.taken == 0


async def test_the_bytes_of_a_whole_answer_are_returned() -> None:
    images: Any = RemoteImages(StubFetcher())  # type: ignore[arg-type]  # it has what is used
    assert await get(images, "key_a") == b"onetwo"


@pytest.mark.parametrize(
    ("fetcher", "text"),
    [(StubFetcher(404), "HTTP status 404"), (StubFetcher(error=FetchTooLarge("it is large")), "more than 20 MB")],
)
async def test_what_cannot_be_fetched_is_said(fetcher: Any, text: str) -> None:
    with pytest.raises(InvalidImage, match=text) as caught:
        await get(RemoteImages(fetcher), "key_a")
    assert caught.value.param == "url"


async def test_the_guarded_fetcher_refuses_a_private_address() -> None:
    fetcher = Fetcher(Live(()))
    with pytest.raises(InvalidImage, match=r"127\.0\.0\.1 does not lead to a public address"):
        await get(RemoteImages(fetcher), "key_a", "http://127.0.0.1/a.png")
    await fetcher.close()


async def test_only_a_few_are_fetched_at_once_and_a_place_is_free_again() -> None:
    fetcher: Any = StubFetcher()
    fetcher.gate.clear()
    images = RemoteImages(fetcher)

    def begun(key: str) -> "asyncio.Task[bytes]":
        return asyncio.create_task(get(images, key))

    waiting = [begun("key_a") for _ in range(FETCHES_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="being fetched already"):
        await get(images, "key_a")
    waiting += [begun("key_b"), begun("key_c")]  # slow servers that one client names leave places for the others
    await asyncio.sleep(0)
    fetcher.gate.set()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    lost = [isinstance(outcome, Overloaded) for outcome in outcomes]
    assert lost == [False] * (FETCHES_MAX - 2) + [True, True] + [False, False]
    assert await get(images, "key_a") == b"onetwo"
