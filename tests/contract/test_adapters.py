"""What every adapter promises, tried on every installed one and on every recording.

A new adapter joins by being installed and by having recordings; there is nothing to add here. The format of a recording
is in `tests/recordings/README.md`.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Struct, UnsetType, structs

from gateway.domain.adapter import Adapter, Callback, Capability, Credential, FilePart, HttpCall, HttpReply, ImageForm
from gateway.domain.errors import UnreadableReply
from gateway.domain.request import (
    ImageToVideo,
    Input,
    InputKind,
    ReferencesToVideo,
    Settings,
    TextToVideo,
    UpstreamRequest,
)
from gateway.domain.task import Completed, Failed, FailureKind, Pending, Status, TaskRef, TaskSnapshot
from gateway.services.registry import load_adapters

RECORDINGS = Path(__file__).parents[1] / "recordings"
ADAPTERS = load_adapters()  # by entry point, as in production


# --- recordings -------------------------------------------------------------------------------------------------------


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


class Recording(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    source: str
    call: RecordedCall
    reply: RecordedReply | None = None  # a callback may have none
    reads_as: Meaning


# What the name of a file says, and the one key of `reads_as` that goes with it.
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
    """The outcome that a file's name begins with; the longest that fits."""
    return next((word for word in OUTCOMES if path.stem == word or path.stem.startswith(f"{word}-")), None)


def paths_of(name: str) -> list[Path]:
    return sorted((RECORDINGS / name).glob("*.json"))


def read(path: Path) -> Recording:
    return msgspec.json.decode(path.read_bytes(), type=Recording)


def exactly(raw: Any, kind: Any) -> Any:
    """`raw` as `kind`; a key that no field has is an error, because it would assert nothing."""
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


def reply_of(recording: Recording) -> HttpReply:
    reply = recording.reply
    assert reply is not None, "a recording needs a `reply`"
    assert (reply.json is UNSET) != (reply.text is UNSET), "a reply has `json` or `text`"
    assert all(name == name.lower() for name in reply.headers), "the names of headers are in lower case"
    body = reply.text.encode() if isinstance(reply.text, str) else msgspec.json.encode(reply.json)
    return HttpReply(status=reply.status, headers=reply.headers, body=body, method=recording.call.method)


def call_of(adapter: Adapter, recording: Recording) -> HttpCall:
    """The recorded call, its path below the base URL."""
    if recording.call.request is not None:
        return adapter.to_upstream(exactly(recording.call.request, UpstreamRequest))
    path = recording.call.path.removeprefix(urlsplit(adapter.base_url).path)
    return HttpCall(method=recording.call.method, path=path, json=recording.call.json)


CASES = [pytest.param(ADAPTERS[name], path, id=f"{name}-{path.stem}") for name in ADAPTERS for path in paths_of(name)]
every_adapter = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=list(ADAPTERS))
every_name = pytest.mark.parametrize("name", ADAPTERS)  # a failing example then prints a name, not all its tables
every_recording = pytest.mark.parametrize(("adapter", "path"), CASES)


@every_recording
def test_recorded_reply_reads_as_written(adapter: Adapter, path: Path) -> None:
    """A recording holds the upstream's reply and what it means; adding a quirk is adding a file."""
    recording = read(path)
    match recording.reads_as:
        case Meaning(snapshot=dict() as raw):
            reply = reply_of(recording)
            refusal = adapter.classify(reply)
            if outcome_of(path) == "refused":
                assert refusal is not None, "a refused call is told by `classify`, not by `from_upstream`"
            assert (refusal or adapter.from_upstream(reply)) == exactly(raw, TaskSnapshot)
        case Meaning(refs=list() as raw):
            reply = reply_of(recording)
            assert adapter.classify(reply) is None
            assert adapter.task_refs(call_of(adapter, recording), reply) == exactly(raw, tuple[TaskRef, ...])
        case Meaning(upload_url=str() as url):
            reply = reply_of(recording)
            assert adapter.classify(reply) is None
            assert adapter.uploaded_url is not None
            assert adapter.uploaded_url(reply) == url
        case Meaning(callback=tuple() as ids):
            assert adapter.read_callback is not None
            assert adapter.read_callback(msgspec.json.encode(recording.call.json)).task_ids == ids
        case Meaning(unreadable=True):
            reader, argument = _reader_of_the_unreadable(adapter, recording, path)
            with pytest.raises(UnreadableReply):
                reader(argument)
        case _:
            pytest.fail("`reads_as` has exactly one of the keys of the README")


