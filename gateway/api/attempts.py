"""`/v1/admin/attempts`: what an operator sees and decides of submits that got no clear answer."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.attempt_views import OWNER_SHOWN, AdminAttempt, AdminAttemptList
from gateway.api.generations.upstream_answer import upstream_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.query import Params
from gateway.api.web.small_body import Nothing, read_object
from gateway.domain.adapter.task_reading import TASK_ID_MAX
from gateway.domain.errors import InvalidParameter
from gateway.domain.generation.cost_limit import cost_of
from gateway.domain.generation.reconciliation import TASKS_MAX, Decision, resubmit_at
from gateway.reconciliation.decisions import Found
from gateway.store.port import attempt_cursor

STATES: tuple[Literal["held", "unknown"], ...] = ("held", "unknown")
TaskId = Annotated[str, Meta(min_length=1, max_length=TASK_ID_MAX)]


class AttachTask(Struct, frozen=True, kw_only=True):
    """The task that a submit has started: `task_id`, or `task_ids` where it has started several."""

    task_id: TaskId | UnsetType = UNSET
    task_ids: Annotated[tuple[TaskId, ...], Meta(min_length=1, max_length=TASKS_MAX)] | UnsetType = UNSET


Call = Request[Any, Any, State]


class AttemptController(Controller):
    """List and read attempts; attach their tasks, or decide."""

    path = "/v1/admin/attempts"

    @route(http_method=GET)
    async def page(self, request: Call) -> ASGIResponse:
        """List the attempts that are held, or all that are unknown."""
        context = admin_context_of(request)
        params = Params.of(request)
        state = params.choice("state", STATES) or "held"
        limit = params.whole("limit", 1, 100) or 20
        after = params.cursor("after", lambda text: attempt_cursor(text) is not None, "an attempt")
        params.done()
        found, has_more = await context.attempts.page(held=state == "held", limit=limit, after=after)
        return json_answer(AdminAttemptList(data=tuple(map(attempt_view, found)), has_more=has_more))

    @route("/{attempt_id:str}", http_method=GET)
    async def read(self, request: Call) -> ASGIResponse:
        """Read one, whatever its state."""
        context = admin_context_of(request)
        Params.of(request).done()
        return json_answer(attempt_view(await context.attempts.read(_id(request))))

    @post("/{attempt_id:str}/attach", status_code=200)
    async def attach(self, request: Call) -> ASGIResponse:
        """Attach the task that an operator has found at the provider."""
        context = admin_context_of(request)
        task_ids = _task_ids(await read_object(request, context, AttachTask))
        return json_answer(attempt_view(await context.attempts.attach(_id(request), task_ids)))

    @post("/{attempt_id:str}/fail", status_code=200)
    async def fail(self, request: Call) -> ASGIResponse:
        """Let a held attempt fail its outputs."""
        return await _decide(request, "fail")

    @post("/{attempt_id:str}/resubmit", status_code=200)
    async def resubmit(self, request: Call) -> ASGIResponse:
        """Let a held attempt be sent once more, after its quarantine."""
        return await _decide(request, "resubmit")


def attempt_view(found: Found) -> AdminAttempt:
    """An attempt as an operator sees it: nothing of the client's prompt, images or key."""
    generation, attempt, held = found.generation, found.attempt, found.held
    of = generation.route(attempt)
    waits = held or (attempt.decision == "resubmit" and not generation.status.terminal)
    return AdminAttempt(
        id=attempt.id,
        generation=generation.id,
        generation_status=generation.status,
        key=generation.key[-OWNER_SHOWN:],
        number=attempt.number,
        provider=of.provider,
        provider_model=of.model,
        status=attempt.state.value,
        tasks=tuple(task.ref.id for task in attempt.tasks),
        sent_at=_unix(attempt.sent_at),
        ended_at=_unix(attempt.ended_at),
        deadline_at=int(generation.deadline_at.timestamp()),
        held=held,
        decision=attempt.decision,
        resubmit_after=_unix(resubmit_at(attempt)) if waits and not attempt.tasks else None,
        billed=attempt.billed.value if attempt.billed else None,
        cost_usd=cost_of(generation, attempt),
        upstream=upstream_view(attempt.upstream),
    )


async def _decide(request: Call, decision: Decision) -> ASGIResponse:
    context = admin_context_of(request)
    await read_object(request, context, Nothing, required=False)
    return json_answer(attempt_view(await context.attempts.decide(_id(request), decision)))


def _task_ids(body: Mapping[str, object]) -> tuple[str, ...]:
    if len(body) != 1:
        raise InvalidParameter("The body must have either `task_id` or `task_ids`.", param="task_id")
    ((name, value),) = body.items()
    given = value if name == "task_ids" else [value]
    if not isinstance(given, list) or not 1 <= len(given) <= TASKS_MAX:
        raise InvalidParameter(f"`{name}` must be a list of 1 to {TASKS_MAX} ids.", param=name)
    found = [one for one in given if isinstance(one, str) and 0 < len(one) <= TASK_ID_MAX and one.isprintable()]
    if len(found) < len(given) or any(not one.strip() for one in found):
        raise InvalidParameter(
            f"An id in `{name}` must be text of 1 to {TASK_ID_MAX} printable characters.", param=name
        )
    if len(set(found)) < len(found):
        raise InvalidParameter(f"`{name}` has an id twice.", param=name)
    return tuple(found)


def _id(request: Call) -> str:
    found: str = request.path_params["attempt_id"]
    return found


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
