"""The error for a request that no route of its model can serve."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import structs

from gateway.domain.errors import UnsupportedParameter
from gateway.domain.routing.plan import LeftOut
from gateway.domain.routing.settings_fit import Reason

_NAME = re.compile(r"`(\w+)`")


class NoSuitableRoute(UnsupportedParameter):
    """No route of the model can do what was asked; `left_out` has each of them with its reasons."""

    def __init__(self, model: str, left_out: Sequence[LeftOut]) -> None:
        """`left_out` are all candidates of the model; `param` is a parameter that every one of them refuses."""
        super().__init__(_message(model, left_out), param=_common_param(left_out))
        self.model, self.left_out = model, tuple(left_out)

    def in_words(self, names: Mapping[str, str]) -> "NoSuitableRoute":
        """Return the same error with the names that the client has used. `names` maps a parameter to its name there."""
        renamed = [
            structs.replace(route, reasons=tuple(_in_words(reason, names) for reason in route.reasons))
            for route in self.left_out
        ]
        return NoSuitableRoute(self.model, renamed)


def name_of(param: str, names: Mapping[str, str]) -> str:
    """Return the client's name of a parameter: `names` may have it, or what its path begins with.

    `provider_options.kling_relay` is `provider.options.kling_relay` for a client whose `provider_options` has the name
    `provider.options`.
    """
    if param in names:
        return names[param]
    field, dot, member = param.partition(".")
    return f"{names[field]}.{member}" if dot and field in names else param


def _in_words(reason: Reason, names: Mapping[str, str]) -> Reason:
    message = _NAME.sub(lambda match: f"`{names.get(match[1], match[1])}`", reason.message)
    return Reason(param=name_of(reason.param, names), message=message)


def _message(model: str, left_out: Sequence[LeftOut]) -> str:
    """Return all reasons where the routes agree, else the parameter that most routes refuse with its usual reason."""
    start = f"No route of the model {model!r} can do this"
    if len({route.reasons for route in left_out}) == 1:
        reasons = ", ".join(f"`{reason.param}`: {reason.message.rstrip('.')}" for reason in left_out[0].reasons)
        routes = f"{left_out[0].provider}/{left_out[0].model}" if len(left_out) == 1 else f"All {len(left_out)} routes"
        return f"{start}. {routes}: {reasons}."
    params = Counter(param for route in left_out for param in {reason.param: None for reason in route.reasons})
    param = _common_param(left_out) or next((param for param, _ in params.most_common(1)), None)
    if param is None:
        return f"{start}."
    refusing = params[param]
    messages = Counter(
        reason.message.rstrip(".") for route in left_out for reason in route.reasons if reason.param == param
    )
    [(message, count)] = messages.most_common(1)
    share = f"All {refusing} routes" if refusing == len(left_out) else f"{refusing} of {len(left_out)} routes"
    with_it = "all" if count == refusing else "one" if count == 1 else str(count)
    return (
        f"{start}. {share} refuse `{param}`, {with_it} of them for this reason: {message}."
        " `error.routes` lists the reasons of every route."
    )


def _common_param(left_out: Sequence[LeftOut]) -> str | None:
    """Return a parameter that every route refuses; of several the first in alphabetical order; else None."""
    params = [{reason.param for reason in route.reasons} for route in left_out]
    return min(set.intersection(*params), default=None) if params else None
