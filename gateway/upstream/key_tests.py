"""Tests the keys of accounts with reads that cost nothing. Nothing is bought, and nothing is stored."""

import asyncio
import time
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import KeyTest, KeyVerdict
from gateway.upstream.client import POLL_REPLY_MAX, NoAnswer, NotSent, Upstream
from gateway.upstream.provider import Provider

TEST_SECONDS = 10.0  # how long a provider may take for its answer
_SAFE = frozenset({"GET", "HEAD"})  # methods that start nothing: any other call could be a purchase


class KeyResult(Struct, frozen=True, kw_only=True):
    """The test of one account."""

    provider: str
    unreached: str | None = None  # why no reply came
    key: KeyTest | None = None  # None: the adapter has no such test, or no reply came
    milliseconds: float = 0.0


async def try_keys(providers: Iterable[Provider], upstream: Upstream, now: datetime) -> list[KeyResult]:
    """Test every account, all at the same time. The order stays."""
    return list(await asyncio.gather(*(_try_key(provider, upstream, now) for provider in providers)))


async def _try_key(provider: Provider, upstream: Upstream, now: datetime) -> KeyResult:
    adapter, tested = provider.adapter, KeyResult(provider=provider.name)
    if adapter.probe is None or adapter.read_probe is None:
        return tested
    begun = time.monotonic()
    try:
        call = adapter.authorize(adapter.probe(), provider.credential, now)
        if call.method.upper() not in _SAFE:
            raise ValueError(f"its probe is a {call.method}, which may start something")  # noqa: TRY301  # a defect of the adapter, reported like its others
        reply = await upstream.send(
            call,
            base_url=provider.base_url,
            timeout_seconds=TEST_SECONDS,
            headers=provider.headers,
            reply_max=POLL_REPLY_MAX,
        )
        key = adapter.read_probe(reply)
    except (NotSent, NoAnswer) as error:
        return replace(tested, unreached=provider.redactor.words(str(error)))
    except Exception as error:  # noqa: BLE001  # the adapter of a third party may raise anything
        detail = f"the adapter cannot test it: {provider.redactor.words(f'{type(error).__name__}: {error}')}"
        return replace(tested, key=KeyTest(verdict=KeyVerdict.UNPROVEN, detail=detail))
    detail = provider.redactor.words(key.detail)
    return replace(tested, key=replace(key, detail=detail), milliseconds=(time.monotonic() - begun) * 1000)
