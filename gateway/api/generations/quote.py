"""What a client reads of a quote: the plan of a request, in data and in words."""

from typing import Literal

from msgspec import Struct

from gateway.api.generations.views import SettingsView, WarningView, route_warnings, settings_view
from gateway.domain.generation.model import GenerationRequest, Route
from gateway.domain.health.circuit import CircuitState
from gateway.domain.routing.order import Order
from gateway.domain.routing.plan import LeftOut
from gateway.generations.planner import Quote
from gateway.upstream.health import CompletionTimes, Health


class QuotedRoute(Struct, frozen=True, kw_only=True):
    """A route that can, at its place."""

    position: int  # from 1
    provider: str
    provider_model: str
    settings: SettingsView  # as they would be sent
    warnings: tuple[WarningView, ...]
    submits: int  # for all outputs
    cost_usd: float | None  # of all outputs; null: it has no price
    completion_seconds: CompletionTimes | None
    circuit: CircuitState


class ReasonView(Struct, frozen=True, kw_only=True):
    """Why a route is left out."""

    param: str
    message: str


class LeftOutRoute(Struct, frozen=True, kw_only=True):
    """A route that cannot do what was asked, or may not."""

    provider: str
    provider_model: str
    reasons: tuple[ReasonView, ...]


class QuoteView(Struct, frozen=True, kw_only=True):
    """What would be done. Nothing was stored or started."""

    object: Literal["video.generation.quote"] = "video.generation.quote"
    model: str
    order: Order
    cost_usd: float | None  # of the first route
    routes: tuple[QuotedRoute, ...]  # empty: a create would be refused
    left_out: tuple[LeftOutRoute, ...]
    summary: tuple[str, ...]  # the same in words, a line a route


def quote_view(quote: Quote, health: Health) -> QuoteView:
    """The public object."""
    routes = tuple(
        _route_view(position, route, quote.request, health)
        for position, route in enumerate(quote.planned.routes, start=1)
    )
    return QuoteView(
        model=quote.request.model,
        order=quote.model.order,
        cost_usd=routes[0].cost_usd if routes else None,
        routes=routes,
        left_out=tuple(map(_left_out_view, quote.planned.left_out)),
        summary=(*map(_told, routes), *map(_told_left_out, quote.planned.left_out))
        + (() if routes else ("No route can do this: a create would be refused.",)),
    )


def _route_view(position: int, route: Route, request: GenerationRequest, health: Health) -> QuotedRoute:
    return QuotedRoute(
        position=position,
        provider=route.provider,
        provider_model=route.model,
        settings=SettingsView(**settings_view(route.settings)),
        warnings=tuple(route_warnings(request.settings, route)),
        submits=-(-request.count // route.count_max),
        cost_usd=None if route.cost_usd is None else round(route.cost_usd * request.count, 6),
        completion_seconds=health.completion_times(route.provider, route.model),
        circuit=health.circuit(route.provider, route.model),
    )


def _left_out_view(one: LeftOut) -> LeftOutRoute:
    reasons = tuple(ReasonView(param=reason.param, message=reason.message) for reason in one.reasons)
    return LeftOutRoute(provider=one.provider, provider_model=one.model, reasons=reasons)


_CIRCUIT_WORDS = {
    CircuitState.CLOSED: "",
    CircuitState.HALF_OPEN: "has failed of late and is being tried again",
    CircuitState.OPEN: "fails at the moment",
}


def _told(route: QuotedRoute) -> str:
    times = route.completion_seconds
    parts = [
        f"{route.submits} submits" if route.submits > 1 else "",
        *(_told_warning(warning) for warning in route.warnings),
        "no price is configured" if route.cost_usd is None else f"costs {route.cost_usd:g} USD",
        "" if times is None else f"takes about {times.median:.0f} s",
        _CIRCUIT_WORDS[route.circuit],
    ]
    return f"{route.position}. {route.provider}/{route.provider_model}: {'; '.join(filter(None, parts))}"


def _told_warning(warning: WarningView) -> str:
    if warning.type == "adapted" and warning.to is None:
        return f"{warning.param} {warning.from_} is left out, the video follows the image"
    if warning.type == "adapted":
        return f"{warning.param} {warning.from_} becomes {warning.to}"
    return f"{warning.param} is {warning.to}, which the provider requires"


def _told_left_out(one: LeftOut) -> str:
    reasons = ", ".join(f"`{reason.param}`: {reason.message}" for reason in one.reasons)
    return f"Left out: {one.provider}/{one.model}: {reasons}"