def _reader_of_the_unreadable(
    adapter: Adapter, recording: Recording, path: Path
) -> tuple[Callable[[Any], object], object]:
    """What the gateway would read such a reply with."""
    if path.stem.startswith("unreadable-callback"):
        assert adapter.read_callback is not None
        return adapter.read_callback, msgspec.json.encode(recording.call.json)
    reply = reply_of(recording)
    assert adapter.classify(reply) is None
    if path.stem.startswith("unreadable-upload"):
        assert adapter.uploaded_url is not None
        return adapter.uploaded_url, reply
    if recording.call.method == "GET":
        return adapter.from_upstream, reply
    return lambda reply: adapter.task_refs(call_of(adapter, recording), reply), reply


@every_recording
def test_a_recording_is_named_for_what_it_means(adapter: Adapter, path: Path) -> None:
    recording = read(path)
    outcome = outcome_of(path)
    assert outcome is not None, f"begin the name with one of {', '.join(OUTCOMES)}"
    assert recording.source.strip(), "`source` says where a recording comes from"

    said = {key for key in structs.asdict(recording.reads_as) if getattr(recording.reads_as, key) is not UNSET}
    assert said == {OUTCOMES[outcome]}

    if isinstance(raw := recording.reads_as.snapshot, dict):
        snapshot = exactly(raw, TaskSnapshot)
        kind: type = {"pending": Pending, "pending-unknown-status": Pending, "completed": Completed}.get(
            outcome, Failed
        )
        assert type(snapshot) is kind
        if isinstance(snapshot, Pending):
            assert snapshot.unknown_status is (outcome == "pending-unknown-status")


@every_recording
def test_a_recorded_request_translates_to_the_recorded_body(adapter: Adapter, path: Path) -> None:
    recording = read(path)
    if recording.call.request is None:
        return
    call = call_of(adapter, recording)

    assert call.method == recording.call.method
    assert recording.call.path in {call.path, urlsplit(adapter.base_url).path + call.path}
    assert encoded(call.json) == encoded(recording.call.json)


@every_adapter
@pytest.mark.parametrize("outcome", ALWAYS_RECORDED)
def test_every_outcome_is_recorded(adapter: Adapter, outcome: str) -> None:
    """An adapter without recordings fails; it is not skipped."""
    assert outcome in {outcome_of(path) for path in paths_of(adapter.name)}


@every_adapter
def test_what_an_adapter_can_do_is_recorded(adapter: Adapter) -> None:
    recorded = {outcome_of(path) for path in paths_of(adapter.name)}
    assert ("uploaded" in recorded) is (adapter.uploaded_url is not None)
    assert ("callback" in recorded) is (adapter.read_callback is not None)
    assert any(read(path).call.request is not None for path in paths_of(adapter.name)), "record a whole submit"


def test_every_folder_of_recordings_has_an_adapter() -> None:
    assert {folder.name for folder in RECORDINGS.iterdir() if folder.is_dir()} <= set(ADAPTERS)


# --- replies that nobody promised -------------------------------------------------------------------------------------

