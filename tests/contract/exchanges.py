"""The exchanges, the installed adapters, and helpers of the contract tests to read exchanges with adapters.

The format of an exchange is in `tests/exchanges/README.md`. The variable `ADAPTER_EXCHANGES` names folders with more
of them, separated as in `PATH`: for the adapters of another distribution.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType, structs

from gateway.domain.adapter.contract import Adapter, HttpCall, HttpReply
from gateway.domain.adapter.request import UpstreamRequest
from gateway.upstream.registry import load_adapters

from ..cases import every

EXCHANGES = Path(__file__).parents[1] / "exchanges"
FOLDERS = [EXCHANGES, *map(Path, filter(None, os.environ.get("ADAPTER_EXCHANGES", "").split(os.pathsep)))]
ADAPTERS = load_adapters()  # by entry point, as in production


class RecordedCall(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    method: str
    path: str
    json: Any = None
    request: dict[str, Any] | None = None


class RecordedReply(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    status: int
    headers: dict[str, str] = {}
    json: Any = UNSET
    text: str | UnsetType = UNSET


class Meaning(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    snapshot: dict[str, Any] | UnsetType = UNSET
    refs: list[dict[str, Any]] | UnsetType = UNSET
    upload_url: str | UnsetType = UNSET
    callback: tuple[str, ...] | UnsetType = UNSET
    unreadable: bool | UnsetType = UNSET


class Exchange(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    source: str
    origin: Literal["captured", "documented", "inferred"]
    call: RecordedCall
    reply: RecordedReply | None = None  # a callback may have none
    reads_as: Meaning
    gateway_reads_as: Meaning | UnsetType = UNSET  # with the shared vocabulary, where that understands more


# The outcome with which the name of a file begins, and the only key that its `reads_as` may have.
OUTCOMES = {
    "submitted": "refs",
    "uploaded": "upload_url",
    "pending-unknown-status": "snapshot",
    "pending": "snapshot",
    "completed": "snapshot",
    "failed": "snapshot",
    "refused": "snapshot",
    "callback": "callback",
    "unreadable": "unreadable",
}
ALWAYS_RECORDED = ["submitted", "pending", "pending-unknown-status", "completed", "failed", "refused", "unreadable"]


def outcome_of(path: Path) -> str | None:
    """The longest outcome with which the name of a file begins, or None."""
    return next((word for word in OUTCOMES if path.stem == word or path.stem.startswith(f"{word}-")), None)


def paths_of(name: str) -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (folder / name).glob("*.json"))


def read(path: Path) -> Exchange:
    return msgspec.json.decode(path.read_bytes(), type=Exchange)


def exactly(raw: Any, kind: Any) -> Any:
    """`raw` as `kind`. A key that is not a field is an error, because it would assert nothing."""
    value = msgspec.convert(raw, kind)
    _refuse_unknown_keys(raw, value)
    return value


def _refuse_unknown_keys(raw: Any, value: Any) -> None:
    if isinstance(value, Struct):
        config = value.__struct_config__
        unknown = set(raw) - {field.encode_name for field in structs.fields(value)} - {config.tag_field}
        assert not unknown, f"unknown keys {sorted(unknown)} for {type(value).__name__}"
        for key in set(raw) - {config.tag_field}:
            _refuse_unknown_keys(raw[key], getattr(value, key))
    elif isinstance(value, list | tuple):
        for inner_raw, inner in zip(raw, value, strict=True):
            _refuse_unknown_keys(inner_raw, inner)


def reply_of(adapter: Adapter, exchange: Exchange) -> HttpReply:
    """The reply of an exchange, which names the path of its call as the adapter writes it."""
    reply = exchange.reply
    assert reply is not None, "an exchange needs a `reply`"
    assert (reply.json is UNSET) != (reply.text is UNSET), "a reply has `json` or `text`"
    assert all(name == name.lower() for name in reply.headers), "the names of headers are in lower case"
    body = reply.text.encode() if isinstance(reply.text, str) else msgspec.json.encode(reply.json)
    return HttpReply(
        status=reply.status,
        headers=reply.headers,
        body=body,
        method=exchange.call.method,
        path=path_of(adapter, exchange),
    )


def path_of(adapter: Adapter, exchange: Exchange) -> str:
    """The path of a call, relative to the base URL."""
    return exchange.call.path.removeprefix(urlsplit(adapter.base_url).path)


def call_of(adapter: Adapter, exchange: Exchange) -> HttpCall:
    """The call of an exchange, with its path relative to the base URL."""
    if exchange.call.request is not None:
        return adapter.to_upstream(exactly(exchange.call.request, UpstreamRequest))
    return HttpCall(method=exchange.call.method, path=path_of(adapter, exchange), json=exchange.call.json)


every_adapter = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=list(ADAPTERS))
every_name = pytest.mark.parametrize("name", ADAPTERS)  # so that a failing example prints a name and not all tables


def every_exchange(test: Callable[[Adapter, Path], None]) -> Callable[[Adapter, Path], None]:
    """Run a test with each exchange of each adapter: one test of pytest for an adapter."""
    with_each_path: Callable[[Adapter, Path], None] = every("path", lambda adapter: paths_of(adapter.name))(test)
    decorated: Callable[[Adapter, Path], None] = every_adapter(with_each_path)
    return decorated


def submits_of(adapter: Adapter) -> list[HttpCall]:
    """The submits of the exchanges, one for each path."""
    paths = [path for path in paths_of(adapter.name) if outcome_of(path) == "submitted"]
    calls = [call_of(adapter, read(path)) for path in paths]
    return list({call.path: call for call in calls}.values())


def encoded(value: object) -> bytes:
    """JSON with sorted keys: equal bodies are equal bytes, and 5 differs from "5"."""
    return msgspec.json.encode(value, order="deterministic")


def leaves(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value inside a JSON value, and to the value itself."""
    yield steps
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in children:
        yield from leaves(inner, (*steps, key))


def at(value: Any, steps: tuple[Any, ...]) -> Any:
    for step in steps:
        value = value[step]
    return value


def replaced(value: Any, steps: tuple[Any, ...], new: Any) -> Any:
    if not steps:
        return new
    changed = copy.deepcopy(value)
    at(changed, steps[:-1])[steps[-1]] = new
    return changed


def as_json(value: Any) -> bytes:
    """JSON in ASCII: it can contain half a surrogate pair, which UTF-8 cannot."""
    return json.dumps(value).encode()
