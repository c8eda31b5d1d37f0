"""What operators read of generations: the public object with its owner, its plan, its events and its deliveries."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, structs

from gateway.api.admin.shown import without_secrets
from gateway.api.attempts.controller import attempt_view
from gateway.api.attempts.views import AdminAttempt
from gateway.api.generations.request_echo import SettingsView, settings_view
from gateway.api.generations.views import GenerationView, OutputView, WarningView, generation_view, route_warnings
from gateway.api.web.links import Links
from gateway.api.web.lists import Listed
from gateway.api.web.moments import unix
from gateway.api.web.owners import client_shown
from gateway.domain.adapter.request import Kind
from gateway.domain.generation.model import Attempt, Generation
from gateway.domain.generation.next_attempt import was_tried
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf
from gateway.reconciliation.decisions import UnclearAttempt
from gateway.store.port import Event


class PlannedRoute(Struct, frozen=True, kw_only=True):
    """A route of a plan, at its place in the order."""

    position: int  # from 1
    provider: str  # the name of the provider
    provider_model: str  # the provider's own name of the model
    settings: SettingsView  # as they are sent
    warnings: tuple[WarningView, ...]  # what differs from the request
    cost_usd: float | None  # of one output; null: the route has no price
    attempts: tuple[int, ...]  # the numbers of the attempts that were made on it
    circuit: CircuitState  # whether the route works at the moment
    held: bool  # whether an operator has taken its provider out of new work


class PlanView(Struct, frozen=True, kw_only=True):
    """The routes of a generation and the policy, as they were stored with its create."""

    routes: tuple[PlannedRoute, ...]  # in their order
    on_ambiguous: Literal["fall_back", "fail", "hold"]  # what follows a submit without a clear answer
    on_content_policy: Literal["stop", "fall_back"]  # what follows a refusal because of the content


class AdminEvent(Struct, frozen=True, kw_only=True):
    """One entry of the event log of a generation, also of those that clients do not see."""

    id: int  # grows over all generations
    type: str  # what happened, for example `attempt.accepted`
    at: int  # Unix seconds
    data: Mapping[str, Any]  # what it happened to


class AdminEventList(Struct, frozen=True, kw_only=True):
    """A page of the events of a generation, the oldest first."""

    data: tuple[AdminEvent, ...]  # the events of this page
    has_more: bool  # whether there are events after this page
    object: Literal["list"] = "list"  # the kind of this object


class AdminGeneration(GenerationView, frozen=True, kw_only=True):
    """A generation as an operator sees it. URLs of clients and of providers are shown without their query."""

    client: str  # who owns it: the name of the client, or the id of a key
    kind: Kind  # what it makes
    fell_back: bool  # more than one route was tried
    failure: str | None  # the kind of its failure; null without one
    plan: PlanView  # the routes that it may use


class AdminGenerationDetails(AdminGeneration, frozen=True, kw_only=True):
    """Everything that is stored of a generation."""

    submits: tuple[AdminAttempt, ...]  # the entries of `attempts` as operators see them
    events: tuple[AdminEvent, ...]  # the first 100; `…/events` has all
    deliveries: tuple[str, ...]  # the ids of its webhook deliveries, at most 100


class AdminGenerationList(Listed[AdminGeneration], frozen=True, kw_only=True):
    """A page of the generations of all clients."""


def admin_view(generation: Generation, links: Links, health: HealthOf) -> AdminGeneration:
    """A generation in a list of operators."""
    return AdminGeneration(**_fields(generation, links, health))


def admin_details(
    generation: Generation, links: Links, health: HealthOf, events: Sequence[Event], deliveries: Sequence[str]
) -> AdminGenerationDetails:
    """One generation with what is stored beside it."""
    return AdminGenerationDetails(
        **_fields(generation, links, health),
        submits=tuple(map(submit_view(generation), generation.attempts)),
        events=tuple(map(event_view, events)),
        deliveries=tuple(deliveries),
    )


def event_view(event: Event) -> AdminEvent:
    """An event as an operator sees it."""
    return AdminEvent(id=event.seq, type=event.type, at=unix(event.at), data=event.data)


def submit_view(generation: Generation) -> Callable[[Attempt], AdminAttempt]:
    """What makes the object of an attempt of this generation."""
    return lambda attempt: attempt_view(UnclearAttempt(generation, attempt))


def _fields(generation: Generation, links: Links, health: HealthOf) -> dict[str, Any]:
    view = generation_view(generation, links, health)
    fields: dict[str, Any] = {name: getattr(view, name) for name in GenerationView.__struct_fields__}
    return fields | {
        "data": tuple(_without_signature(output, generation) for output in view.data),
        "request": without_secrets(view.request),
        "metadata": without_secrets(view.metadata),
        "client": client_shown(generation.owner),
        "kind": generation.kind,
        "fell_back": len({attempt.route for attempt in generation.attempts if was_tried(attempt)}) > 1,
        "failure": None if generation.failure is None else generation.failure.kind.value,
        "plan": _plan_view(generation, health),
    }


def _without_signature(view: OutputView, generation: Generation) -> OutputView:
    """An output with the provider's own links without their query, which opens the file for everybody."""
    artifacts = [output.artifact for output in generation.outputs if output.artifact is not None]
    links = {link for artifact in artifacts for link in (artifact.url, artifact.thumbnail_url) if link is not None}
    shown = {
        name: without_secrets(url)
        for name in ("url", "provider_url", "thumbnail_url")
        if (url := getattr(view, name)) in links
    }
    return structs.replace(view, **shown)


def _plan_view(generation: Generation, health: HealthOf) -> PlanView:
    tried: dict[int, list[int]] = {}
    for attempt in generation.attempts:
        tried.setdefault(attempt.route, []).append(attempt.number)
    routes = []
    for index, route in enumerate(generation.plan.routes):
        of_route = health(route.provider, route.model)
        routes.append(
            PlannedRoute(
                position=index + 1,
                provider=route.provider,
                provider_model=route.model,
                settings=SettingsView(**settings_view(route.settings)),
                warnings=tuple(route_warnings(generation.request.settings, route)),
                cost_usd=route.cost_usd,
                attempts=tuple(tried.get(index, ())),
                circuit=of_route.circuit,
                held=of_route.held,
            )
        )
    policy = generation.plan.policy
    return PlanView(routes=tuple(routes), on_ambiguous=policy.on_ambiguous, on_content_policy=policy.on_content_policy)