GARBAGE = {
    "empty": b"",
    "blank": b" \r\n",
    "null": b"null",
    "object": b"{}",
    "array": b"[]",
    "string": b'"completed"',
    "number": b"0",
    "nan": b"NaN",
    "true": b"true",
    "html": b"<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>",
    "random bytes": bytes((7 * n * n + 13) % 256 for n in range(512)),
    "brackets": b"[" * 100_000,
    "nested objects": b'{"data":' * 100_000,
    "bad utf-8": b'{"status": "\xff\xfe", "data": "\xc3\x28"}',
    "bad utf-8 name": b'{"\xff": 1}',
    "cut": b'{"code": 0, "data": {"task_id": "i2v-',
    "two documents": b"{}{}",
    "huge number": b'{"code": ' + b"9" * 5000 + b"}",
    "null data": b'{"code": 0, "data": null}',
    "empty id": b'{"code": 0, "id": "", "task_id": "", "data": {"id": "", "task_id": "", "task_ids": []}}',
}
STATUSES = [100, 200, 201, 204, 301, 302, 304, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 423, 425]
STATUSES += [429, 451, 500, 501, 502, 503, 504, 520, 522, 524, 529, 599, 0, 999]
A_TASKS_END = {
    FailureKind.TASK_FAILED,
    FailureKind.CONTENT_POLICY,
    FailureKind.RESULT_MISSING,
    FailureKind.TIMED_OUT,
}
every_garbage = pytest.mark.parametrize("body", GARBAGE.values(), ids=list(GARBAGE))


def submits_of(adapter: Adapter) -> list[HttpCall]:
    """The recorded submits, one a path."""
    paths = [path for path in paths_of(adapter.name) if outcome_of(path) == "submitted"]
    calls = [call_of(adapter, read(path)) for path in paths]
    return list({call.path: call for call in calls}.values())


@every_adapter
@every_garbage
def test_garbage_says_nothing_about_a_task(adapter: Adapter, body: bytes) -> None:
    reply = HttpReply(status=200, headers={"content-type": "application/json"}, body=body, method="GET")
    assert adapter.classify(reply) is None
    with pytest.raises(UnreadableReply):
        adapter.from_upstream(reply)


@every_adapter
@every_garbage
def test_garbage_after_a_submit_is_neither_a_task_nor_a_refusal(adapter: Adapter, body: bytes) -> None:
    """A refusal read into garbage would send the same work to another provider, while this one may be at it."""
    reply = HttpReply(status=200, body=body, method="POST")
    assert adapter.classify(reply) is None
    calls = submits_of(adapter)
    assert calls
    for call in calls:
        with pytest.raises(UnreadableReply):
            adapter.task_refs(call, reply)


@every_adapter
@every_garbage
def test_garbage_after_an_upload_or_in_a_callback_is_unreadable(adapter: Adapter, body: bytes) -> None:
    if adapter.uploaded_url is not None:
        with pytest.raises(UnreadableReply):
            adapter.uploaded_url(HttpReply(status=200, body=body, method="POST"))
    if adapter.read_callback is not None:
        with pytest.raises(UnreadableReply):
            adapter.read_callback(body)


@every_adapter
@every_garbage
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_classify_never_raises_and_guesses_nothing(adapter: Adapter, body: bytes, method: str) -> None:
    for status in STATUSES:
        refusal = adapter.classify(HttpReply(status=status, body=body, method=method))
        assert_sound(refusal)
        if refusal is not None and method == "GET":
            assert refusal.kind not in A_TASKS_END, f"HTTP {status}: a poll that fails ends no task"
        assert refusal is None or not 200 <= status < 300, f"HTTP {status}: nothing says that the call was refused"
        if refusal is not None and method == "POST" and status >= 500:
            assert refusal.kind is FailureKind.AMBIGUOUS, f"HTTP {status}: nothing says that no task was started"


