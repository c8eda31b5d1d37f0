"""The contract of every store for inputs that were uploaded to a provider."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.domain.errors import StoreUnavailable
from gateway.store.port import Store
from gateway.store.uploads import UploadKey

from .ledgers import KINDS, Opener, opener_of

NOW = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ONE = UploadKey("acme", "aa")
URL = "https://cdn.acme.example/1.png"


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return opener_of(request, NOW)


@pytest_asyncio.fixture
async def store(opener: Opener, tmp_path: Path) -> AsyncIterator[Store]:
    store = opener(tmp_path)
    yield store
    await store.close()


async def test_an_upload_is_found_until_it_expires(store: Store) -> None:
    await store.uploads.keep(ONE, URL, LATER)
    assert await store.uploads.find(ONE, NOW) == URL
    assert await store.uploads.find(ONE, LATER - timedelta(microseconds=1000)) == URL
    assert await store.uploads.find(ONE, LATER) is None


@pytest.mark.parametrize("other", [UploadKey("bcme", "aa"), UploadKey("acme", "bb"), UploadKey("acme", "aa", "jpeg")])
async def test_an_upload_belongs_to_one_account_content_and_recipe(store: Store, other: UploadKey) -> None:
    await store.uploads.keep(ONE, URL, LATER)
    assert await store.uploads.find(other, NOW) is None
    await store.uploads.keep(other, URL + "?2", LATER)
    assert (await store.uploads.find(ONE, NOW), await store.uploads.find(other, NOW)) == (URL, URL + "?2")


async def test_the_last_upload_counts(store: Store) -> None:
    await store.uploads.keep(ONE, URL, NOW)
    await store.uploads.keep(ONE, URL + "?2", LATER)
    assert await store.uploads.find(ONE, NOW) == URL + "?2"


async def test_a_forgotten_upload_is_gone_for_its_account_alone(store: Store) -> None:
    made, another, other = UploadKey("acme", "aa", "jpeg"), UploadKey("acme", "bb"), UploadKey("bcme", "aa")
    for key in (ONE, made, another, other):
        await store.uploads.keep(key, URL, LATER)
    assert await store.uploads.forget("acme", ["aa", "never"]) == 2
    assert [await store.uploads.find(key, NOW) for key in (ONE, made, another, other)] == [None, None, URL, URL]
    assert await store.uploads.forget("acme", ["aa"]) == await store.uploads.forget("acme", []) == 0


async def test_expired_uploads_are_removed_oldest_first(store: Store) -> None:
    keys = [UploadKey("acme", str(number)) for number in range(5)]
    for hours, key in enumerate(keys):
        await store.uploads.keep(key, URL, NOW + timedelta(hours=hours))
    noon = NOW + timedelta(hours=3)
    assert [await store.uploads.expire(noon, 3), await store.uploads.expire(noon, 3)] == [3, 1]
    assert await store.uploads.expire(noon, 3) == 0
    long_ago = NOW - timedelta(days=1)
    assert [await store.uploads.find(key, long_ago) for key in keys] == [None, None, None, None, URL]


async def test_uploads_outlive_the_process(opener: Opener, tmp_path: Path) -> None:
    first = opener(tmp_path)
    await first.uploads.keep(ONE, URL, LATER)
    await first.close()
    again = opener(tmp_path)
    assert await again.uploads.find(ONE, NOW) == URL
    await again.close()


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.uploads.keep(ONE, URL, LATER)
