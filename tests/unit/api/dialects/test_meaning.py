"""What a field of a dialect's body means: it reaches the request, asks for what happens anyway, or is refused by name.

So no field is dropped silently, and the order of the fields does not matter. The same request in the words of two APIs
is the same request: otherwise a repeat through another client would buy a second video.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from gateway.api.dialects import foxapi, keevx, openai_videos, openrouter, xai
from gateway.api.dialects.kling.requests import UNIVERSAL
from gateway.api.dialects.kling.views import KlingError, kling_error
from gateway.api.generations.create_request import normalise
from gateway.api.generations.creating import Read, own_fields
from gateway.api.generations.foxapi_fields import OPTIONS, with_options
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo, openai_error
from gateway.api.web.json_body import parse_json
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import GatewayError
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.parameters.spellings import boolean, is_empty, is_unasked, number

A, B, C = "https://a.example/a.png", "https://a.example/b.png", "https://a.example/c.png"
BASE = {"model": "m", "prompt": "p"}
QUICK = settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)


# What Kling can switch on, and no create of the gateway has.
SWITCHES = ("camera_control", "dynamic_masks", "element_list", "multi_prompt", "multi_shot", "shot_type", "static_mask")
SWITCHES += ("voice_list", "watermark_info")


class Spoken(Struct, frozen=True, kw_only=True):
    """A dialect, as far as its bodies and its errors go."""

    read: Read
    error: Callable[[ErrorInfo], ErrorAnswer]
    body: type[Struct] | None = None  # what it documents
    error_body: Any = None
    kind: Kind = "video"
    defaults: Mapping[str, Any] = {}  # values that ask for what happens anyway, because the API documents them


DIALECTS = {
    "ours": Spoken(read=with_options, error=openai_error),
    "our images": Spoken(read=own_fields, error=openai_error, kind="image"),
    "openai": Spoken(read=openai_videos.fields, error=openai_error, body=openai_videos.OpenAIVideoCreate),
    "openrouter": Spoken(
        read=openrouter.fields,
        error=openrouter.error,
        body=openrouter.OpenRouterCreate,
        error_body=openrouter.OpenRouterErrorAnswer,
    ),
    "xai": Spoken(read=xai.fields, error=xai.error, body=xai.XaiCreate, error_body=xai.XaiError),
    "xai images": Spoken(
        read=xai.image_fields, error=xai.error, body=xai.XaiCreateImages, error_body=xai.XaiError, kind="image"
    ),
    "foxapi": Spoken(read=foxapi.fields, error=foxapi.error, error_body=foxapi.FoxErrorAnswer),
    "keevx": Spoken(
        read=keevx.KEEVX.read, error=keevx.video_error, body=keevx.KeevxCreateVideo, error_body=keevx.KeevxError
    ),
    "keevx images": Spoken(
        read=keevx.KEEVX_IMAGES.read,
        error=keevx.image_error,
        body=keevx.KeevxCreateImage,
        error_body=keevx.KeevxError,
        kind="image",
    ),
    "kling": Spoken(
        read=UNIVERSAL,
        error=kling_error,
        error_body=KlingError,
        defaults={"cfg_scale": 0.5, **dict.fromkeys(SWITCHES, False)},
    ),
}
SCALARS = st.none() | st.booleans() | st.integers(-1, 9000) | st.floats() | st.text(max_size=6)
USUAL: list[Any] = [
    *(A, "720p", "1080p", "16:9", "1280x720", "1024x1024", "2k", "2K", "hd", "auto", "std", "pro", "png", "b64_json"),
    *(5, "5", "10", 0.5, 1, "1", True, False, "true", "none", "nearest", "url", "low", "opaque", 100, 0),
    {"url": A},
    {"url": A, "type": "image_url"},
    {"image_url": A},
    [A, B],
    [{"url": A}],
    [{"type": "image_url", "image_url": {"url": A}, "frame_type": "first_frame"}],
    [{"type": "image_url", "image_url": {"url": A}}],
    {"options": {"foxapi": {"voice_ids": ["v"]}}},
    {"foxapi": {"voice_ids": ["v"]}},
    {"a": "b"},
    "https://hook.example/x",
]
PLAUSIBLE = st.sampled_from(USUAL)
ANYTHING = st.recursive(
    SCALARS | PLAUSIBLE,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["url", "options", "image_url", "type"]) | st.text(max_size=4), inner, max_size=2
        )
    ),
    max_leaves=5,
)


def names_of(spoken: Spoken) -> list[str]:
    """Every name that a body of the dialect may have, and some that it may not."""
    own = () if spoken.body is None else spoken.body.__struct_fields__
    both = {*PARAMETERS_OF["video"].by_name, *PARAMETERS_OF["image"].by_name, *OPTIONS, *own}
    both |= {
        "frame_images",
        "input_references",
        "keyframes",
        "previous_job_id",
        "style",
        "mask",
        "sound",
        "images",
        *SWITCHES,
    }
    return sorted(both - {"model", "model_name", "prompt"})


def outcome(spoken: Spoken, body: Mapping[str, Any]) -> GenerationRequest | GatewayError:
    try:
        fields = spoken.read(parse_json(json.dumps(body).encode(), "application/json", None))
        return normalise(fields, str, kind=spoken.kind).request
    except GatewayError as error:
        return error


BASES = {name: outcome(spoken, BASE) for name, spoken in DIALECTS.items()}


def asks_for_nothing(name: str, value: Any) -> bool:
    """Whether a value asks for what happens anyway."""
    if is_empty(value) or is_unasked(value):
        return True
    match name:
        case "n" | "generate_count":
            return number(value) == 1
        case "stream" | "sync_mode":
            return boolean(value) is (name == "sync_mode")
        case "fallback" | "fallbacks":
            return boolean(value) is True
        case "response_format":  # how the answer is written is not a part of the request
            return isinstance(value, str) and value.strip().lower() in {"url", "b64_json"}
        case "background" | "moderation" | "input_fidelity":
            return str(value).strip().lower() in {"auto", "opaque", "low"}
        case "output_compression" | "partial_images":
            return number(value) in {0, 100}
        case _:
            return name in SWITCHES and switches_off(value)


def switches_off(value: Any) -> bool:
    """Whether a value of Kling's is empty, or has nothing in it that is on: `false`, `{"enabled": false}`."""
    if isinstance(value, Mapping):
        return all(map(switches_off, value.values()))
    return value is False or value == [] or is_empty(value)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
