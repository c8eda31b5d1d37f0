"""`check --connect`: reaches every provider, and tests its key with a read that costs nothing."""

import asyncio
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from gateway.commands.terminal import line
from gateway.domain.adapter.contract import KeyVerdict
from gateway.upstream.client import Upstream
from gateway.upstream.key_tests import KeyResult, try_keys
from gateway.upstream.provider import Provider

CONNECT_SECONDS = 10.0
WORDS = {
    KeyVerdict.ACCEPTED: "key accepted",
    KeyVerdict.REFUSED: "KEY REFUSED",
    KeyVerdict.UNPROVEN: "reached, but the answer says nothing about the key",
}


def connect(providers: Mapping[str, Provider]) -> tuple[list[str], list[str]]:
    """Print what each test proves. Returns the names of the unreachable providers, and those whose key is refused."""
    unreachable: list[str] = []
    refused: list[str] = []
    for result in asyncio.run(_test(list(providers.values()))):
        provider = providers[result.provider]
        has_no_test = result.key is None and result.unreached is None
        tested = _reached(provider) if has_no_test else result
        if tested.unreached is not None:
            unreachable.append(provider.name)
            line(provider.name, f"UNREACHABLE {provider.base_url}: {tested.unreached}")
        elif tested.key is not None:
            refused += [provider.name] if tested.key.verdict is KeyVerdict.REFUSED else []
            line(provider.name, f"{WORDS[tested.key.verdict]}: {tested.key.detail} ({tested.milliseconds:.0f} ms)")
        else:
            line(provider.name, f"reached in {tested.milliseconds:.0f} ms; its adapter has no test of the key")
    return unreachable, refused


async def _test(providers: Sequence[Provider]) -> list[KeyResult]:
    upstream = Upstream()
    try:
        return await try_keys(providers, upstream, datetime.now(UTC))
    finally:
        await upstream.close()


def _reached(provider: Provider) -> KeyResult:
    """Open a connection as a call would, and close it without sending a request."""
    begun = time.monotonic()
    try:
        _open(provider.base_url)
    except (OSError, UnicodeError) as error:
        return KeyResult(provider=provider.name, unreached=f"no connection: {error}")
    return KeyResult(provider=provider.name, milliseconds=(time.monotonic() - begun) * 1000)


def _open(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain:
        if parts.scheme == "https":
            ssl.create_default_context().wrap_socket(plain, server_hostname=host).close()
