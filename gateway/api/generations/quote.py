"""The answer to a quote: the plan of a request, as data and in words."""

from typing import Literal

from msgspec import Struct

from gateway.api.generations.request_echo import SettingsView, settings_view
from gateway.api.generations.views import WarningView, route_warnings
from gateway.domain.generation.model import GenerationRequest, Route
from gateway.domain.health.circuit import CircuitState
from gateway.domain.money.account import ceiling
from gateway.domain.money.budgets import BudgetState, Period, exceeded, in_words, shown
from gateway.domain.routing.order import Order
from gateway.domain.routing.plan import LeftOut
from gateway.domain.usd import usd
from gateway.generations.planner import Quote
from gateway.upstream.health import CompletionTimes, Health


class QuotedRoute(Struct, frozen=True, kw_only=True):
    """A route that can do what was asked, at its place in the order."""

    position: int  # from 1
    provider: str  # the name of the provider
    provider_model: str  # the provider's own name of the model
    settings: SettingsView  # as they would be sent
    warnings: tuple[WarningView, ...]  # what would differ from the request
    submits: int  # for all outputs
    cost_usd: float | None  # of all outputs; null: the route has no price
    completion_seconds: CompletionTimes | None  # how long the route took recently; null: not known
    circuit: CircuitState  # whether the route works at the moment


class ReasonView(Struct, frozen=True, kw_only=True):
    """Why a route is left out."""

    param: str  # the parameter that the route cannot honour
    message: str  # for people


class LeftOutRoute(Struct, frozen=True, kw_only=True):
    """A route that cannot do what was asked, or may not be used for it."""

    provider: str  # the name of the provider
    provider_model: str  # the provider's own name of the model
    reasons: tuple[ReasonView, ...]  # all of them


class BudgetView(Struct, frozen=True, kw_only=True):
    """A budget that limits what may be spent."""

    scope: Literal["client", "all"]  # whose it is: the client's own, or that of all clients together
    period: Period  # days and months are those of UTC
    limit_usd: float  # the budget
    left_usd: float  # what a create may still reserve
    ends_at: int | None  # when the next period begins, in Unix seconds; null: never


class QuoteView(Struct, frozen=True, kw_only=True):
    """What a create with the same body would do. Nothing was stored or started."""

    object: Literal["video.generation.quote", "image.generation.quote"]  # the kind of this object
    model: str  # the model as the request named it
    order: Order  # the rule that orders the routes
    cost_usd: float | None  # of the first route
    # What a create would reserve: the most that this plan can cost, if route after route is billed and fails;
    # `max_cost` limits it. null: a route has no price, so nothing can be promised.
    reserves_usd: float | None
    budgets: tuple[BudgetView, ...]  # that a create must fit into, as they are now
    routes: tuple[QuotedRoute, ...]  # empty: a create would be refused
    left_out: tuple[LeftOutRoute, ...]  # routes that cannot do it, with the reasons
    summary: tuple[str, ...]  # the same in words, one line for each route


def quote_view(quote: Quote, health: Health) -> QuoteView:
    """Return the public object of a quote, with the present health of its routes."""
    routes = tuple(
        _route_view(position, route, quote.request, health)
        for position, route in enumerate(quote.planned.routes, start=1)
    )
    return QuoteView(
        object="video.generation.quote" if quote.request.kind == "video" else "image.generation.quote",
        model=quote.request.model,
        order=quote.model.order,
        cost_usd=routes[0].cost_usd if routes else None,
        reserves_usd=reserves_usd(quote),
        budgets=tuple(map(_budget_view, quote.budgets)),
        routes=routes,
        left_out=tuple(map(left_out_view, quote.planned.left_out)),
        summary=(*map(_route_line, routes), *map(_left_out_line, quote.planned.left_out))
        + (() if routes else ("No route can do this: a create would be refused.",))
        + _budget_lines(quote),
    )


def reserves_usd(quote: Quote) -> float | None:
    """What a create would reserve, in USD; None without a route, or if a route has no price."""
    routes = quote.planned.routes
    is_priced = bool(routes) and all(route.cost_usd is not None for route in routes)
    return usd(ceiling(quote.request, routes)) if is_priced else None


def _budget_view(state: BudgetState) -> BudgetView:
    return BudgetView(
        scope=state.budget.scope,
        period=state.budget.period,
        limit_usd=usd(state.budget.limit),
        left_usd=usd(state.left),
        ends_at=None if state.ends_at is None else int(state.ends_at.timestamp()),
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _budget_lines(quote: Quote) -> tuple[str, ...]:
    """What the budgets have left, for a request that can be made."""
    routes = quote.planned.routes
    if not routes or not quote.budgets:
        return ()
    refusal = exceeded(ceiling(quote.request, routes), quote.budgets)
    states = quote.budgets if refusal is None else (refusal.state,)
    lines = [f"{_sentence(in_words(state.budget))} has {shown(state.left)} USD left." for state in states]
    return (f"A create reserves {shown(ceiling(quote.request, routes))} USD.", *lines) + (
        () if refusal is None else ("That is not enough: a create would be refused.",)
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


def left_out_view(route: LeftOut) -> LeftOutRoute:
    """Return the public object of a route that is left out."""
    reasons = tuple(ReasonView(param=reason.param, message=reason.message) for reason in route.reasons)
    return LeftOutRoute(provider=route.provider, provider_model=route.model, reasons=reasons)


_CIRCUIT_WORDS = {
    CircuitState.CLOSED: "",
    CircuitState.HALF_OPEN: "has failed recently and is being tried again",
    CircuitState.OPEN: "fails at the moment",
}


def _route_line(route: QuotedRoute) -> str:
    times = route.completion_seconds
    parts = [
        f"{route.submits} submits" if route.submits > 1 else "",
        *(_warning_words(warning) for warning in route.warnings),
        "no price is configured" if route.cost_usd is None else f"costs {route.cost_usd:g} USD",
        "" if times is None else f"takes about {times.median:.0f} s",
        _CIRCUIT_WORDS[route.circuit],
    ]
    return f"{route.position}. {route.provider}/{route.provider_model}: {'; '.join(filter(None, parts))}"


def _warning_words(warning: WarningView) -> str:
    if warning.type == "adapted" and warning.to is None:
        return f"{warning.param} {warning.from_} is left out, the video follows the image"
    if warning.type == "adapted":
        return f"{warning.param} {warning.from_} becomes {warning.to}"
    return f"{warning.param} is {warning.to}, which the provider requires"


def _left_out_line(route: LeftOut) -> str:
    reasons = ", ".join(f"`{reason.param}`: {reason.message}" for reason in route.reasons)
    return f"Left out: {route.provider}/{route.model}: {reasons}"
