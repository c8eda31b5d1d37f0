"""`/health`: whether the process is alive, and whether it should get traffic. Neither path needs a key."""

from typing import Any

from litestar import Request, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse
from msgspec import UNSET, Struct, UnsetType

from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context
from gateway.api.web.operation import Operation

RETRY_AFTER_SECONDS = 5  # after which an orchestrator should ask again


class Health(Struct, frozen=True, kw_only=True):
    """`status` is `ok`, or `unavailable` with the reason."""

    status: str  # `ok` or `unavailable`
    reason: str | UnsetType = UNSET  # why it is unavailable
    warnings: tuple[str, ...] | UnsetType = UNSET  # problems for an operator that do not stop the traffic


@route(
    "/health/live",
    http_method=GET,
    operation=Operation(id="live", summary="Check that the process is alive", answer=Health, open=True),
)
async def live(request: Request[Any, Any, State]) -> ASGIResponse:  # noqa: ARG001  # every handler has this parameter
    """Answer 200 as long as the process can answer at all."""
    return json_answer(Health(status="ok"))


@route(
    "/health/ready",
    http_method=GET,
    operation=Operation(
        id="ready",
        summary="Check whether the gateway should get traffic",
        answer=Health,
        errors=(503,),
        error_body=Health,
        open=True,
    ),
)
async def ready(request: Request[Any, Any, State]) -> ASGIResponse:
    """Answer 200, or 503 with the reason while the gateway should get no traffic."""
    context: Context = request.app.state.context
    reason = await context.ready()
    if reason is None:
        warnings = tuple(context.health_warnings())
        return json_answer(Health(status="ok", warnings=warnings or UNSET))
    answer = json_answer(Health(status="unavailable", reason=reason), {"retry-after": str(RETRY_AFTER_SECONDS)})
    answer.status_code = 503
    return answer
