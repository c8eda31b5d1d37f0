"""What every adapter sends: all that the client asked for, on its own paths, without a key before `authorize`."""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from msgspec import structs

from gateway.domain.adapter.contract import API_KEY, Adapter, Capability, Credential, FilePart, HttpCall, ImageTransport
from gateway.domain.adapter.decoding import read_json
from gateway.domain.adapter.options import OptionFault, Text, read_option, schema_of
from gateway.domain.adapter.request import (
    FramesInput,
    Input,
    InputKind,
    ReferencesInput,
    Settings,
    TextInput,
    UpstreamRequest,
)
from gateway.domain.adapter.task import TaskRef
from gateway.domain.errors import UnreadableReply

from ..cases import every
from .exchanges import (
    ADAPTERS,
    as_json,
    at,
    call_of,
    encoded,
    every_adapter,
    leaves,
    outcome_of,
    paths_of,
    read,
    replaced,
    reply_of,
    submits_of,
)

# --- calls ------------------------------------------------------------------------------------------------------------

URL = "https://images.example/{}.png"
BASE64 = "iVBORw0KGgo{}="


def inputs_of(kind: InputKind, capability: Capability, image: str) -> list[Input]:
    """The inputs of a kind that a row accepts: without and with a last frame, with few and with many references."""
    first, last = image.format("first"), image.format("last")
    match kind:
        case InputKind.TEXT:
            return [TextInput()]
        case InputKind.IMAGE:
            lasts = [None, last] if capability.last_frame else [None]
            return [FramesInput(first_frame=first, last_frame=frame) for frame in lasts]
        case InputKind.REFERENCES:
            assert capability.references_max >= 1
            some = tuple(image.format(f"r{n}") for n in range(capability.references_max))
            inputs: list[Input] = [ReferencesInput(references=some[:n]) for n in sorted({1, len(some)})]
            if capability.frames_with_references:
                inputs += [
                    ReferencesInput(references=some[:1], first_frame=first, last_frame=frame) for frame in (None, last)
                ]
            return inputs


def choices(capability: Capability, field: str, declared: frozenset[Any]) -> list[Any]:
    """The values that a field accepts, preceded by the value that means "not asked"."""
    return [*sorted(declared), *({capability.defaults.get(field)} - declared)]


def images_forms(capability: Capability) -> list[str]:
    return [URL, BASE64] if ImageTransport.BASE64 in capability.image_transports else [URL]


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
    """Options to try: none; then, for a row whose rules need some, a likely value or the one of an exchange."""
    yield {}
    for option, value in product(sorted(capability.options), OPTION_VALUES):
        yield {option: value}
    for request in (read(path).call.request for path in paths_of(adapter.name)):
        if request is not None and request.get("options", {}).keys() <= capability.options.keys():
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
        requests = [
            UpstreamRequest(
                attempt_id="att_1",
                model=model,
                capability_name=model,
                prompt=prompt,
                input=value,
                settings=settings,
                kind=capability.kind,
                options=options,
                variant=adapter.variants[0],
            )
            for image in images_forms(capability)
            for value in inputs_of(kind, capability, image)
            for settings in grid
        ]
        return [request for request in requests if fits(capability, request)]

    allowed: list[UpstreamRequest] = next(filter(None, map(with_options, needed_options(adapter, capability))), [])
    assert allowed, f"{model}: the rules of the row leave no request of the kind {kind}; add an exchange with a submit"

    first = allowed[0]
    others: list[UpstreamRequest] = []
    for field, values in declared_parameters(capability).items():
        others += [structs.replace(first, settings=structs.replace(first.settings, **{field: v})) for v in values]
    for mode in capability.modes:
        others.append(structs.replace(first, settings=structs.replace(first.settings, mode=mode, resolution=None)))
    others += [structs.replace(first, count=count) for count in range(2, capability.count_max + 1)]
    others += [structs.replace(first, variant=form) for form in adapter.variants]
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
        "quality": tuple(sorted(capability.qualities)),
        "output_format": tuple(sorted(capability.output_formats)),
        "seed": (0, 2**31 - 1) if capability.seed else (),
        "fps": tuple(capability.fps),
        "cfg_scale": capability.cfg_scale or (),
    }