@QUICK
def test_no_field_is_dropped(dialect: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names_of(DIALECTS[dialect])) | st.text(min_size=1, max_size=8))
    value = data.draw(ANYTHING)
    if name not in {"model", "model_name", "prompt"}:
        check_field(dialect, name, value)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_usual_value_of_a_field_is_dropped(dialect: str) -> None:
    for name in names_of(DIALECTS[dialect]):
        for value in USUAL:
            check_field(dialect, name, value)


BLANK: list[Any] = [None, "", " ", {}, [], [None], [""], [{}], [None, {}], {"url": ""}, {"data": {}}, [{"data": {}}]]


def test_what_xai_and_keevx_read_as_absent_is_in_the_document() -> None:
    document = json.loads((Path(__file__).parents[4] / "openapi" / "openapi.json").read_text())
    spoken = [each for each in DIALECTS.values() if each.read not in {openai_videos.fields, openrouter.fields}]
    for body, each in [(each.body, each) for each in spoken if each.body is not None]:
        schema = {"$ref": f"#/components/schemas/{body.__name__}", "components": document["components"]}
        described = jsonschema.Draft202012Validator(schema)
        for name in body.__struct_fields__:
            for value in BLANK:
                sent = {**BASE, name: value}
                is_read = not isinstance(outcome(each, sent), GatewayError)
                # A generator could not use a blank name of an enumeration, or a text beside a list.
                is_shown = name != "response_format" and not (name == "reference_images" and isinstance(value, str))
                if is_read and is_shown:
                    assert described.is_valid(sent), (body.__name__, name, value)


def check_field(dialect: str, name: str, value: Any) -> None:
    """A field reaches the request, asks for what happens anyway, or is refused by name."""
    spoken = DIALECTS[dialect]
    with_it = outcome(spoken, {**BASE, name: value})
    if isinstance(with_it, GatewayError):
        check_refusal(spoken, with_it)
        return
    is_default = name in spoken.defaults and value == spoken.defaults[name]
    assert with_it != BASES[dialect] or is_default or asks_for_nothing(name, value), (name, value)


def check_refusal(spoken: Spoken, error: GatewayError) -> None:
    """A refusal is a 4xx in the dialect's form, which names a field."""
    assert 400 <= error.status < 500
    assert error.param, error.detail
    info = ErrorInfo(error.status, error.detail, error.type, error.code, error.param, error.members, "req_1")
    answer = spoken.error(info)
    assert 400 <= answer.status < 500
    raw = msgspec.json.encode(answer.body)
    if spoken.error_body is not None:
        assert msgspec.json.encode(msgspec.json.decode(raw, type=spoken.error_body)) == raw
    assert any(error.param in text for text in texts(json.loads(raw))), (error.param, raw)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(inner)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
