"""`/callbacks`: providers report that something happened to a task.

The token in the path admits the caller. Without a good token the answer is the same 404 for every path.
"""

from typing import Any

from litestar import Request, post
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.web.answers import json_answer
from gateway.api.web.context import Context
from gateway.api.web.json_body import read_body
from gateway.api.web.operation import Operation
from gateway.api.web.query import path_id
from gateway.api.web.small_body import Nothing
from gateway.domain.errors import BodyTooLarge, NotFound

BODY_MAX = 64 * 1024  # bytes; the callbacks of all known providers are far smaller


@post(
    "/callbacks/{provider:str}/{token:str}",
    status_code=200,
    operation=Operation(
        id="callBack",
        summary="Called by providers at the URL that came with a submit: makes the gateway poll the task",
        any_body=True,
        answer=Nothing,
        errors=(404, 408, 503),
        open=True,
    ),
)
async def callback(request: Request[Any, Any, State]) -> ASGIResponse:
    """Accept a callback about the tasks of one submit; the answer never depends on what the body says."""
    context: Context = request.app.state.context
    provider, token = path_id(request, "provider"), path_id(request, "token")
    attempt_id = context.callback_urls.attempt_of(provider, token)
    if attempt_id is None:
        raise NotFound
    try:
        body = await read_body(request, BODY_MAX)
    except BodyTooLarge:
        body = b""  # a provider would not send so much, but the call itself is a reason to poll the task
    await context.callbacks.receive(provider, attempt_id, body)
    return json_answer(Nothing())