def assert_sound(value: object) -> None:
    """What holds for anything an adapter reads, whatever the reply was."""
    match value:
        case None:
            pass
        case Pending(status=status, progress=progress):
            assert status in {Status.QUEUED, Status.IN_PROGRESS}
            assert progress is None or 0 <= progress <= 1
        case Completed(artifacts=artifacts):
            assert artifacts
            for artifact in artifacts:
                assert urlsplit(artifact.url).scheme.lower() in {"http", "https"}
                assert urlsplit(artifact.url).hostname
        case Failed(message=message, upstream_code=code):
            assert message.strip()
            assert_clean(message)
            assert_clean(code or "")
        case Callback(task_ids=ids):
            assert all(ids)
        case str():
            assert urlsplit(value).scheme.lower() in {"http", "https"}
        case tuple():
            assert value
            for ref in value:
                assert isinstance(ref, TaskRef)
                assert ref.id
                assert ref.first_poll_seconds is None or ref.first_poll_seconds >= 0
        case _:
            pytest.fail(f"an adapter gave {value!r}")
    msgspec.json.encode(value if not isinstance(value, Callback) else value.task_ids)


UNCLEAN = {
    "a URL": re.compile(r"\w://\w|\bwww\.\w", re.IGNORECASE),
    "a key": re.compile(r"\b(?:sk|pk|vg)[-_]\w{6,}|\bbearer\s+\w|\b[\w-]{40,}", re.IGNORECASE),
    "a balance": re.compile(r"[$＄¥￥€£]\s*-?\d"),
    "an address": re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b|\blocalhost\b", re.IGNORECASE),
}


def assert_clean(message: str) -> None:
    for what, pattern in UNCLEAN.items():
        assert not pattern.search(message), f"{what} in {message!r}"
    assert len(message) <= 500


LEAK = " sk-live-0123456789abcdef at https://internal.example:8080/x?key=1 on 10.1.2.3, balance ＄12.50, Bearer abc.def"


@every_recording
def test_no_message_shows_keys_balances_or_hosts(adapter: Adapter, path: Path) -> None:
    """Also when the provider writes them into any text of a reply that was read before."""
    recording = read(path)
    if isinstance(raw := recording.reads_as.snapshot, dict):
        assert_sound(exactly(raw, TaskSnapshot))
    if recording.reply is None or recording.reply.json is UNSET:
        return
    for steps in leaves(recording.reply.json):
        if isinstance(old := at(recording.reply.json, steps), str):
            body = msgspec.json.encode(replaced(recording.reply.json, steps, old + LEAK))
            read_every_way(adapter, structs.replace(reply_of(recording), body=body))


