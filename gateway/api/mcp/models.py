"""The answers of `list_models`: a short page of models, or one model in detail. Both are bounded.

A model pays for every character with its context, so what a route does not have is absent here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.api.models.views import CapabilityView, ModelView

PAGE_MAX = 40  # models in one answer
ROUTES_MAX = 8  # routes of one model in detail
_CUT = "Only the first {shown} of {count} routes are listed. Each is a model of its own: ask for `provider/name`."


def page(models: Sequence[ModelView], after: str | None) -> dict[str, Any]:
    """The models that follow the one named `after`, in short; `models` has the order of the configuration."""
    names = [model.id for model in models]
    begin = 0 if after is None else names.index(after) + 1
    shown = models[begin : begin + PAGE_MAX]
    answer = {"data": [_short(model) for model in shown]}
    if begin + PAGE_MAX < len(models):
        return {**answer, "note": f"There are more models: call list_models again with after {shown[-1].id}."}
    return {**answer, "note": "For all that a model can do, call list_models with its id as `model`."}


def detail(model: ModelView) -> dict[str, Any]:
    """One model with its routes: capabilities, prices, health."""
    plain = msgspec.to_builtins(model)
    routes = [_present(route) for route in plain["routes"][:ROUTES_MAX]]
    answer = {"data": [{**plain, "routes": routes}]}
    if len(plain["routes"]) > ROUTES_MAX:
        return {**answer, "note": _CUT.format(shown=ROUTES_MAX, count=len(plain["routes"]))}
    return answer


def _short(model: ModelView) -> dict[str, Any]:
    capabilities = [capability for route in model.routes for capability in route.capabilities]
    prices = [
        {name: value for name, value in (("per_clip", price.per_clip), ("per_second", price.per_second)) if value}
        for route in model.routes
        for price in route.prices or ()
    ]
    short: dict[str, Any] = {
        "id": model.id,
        "makes": _all(capabilities, "kind"),
        "inputs": _all(capabilities, "inputs"),
        "durations": sorted({seconds for capability in capabilities for seconds in capability.durations}),
        "resolutions": _all(capabilities, "resolutions"),
        "qualities": _all(capabilities, "qualities"),
        "routes": len(model.routes),
    }
    for name in ("per_clip", "per_second"):
        if values := [price[name] for price in prices if name in price]:
            short[f"usd_{name}_from"] = min(values)
    present: dict[str, Any] = _present(short)
    return present


def _all(capabilities: Iterable[CapabilityView], name: str) -> list[str]:
    """Every value of this member, once, in the order in which they appear."""
    values: dict[str, None] = {}
    for capability in capabilities:
        value = getattr(capability, name)
        values |= dict.fromkeys([value] if isinstance(value, str) else value)
    return list(values)


def _present(value: Any) -> Any:
    """The value without members that say that there is nothing: null, false, 0 and what is empty."""
    if isinstance(value, list | tuple):
        return [_present(item) for item in value]
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item or (item == 0.0 and name == "weight")}
    return value
