"""What every adapter promises, tested on every exchange of every installed adapter.

A new adapter is tested as soon as it is installed and has exchanges; nothing is added here.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import UNSET, structs

from gateway.domain.adapter.contract import Adapter
from gateway.domain.adapter.task import Completed, Failed, Pending, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

from ..cases import every
from .exchanges import (
    ADAPTERS,
    ALWAYS_RECORDED,
    EXCHANGES,
    OUTCOMES,
    Exchange,
    Meaning,
    call_of,
    encoded,
    every_adapter,
    every_exchange,
    exactly,
    outcome_of,
    paths_of,
    read,
    reply_of,
)


@every_exchange
def test_recorded_reply_reads_as_written(adapter: Adapter, path: Path) -> None:
    """An exchange has the reply of a provider and its meaning. To cover a quirk, add a file."""
    exchange = read(path)
    match exchange.reads_as:
        case Meaning(snapshot=dict() as raw):
            reply = reply_of(adapter, exchange)
            refusal = adapter.classify(reply)
            if outcome_of(path) == "refused":
                assert refusal is not None, "`classify` must recognise a refused call, not `from_upstream`"
            assert (refusal or adapter.from_upstream(reply)) == exactly(raw, TaskSnapshot)
        case Meaning(refs=list() as raw):
            reply = reply_of(adapter, exchange)
            assert adapter.classify(reply) is None
            assert adapter.task_refs(call_of(adapter, exchange), reply) == exactly(raw, tuple[TaskRef, ...])
        case Meaning(upload_url=str() as url):
            reply = reply_of(adapter, exchange)
            assert adapter.classify(reply) is None
            assert adapter.uploaded_url is not None
            assert adapter.uploaded_url(reply) == url
        case Meaning(callback=tuple() as ids):
            assert adapter.read_callback is not None
            assert adapter.read_callback(msgspec.json.encode(exchange.call.json)).task_ids == ids
        case Meaning(unreadable=True):
            reader, argument = _reader_of_the_unreadable(adapter, exchange, path)
            with pytest.raises(UnreadableReply):
                reader(argument)
        case _:
            pytest.fail("`reads_as` has exactly one of the keys of the README")


def _reader_of_the_unreadable(
    adapter: Adapter, exchange: Exchange, path: Path
) -> tuple[Callable[[Any], object], object]:
    """The reader that the gateway would use for this reply, and its argument."""
    if path.stem.startswith("unreadable-callback"):
        assert adapter.read_callback is not None
        return adapter.read_callback, msgspec.json.encode(exchange.call.json)
    reply = reply_of(adapter, exchange)
    assert adapter.classify(reply) is None
    if path.stem.startswith("unreadable-upload"):
        assert adapter.uploaded_url is not None
        return adapter.uploaded_url, reply
    if exchange.call.method == "GET":
        return adapter.from_upstream, reply
    return lambda reply: adapter.task_refs(call_of(adapter, exchange), reply), reply


@every_exchange
def test_an_exchange_is_named_for_what_it_means(adapter: Adapter, path: Path) -> None:
    exchange = read(path)
    outcome = outcome_of(path)
    assert outcome is not None, f"begin the name with one of {', '.join(OUTCOMES)}"
    assert exchange.source.strip(), "`source` says where an exchange comes from"

    said = {key for key in structs.asdict(exchange.reads_as) if getattr(exchange.reads_as, key) is not UNSET}
    assert said == {OUTCOMES[outcome]}

    if isinstance(raw := exchange.reads_as.snapshot, dict):
        snapshot = exactly(raw, TaskSnapshot)
        kind: type = {"pending": Pending, "pending-unknown-status": Pending, "completed": Completed}.get(
            outcome, Failed
        )
        assert type(snapshot) is kind
        if isinstance(snapshot, Pending):
            assert snapshot.unknown_status is (outcome == "pending-unknown-status")


@every_exchange
def test_origin_of_an_exchange_claims_no_more_than_its_source(adapter: Adapter, path: Path) -> None:
    """Only an exchange that was seen on the wire is "captured", and only what a source has is "documented"."""
    exchange = read(path)
    match exchange.origin:
        case "captured":
            assert re.search(r"\b20\d\d-\d\d-\d\d\b", exchange.source), "`source` names the day of the capture"
        case "documented":
            words = ("inferred", "built from", "constructed", "sibling", "undocumented")
            assert not [word for word in words if word in exchange.source.lower()]


def test_exchange_without_an_origin_is_an_error(tmp_path: Path) -> None:
    raw = json.loads((EXCHANGES / "keevx" / "completed-video.json").read_text())
    del raw["origin"]
    (tmp_path / "completed.json").write_text(json.dumps(raw))
    with pytest.raises(msgspec.ValidationError, match="origin"):
        read(tmp_path / "completed.json")


@every_exchange
def test_a_recorded_request_translates_to_the_recorded_body(adapter: Adapter, path: Path) -> None:
    exchange = read(path)
    if exchange.call.request is None:
        return
    call = call_of(adapter, exchange)

    assert call.method == exchange.call.method
    assert exchange.call.path in {call.path, urlsplit(adapter.base_url).path + call.path}
    assert encoded(call.json) == encoded(exchange.call.json)


@every_adapter
@every("outcome", ALWAYS_RECORDED)
def test_every_outcome_is_recorded(adapter: Adapter, outcome: str) -> None:
    """An adapter without exchanges fails this test; it is not skipped."""
    assert outcome in {outcome_of(path) for path in paths_of(adapter.name)}


@every_adapter
def test_what_an_adapter_can_do_is_recorded(adapter: Adapter) -> None:
    recorded = {outcome_of(path) for path in paths_of(adapter.name)}
    assert ("uploaded" in recorded) is (adapter.uploaded_url is not None)
    assert ("callback" in recorded) is (adapter.read_callback is not None)
    assert any(read(path).call.request is not None for path in paths_of(adapter.name)), "record a whole submit"


def test_every_folder_of_exchanges_has_an_adapter() -> None:
    assert {folder.name for folder in EXCHANGES.iterdir() if folder.is_dir()} <= set(ADAPTERS)
