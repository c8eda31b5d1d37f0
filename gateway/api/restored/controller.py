"""`/v1/admin/restored`: what a restored ledger does not buy by itself, and the decisions of operators about it."""

from typing import Any

from litestar import Controller, Request, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.attempts.controller import attempt_view
from gateway.api.restored.views import Released, RestoredGeneration, RestoredGenerationList
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import admin_context_of
from gateway.api.web.moments import unix
from gateway.api.web.operation import PAGE, Operation, page_of
from gateway.api.web.owners import client_shown
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS, Nothing, read_object
from gateway.domain.generation.model import Generation
from gateway.reconciliation.decisions import UnclearAttempt
from gateway.store.port import is_cursor

Call = Request[Any, Any, State]


class RestoredController(Controller):
    """Handlers of `/v1/admin/restored`."""

    path = "/v1/admin/restored"

    @route(
        http_method=GET,
        operation=Operation(
            id="listRestored",
            summary="List the generations that buy nothing since an older ledger was restored; needs an admin key",
            query={"limit": PAGE["limit"], "after": page_of("gen_")["after"]},
            answer=RestoredGenerationList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the generations that wait for a decision, the oldest first."""
        context = admin_context_of(request)
        params = Params.of(request)
        limit = params.limit()
        after = params.cursor("after", is_cursor, "a generation")
        params.done()
        generations, has_more = await context.restored.page(limit=limit, after=after)
        return json_answer(RestoredGenerationList(data=tuple(map(restored_view, generations)), has_more=has_more))

    @post(
        "/release",
        status_code=200,
        operation=Operation(
            id="releaseAllRestored",
            summary="Let every held generation buy again, which may pay twice; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=Released,
            errors=BODY_ERRORS,
        ),
    )
    async def release_all(self, request: Call) -> ASGIResponse:
        """Let every generation buy again that is held now."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(Released(released=await context.restored.release_all()))

    @post(
        "/{generation_id:str}/release",
        status_code=200,
        operation=Operation(
            id="releaseRestored",
            summary="Let a held generation buy again, which may pay twice; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=RestoredGeneration,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def release(self, request: Call) -> ASGIResponse:
        """Let one generation buy again. Its submits that may have been sent are sent once more."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(restored_view(await context.restored.release(path_id(request, "generation_id"))))

    @post(
        "/{generation_id:str}/fail",
        status_code=200,
        operation=Operation(
            id="failRestored",
            summary="Let a held generation fail; needs an admin key",
            body=Nothing,
            body_required=False,
            answer=RestoredGeneration,
            errors=(*BODY_ERRORS, 404, 409),
        ),
    )
    async def fail(self, request: Call) -> ASGIResponse:
        """End one held generation as failed."""
        context = admin_context_of(request)
        await read_object(request, context, Nothing, required=False)
        return json_answer(restored_view(await context.restored.fail(path_id(request, "generation_id"))))


def restored_view(generation: Generation) -> RestoredGeneration:
    """A held generation as an operator sees it, without the client's prompt, images and key."""
    return RestoredGeneration(
        id=generation.id,
        client=client_shown(generation.owner),
        kind=generation.kind,
        model=generation.request.model,
        status=generation.status,
        created_at=int(generation.created_at.timestamp()),
        deadline_at=int(generation.deadline_at.timestamp()),
        restored_at=unix(generation.restored_at),
        attempts=tuple(attempt_view(UnclearAttempt(generation, attempt)) for attempt in generation.attempts),
    )