def test_requests_vary_every_setting() -> None:
    """A setting that no request varies could be declared by an adapter and never be sent."""
    by_grid = {"duration_seconds", "resolution", "aspect_ratio", "mode"}
    (adapter, *_) = ADAPTERS.values()
    capability = next(iter(adapter.capabilities.values()))[0]
    assert by_grid | set(declared_parameters(capability)) == set(Settings.__struct_fields__)


def fits(capability: Capability, request: UpstreamRequest) -> bool:
    return all(rule(request) is None for rule in capability.rules)


ROWS = [
    pytest.param(adapter, model, capability, kind, id=f"{adapter.name}-{model}-{index}-{kind}")
    for adapter in ADAPTERS.values()
    for model, rows in {**adapter.capabilities, **adapter.configurable}.items()
    for index, capability in enumerate(rows)
    for kind in sorted(capability.inputs)
]
every_row = pytest.mark.parametrize(("adapter", "model", "capability", "kind"), ROWS)


@every_adapter
def test_tables_of_an_adapter_are_complete(adapter: Adapter) -> None:
    assert adapter.capabilities
    assert all(rows and all(row.inputs for row in rows) for rows in adapter.capabilities.values())
    assert not set(adapter.capabilities) & set(adapter.configurable)
    assert all(rows and all(row.inputs for row in rows) for rows in adapter.configurable.values())
    assert set(adapter.polling_by_model) <= set(adapter.capabilities) | set(adapter.configurable)
    assert adapter.refresh_every % 2 == 0, (
        "a task without a file is refreshed in even polls, and the next one is an ordinary poll"
    )
    assert adapter.refresh_every == 0 or adapter.refresh is not None
    assert adapter.default_capability_name is None or adapter.default_capability_name in adapter.capabilities
    assert adapter.variants
    assert len(set(adapter.variants)) == len(adapter.variants)
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
        assert adapter.to_upstream(request) == call, "the same request must always give the same call"
        assert msgspec.json.encode(request) == before, "a request must not be changed"


@every_row
def test_nothing_that_was_asked_for_is_dropped(
    adapter: Adapter, model: str, capability: Capability, kind: InputKind
) -> None:
    """Two requests that ask for different things give different calls."""
    by_call: dict[bytes, UpstreamRequest] = {}
    for request in requests_of(adapter, model, capability, kind):
        if request.variant != adapter.variants[0] or request.settings.mode is not None:
            continue  # a form or a mode may express the same in another way
        call = adapter.to_upstream(request)
        sent = encoded([call.path, dict(call.query), call.json])
        twin = by_call.setdefault(sent, request)
        assert twin == request or _differ_by_a_default(twin, request), f"the same call for {twin} and {request}"
        assert request.prompt in sent.decode()


def _differ_by_a_default(this: UpstreamRequest, other: UpstreamRequest) -> bool:
    """Whether two requests differ only by a value that one of them leaves to the provider, or sets to `False`."""
    if structs.replace(this, settings=other.settings) != other:
        return False
    pairs = [(getattr(this.settings, name), getattr(other.settings, name)) for name in Settings.__struct_fields__]
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
            exchange = read(path)
            refs += adapter.task_refs(call_of(adapter, exchange), reply_of(adapter, exchange))
    assert refs
    return refs


