"""The examples of answers. The views make them from `sample_generations`; other objects are written out here.

A structure that has no entry here, such as a page of a list, is filled by its schema: see `samples.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from gateway.api.admin.deliveries import AdminDelivery
from gateway.api.admin.generation_views import (
    AdminEvent,
    AdminGeneration,
    AdminGenerationDetails,
    admin_details,
    admin_view,
    event_view,
)
from gateway.api.admin.provider_views import AdminProvider, CallsView, CircuitView, ProviderModelView
from gateway.api.attempts.views import AdminAttempt
from gateway.api.clients.views import client_view, key_view
from gateway.api.configuration import AdminConfiguration, Reloaded
from gateway.api.dialects import foxapi, keevx, openai_videos, openrouter, xai
from gateway.api.dialects.dialect import Dialect
from gateway.api.dialects.foxapi_uploads import FoxFile
from gateway.api.dialects.keevx_upload import KeevxFile, KeevxUploaded
from gateway.api.dialects.kling.new_api import NewApiRead, NewApiStarted
from gateway.api.dialects.kling.new_api import read_view as new_api_read
from gateway.api.dialects.kling.views import KlingAnswer, KlingCosts, KlingTasks, answer_of, task_of
from gateway.api.files import FileView
from gateway.api.generations.created_view import CreatedView, created_view
from gateway.api.generations.event_feed import EventView
from gateway.api.generations.public_ids import KLING, OPENAI, public_id
from gateway.api.generations.quote import BudgetView, QuotedRoute, QuoteView
from gateway.api.generations.request_echo import SettingsView, settings_view
from gateway.api.generations.upstream_answer import upstream_view
from gateway.api.generations.views import Deleted, GenerationView, generation_view
from gateway.api.health import Health
from gateway.api.images.answer import TICKS_OF_USD, ImagesAnswer, ImagesUsage, ImageView
from gateway.api.models.views import model_view
from gateway.api.openapi.sample_generations import CREATED, LINKS, REQUEST_ID, Moment, sample_generation
from gateway.api.purchases import AdminPurchase
from gateway.api.restored.controller import restored_view
from gateway.api.restored.views import RestoredGeneration
from gateway.api.webhooks.events import OpenAIEvent, OpenAIEventData, TestedEndpoint, WebhookEvent, WebhookTest
from gateway.api.webhooks.views import (
    TryView,
    WebhookDeliveryView,
    WebhookEndpointView,
    WebhookEventTypes,
    WebhookSecret,
    WebhookTestResult,
)
from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.options import Text
from gateway.domain.adapter.request import InputKind, Kind
from gateway.domain.clients import Client, ClientKey, Limits
from gateway.domain.generation.model import Generation
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import unknown_health
from gateway.domain.money.budgets import Period
from gateway.domain.routing.plan import Candidate
from gateway.domain.routing.price import Price
from gateway.domain.webhooks import EVENTS, OPENAI_EVENTS
from gateway.generations.catalog import Model
from gateway.store.port import Event
from gateway.upstream.health import CompletionTimes

_UNIX = int(CREATED.timestamp())
_SECRET = "whsec_ZXhhbXBsZSBvZiBhIHNpZ25pbmcgc2VjcmV0IQ=="  # noqa: S105  # an example
_FILE_ID, _ENDPOINT_ID = "file_01KDVDNA00F3K8W5N2T7Q4V9MB", "whe_01KDVDNA00H6P1X9C4R8J2Y5DZ"
_DELIVERY_ID = "dlv_01KDVDNA00K4T9B6W1M7X3Q8VC"
_FILE_URL = f"{LINKS.base}/v1/files/{_FILE_ID}/content?token=1769817600.b3duIGV4YW1wbGUgb2YgYSB0b2tlbg"
_TIMES = CompletionTimes(samples=24, median=58.0, p90=92.0)
_MODEL = Model(
    name="kling",
    candidates=(
        Candidate(
            provider="kling_relay",
            model="kling-v1-6",
            capability_name="kling-v1-6",
            capabilities=(
                Capability(
                    inputs=frozenset({InputKind.TEXT, InputKind.IMAGE}),
                    prompt_max=2500,
                    durations=frozenset({5, 10}),
                    resolutions=frozenset({"720p", "1080p"}),
                    aspect_ratios=frozenset({"16:9", "9:16", "1:1"}),
                    last_frame=True,
                    negative_prompt_max=2500,
                    cfg_scale=(0.0, 1.0),
                    modes={"std": "720p", "pro": "1080p"},
                    options={"external_task_id": Text(most=200)},
                ),
            ),
            prices=(Price(per_second=0.056, mode="std"), Price(per_second=0.098, mode="pro")),
        ),
    ),
)


def _images(generation: Generation) -> ImagesAnswer:
    view = generation_view(generation, LINKS)
    cost = 0.0 if view.usage is UNSET else view.usage.cost_usd or 0.0
    return ImagesAnswer(
        id=view.id,
        created=view.created_at,
        data=tuple(ImageView(url=output.url or "") for output in view.data),
        usage=ImagesUsage(cost_usd=cost, maybe_usd=0.0, estimated=True, cost_in_usd_ticks=round(cost * TICKS_OF_USD)),
        warnings=(),
        failed=(),
    )


def _quote(generation: Generation) -> QuoteView:
    (route,) = generation.plan.routes
    return QuoteView(
        object="video.generation.quote" if generation.kind == "video" else "image.generation.quote",
        model=generation.request.model,
        order="cheapest",
        cost_usd=route.cost_usd,
        reserves_usd=route.cost_usd,
        budgets=(BudgetView(scope="client", period=Period.DAY, limit_usd=50.0, left_usd=41.6, ends_at=1_767_312_000),),
        routes=(
            QuotedRoute(
                position=1,
                provider=route.provider,
                provider_model=route.model,
                settings=SettingsView(**settings_view(route.settings)),
                warnings=(),
                submits=1,
                cost_usd=route.cost_usd,
                completion_seconds=_TIMES,
                circuit=CircuitState.CLOSED,
                held_at=None,
            ),
        ),
        left_out=(),
        summary=(
            f"1. {route.provider}/{route.model}: costs {route.cost_usd:g} USD; takes about {_TIMES.median:.0f} s",
        ),
    )


def _attempt(generation: Generation) -> AdminAttempt:
    (attempt,), (route,) = generation.attempts, generation.plan.routes
    return AdminAttempt(
        id=attempt.id,
        generation=generation.id,
        generation_status=generation.status,
        client="shop",
        number=attempt.number,
        provider=route.provider,
        provider_model=route.model,
        status=attempt.state.value,
        failure=None,
        message=None,
        upstream_code=None,
        tasks=tuple(task.ref.id for task in attempt.tasks),
        sent_at=_UNIX + 1,
        ended_at=_UNIX + 62,
        deadline_at=_UNIX + 3600,
        held=False,
        decision=None,
        resubmit_after=None,
        billed=attempt.billed,
        cost_usd=route.cost_usd,
        upstream=upstream_view(attempt.upstream),
    )


def _purchase(generation: Generation) -> AdminPurchase:
    (attempt,), (route,) = generation.attempts, generation.plan.routes
    return AdminPurchase(
        id=attempt.id,
        generation=generation.id,
        client="shop",
        kind=generation.kind,
        model=generation.request.model,
        provider=route.provider,
        provider_model=route.model,
        tasks=tuple(task.ref.id for task in attempt.tasks),
        billed="yes",
        cost_usd=route.cost_usd,
        created_at=_UNIX,
        sent_at=_UNIX + 1,
        ended_at=_UNIX + 62,
        deleted_at=_UNIX + 86_400,
    )


def _delivery(generation: Generation) -> WebhookDeliveryView:
    return WebhookDeliveryView(
        id=_DELIVERY_ID,
        created_at=_UNIX + 64,
        event_id=generation.id.replace("gen_", "evt_"),
        type=f"{generation.kind}.generation.completed",
        endpoint=_ENDPOINT_ID,
        generation=generation.id,
        output=None,
        url="https://client.example.com/hooks/videos",
        state="succeeded",
        next_try_at=None,
        tries=(TryView(at=_UNIX + 64, status=204, error=None, duration_seconds=0.184),),
    )


def _admin_delivery(generation: Generation) -> AdminDelivery:
    return AdminDelivery(client="shop", **msgspec.structs.asdict(_delivery(generation)))


def _admin_details(generation: Generation) -> AdminGenerationDetails:
    return admin_details(generation, LINKS, unknown_health, [_stored_event(generation)], [_DELIVERY_ID])


def _stored_event(generation: Generation) -> Event:
    return Event(seq=4711, generation_id=generation.id, type="generation.queued", data={}, at=generation.created_at)


_CIRCUIT = CircuitView(state=CircuitState.CLOSED, since=None, reason=None, next_probe_at=None, probing=None)
_PROVIDER = AdminProvider(
    id="kling_relay",
    enabled=True,
    followed=True,
    held=None,
    circuit=_CIRCUIT,
    models=(ProviderModelView(name="kling-v1-6", circuit=_CIRCUIT, completion_seconds=_TIMES),),
    submits=CallsView(limit=32, ceiling=32, in_use=3, waiting=0),
    polls=CallsView(limit=512, ceiling=512, in_use=11, waiting=0),
    unknown_status_words=("paused",),
)


def _event(generation: Generation) -> EventView:
    view = generation_view(generation, LINKS)
    return EventView(type=f"{generation.kind}.generation.{view.status}", created_at=_UNIX + 64, data=view)


_ENDPOINT = WebhookEndpointView(
    id=_ENDPOINT_ID,
    created_at=_UNIX,
    url="https://client.example.com/hooks/videos",
    events=("*",),
    event_types=("*",),
    description="All ends of generations",
    name="All ends of generations",
    disabled=False,
    disabled_reason=None,
)
_CLIENT = Client(owner="client_shop", name="shop", limits=Limits(open_generations=200), configured=False)
_CLIENT_KEY = ClientKey(
    id="ck_01KDVDNA00D7S2W6B9F3G5H8JK", client="shop", sha256=b"", label="the shop's server", created_at=CREATED
)
_FIXED: tuple[Struct, ...] = (
    FileView(
        id=_FILE_ID,
        bytes=184_233,
        created_at=_UNIX,
        expires_at=_UNIX + 2_592_000,
        filename="beach.png",
        purpose="vision",
        content_type="image/png",
        width=1280,
        height=720,
    ),
    FoxFile(
        id=_FILE_ID, filename="beach.png", url=_FILE_URL, size=184_233, created=_UNIX, expires_at=_UNIX + 2_592_000
    ),
    KeevxUploaded(0, True, {"global": "success"}, KeevxFile(_FILE_URL, _FILE_ID, "beach.png")),  # noqa: FBT003  # Keevx's field
    model_view(_MODEL, _UNIX),
    _PROVIDER,
    _ENDPOINT,
    WebhookSecret(secret=_SECRET),
    WebhookTest(
        type="webhook.test",
        timestamp=CREATED.isoformat(),
        data=TestedEndpoint(id=_ENDPOINT_ID, object="webhook_endpoint"),
    ),
    WebhookEventTypes(data=(*EVENTS, *OPENAI_EVENTS)),
    WebhookTestResult(event_type="video.completed", status_code=204, webhook_endpoint_id=_ENDPOINT_ID),
    client_view(_CLIENT),
    key_view(_CLIENT_KEY, CREATED, "vg_" + "x" * 43),
    AdminConfiguration(
        generation=2,
        loaded_at=_UNIX,
        file="video-gateway.toml",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        changed=("providers.foxapi.api_key",),
        changed_since_start=("providers.foxapi.api_key",),
        faults=(),
        refused_at=None,
        warnings=(),
    ),
    Reloaded(generation=2, changed=("providers.foxapi.api_key",)),
    KlingCosts(request_id=REQUEST_ID),
    Health(status="ok"),
    Deleted(id=_FILE_ID, object="file"),
)
_OF_GENERATION: Mapping[type, Callable[[Generation], Struct]] = {
    GenerationView: lambda generation: generation_view(generation, LINKS),
    CreatedView: lambda generation: created_view(generation, LINKS, usual_seconds=64),
    EventView: _event,
    QuoteView: _quote,
    ImagesAnswer: _images,
    AdminAttempt: _attempt,
    AdminGeneration: lambda generation: admin_view(generation, LINKS, unknown_health),
    AdminGenerationDetails: _admin_details,
    AdminEvent: lambda generation: event_view(_stored_event(generation)),
    AdminDelivery: _admin_delivery,
    RestoredGeneration: restored_view,
    AdminPurchase: _purchase,
    WebhookDeliveryView: _delivery,
    WebhookEvent: lambda generation: WebhookEvent(
        type="video.generation.completed", timestamp=CREATED.isoformat(), data=generation_view(generation, LINKS)
    ),
    OpenAIEvent: lambda generation: OpenAIEvent(
        id="evt_01KDVDNA00D7S2W6B9F3G5H8JK",
        created_at=_UNIX,
        type="video.completed",
        data=OpenAIEventData(public_id(OPENAI, generation.id)),
    ),
    openai_videos.OpenAIVideo: openai_videos.video_view,
    openai_videos.OpenAIVideoCreated: lambda generation: openai_videos.created_view(generation, LINKS),
    openai_videos.OpenAIVideoDeleted: lambda generation: openai_videos.OpenAIVideoDeleted(
        id=public_id(OPENAI, generation.id)
    ),
    openrouter.OpenRouterVideo: lambda generation: openrouter.read_view(generation, LINKS),
    xai.XaiStarted: lambda generation: xai.XaiStarted(xai.XAI.id(generation)),
    xai.XaiRead: lambda generation: xai.read_view(generation, LINKS),
    foxapi.FoxTask: lambda generation: foxapi.task_view(generation, LINKS, usual_seconds=64),
    KlingAnswer: lambda generation: answer_of(generation, LINKS, REQUEST_ID),
    KlingTasks: lambda generation: KlingTasks(request_id=REQUEST_ID, data=(task_of(generation, LINKS),)),
    NewApiStarted: lambda generation: NewApiStarted(
        id=public_id(KLING, generation.id),
        task_id=public_id(KLING, generation.id),
        model=generation.request.model,
        created_at=_UNIX,
    ),
    NewApiRead: lambda generation: new_api_read(generation, LINKS, REQUEST_ID),
    keevx.KeevxStarted: lambda generation: keevx.KeevxStarted(
        0, "ok", keevx.KeevxTaskIds((_keevx(generation).id(generation),))
    ),
    keevx.KeevxVideoRead: lambda generation: keevx.read_view(generation, 0, LINKS),
    keevx.KeevxImageRead: lambda generation: keevx.read_view(generation, 0, LINKS),
}
_QUEUED = frozenset({CreatedView, QuoteView, openai_videos.OpenAIVideoCreated})  # also where a status is not 202


def _keevx(generation: Generation) -> Dialect:
    return keevx.KEEVX if generation.kind == "video" else keevx.KEEVX_IMAGES


def moment_of(method: str, path: str, status: int) -> Moment:
    """Return the moment at which the answer of an operation shows a generation."""
    if path.endswith("/cancel"):
        return "cancelled"
    is_create = method == "post" and not path.endswith("}") and "attempts" not in path
    return "queued" if is_create or status == 202 else "completed"


def kind_of(path: str) -> Kind:
    """Return what the operations of a path make."""
    return "image" if "/images" in path or "image_generate" in path else "video"


def known_examples(kind: Kind, moment: Moment) -> Mapping[str, Any]:
    """Return name of a structure → its example, as JSON, for the generation of a kind at a moment."""
    examples = {type(value).__name__: value for value in _FIXED}
    model = openrouter.model_view(_MODEL, _UNIX)
    if model is not None:
        examples[type(model).__name__] = model
    for structure, view in _OF_GENERATION.items():
        shown: Moment = "queued" if structure in _QUEUED else moment
        if structure in _ENDED:
            shown = "completed"
        shown_kind = _KIND_OF.get(structure, kind)
        examples[structure.__name__] = view(sample_generation(shown_kind, shown))
    plain: Mapping[str, Any] = msgspec.to_builtins(examples)
    return plain


# What is shown as completed whatever the operation does, and what only one kind has.
_ENDED = frozenset(
    {
        ImagesAnswer,
        AdminAttempt,
        AdminPurchase,
        AdminDelivery,
        WebhookDeliveryView,
        WebhookEvent,
        EventView,
    }
)
_KIND_OF: Mapping[type, Kind] = {
    ImagesAnswer: "image",
    keevx.KeevxVideoRead: "video",
    keevx.KeevxImageRead: "image",
}
