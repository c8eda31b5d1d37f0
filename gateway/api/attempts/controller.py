"""`/v1/admin/attempts`: operators see submits that got no clear answer, and decide about those that are held.

A submit without a clear answer may have started a task that costs money. The gateway never sends it to the same
provider again unless an operator decides so.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.attempts.views import AdminAttempt, AdminAttemptList
from gateway.api.generations.upstream_answer import upstream_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.moments import unix
from gateway.api.web.operation import ATTEMPT_CURSOR, PAGE, Operation
from gateway.api.web.owners import client_shown
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.domain.adapter.task_reading import TASK_ID_MAX
from gateway.domain.errors import InvalidParameter
from gateway.domain.generation.cost_limit import cost_of
from gateway.domain.generation.reconciliation import TASKS_MAX, Decision, resubmit_at
from gateway.reconciliation.decisions import UnclearAttempt
from gateway.store.port import attempt_cursor

STATES: tuple[Literal["held", "unknown"], ...] = ("held", "unknown")
TaskId = Annotated[str, Meta(min_length=1, max_length=TASK_ID_MAX)]
Call = Request[Any, Any, State]


class AttachTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The task that a submit has started: `task_id`, or `task_ids` if it has started several."""

    task_id: TaskId | UnsetType = UNSET  # the provider's id of the task
    # the provider's ids of the tasks
    task_ids: Annotated[tuple[TaskId, ...], Meta(min_length=1, max_length=TASKS_MAX)] | UnsetType = UNSET


class AttemptController(Controller):
    """Handlers of `/v1/admin/attempts`."""

    path = "/v1/admin/attempts"

    @route(
        http_method=GET,
        operation=Operation(
            id="listAttempts",
            summary="List submits of all keys that got no clear answer, oldest first; needs an admin key",
            query={
                "state": {
                    "type": "string",
                    "enum": list(STATES),
                    "default": STATES[0],
                    "description": "`held`: attempts that wait for a decision; `unknown`: all without a clear answer",
                },
                "limit": PAGE["limit"],
                "after": ATTEMPT_CURSOR,
            },
            answer=AdminAttemptList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the attempts that are held, or all that are unknown."""
        context = admin_context_of(request)
        params = Params.of(request)
        state = params.choice("state", STATES) or "held"
        limit = params.limit()
        after = params.cursor("after", lambda text: attempt_cursor(text) is not None, "an attempt")
        params.done()
        attempts, has_more = await context.attempts.page(held=state == "held", limit=limit, after=after)
        return json_answer(AdminAttemptList(data=tuple(map(attempt_view, attempts)), has_more=has_more))

    @route(
        "/{attempt_id:str}",
        http_method=GET,
        operation=Operation(
            id="readAttempt", summary="Read an attempt; needs an admin key", answer=AdminAttempt, errors=(400, 404, 503)
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one attempt in any state."""
        context = admin_context_of(request)
        Params.of(request).done()
        return json_answer(attempt_view(await context.attempts.read(path_id(request, "attempt_id"))))

    @post(
        "/{attempt_id:str}/attach",
        status_code=200,
        operation=Operation(
            id="attachTask",
            summary="Attach the task that an attempt without a clear answer has started; needs an admin key",
            body=AttachTask,
            answer=AdminAttempt,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def attach(self, request: Call) -> ASGIResponse:
        """Attach the task that the operator has found at the provider, so that it is polled."""
        context = admin_context_of(request)
        task_ids = _task_ids(await read_object(request, context, AttachTask))
        return json_answer(attempt_view(await context.attempts.attach(path_id(request, "attempt_id"), task_ids)))

    @post(
        "/{attempt_id:str}/fail",
        status_code=200,
        operation=Operation(
            id="failAttempt",
            summary="Let the outputs of a held attempt fail; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=AdminAttempt,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def fail(self, request: Call) -> ASGIResponse:
        """Let a held attempt fail its outputs."""
        return await _decide(request, "fail")

    @post(
        "/{attempt_id:str}/resubmit",
        status_code=200,
        operation=Operation(
            id="resubmitAttempt",
            summary="Send a held attempt once more after its quarantine, which may be billed twice; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=AdminAttempt,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def resubmit(self, request: Call) -> ASGIResponse:
        """Send a held attempt once more after its quarantine, which can pay for the same work twice."""
        return await _decide(request, "resubmit")


def attempt_view(located: UnclearAttempt) -> AdminAttempt:
    """An attempt as an operator sees it, without the client's prompt, images and key."""
    generation, attempt, held = located.generation, located.attempt, located.held
    failure = attempt.failure
    of = generation.route(attempt)
    waits = held or (attempt.decision == "resubmit" and not generation.status.terminal)
    return AdminAttempt(
        id=attempt.id,
        generation=generation.id,
        generation_status=generation.status,
        client=client_shown(generation.owner),
        number=attempt.number,
        provider=of.provider,
        provider_model=of.model,
        status=attempt.state.value,
        failure=failure.kind.value if failure else None,
        message=failure.message if failure else None,
        upstream_code=failure.upstream_code if failure else None,
        tasks=tuple(task.ref.id for task in attempt.tasks),
        sent_at=unix(attempt.sent_at),
        ended_at=unix(attempt.ended_at),
        deadline_at=unix(generation.deadline_at),
        held=held,
        decision=attempt.decision,
        resubmit_after=unix(resubmit_at(attempt)) if waits and not attempt.tasks else None,
        billed=attempt.billed.value if attempt.billed else None,
        cost_usd=cost_of(generation, attempt),
        upstream=upstream_view(attempt.upstream),
    )


async def _decide(request: Call, decision: Decision) -> ASGIResponse:
    context = admin_context_of(request)
    await read_object(request, context, Nothing, required=False)
    return json_answer(attempt_view(await context.attempts.decide(path_id(request, "attempt_id"), decision)))


def _task_ids(body: Mapping[str, object]) -> tuple[str, ...]:
    """The task ids in a body of `AttachTask`; `InvalidParameter` names the field and what it must be."""
    if len(body) != 1:
        raise InvalidParameter("The body must have either `task_id` or `task_ids`.", param="task_id")
    ((name, value),) = body.items()
    values = value if name == "task_ids" else [value]
    if not isinstance(values, list) or not 1 <= len(values) <= TASKS_MAX:
        raise InvalidParameter(f"`{name}` must be a list of 1 to {TASKS_MAX} ids.", param=name)
    ids = [text for text in values if isinstance(text, str) and 0 < len(text) <= TASK_ID_MAX and text.isprintable()]
    if len(ids) < len(values) or any(not text.strip() for text in ids):
        raise InvalidParameter(
            f"An id in `{name}` must be text of 1 to {TASK_ID_MAX} printable characters.", param=name
        )
    if len(set(ids)) < len(ids):
        raise InvalidParameter(f"`{name}` has an id twice.", param=name)
    return tuple(ids)
