"""Uploads that several submits need at the same time."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.domain.adapter.contract import Credential, HttpCall, HttpReply
from gateway.domain.errors import StoreUnavailable
from gateway.inputs.provider_uploads import Image, InputRefused, ProviderUploads
from gateway.store.uploads import UploadKey
from gateway.upstream.client import NotSent
from gateway.upstream.provider import Provider
from providers.foxapi import ADAPTER

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
URL = "https://cdn.example/1.png"


class StandingClock:
    def now(self) -> datetime:
        return NOW


class Upstream:
    """A provider that answers when the test lets it."""

    def __init__(self) -> None:
        self.calls = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None

    async def send(self, call: HttpCall, **_: Any) -> HttpReply:
        self.calls += 1
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return HttpReply(status=200, method="POST", body=b'{"id": "file-1", "url": "%s"}' % URL.encode())


class Uploads:
    def __init__(self) -> None:
        self.remembered: dict[UploadKey, str] = {}
        self.fails = False

    async def find(self, key: UploadKey, now: datetime) -> str | None:
        return self.remembered.get(key)

    async def keep(self, key: UploadKey, url: str, expires_at: datetime) -> None:
        if self.fails:
            raise StoreUnavailable
        self.remembered[key] = url

    async def forget(self, account: str, digests: Any) -> int:
        if self.fails:
            raise StoreUnavailable
        return 0


def provider(key: str = "sk-one") -> Provider:
    credential = Credential(api_key=key)
    models: Mapping[str, Any] = {}
    return Provider(name="foxapi", adapter=ADAPTER, credential=credential, base_url=ADAPTER.base_url, models=models)


async def read() -> bytes:
    return b"picture"


IMAGE = Image(sha256="aa", content_type="image/png", read=read)


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def uploads() -> Uploads:
    return Uploads()


@pytest.fixture
def uploading(upstream: Upstream, uploads: Uploads) -> ProviderUploads:
    return ProviderUploads(uploads, upstream, StandingClock())  # type: ignore[arg-type]  # only the methods that it calls


async def started(uploading: ProviderUploads, count: int, **more: Any) -> list[asyncio.Task[str]]:
    waiting = [asyncio.create_task(uploading.url(provider(), IMAGE, **more)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return waiting


@pytest.mark.parametrize("once", [True, False])
async def test_submits_that_need_the_same_upload_share_it(
    uploading: ProviderUploads, upstream: Upstream, once: bool
) -> None:
    waiting = await started(uploading, 5, once=once)
    upstream.answer.set()
    assert await asyncio.gather(*waiting) == [URL] * 5
    assert upstream.calls == 1
    assert await uploading.url(provider(), IMAGE, once=once) == URL
    assert upstream.calls == (2 if once else 1)


async def test_an_upload_goes_on_when_waiting_submits_are_cancelled(
    uploading: ProviderUploads, upstream: Upstream
) -> None:
    first, second, third = await started(uploading, 3)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    upstream.answer.set()
    assert await third == URL
    alone = asyncio.create_task(uploading.url(provider("sk-two"), IMAGE))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait([alone])
    assert await uploading.url(provider("sk-two"), IMAGE) == URL
    assert upstream.calls == 2


async def test_a_failure_is_shared_and_not_remembered(uploading: ProviderUploads, upstream: Upstream) -> None:
    waiting = await started(uploading, 2)
    upstream.error = NotSent("no connection")
    upstream.answer.set()
    for upload in waiting:
        with pytest.raises(InputRefused):
            await upload
    upstream.error = None
    assert await uploading.url(provider(), IMAGE) == URL
    assert upstream.calls == 2


async def test_a_failure_without_a_waiting_submit_is_not_logged_by_asyncio(
    uploading: ProviderUploads, upstream: Upstream
) -> None:
    [alone] = await started(uploading, 1)
    alone.cancel()
    await asyncio.wait([alone])
    upstream.error = NotSent("no connection")
    upstream.answer.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert uploading._under_way == {}


async def test_an_upload_is_used_although_it_cannot_be_remembered(
    uploading: ProviderUploads, upstream: Upstream, uploads: Uploads
) -> None:
    uploads.fails = True
    upstream.answer.set()
    assert await uploading.url(provider(), IMAGE) == URL
    await uploading.forget(provider(), ["aa"])  # raises nothing: the submit goes on


async def test_close_cancels_the_uploads_under_way(uploading: ProviderUploads, upstream: Upstream) -> None:
    [waiting] = await started(uploading, 1)
    await uploading.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert upstream.calls == 1


async def test_accounts_differ_and_their_keys_are_not_stored(
    uploading: ProviderUploads, upstream: Upstream, uploads: Uploads
) -> None:
    upstream.answer.set()
    await uploading.url(provider(), IMAGE)
    await uploading.url(provider("sk-two"), IMAGE)
    accounts = [key.account for key in uploads.remembered]
    assert len(set(accounts)) == 2
    assert not any("sk-" in account for account in accounts)