def reads_of(adapter: Adapter) -> list[Callable[[TaskRef], HttpCall]]:
    """The functions that build a call from a task reference."""
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
@every("nasty", NASTY)
def test_hostile_id_does_not_leave_its_path(adapter: Adapter, nasty: str) -> None:
    """The provider chooses the id of a task. It must not lead to another path, host or header."""
    for ref in recorded_refs(adapter):
        for build in reads_of(adapter):
            prefix, task_id, suffix = build(structs.replace(ref, id="PLAIN")).path.partition("PLAIN")
            assert task_id, "the path of a read must contain the id"
            path = build(structs.replace(ref, id=nasty)).path

            assert path.startswith(prefix)
            assert path.endswith(suffix)
            assert_path(path)
            assert unquote(path[len(prefix) : len(path) - len(suffix)]) == nasty


@every_adapter
@every("odd", ["", " ", ".", "..", "\ud83c", "a/../b", "\n", "x" * 5000], ids=ascii)
def test_odd_id_is_unreadable_or_gives_a_safe_path(adapter: Adapter, odd: str) -> None:
    """Dots cannot be escaped: an HTTP client that normalises paths turns `/tasks/..` into another path."""
    for path in paths_of(adapter.name):
        if outcome_of(path) != "submitted":
            continue
        exchange = read(path)
        call, reply = call_of(adapter, exchange), reply_of(adapter, exchange)
        body = read_json(reply)
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
    """One call of each kind."""
    calls = [*submits_of(adapter), *(build(ref) for ref in recorded_refs(adapter) for build in reads_of(adapter))]
    calls += [] if adapter.probe is None else [adapter.probe()]
    calls += [] if adapter.cancel is None else [adapter.cancel(ref) for ref in recorded_refs(adapter)]
    return calls if adapter.upload is None else [*calls, adapter.upload(PICTURE)]


@every_adapter
def test_a_credential_shows_in_headers_alone_and_only_once_authorized(adapter: Adapter) -> None:
    secrets = {name: SECRET for name in adapter.secrets if name != API_KEY}
    credential = Credential(api_key=SECRET if API_KEY in adapter.secrets else "", secrets=secrets)
    assert SECRET not in repr(credential)
    for call in calls_of(adapter):
        assert not OF_CREDENTIALS & {name.lower() for name in call.headers}
        before = copy.deepcopy(call)
        authorized = adapter.authorize(call, credential, datetime(2026, 1, 1, tzinfo=UTC))

        assert call == before, "a call must not be changed"
        assert structs.replace(authorized, headers=call.headers) == call, "only headers may be added"
        assert call.headers.items() <= authorized.headers.items()
        added = authorized.headers.items() - call.headers.items()
        assert added
        assert all(name.isascii() and "\n" not in value for name, value in added)


@every_adapter
def test_a_test_of_the_key_is_a_read_that_no_submit_uses(adapter: Adapter) -> None:
    assert (adapter.probe is None) is (adapter.read_probe is None)
    if adapter.probe is None:
        return
    call = adapter.probe()

    assert call.method == "GET"
    assert_path(call.path)
    assert (call.json, call.file) == (None, None)
    assert call.path not in {submit.path for submit in submits_of(adapter)}
    assert adapter.probe() == call


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


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_every_option_has_a_shape_that_refuses_what_nobody_has_read(name: str) -> None:
    adapter = ADAPTERS[name]
    tables = (adapter.capabilities, adapter.configurable)
    rows = [row for table in tables for model in table.values() for row in model]
    for option, shape in {option: shape for row in rows for option, shape in row.options.items()}.items():
        assert schema_of(shape)
        odd_values: list[Any] = [{"an_unknown_field": "x"}, [{"an_unknown_field": "x"}], "x" * 20_000, None, 1e300]
        if not isinstance(shape, Text):
            odd_values.append("http://10.0.0.1/")
        for odd in odd_values:
            with pytest.raises(OptionFault) as caught:
                read_option(shape, odd, f"provider_options.{name}.{option}", lambda _: "is not public")
            assert caught.value.path.startswith(f"provider_options.{name}.{option}")
    for request in filter(None, (read(path).call.request for path in paths_of(name))):
        for option, value in request.get("options", {}).items():
            shapes = [row.options[option] for row in rows if option in row.options]
            assert read_option(shapes[0], value, option, lambda _: None) == value
