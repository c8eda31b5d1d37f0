"""The generations that the examples of answers show: one of each kind, at each moment of its life.

The views make the examples of them, so that an example is what a client really gets: ids, times, statuses, costs and
URLs fit one another.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec.structs import replace

from gateway.api.web.links import Links
from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import Kind, Settings, TextInput
from gateway.domain.adapter.task import Artifact, Status, TaskRef
from gateway.domain.adapter.upstream_answer import Charge, UpstreamAnswer
from gateway.domain.generation.model import (
    ArchivedFile,
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Route,
    Task,
)
from gateway.tokens import Signer

Moment = Literal["queued", "completed", "cancelled"]

MODEL: Mapping[Kind, str] = {"video": "kling", "image": "keevx/image"}
PROMPT = "Waves on the beach"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST_ID = "req_0190a6f2c3e47b1f8d5a6c7b8e9f0a1b"
LINKS = Links("https://video.example.com", Signer(b"the key of the examples, 32 byte"))
_ID: Mapping[Kind, str] = {"video": "gen_01KDVDNA002T9M4X7QW3K8ZB5C", "image": "gen_01KDVDNA00Y6R1F8HJ2P4N7D3E"}
_ATTEMPT = "att_01KDVDNA00C8V5M2K9X4Z7TQ1B"
_SETTINGS: Mapping[Kind, Settings] = {
    "video": Settings(duration_seconds=5, resolution="720p", aspect_ratio="16:9"),
    "image": Settings(quality="1K", aspect_ratio="1:1", mode="std"),
}
_ROUTE: Mapping[Kind, Route] = {
    "video": Route(
        provider="kling_relay",
        model="kling-v1-6",
        capability_name="kling-v1-6",
        settings=_SETTINGS["video"],
        cost_usd=0.28,
    ),
    "image": Route(
        provider="keevx", model="image", capability_name="image", settings=_SETTINGS["image"], cost_usd=0.04
    ),
}
_FILE: Mapping[Kind, ArchivedFile] = {
    "video": ArchivedFile(
        name="0-1.mp4",
        bytes=4_812_004,
        sha256="9f2c4e1ab0d37c658e21f4a96d0b7c35e8a1d24f6b90c37e5d18a2f4b6c07e93",
        content_type="video/mp4",
        kept_until=CREATED + timedelta(days=30),
        duration_seconds=5.0,
        width=1280,
        height=720,
        thumbnail="0-1.jpg",
        thumbnail_type="image/jpeg",
    ),
    "image": ArchivedFile(
        name="0-1.png",
        bytes=1_204_118,
        sha256="4b6c07e939f2c4e1ab0d37c658e21f4a96d0b7c35e8a1d24f6b90c37e5d18a2f",
        content_type="image/png",
        kept_until=CREATED + timedelta(days=30),
        width=1024,
        height=1024,
    ),
}


def sample_generation(kind: Kind, moment: Moment) -> Generation:
    """Return the generation of a kind just after its create, completed, or cancelled before it was sent."""
    queued = Generation(
        id=_ID[kind],
        owner="key",
        kind=kind,
        request=GenerationRequest(
            model=MODEL[kind], input=TextInput(), kind=kind, prompt=PROMPT, settings=_SETTINGS[kind]
        ),
        plan=Plan(routes=(_ROUTE[kind],)),
        status=Status.QUEUED,
        created_at=CREATED,
        deadline_at=CREATED + timedelta(hours=1),
        outputs=(Output(index=0),),
    )
    if moment == "queued":
        return queued
    ended = CREATED + timedelta(seconds=3 if moment == "cancelled" else 64)
    if moment == "cancelled":
        output = Output(index=0, status=Status.CANCELLED)
        return replace(queued, status=Status.CANCELLED, outputs=(output,), completed_at=ended)
    route = _ROUTE[kind]
    return replace(
        queued,
        status=Status.COMPLETED,
        progress=1.0,
        provider=route.provider,
        provider_model=route.model,
        completed_at=ended,
        attempts=(_attempt(),),
        outputs=(
            Output(
                index=0,
                status=Status.COMPLETED,
                attempt_id=_ATTEMPT,
                artifact=Artifact(url=f"https://files.example.com/{kind}s/beach.{_FILE[kind].name.rpartition('.')[2]}"),
                kept=_FILE[kind],
                expires_at=CREATED + timedelta(days=7),
            ),
        ),
    )


def _attempt() -> Attempt:
    """Return the one attempt of a completed generation."""
    return Attempt(
        id=_ATTEMPT,
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.COMPLETED,
        reserved_at=CREATED,
        sent_at=CREATED + timedelta(seconds=1),
        accepted_at=CREATED + timedelta(seconds=2),
        ended_at=CREATED + timedelta(seconds=62),
        tasks=(Task(ref=TaskRef("831922345719271433"), slot=0, status=Status.COMPLETED, progress=1.0),),
        billed=Billed.YES,
        upstream=UpstreamAnswer(status=200, request_id="CjMkWmdJhu8AAAAAA", charge=Charge(28.0, "quota")),
    )