def leaves(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within a JSON value, itself included."""
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


def read_every_way(adapter: Adapter, reply: HttpReply) -> None:
    """Whatever the reply is: a sound value or `UnreadableReply`, nothing else."""
    assert_sound(adapter.classify(reply))
    call = submits_of(adapter)[0]
    for reader in (adapter.from_upstream, lambda reply: adapter.task_refs(call, reply), adapter.uploaded_url):
        with suppress(UnreadableReply):
            assert_sound(None if reader is None else reader(reply))
    with suppress(UnreadableReply):
        assert_sound(None if adapter.read_callback is None else adapter.read_callback(reply.body))
    form = None if adapter.amend is None else adapter.amend(call, reply)
    assert form is None or form in adapter.forms


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just("\ud83c")  # half of an emoji, as a message that was cut has it
    | st.sampled_from(
        ["succeed", "SUCCESS", "FAILED", "completed", "https://", "http://[::1", "data:,", "-1", "1e999"]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def as_json(value: Any) -> bytes:
    """With every odd character escaped: half a surrogate pair is valid there, and a string that cannot be encoded."""
    return json.dumps(value).encode()


ANY_STATUS = st.sampled_from(STATUSES) | st.integers(0, 999)
METHOD = st.sampled_from(["GET", "POST"])


@every_name
@settings(max_examples=150, deadline=None)
@given(body=st.binary() | JSON.map(as_json), status=ANY_STATUS, method=METHOD)
def test_any_reply_reads_or_is_unreadable(name: str, body: bytes, status: int, method: str) -> None:
    read_every_way(ADAPTERS[name], HttpReply(status=status, body=body, method=method))


@every_name
@settings(max_examples=400, deadline=None)
@given(data=st.data(), new=JSON, status=st.none() | ANY_STATUS, method=METHOD)
def test_a_recorded_reply_with_one_value_changed_reads_or_is_unreadable(
    name: str, data: st.DataObject, new: Any, status: int | None, method: str
) -> None:
    """Near the known shapes is where a reader trusts too much."""
    bodies = JSON_BODIES[name]
    assert bodies
    old_status, body = data.draw(st.sampled_from(bodies))
    steps = data.draw(st.sampled_from(list(leaves(body))))
    body = as_json(replaced(body, steps, new))
    read_every_way(ADAPTERS[name], HttpReply(status=old_status if status is None else status, body=body, method=method))


def json_bodies(name: str) -> list[tuple[int, Any]]:
    """Every recorded JSON body with its status; a callback's is what the provider sent."""
    found: list[tuple[int, Any]] = []
    for recording in map(read, paths_of(name)):
        if recording.reply is not None and recording.reply.json is not UNSET:
            found.append((recording.reply.status, recording.reply.json))
        if recording.reads_as.callback is not UNSET:
            found.append((200, recording.call.json))
    return found


JSON_BODIES = {name: json_bodies(name) for name in ADAPTERS}


# --- calls ------------------------------------------------------------------------------------------------------------

URL = "https://images.example/{}.png"
BASE64 = "iVBORw0KGgo{}="


def encoded(value: object) -> bytes:
    """JSON in one order, so that equal bodies are equal bytes and 5 is not "5"."""
    return msgspec.json.encode(value, order="deterministic")


def inputs_of(kind: InputKind, capability: Capability, image: str) -> list[Input]:
    """The inputs of a kind that a row declares: without and with last frame, few and many references."""
    first, last = image.format("first"), image.format("last")
    match kind:
        case InputKind.TEXT:
            return [TextToVideo()]
        case InputKind.IMAGE:
            lasts = [None, last] if capability.last_frame else [None]
            return [ImageToVideo(first_frame=first, last_frame=frame) for frame in lasts]
        case InputKind.REFERENCES:
            assert capability.references_max >= 1
            some = tuple(image.format(f"r{n}") for n in range(capability.references_max))
            found: list[Input] = [ReferencesToVideo(references=some[:n]) for n in sorted({1, len(some)})]
            if capability.frames_with_references:
                found += [
                    ReferencesToVideo(references=some[:1], first_frame=first, last_frame=frame)
                    for frame in (None, last)
                ]
            return found


def choices(capability: Capability, field: str, declared: frozenset[Any]) -> list[Any]:
    """What can be asked for in a field, and what stands there when nothing is asked for."""
    return [*sorted(declared), *({capability.defaults.get(field)} - declared)]


def images_forms(capability: Capability) -> list[str]:
    return [URL, BASE64] if ImageForm.BASE64 in capability.image_forms else [URL]


OPTION_VALUES: tuple[Any, ...] = (
    URL.format("option"),
    "text",
    1,
    True,
    [{"prompt": "a", "duration": 5}],
    [{}],
    {"a": None},
)


def needed_options(adapter: Adapter, capability: Capability) -> Iterator[dict[str, Any]]:
    """None first; then, for a row whose rules want some, one of a likely shape, or what a recording has."""
    yield {}
    for option, value in product(sorted(capability.options), OPTION_VALUES):
        yield {option: value}
    for request in (read(path).call.request for path in paths_of(adapter.name)):
        if request is not None and request.get("options", {}).keys() <= capability.options:
            yield request.get("options", {})


def requests_of(adapter: Adapter, model: str, capability: Capability, kind: InputKind) -> list[UpstreamRequest]:
    """Every declared input × duration × resolution × ratio, and each other declared parameter once.

    Without what the row's own rules leave out.
    """
    grid = [
        Settings(
            **{**capability.defaults, "duration_seconds": duration, "resolution": resolution, "aspect_ratio": ratio}
        )
        for duration, resolution, ratio in product(
            choices(capability, "duration_seconds", capability.durations),
            choices(capability, "resolution", capability.resolutions),
            choices(capability, "aspect_ratio", capability.aspect_ratios),
        )
    ]

    def with_options(options: dict[str, Any]) -> list[UpstreamRequest]:
        prompt = "" if capability.prompt_max == 0 or capability.prompt_or in options else "a kite"
        found = [
            UpstreamRequest(
                attempt_id="att_1",
                model=model,
                row=model,
                prompt=prompt,
                input=value,
                settings=asked,
                options=options,
                form=adapter.forms[0],
            )
            for image in images_forms(capability)
            for value in inputs_of(kind, capability, image)
            for asked in grid
        ]
        return [request for request in found if fits(capability, request)]

    allowed: list[UpstreamRequest] = next(filter(None, map(with_options, needed_options(adapter, capability))), [])
    assert allowed, f"{model}: the rules of the row leave nothing of {kind}; record a submit of it"

    first = allowed[0]
    others: list[UpstreamRequest] = []
    for field, values in declared_parameters(capability).items():
        others += [structs.replace(first, settings=structs.replace(first.settings, **{field: v})) for v in values]
    for mode in capability.modes:
        others.append(structs.replace(first, settings=structs.replace(first.settings, mode=mode, resolution=None)))
    others += [structs.replace(first, count=count) for count in range(2, capability.count_max + 1)]
    others += [structs.replace(first, form=form) for form in adapter.forms]
    for option, value in product(sorted(capability.options), OPTION_VALUES):
        prompt = "" if option == capability.prompt_or else first.prompt
        others.append(structs.replace(first, prompt=prompt, options={**first.options, option: value}))
    if adapter.read_callback is not None:
        others.append(structs.replace(first, callback_url="https://gateway.example/callbacks/1?token=t"))
    return allowed + [request for request in others if fits(capability, request)]


def declared_parameters(capability: Capability) -> dict[str, tuple[Any, ...]]:
    return {
        "generate_audio": (True, False) if capability.generate_audio else (),
        "negative_prompt": ("blur", "x" * capability.negative_prompt_max) if capability.negative_prompt_max else (),
        "seed": (0, 2**31 - 1) if capability.seed else (),
        "fps": tuple(capability.fps),
        "cfg_scale": capability.cfg_scale or (),
    }


def fits(capability: Capability, request: UpstreamRequest) -> bool:
    return all(rule(request) is None for rule in capability.rules)


ROWS = [
    pytest.param(adapter, model, capability, kind, id=f"{adapter.name}-{model}-{index}-{kind}")
    for adapter in ADAPTERS.values()
    for model, rows in adapter.capabilities.items()
    for index, capability in enumerate(rows)
    if capability.kind == "video"
    for kind in sorted(capability.inputs)
]
every_row = pytest.mark.parametrize(("adapter", "model", "capability", "kind"), ROWS)


@every_adapter
def test_an_adapters_tables_are_whole(adapter: Adapter) -> None:
    assert adapter.capabilities
    assert all(rows and all(row.inputs for row in rows) for rows in adapter.capabilities.values())
    assert set(adapter.polling_by_model) <= set(adapter.capabilities)
    assert adapter.default_row is None or adapter.default_row in adapter.capabilities
    assert adapter.forms
    assert len(set(adapter.forms)) == len(adapter.forms)
    assert (adapter.upload is None) is (adapter.uploaded_url is None)
    assert urlsplit(adapter.base_url).scheme == "https"
    assert not adapter.base_url.endswith("/")
    for polling in (adapter.polling, *adapter.polling_by_model.values()):
        assert 0 < polling.poll_seconds <= polling.poll_max_seconds < polling.attempt_timeout_seconds
        assert polling.first_poll_seconds > 0


@every_row
def test_every_declared_capability_translates(
    adapter: Adapter, model: str, capability: Capability, kind: InputKind
) -> None:
    for request in requests_of(adapter, model, capability, kind):
        before = msgspec.json.encode(request)
        call = adapter.to_upstream(request)

        assert call.method == "POST"
        assert_path(call.path)
        assert msgspec.json.encode(call.json) == msgspec.json.encode(adapter.to_upstream(request).json)
        assert adapter.to_upstream(request) == call, "the same request gives the same call on every try"
        assert msgspec.json.encode(request) == before, "a request is not changed"


@every_row
def test_nothing_that_was_asked_for_is_dropped(
    adapter: Adapter, model: str, capability: Capability, kind: InputKind
) -> None:
    """Two requests that differ in what was asked for differ in what is sent."""
    asked: dict[bytes, UpstreamRequest] = {}
    for request in requests_of(adapter, model, capability, kind):
        if request.form != adapter.forms[0] or request.settings.mode is not None:
            continue  # a form and a mode may say the same in other words
        call = adapter.to_upstream(request)
        sent = encoded([call.path, dict(call.query), call.json])
        twin = asked.setdefault(sent, request)
        assert twin == request or _differ_by_a_default(twin, request), f"the same call for {twin} and {request}"
        assert request.prompt in sent.decode()


def _differ_by_a_default(one: UpstreamRequest, other: UpstreamRequest) -> bool:
    """Whether the two are alike but for a value that one of them left to the provider, or said `False` for it."""
    if structs.replace(one, settings=other.settings) != other:
        return False
    pairs = [(getattr(one.settings, name), getattr(other.settings, name)) for name in Settings.__struct_fields__]
    return all(a == b or a is None or b is None for a, b in pairs)


@every_row
def test_an_image_that_was_given_is_sent(adapter: Adapter, model: str, capability: Capability, kind: InputKind) -> None:
    for request in requests_of(adapter, model, capability, kind):
        body = encoded(adapter.to_upstream(request).json).decode()
        images = {"first_frame", "last_frame", "references"} & set(request.input.__struct_fields__)
        for field in images:
            given_images = getattr(request.input, field)
            for image in given_images if isinstance(given_images, tuple) else (given_images,):
                assert image is None or image in body, f"{field} is not in the call"


# --- task references, paths, credentials ------------------------------------------------------------------------------

NASTY = [
    "../../x?y#z",
    "a b",
    "ключ-鍵-🔑",
    "%2e%2e/%2f",
    "a\r\nHost: evil.example",
    "\x00",
    "a;b=c&d",
    "//evil.example/",
    "\\..\\x",
]


def recorded_refs(adapter: Adapter) -> list[TaskRef]:
    refs: list[TaskRef] = []
    for path in paths_of(adapter.name):
        if outcome_of(path) == "submitted":
            recording = read(path)
            refs += adapter.task_refs(call_of(adapter, recording), reply_of(recording))
    assert refs
    return refs


def reads_of(adapter: Adapter) -> list[Callable[[TaskRef], HttpCall]]:
    """The calls that are built from a task reference."""
    return [build for build in (adapter.poll, adapter.refresh, adapter.content) if build is not None]


def assert_path(path: str) -> None:
    assert re.fullmatch(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+", path), path
    assert not {".", ".."} & set(path.split("/"))


@every_adapter
def test_a_task_reference_survives_json(adapter: Adapter) -> None:
    for ref in recorded_refs(adapter):
        again = msgspec.json.decode(msgspec.json.encode(ref), type=TaskRef)
        assert again == ref
        assert [build(again) for build in reads_of(adapter)] == [build(ref) for build in reads_of(adapter)]


@every_adapter
@pytest.mark.parametrize("nasty", NASTY)
def test_a_nasty_id_stays_below_its_prefix(adapter: Adapter, nasty: str) -> None:
    """An id is a word of the upstream's: it may not choose another path, host or header."""
    for ref in recorded_refs(adapter):
        for build in reads_of(adapter):
            prefix, found, suffix = build(structs.replace(ref, id="PLAIN")).path.partition("PLAIN")
            assert found, "the path of a read has the id"
            path = build(structs.replace(ref, id=nasty)).path

            assert path.startswith(prefix)
            assert path.endswith(suffix)
            assert_path(path)
            assert unquote(path[len(prefix) : len(path) - len(suffix)]) == nasty


@every_adapter
@pytest.mark.parametrize("odd", ["", " ", ".", "..", "\ud83c", "a/../b", "\n", "x" * 5000], ids=ascii)
def test_an_odd_id_is_unreadable_or_can_be_read_with(adapter: Adapter, odd: str) -> None:
    """An escape does not help against dots: a client that tidies paths makes `/tasks/..` another path."""
    for path in paths_of(adapter.name):
        if outcome_of(path) != "submitted":
            continue
        recording = read(path)
        call, reply = call_of(adapter, recording), reply_of(recording)
        body = json.loads(reply.body)
        for ref in adapter.task_refs(call, reply):
            for steps in leaves(body):
                if str(at(body, steps)) == ref.id:
                    body = replaced(body, steps, odd)
        with suppress(UnreadableReply):
            for ref in adapter.task_refs(call, structs.replace(reply, body=as_json(body))):
                assert msgspec.json.decode(msgspec.json.encode(ref), type=TaskRef) == ref
                for build in reads_of(adapter):
                    assert_path(build(ref).path)


@every_adapter
def test_a_read_has_no_body_and_no_effect(adapter: Adapter) -> None:
    for ref in recorded_refs(adapter):
        for call in (build(ref) for build in reads_of(adapter)):
            assert call.method == "GET"
            assert call.json is None
            assert call.file is None


SECRET = "contract-0123456789-secret"
PICTURE = FilePart(field="f", filename='a".png', content_type="image/png", content=b"\x89PNG\r\n\x1a\n")
OF_CREDENTIALS = {"authorization", "x-api-key", "api-key", "token", "cookie", "proxy-authorization"}


def calls_of(adapter: Adapter) -> list[HttpCall]:
    """One call of every sort."""
    calls = [*submits_of(adapter), *(build(ref) for ref in recorded_refs(adapter) for build in reads_of(adapter))]
    return calls if adapter.upload is None else [*calls, adapter.upload(PICTURE)]


@every_adapter
def test_a_credential_shows_in_headers_alone_and_only_once_authorized(adapter: Adapter) -> None:
    credential = Credential(api_key=SECRET)
    assert SECRET not in repr(credential)
    for call in calls_of(adapter):
        assert not OF_CREDENTIALS & {name.lower() for name in call.headers}
        before = copy.deepcopy(call)
        authorized = adapter.authorize(call, credential, datetime(2026, 1, 1, tzinfo=UTC))

        assert call == before, "a call is not changed"
        assert structs.replace(authorized, headers=call.headers) == call, "only headers are added"
        assert call.headers.items() <= authorized.headers.items()
        added = authorized.headers.items() - call.headers.items()
        assert added
        assert all(name.isascii() and "\n" not in value for name, value in added)


@every_adapter
def test_an_upload_carries_the_bytes_under_the_providers_own_field(adapter: Adapter) -> None:
    if adapter.upload is None:
        return
    call = adapter.upload(PICTURE)

    assert call.method == "POST"
    assert_path(call.path)
    assert call.json is None
    assert isinstance(call.fields, Mapping)
    assert call.file is not None
    assert (call.file.content, call.file.content_type) == (PICTURE.content, PICTURE.content_type)
    assert call.file.field not in {"", PICTURE.field}
