"""`/_sandbox/`: set faults, read the counters, move the clock, change settings."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from gateway.sandbox.faults import (
    AFTER,
    BEFORE,
    CALLBACKS,
    DELAYED,
    EXTRA_IDS,
    FATES,
    FEWER_IDS,
    INSTEAD,
    MARKER_FORM,
    Fault,
    is_known,
)
from gateway.sandbox.provider import Errors
from gateway.sandbox.state import OPERATIONS, State
from gateway.sandbox.wire import Reply, Request, json_reply


class NewFault(Struct, forbid_unknown_fields=True):
    """The body of `POST /_sandbox/faults`."""

    fault: str
    provider: str = "any"
    operation: str = "any"
    times: int | None = 1
    args: dict[str, Any] = field(default_factory=dict)


class Advance(Struct, forbid_unknown_fields=True):
    """The body of `POST /_sandbox/clock`."""

    advance: float


def administer(request: Request, state: State, errors: Mapping[str, Errors]) -> Reply:
    """Answer one call. A wrong body is answered with 400 and the reason."""
    try:
        return _answer(request, state, errors)
    except (msgspec.DecodeError, ValueError) as error:
        return json_reply({"error": str(error)}, 400)


def _answer(request: Request, state: State, errors: Mapping[str, Errors]) -> Reply:
    match request.method, request.path.removeprefix("/_sandbox/"):
        case "POST", "faults":
            return json_reply(_view(add_fault(state, msgspec.json.decode(request.body, type=NewFault), errors)), 201)
        case "GET", "faults":
            rules = [_view(fault) for fault in state.faults.rules]
            return json_reply({"faults": rules, "known": _names(errors), "markers": _markers(errors)})
        case "DELETE", "faults":
            state.faults.clear()
        case "GET", "state":
            return json_reply(state.report(with_tasks=request.query.get("tasks") != "0"))
        case "DELETE", "state":
            state.reset()
        case "POST", "clock":
            state.clock.advance(msgspec.json.decode(request.body, type=Advance).advance)
            return json_reply({"now": state.clock.now()})
        case "GET", "settings":
            return json_reply(state.settings)
        case "PATCH", "settings":
            state.settings = state.settings.changed(msgspec.json.decode(request.body, type=dict[str, Any]))
            return json_reply(state.settings)
        case _, "trap":
            visit = {"method": request.method, "authorization": "authorization" in request.headers}
            state.trapped.append(visit | {"body_bytes": len(request.body)})
            return json_reply({"trapped": True})
        case _:
            return json_reply({"error": "unknown path; expected faults, state, clock, settings or trap"}, 404)
    return Reply(status=204, content_type="")


def add_fault(state: State, new: NewFault, errors: Mapping[str, Errors]) -> Fault:
    """Set a fault. Raises `ValueError` for a provider, an operation or a fault that does not exist."""
    if new.provider not in {"any", *errors}:
        raise ValueError(f"provider must be any or one of {', '.join(errors)}")
    if new.operation not in {"any", "task", "callback", "other", *OPERATIONS}:
        raise ValueError(f"operation must be any, task, callback or one of {', '.join(OPERATIONS)}")
    tables = errors if new.provider == "any" else {new.provider: errors[new.provider]}
    name = new.fault.replace("-", "_")
    if not any(is_known(name, table) for table in tables.values()):
        raise ValueError(f"{new.fault}: no such fault; GET /_sandbox/faults lists them")
    if name in {EXTRA_IDS, FEWER_IDS, *CALLBACKS} and new.provider not in {"any", "keevx"}:
        raise ValueError(f"{new.fault} is possible for keevx only")
    if not _is_rate(new.args.get("rate", 1)):
        raise ValueError("rate must be a number from 0 to 1")
    fault = Fault(name=name, provider=new.provider, operation=new.operation, args=new.args, times=new.times)
    return state.faults.add(fault)


def _is_rate(value: object) -> bool:
    try:
        return 0 <= float(str(value)) <= 1
    except ValueError:
        return False


def _view(fault: Fault) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in ("id", "provider", "operation", "name", "args", "times")}


def _names(errors: Mapping[str, Errors]) -> dict[str, Any]:
    groups: dict[str, Any] = {"task": FATES, "callback": CALLBACKS, "after": list(AFTER), "instead": INSTEAD}
    groups["other"] = [BEFORE, DELAYED, EXTRA_IDS, FEWER_IDS]
    return groups | {"errors": {name: list(table) for name, table in errors.items()}}


def _markers(errors: Mapping[str, Errors]) -> dict[str, Any]:
    """How a marker in a prompt sets a fault, with an example for each provider."""
    examples = {name: MARKER_FORM.replace("PROVIDER:OPERATION:FAULT", f"{name}:submit:429") for name in errors}
    operations = ["any", "task", *OPERATIONS]
    return {"form": MARKER_FORM, "place": "anywhere in a prompt", "operations": operations, "examples": examples}
