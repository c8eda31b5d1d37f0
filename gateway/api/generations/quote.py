"""The answer to a quote: the plan of a request, as data and in words."""

from collections.abc import Collection
from typing import Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from gateway.api.generations.request_echo import SettingsView, settings_view
from gateway.api.generations.views import WarningView, route_warnings
from gateway.api.web.moments import unix
from gateway.domain.clients import SIGHTS, Sight
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
    provider: str | UnsetType = UNSET  # the name of the provider; absent: the client may not see it
    provider_model: str | UnsetType = UNSET  # the provider's own name of the model; absent likewise
    settings: SettingsView  # as they would be sent
    warnings: tuple[WarningView, ...]  # what would differ from the request
    submits: int  # for all outputs
    cost_usd: float | UnsetType | None = UNSET  # of all outputs; null: the route has no price; absent: not shown
    completion_seconds: CompletionTimes | None  # how long the route took recently; null: not known
    circuit: CircuitState  # whether the route works at the moment
    held_at: int | None  # Unix seconds: since then the operator sends no new work there; null: it gets work


class ReasonView(Struct, frozen=True, kw_only=True):
    """Why a route is left out."""

    param: str  # the parameter that the route cannot honour
    message: str  # for people


class LeftOutRoute(Struct, frozen=True, kw_only=True):
    """A route that cannot do what was asked, or may not be used for it."""

    provider: str | UnsetType = UNSET  # the name of the provider; absent: the client may not see it
    provider_model: str | UnsetType = UNSET  # the provider's own name of the model; absent likewise
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
    cost_usd: float | UnsetType | None = UNSET  # of the first route; absent: the client may not see costs
    # What a create would reserve: the most that this plan can cost, if route after route is billed and fails;
    # `max_cost` limits it. null: a route has no price, so nothing can be promised. Absent as `cost_usd`.
    reserves_usd: float | UnsetType | None = UNSET
    budgets: tuple[BudgetView, ...] | UnsetType = UNSET  # that a create must fit into, as they are now
    routes: tuple[QuotedRoute, ...]  # empty: a create would be refused
    left_out: tuple[LeftOutRoute, ...]  # routes that cannot do it, with the reasons
    summary: tuple[str, ...]  # the same in words, one line for each route


def quote_view(quote: Quote, health: Health, sees: Collection[Sight] = SIGHTS) -> QuoteView:
    """Return the public object of a quote, with the present health of its routes; `sees` is what the client may see."""
    routes = tuple(
        _seen(_route_view(position, route, quote.request, health, sees), sees)
        for position, route in enumerate(quote.planned.routes, start=1)
    )
    shows_costs = "costs" in sees
    left_out = tuple(left_out_view(route, sees) for route in quote.planned.left_out)
    return QuoteView(
        object="video.generation.quote" if quote.request.kind == "video" else "image.generation.quote",
        model=quote.request.model,
        order=quote.model.order,
        cost_usd=(routes[0].cost_usd if routes else None) if shows_costs else UNSET,
        reserves_usd=reserves_usd(quote) if shows_costs else UNSET,
        budgets=tuple(map(_budget_view, quote.budgets)) if shows_costs else UNSET,
        routes=routes,
        left_out=left_out,
        summary=(*map(_route_line, routes), *map(_left_out_line, left_out))
        + (() if routes else ("No route can do this: a create would be refused.",))
        + (_budget_lines(quote) if shows_costs else ()),
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


def _seen(route: QuotedRoute, sees: Collection[Sight]) -> QuotedRoute:
    if "provider" not in sees:
        route = replace(route, provider=UNSET, provider_model=UNSET)
    return route if "costs" in sees else replace(route, cost_usd=UNSET)


def _route_view(
    position: int, route: Route, request: GenerationRequest, health: Health, sees: Collection[Sight]
) -> QuotedRoute:
    return QuotedRoute(
        position=position,
        provider=route.provider,
        provider_model=route.model,
        settings=SettingsView(**settings_view(route.settings)),
        warnings=tuple(route_warnings(request.settings, route, shows_provider="provider" in sees)),
        submits=-(-request.count // route.count_max),
        cost_usd=None if route.cost_usd is None else round(route.cost_usd * request.count, 6),
        completion_seconds=health.completion_times(route.provider, route.model),
        circuit=health.circuit(route.provider, route.model),
        held_at=None if (hold := health.holds.get(route.provider)) is None else unix(hold.held_at),
    )


def left_out_view(route: LeftOut, sees: Collection[Sight] = SIGHTS) -> LeftOutRoute:
    """Return the public object of a route that is left out; `sees` is what the client may see."""
    reasons = tuple(ReasonView(param=reason.param, message=reason.message) for reason in route.reasons)
    if "provider" not in sees:
        return LeftOutRoute(provider=UNSET, provider_model=UNSET, reasons=reasons)
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
        _cost_words(route.cost_usd),
        "" if times is None else f"takes about {times.median:.0f} s",
        _CIRCUIT_WORDS[route.circuit],
        "" if route.held_at is None else "the operator sends no work there until its release",
    ]
    return f"{route.position}. {_name(route)}: {'; '.join(filter(None, parts))}"


def _cost_words(cost_usd: float | UnsetType | None) -> str:
    if cost_usd is UNSET:
        return ""
    return "no price is configured" if cost_usd is None else f"costs {cost_usd:g} USD"


def _name(route: QuotedRoute | LeftOutRoute) -> str:
    return "a route" if route.provider is UNSET else f"{route.provider}/{route.provider_model}"


def _warning_words(warning: WarningView) -> str:
    if warning.type == "adapted" and warning.to is None:
        return f"{warning.param} {warning.from_} is left out, the video follows the image"
    if warning.type == "adapted":
        return f"{warning.param} {warning.from_} becomes {warning.to}"
    return f"{warning.param} is {warning.to}, which the provider requires"


def _left_out_line(route: LeftOutRoute) -> str:
    reasons = ", ".join(f"`{reason.param}`: {reason.message}" for reason in route.reasons)
    return f"Left out: {_name(route)}: {reasons}"
