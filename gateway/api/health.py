"""Is it alive, should it get traffic."""

from typing import Any

from litestar import Request, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context


@route("/health/live", http_method=GET)
async def live(request: Request[Any, Any, State]) -> ASGIResponse:  # noqa: ARG001  # the form of a handler
    """Answer while the process can."""
    return json_answer({"status": "ok"})


@route("/health/ready", http_method=GET)
async def ready(request: Request[Any, Any, State]) -> ASGIResponse:
    """Answer 503 with the reason while no traffic should come."""
    context: Context = request.app.state.context
    reason = await context.ready()
    if reason is None:
        warnings = context.health_warnings()
        return json_answer({"status": "ok", "warnings": warnings} if warnings else {"status": "ok"})
    answer = json_answer({"status": "unavailable", "reason": reason}, {"retry-after": "5"})
    answer.status_code = 503
    return answer
