"""The table of formats: every generation, however it has ended, has a body that the clients of each API can read."""

import hmac
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.api.dialects.foxapi import FoxTask
from gateway.api.dialects.keevx import KeevxImageTask, KeevxVideoTask
from gateway.api.dialects.kling.views import KlingTask
from gateway.api.dialects.webhook_formats import OpenRouterEvent, webhook_formats
from gateway.api.web.links import Links
from gateway.api.webhooks.events import OpenAIEvent, WebhookEvent
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Failed, Status
from gateway.domain.generation.model import Generation, GenerationRequest, Output, Plan, Route, WebhookFormat
from gateway.domain.webhooks import Delivery, format_of, notices_to_endpoint, notices_to_own_url
from gateway.tokens import Signer

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FORMATS = webhook_formats(Links("https://gateway.example", Signer(bytes(32))))
KINDS: dict[str, Any] = {
    "own": WebhookEvent,
    "openai": OpenAIEvent,
    "kling": KlingTask,
    "openrouter": OpenRouterEvent,
    "foxapi": FoxTask,
}
FAILED = Failed(kind=FailureKind.CONTENT_POLICY, message="It was refused.")
ENDS = st.sampled_from([status for status in Status if status.terminal])
DELIVERY = Delivery(
    id="dlv_1",
    key="alice",
    event_id="evt_1",
    type="webhook.test",
    url="https://a.example/",
    created_at=NOW,
    endpoint_id="whe_1",
)


def output(index: int, status: Status) -> Output:
    if status is Status.COMPLETED:
        return Output(index=index, status=status, artifact=Artifact(url=f"https://cdn.example/{index}.mp4"))
    return Output(index=index, status=status, failure=FAILED if status is Status.FAILED else None)


@st.composite
def generations(draw: st.DrawFn) -> Generation:
    """Generations that have ended, with outputs that ended in various ways."""
    statuses = draw(st.lists(ENDS, min_size=1, max_size=4))
    status = draw(ENDS)
    kind = draw(st.sampled_from(["video", "image"]))
    words = draw(st.sampled_from([None, *get_args(WebhookFormat)]))
    request = GenerationRequest(
        model="hero",
        input=TextInput(),
        kind=kind,
        count=len(statuses),
        webhook_url="https://a.example/",
        webhook_format=words,
    )
    return Generation(
        id="gen_01JDKQ00000000000000000000",
        owner="alice",
        kind=kind,
        request=request,
        plan=Plan(routes=(Route(provider="keevx", model="V", capability_name="V"),)),
        status=status,
        created_at=NOW,
        deadline_at=NOW,
        completed_at=NOW,
        outputs=tuple(output(index, each) for index, each in enumerate(statuses)),
        failure=FAILED if status is Status.FAILED else None,
    )


def check(name: str, body: Any, generation: Generation, index: int | None) -> None:
    """Read a body as a client of this API does."""
    if name != "keevx":
        read = msgspec.convert(body, KINDS[name])
        assert msgspec.json.decode(msgspec.json.encode(read)) == body
        return
    task: Any = msgspec.convert(body["data"], KeevxImageTask if generation.kind == "image" else KeevxVideoTask)
    is_done = generation.outputs[index or 0].status is Status.COMPLETED
    assert task.status == ("SUCCEEDED" if is_done else "FAILED")
    assert "duration" not in body["data"]


@given(generations())
def test_every_end_has_a_body_in_the_words_that_were_asked_for(generation: Generation) -> None:
    own = notices_to_own_url(generation, generation.status)
    listed = notices_to_endpoint(generation, generation.status, ("*", "video.completed", "video.failed"))
    for notice, endpoint in [*((notice, None) for notice in own), *((notice, "whe_1") for notice in listed)]:
        delivery = replace(
            DELIVERY,
            event_id=notice.event_id,
            type=notice.type,
            generation_id=generation.id,
            output=notice.output,
            endpoint_id=endpoint,
        )
        name = format_of(delivery, generation)
        assert name in ({"own", "openai"} if endpoint else {generation.request.webhook_format or "own"})
        body = msgspec.json.decode(msgspec.json.encode(FORMATS[name].body(delivery, generation)))
        check(name, body, generation, notice.output)
    assert len(own) == (generation.request.count if generation.request.webhook_format == "keevx" else 1)
    assert len(listed) == (2 if generation.kind == "video" else 1)
    for notices in (own, listed):  # a receiver drops an event whose id it has seen
        assert len({notice.event_id for notice in notices}) == len(notices)


@pytest.mark.parametrize("secrets", [("whsec_new",), ("whsec_new", "whsec_old")])
def test_openrouters_signature_has_one_part_for_each_secret(secrets: tuple[str, ...]) -> None:
    delivery = replace(DELIVERY, type="video.generation.expired", generation_id="gen_01JDKQ00000000000000000000")
    headers = FORMATS["openrouter"].headers(delivery, "[1]", secrets, NOW)

    timestamp = int(NOW.timestamp())
    parts = [f"v1={hmac.new(secret.encode(), f'{timestamp},[1]'.encode(), sha256).hexdigest()}" for secret in secrets]
    assert headers["x-openrouter-signature"] == ",".join([f"t={timestamp}", *parts])
    assert headers["x-openrouter-idempotency-key"] == "or_01JDKQ00000000000000000000-expired"


def test_a_test_has_no_generation_and_needs_none() -> None:
    assert format_of(DELIVERY, None) == "own"
    assert format_of(replace(DELIVERY, type="video.failed"), None) == "openai"
    for name in get_args(WebhookFormat):
        with pytest.raises(LookupError):
            FORMATS[name].body(DELIVERY, None)