@QUICK
def test_the_order_of_the_fields_does_not_matter(dialect: str, data: st.DataObject) -> None:
    spoken = DIALECTS[dialect]
    body = {**BASE, **data.draw(st.dictionaries(st.sampled_from(names_of(spoken)), PLAUSIBLE, max_size=4))}
    names = data.draw(st.permutations(sorted(body)))
    first, second = outcome(spoken, body), outcome(spoken, {name: body[name] for name in names})
    if isinstance(first, GenerationRequest):
        assert first == second
    else:
        assert isinstance(second, GatewayError)


def frame(url: str, frame_type: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, "frame_type": frame_type}


def look(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


HOOK = "https://hook.example/x"
OPTION = {"foxapi": {"voice_ids": ["v"]}}
COMMON: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *(({name: value}, {name: value}) for name, value in (("duration", 5), ("aspect_ratio", "9:16"), ("n", 2))),
    *(({name: value}, {name: value}) for name, value in (("seed", 7), ("negative_prompt", "rain"), ("user", "u"))),
    *(({name: None}, {}) for name in ("seed", "n", "user", "callback_url", "provider_options")),
    ({"generate_audio": "yes"}, {"generate_audio": True}),
    ({"resolution": "1080p"}, {"resolution": "1080p"}),
    ({"size": "1280x720"}, {"resolution": "720p", "aspect_ratio": "16:9"}),
    ({"callback_url": HOOK}, {"webhook_url": HOOK}),
    ({"provider_options": OPTION}, {"provider_options": OPTION}),
]
# Dialect → parts of its body, and the same in our fields. Any parts that have no field in common make a body.
SAME: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "openai": [
        *COMMON,
        ({"seconds": "5"}, {"duration": 5}),
        ({"input_reference": {"image_url": A}}, {"image": A}),
        ({"input_reference": A}, {"image": A}),
        ({"input_reference": {"file_id": "file_1"}}, {"image": "file_1"}),
        ({"reference_images": [B]}, {"reference_images": [B]}),
    ],
    "openrouter": [
        *COMMON,
        ({"frame_images": [frame(A, "first_frame")]}, {"image": A}),
        ({"frame_images": [frame(B, "last_frame"), frame(A, "first_frame")]}, {"image": A, "last_image": B}),
        ({"frame_images": [frame(B, "last_frame")]}, {"last_image": B}),
        ({"frame_images": [], "trace": None, "creativity": ""}, {}),
        ({"input_references": [look(B), look(C)]}, {"reference_images": [B, C]}),
        ({"provider": {"options": OPTION, "only": []}}, {"provider_options": OPTION}),
        ({"session_id": "s"}, {"metadata": {"session_id": "s"}}),
    ],
    "xai": [
        *COMMON,
        ({"image": {"url": A}}, {"image": A}),
        ({"image": {"url": A, "type": "image_url"}, "last_frame": {"url": B}}, {"image": A, "last_image": B}),
        ({"last_frame": B}, {"last_image": B}),
        ({"reference_images": [{"url": B}, C]}, {"reference_images": [B, C]}),
        ({"keyframes": [], "storage_options": None}, {}),
    ],
    "foxapi": [
        *COMMON,
        ({"quality": "1080p"}, {"resolution": "1080p"}),
        ({"image_url": A, "image_tail_url": B}, {"image": A, "last_image": B}),
        ({"start_image_url": A, "end_image_url": B}, {"image": A, "last_image": B}),
        ({"image_urls": [B, C]}, {"reference_images": [B, C]}),
        ({"image_urls": None, "elements": [], "shot_type": ""}, {}),
        ({"voice_ids": ["v"], "generate_audio": True}, {"provider_options": OPTION, "generate_audio": True}),
    ],
    "keevx": [
        *COMMON,
        ({"generate_count": 2}, {"n": 2}),
        ({"aspect_resolution": "720p"}, {"resolution": "720p"}),
        ({"image_url": A, "end_image_url": B}, {"image": A, "last_image": B}),
        ({"end_image_url": B}, {"last_image": B}),
        ({"reference_images": [B, C]}, {"reference_images": [B, C]}),
    ],
    "kling": [
        *(part for part in COMMON if "provider_options" not in part[0]),
        ({"sound": "on"}, {"generate_audio": True}),
        ({"duration": "5", "mode": "pro"}, {"duration": 5, "mode": "pro"}),
        ({"image": A, "image_tail": B}, {"image": A, "last_image": B}),
        (
            {"images": [A], "metadata": {"image_tail": B, "k": "v"}},
            {"image": A, "last_image": B, "metadata": {"k": "v"}},
        ),
        ({"cfg_scale": 0.5, "external_task_id": "e"}, {"metadata": {"external_task_id": "e"}}),
        ({"width": 1280, "height": 720}, {"resolution": "720p", "aspect_ratio": "16:9"}),
    ],
    "our images": [
        ({"image": A}, {"reference_images": [A]}),
        ({"image": [A, B]}, {"reference_images": [A, B]}),
        ({"size": "2048x2048"}, {"quality": "2K", "aspect_ratio": "1:1"}),
        ({"size": "1024x1024", "quality": "high"}, {"quality": "1K", "aspect_ratio": "1:1"}),
        ({"quality": "hd"}, {"quality": "2K"}),
        ({"background": "auto", "moderation": "auto", "partial_images": 0, "response_format": "b64_json"}, {}),
        ({"output_format": "jpg", "n": "3"}, {"output_format": "jpeg", "n": 3}),
    ],
    "xai images": [
        ({"resolution": "2k"}, {"quality": "2K"}),
        ({"images": [{"url": A}, {"url": B}]}, {"reference_images": [A, B]}),
        ({"image": {"url": A, "type": "image_url"}}, {"reference_images": [A]}),
        ({"sync_mode": True, "response_format": "b64_json"}, {}),
        ({"aspect_ratio": "1:1", "n": 2}, {"aspect_ratio": "1:1", "n": 2}),
    ],
    "keevx images": [
        ({"module": "pro"}, {"mode": "pro"}),
        ({"image_quality": "4K", "image_ratio": "21:9"}, {"quality": "4K", "aspect_ratio": "21:9"}),
        ({"generate_count": 8, "callback_url": HOOK}, {"n": 8, "webhook_url": HOOK}),
        ({"reference_images": [A, B]}, {"reference_images": [A, B]}),
        ({"reference_images": []}, {}),
    ],
}


