"""`/callbacks`: where providers say that something happened. Whoever has no token learns of nothing here."""

from typing import Any

from litestar import Request, post
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.web.answers import json_answer
from gateway.api.web.context import Context
from gateway.api.web.json_body import read_body
from gateway.domain.errors import BodyTooLarge, NotFound

BODY_MAX = 64 * 1024


@post("/callbacks/{provider:str}/{token:str}", status_code=200)
async def callback(request: Request[Any, Any, State]) -> ASGIResponse:
    """Take what a provider says of one submit's tasks; the answer is the same whatever that is."""
    context: Context = request.app.state.context
    provider, token = request.path_params["provider"], request.path_params["token"]
    attempt_id = context.callback_urls.attempt_of(provider, token)
    if attempt_id is None:
        raise NotFound
    try:
        body = await read_body(request, BODY_MAX)
    except BodyTooLarge:
        body = b""  # nothing that a provider would send: but it did call
    await context.callbacks.receive(provider, attempt_id, body)
    return json_answer({})
