"""A call that waits until its generation has ended, and what it answers if that has no result.

What was created goes on in any case: without the client, after the longest wait, and through a restart. The same call
again waits for the same generation, by its Idempotency-Key or as the retry of a client library.
"""

import asyncio
from typing import Any

from litestar import Request
from litestar.datastructures import State

from gateway.api.web.context import Context
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Status
from gateway.domain.errors import GatewayError, ShuttingDown, StillRunning
from gateway.domain.generation.model import Generation
from gateway.domain.generation.summary import summarize
from gateway.generations.kind import ROOT
from gateway.sharing.room import Place

Call = Request[Any, Any, State]
_STOP_SECONDS = 5.0  # `Retry-After` while the gateway restarts


# The public codes of failures → the status of the answer. The request itself is at fault for a 4xx.
STATUS_OF_FAILURE = {
    FailureKind.INVALID_REQUEST.value: 400,
    FailureKind.CONTENT_POLICY.value: 400,
    "cancelled": 409,
    FailureKind.RATE_LIMITED.value: 503,
    FailureKind.UNAVAILABLE.value: 503,
    FailureKind.TIMED_OUT.value: 504,
    "expired": 504,
}
OTHER_FAILURE = 502


class GenerationFailed(GatewayError):
    """The generation ended without a result. The code is that of its failure, `expired` or `cancelled`."""

    code, status, type, title = FailureKind.TASK_FAILED.value, OTHER_FAILURE, "api_error", "There is no result."
    remedy = "Read the generation: it shows every attempt."

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.status = STATUS_OF_FAILURE.get(code, OTHER_FAILURE)
        self.type = "invalid_request_error" if self.status < 500 else "api_error"


class ClientGone(Exception):
    """The client has closed its connection, so nobody reads the answer."""


async def until_ended(request: Call, context: Context, generation: Generation, place: Place) -> Generation:
    """The generation when it has completed. `place` is that of this call among the waiting ones.

    Raises `GenerationFailed` if it ended in another way, `StillRunning` after `server.blocking_seconds` or when the
    place is lost, `ShuttingDown` when the gateway stops, and `ClientGone`.
    """
    if not generation.status.terminal:
        generation = await _wait(request, context, generation, place)
    error = _error_of(generation, context, place)
    if error is None:
        return generation
    raise named(error, generation)


def named(error: GatewayError, generation: Generation) -> GatewayError:
    """The same error with the id of the generation, so that the client can read it."""
    error.members = {**error.members, "generation_id": generation.id}
    error.headers = {**error.headers, "Location": f"{ROOT[generation.kind]}/{generation.id}"}
    return error


async def _wait(request: Call, context: Context, generation: Generation, place: Place) -> Generation:
    waiting = asyncio.ensure_future(
        context.generations.until_ended(generation.id, generation.owner, context.blocking_seconds, place)
    )
    leaving = asyncio.ensure_future(_client_left(request))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientGone
        return waiting.result()
    finally:
        waiting.cancel()
        leaving.cancel()
        await asyncio.wait({waiting, leaving})


async def _client_left(request: Call) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error_of(generation: Generation, context: Context, place: Place) -> GatewayError | None:
    """Why there is no result to answer with; None if there is one."""
    read = f"GET {ROOT[generation.kind]}/{generation.id}"
    if generation.status is Status.COMPLETED:
        return None
    if generation.status is Status.CANCELLED:
        return GenerationFailed(
            "cancelled",
            f"The generation {generation.id} was cancelled; {read} shows what it cost.",
        )
    if generation.status.terminal:
        problem = summarize(generation).error
        code, message = ("task_failed", "") if problem is None else (problem.code, problem.message)
        reason = f"{message.rstrip('.')}. " if message else ""  # a provider's text may end without a full stop
        return GenerationFailed(code, f"{reason}{read} shows every attempt.")
    again = (
        f"The generation {generation.id} goes on, and is not lost: read it with {read}, or send the same call again"
        " with its Idempotency-Key to wait for it once more."
    )
    if context.generations.stopping:
        return ShuttingDown(f"The gateway is stopping. {again}", retry_after=_STOP_SECONDS)
    seconds = context.poll_advisor.seconds(generation) or _STOP_SECONDS
    why = f"No result after {context.blocking_seconds:g} s."
    if place.is_lost:
        why = "Other clients need the places of calls that wait."
    return StillRunning(f"{why} {again}", retry_after=seconds)