def without_spelling(request: Any) -> Any:
    """The request without the words for the size of images, which only a warning about a changed size needs."""
    return replace(request, size=None, plain_quality=None) if isinstance(request, GenerationRequest) else request


@pytest.mark.parametrize("dialect", SAME)
@given(data=st.data())
@QUICK
def test_a_body_is_the_same_request_as_in_our_fields(dialect: str, data: st.DataObject) -> None:
    spoken = DIALECTS[dialect]
    theirs, ours = dict(BASE), dict(BASE)
    for their_part, our_part in data.draw(st.lists(st.sampled_from(SAME[dialect]), max_size=5)):
        if theirs.keys().isdisjoint(their_part) and ours.keys().isdisjoint(our_part):
            theirs, ours = {**theirs, **their_part}, {**ours, **our_part}
    wanted = outcome(DIALECTS["ours" if spoken.kind == "video" else "our images"], ours)
    given_request = outcome(spoken, theirs)
    if isinstance(wanted, GenerationRequest):
        assert without_spelling(given_request) == without_spelling(wanted), (theirs, given_request)
    else:
        assert isinstance(given_request, GatewayError)
        assert given_request.status == wanted.status
        assert given_request.param in theirs or given_request.param in {f"{name}[0].image_url" for name in theirs}
        check_refusal(spoken, given_request)


# A path that several clients use → the dialect that reads the bodies there, and the clients.
SHARED = [("ours", "xai"), ("ours", "foxapi"), ("openai", "openrouter"), ("our images", "xai images")]


@pytest.mark.parametrize(("reader", "client"), SHARED)
@given(data=st.data())
@QUICK
def test_a_body_at_a_shared_path_means_the_same_or_is_refused(reader: str, client: str, data: st.DataObject) -> None:
    body = dict(BASE)
    for part, _ in data.draw(st.lists(st.sampled_from(SAME[client]), max_size=4)):
        body = {**part, **body}
    shared, own = outcome(DIALECTS[reader], body), outcome(DIALECTS[client], body)
    if isinstance(shared, GatewayError):
        check_refusal(DIALECTS[reader], shared)
    else:
        assert shared == own
    if client == "openrouter" and not openrouter.MARKS.isdisjoint(body):  # the path tells this dialect by these fields
        assert isinstance(shared, GatewayError)
