"""Every body of a dialect has a meaning or is refused, and every state of a generation has a shape in each of them."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from gateway.api.dialects import foxapi, keevx, openai_videos, openrouter, xai
from gateway.api.dialects.kling.new_api import read_view as new_api_view
from gateway.api.dialects.kling.views import answer_of
from gateway.api.generations.create_request import normalise
from gateway.api.generations.creating import Fields
from gateway.api.generations.foxapi_fields import OPTIONS, with_options
from gateway.api.openapi import document as openapi
from gateway.api.web.json_body import parse_json
from gateway.api.web.links import Links
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status
from gateway.domain.errors import GatewayError
from gateway.domain.generation.model import GenerationRequest
from gateway.tokens import Signer

from ...domain.generation.test_lifecycle_properties import Life

CAT = "https://a.example/cat.png"
LINKS = Links("https://gateway.example", Signer(bytes(32)))
READS: dict[str, tuple[Callable[[Mapping[str, object]], Fields], Kind]] = {
    "ours": (with_options, "video"),
    "openai": (openai_videos.fields, "video"),
    "openrouter": (openrouter.fields, "video"),
    "xai": (xai.fields, "video"),
    "xai images": (xai.image_fields, "image"),
    "foxapi": (foxapi.fields, "video"),
}
NAMES = [
    *("model", "prompt", "seconds", "size", "input_reference", "image", "images", "last_frame", "reference_images"),
    *("duration", "aspect_ratio", "resolution", "quality", "response_format", "sync_mode", "n", "keyframes", "video"),
    *("image_urls", "start_image_url", "end_image_url", "provider_options", "callback_url", "frame_images", "provider"),
    *OPTIONS,
]
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from([CAT, "720p", "16:9", "1280x720", "2k", "5", {"url": CAT}, {"url": CAT, "type": "image_url"}]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["url", "type", "foxapi", "options"]) | st.text(max_size=5), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("dialect", READS)
@given(body=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=12), ANYTHING, max_size=6))
@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
def test_any_body_has_a_meaning_or_is_refused(dialect: str, body: dict[str, Any]) -> None:
    result = outcome(*READS[dialect], json.dumps({"model": "m", **body}).encode())
    if isinstance(result, GatewayError):
        assert 400 <= result.status < 500
        msgspec.json.encode([result.detail, result.param])
    else:
        assert msgspec.json.decode(msgspec.json.encode(result), type=GenerationRequest) == result


def outcome(read: Callable[[Mapping[str, object]], Fields], kind: Kind, raw: bytes) -> GenerationRequest | GatewayError:
    try:
        return normalise(read(parse_json(raw, "application/json", None)), str, kind=kind).request
    except GatewayError as error:
        return error


class Shown(Life):
    """Any life of a generation, looked at through every dialect."""

    @invariant()
    def every_dialect_shows_it(self) -> None:
        if not hasattr(self, "world"):
            return
        shown = self.world.generation
        is_open, is_done = not shown.status.terminal, shown.status is Status.COMPLETED
        openai = _decoded(openai_videos.video_view(shown))
        assert (openai.status in {"queued", "in_progress"}) == is_open
        assert (openai.status == "completed") == is_done
        assert (openai.error is not None) == (openai.status == "failed")
        x = _decoded(xai.read_view(shown, LINKS))
        assert (x.status == "pending") == is_open
        assert (x.status == "done") == is_done
        fox = _decoded(foxapi.task_view(shown, LINKS, 45))
        assert (fox.status in {"pending", "processing"}) == is_open
        assert (fox.results is not None) == is_done
        router = _decoded(openrouter.read_view(shown, LINKS))
        assert (router.status in {"pending", "in_progress"}) == is_open
        assert (router.status == "completed") == is_done
        _decoded(openrouter.started_view(shown, LINKS))
        kling = _decoded(answer_of(shown, LINKS, "req_1"))
        assert (kling.data.task_status in {"submitted", "processing"}) == is_open
        assert (kling.data.task_status == "succeed") == is_done
        relay = _decoded(new_api_view(shown, LINKS, "req_1"))
        assert (relay.data.status in {"QUEUED", "IN_PROGRESS"}) == is_open
        assert (relay.data.status == "SUCCESS") == is_done
        for output in shown.outputs:
            task = _decoded(keevx.task_view(shown, output.index, LINKS))
            assert (task.status in {"PENDING", "PROCESSING"}) == (not output.status.terminal)
            assert bool(task.video_url) == (task.status == "SUCCEEDED")
            assert bool(task.error_message) == (task.status == "FAILED")


def _decoded(view: Any) -> Any:
    """The view as a client reads it, checked against its own type and against the schema that is published for it."""
    raw = msgspec.json.encode(view)
    read = msgspec.json.decode(raw, type=type(view))
    assert read == view
    faults = [str(fault) for fault in _schema(type(view).__name__).iter_errors(json.loads(raw))]
    assert not faults, faults
    return read


@cache
def _schema(name: str) -> jsonschema_rs.Draft202012Validator:
    document = openapi.document()
    assert name in document["components"]["schemas"]
    schema = {"components": document["components"], "$ref": f"#/components/schemas/{name}"}
    return jsonschema_rs.Draft202012Validator(schema)


TestShown = Shown.TestCase
TestShown.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    suppress_health_check=list(HealthCheck),
    deadline=timedelta(seconds=60),
)
