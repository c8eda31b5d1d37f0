"""`/_sandbox/`: set faults, read what was counted, move the clock, change settings."""

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
    """Answer one call; a wrong body is a 400 that says what is wrong."""
    try:
        return _answer(request, state, errors)
    except (msgspec.DecodeError, ValueError) as error:
        return json_reply({"error": str(error)}, 400)


def _answer(request: Request, state: State, errors: Mapping[str, Errors]) -> Reply:
    match request.method, request.path.removeprefix("/_sandbox/"):
        case "POST", "faults":
            return json_reply(_told(add_fault(state, msgspec.json.decode(request.body, type=NewFault), errors)), 201)
        case "GET", "faults":
            rules = [_told(fault) for fault in state.faults.rules]
            return json_reply({"faults": rules, "known": _known(errors), "markers": _markers(errors)})
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
            came = {"method": request.method, "authorization": "authorization" in request.headers}
            state.trapped.append(came | {"body_bytes": len(request.body)})
            return json_reply({"trapped": True})
        case _:
            return json_reply({"error": "faults, state, clock, settings and trap are what there is"}, 404)
    return Reply(status=204, content_type="")


def add_fault(state: State, asked: NewFault, errors: Mapping[str, Errors]) -> Fault:
    """Set a fault. Raises ValueError for a provider, an operation or a name that does not exist."""
    if asked.provider not in {"any", *errors}:
        raise ValueError(f"provider is any or one of {', '.join(errors)}")
    if asked.operation not in {"any", "task", "callback", "other", *OPERATIONS}:
        raise ValueError(f"operation is any, task, callback or one of {', '.join(OPERATIONS)}")
    tables = errors if asked.provider == "any" else {asked.provider: errors[asked.provider]}
    name = asked.fault.replace("-", "_")
    if not any(is_known(name, table) for table in tables.values()):
        raise ValueError(f"{asked.fault}: no such fault; GET /_sandbox/faults lists them")
    if name in {EXTRA_IDS, FEWER_IDS, *CALLBACKS} and asked.provider not in {"any", "keevx"}:
        raise ValueError(f"{asked.fault} is Keevx's alone")
    if not _is_rate(asked.args.get("rate", 1)):
        raise ValueError("rate is a number from 0 to 1")
    fault = Fault(name=name, provider=asked.provider, operation=asked.operation, args=asked.args, times=asked.times)
    return state.faults.add(fault)


def _is_rate(value: object) -> bool:
    try:
        return 0 <= float(str(value)) <= 1
    except ValueError:
        return False


def _told(fault: Fault) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in ("id", "provider", "operation", "name", "args", "times")}


def _known(errors: Mapping[str, Errors]) -> dict[str, Any]:
    groups: dict[str, Any] = {"task": FATES, "callback": CALLBACKS, "after": list(AFTER), "instead": INSTEAD}
    groups["other"] = [BEFORE, DELAYED, EXTRA_IDS, FEWER_IDS]
    return groups | {"errors": {name: list(table) for name, table in errors.items()}}


def _markers(errors: Mapping[str, Errors]) -> dict[str, Any]:
    """How a prompt asks for a fault by itself, with an example for each provider."""
    examples = {name: MARKER_FORM.replace("PROVIDER:OPERATION:FAULT", f"{name}:submit:429") for name in errors}
    operations = ["any", "task", *OPERATIONS]
    return {"form": MARKER_FORM, "place": "anywhere in a prompt", "operations": operations, "examples": examples}
