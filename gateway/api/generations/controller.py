"""`/v1/videos/generations`: each handler reads the request, calls one service, and encodes what it returns."""

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from litestar import Controller, Request, delete, post, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.generations.create_request import Normalised, normalise
from gateway.api.generations.form import read_create
from gateway.api.generations.parameters import CreateVideo
from gateway.api.generations.quote import QuoteView, quote_view
from gateway.api.generations.views import Deleted, GenerationList, GenerationView, generation_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.headers import header, is_retry, only_header, poll_headers
from gateway.api.web.operation import REF, Operation, page_of
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import BODY_ERRORS
from gateway.domain.adapter.task import Status
from gateway.domain.errors import InvalidParameter
from gateway.domain.generation.model import Generation
from gateway.inputs.prepare import file_name
from gateway.media.image_header import LARGE
from gateway.store.port import Query, is_cursor

Call = Request[Any, Any, State]
IDEMPOTENCY_KEY_MAX = 255  # characters
WAIT_MAX = 60  # seconds
_VERSION = re.compile(r'"([0-9]{1,18})"')  # of a generation, as an ETag
_FORM: Mapping[str, Any] = {"$ref": REF.format(name="CreateVideoForm")}  # made by `gateway.api.openapi.create`
_UNIX: Mapping[str, Any] = {"type": "integer", "minimum": 0, "description": "Unix seconds"}
_POLL_HEADERS: Mapping[str, str] = {
    "Retry-After": "only of an open generation: after how many seconds to read it again, judged by its route",
    "openai-poll-after-ms": "the same in milliseconds, at most 5,000, because OpenAI's `poll()` keeps the first value",
}
_LIST: Mapping[str, Mapping[str, Any]] = {
    **page_of("gen_"),
    "status": {"type": "string", "enum": [status.value for status in Status]},
    "model": {"type": "string"},
    "provider": {"type": "string"},
    "created_after": _UNIX,
    "created_before": _UNIX,
    "metadata": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "`metadata[key]=value`, once for each pair",
    },
}
_CREATE = Operation(
    id="createVideoGeneration",
    summary="Create a generation; it is durable when this answers, and is started soon after",
    body=CreateVideo,
    form=_FORM,
    answer=GenerationView,
    headers={
        "Idempotency-Key": "for 24 hours the same key and body return the same generation",
        "X-Stainless-Retry-Count": "1 or more, without an Idempotency-Key: an equal request of the last 30 minutes"
        " returns its generation again; client libraries send this header by themselves",
    },
    answer_headers={
        "Location": "the path of the generation",
        "Idempotent-Replayed": "`true` when an earlier equal request made this generation",
        **_POLL_HEADERS,
    },
    errors=(*BODY_ERRORS, 404, 409, 422),
)
_QUOTE = Operation(
    id="quoteVideoGeneration",
    summary="Show what a create would do: routes, reasons, prices; nothing is stored or started",
    body=CreateVideo,
    form=_FORM,
    answer=QuoteView,
    errors=(*BODY_ERRORS, 404),
)
_READ = Operation(
    id="readVideoGeneration",
    summary="Read a generation",
    query={
        "wait": {
            "type": "integer",
            "minimum": 0,
            "maximum": WAIT_MAX,
            "description": "the longest delay in seconds: the answer waits until the status changes, or with"
            " If-None-Match until anything changes",
        }
    },
    headers={"If-None-Match": "an ETag; 304 while nothing has changed"},
    answer=GenerationView,
    answer_headers={"ETag": "changes when the generation does", **_POLL_HEADERS},
    errors=(304, 400, 404, 503),
)


class VideoGenerationController(Controller):
    """Handlers of `/v1/videos/generations`."""

    path = "/v1/videos/generations"

    @post(status_code=200, operation=_CREATE)  # 200, not 201 or 202: what clients of this API family check for
    async def create(self, request: Call) -> ASGIResponse:
        """Accept a generation: it is durable when this answers, and is started soon after."""
        context, key = context_of(request)
        wanted = await _wanted(request, context, key)
        with wanted.named():
            created = await context.generations.create(
                wanted.request,
                key=key,
                files=wanted.files,
                idempotency_key=_idempotency_key(request),
                retry=is_retry(request),
            )
        headers = {"location": f"{self.path}/{created.generation.id}"} | poll_headers(
            created.generation, context.poll_advisor
        )
        if created.replayed:
            headers["idempotent-replayed"] = "true"
        return _answer(created.generation, context, headers, request if created.replayed else None)

    @post("/quote", status_code=200, operation=_QUOTE)
    async def quote(self, request: Call) -> ASGIResponse:
        """Say what a create with the same body would do; nothing is stored or started."""
        context, key = context_of(request)
        wanted = await _wanted(request, context, key)
        with wanted.named():
            quote = await context.generations.quote(wanted.request, key=key, files=wanted.files)
        return json_answer(quote_view(quote, context.health))

    @route(
        http_method=GET,
        operation=Operation(
            id="listVideoGenerations",
            summary="List your own generations, the newest first",
            query=_LIST,
            answer=GenerationList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the generations of the caller's key."""
        context, key = context_of(request)
        params = Params.of(request)
        paging = params.paging(is_cursor, "a generation")
        query = Query(
            key=key,
            kind="video",
            limit=paging.limit,
            order=paging.order,
            after=paging.after,
            before=paging.before,
            status=params.status(),
            model=params.text("model"),
            provider=params.text("provider"),
            created_after=params.moment("created_after"),
            created_before=params.moment("created_before"),
            metadata=params.metadata(),
        )
        params.done()
        page = await context.generations.page(query)
        links = context.links(request)
        views = (generation_view(generation, links, context.health.of) for generation in page.data)
        return json_answer(GenerationList.of(views, has_more=page.has_more))

    @route("/{generation_id:str}", http_method=GET, operation=_READ)
    async def read(self, request: Call) -> ASGIResponse:
        """Read one generation.

        `wait` delays the answer until the status changes. A client that sends the version that it has
        (`If-None-Match`) waits for any change.
        """
        context, key = context_of(request)
        params = Params.of(request)
        wait = params.whole("wait", 0, WAIT_MAX) or 0
        params.done()
        tags = header(request, "if-none-match") or ""
        versions = {int(version) for version in _VERSION.findall(tags)}
        generation = await context.generations.read(_id(request), key, wait, versions)
        headers = {"etag": f'"{generation.version}"'}
        if not wait:  # a client that waits may ask again at once
            headers |= poll_headers(generation, context.poll_advisor)
        if generation.version in versions or tags.strip() == "*":
            return ASGIResponse(status_code=304, headers=headers)
        return _answer(generation, context, headers, request)

    @post(
        "/{generation_id:str}/cancel",
        status_code=200,
        operation=Operation(
            id="cancelVideoGeneration",
            summary="Cancel a generation; `cancellation` says whether a provider had started",
            answer=GenerationView,
            errors=(400, 404, 409, 503),
        ),
    )
    async def cancel(self, request: Call) -> ASGIResponse:
        """Cancel a generation; the answer says whether a provider had started."""
        context, key = context_of(request)
        Params.of(request).done()
        return _answer(await context.generations.cancel(_id(request), key), context, {}, request)

    @delete(
        "/{generation_id:str}",
        status_code=200,
        operation=Operation(
            id="deleteVideoGeneration",
            summary="Delete a generation that has ended",
            answer=Deleted,
            errors=(400, 404, 409, 503),
        ),
    )
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete a generation that has ended."""
        context, key = context_of(request)
        Params.of(request).done()
        await context.generations.delete(_id(request), key)
        return json_answer(Deleted(id=_id(request), object="video.generation"))


async def _wanted(request: Call, context: Context, key: str) -> Normalised:
    """What the body of a create or a quote asks for; a large body is decoded in a thread."""
    Params.of(request).done()
    body = await read_create(request, context.max_body_bytes)
    read = partial(normalise, body, lambda content: file_name(key, content), context.fetch_allow)
    return read() if _weight(body) <= LARGE else await asyncio.to_thread(read)


def _weight(value: object) -> int:
    """The characters and bytes in a body. Images make a body heavy, and looking at them would block the event loop."""
    match value:
        case str() | bytes():
            return len(value)
        case list():
            return sum(map(_weight, value))
        case dict():
            return sum(map(_weight, value.values()))
        case _:
            return 0


def _answer(
    generation: Generation, context: Context, headers: dict[str, str], request: Call | None = None
) -> ASGIResponse:
    return json_answer(generation_view(generation, context.links(request), context.health.of), headers)


def _id(request: Call) -> str:
    return path_id(request, "generation_id")


def _idempotency_key(request: Call) -> str | None:
    """The idempotency key without spaces and tabs around it: a repeated request may have lost or gained some."""
    value = only_header(request, "idempotency-key")
    if value is None:
        return None
    value = value.strip(" \t")
    if any(character < " " or character == "\x7f" for character in value):
        raise InvalidParameter(
            "`Idempotency-Key` has a control character in it; send printable characters.", param="Idempotency-Key"
        )
    if not 0 < len(value) <= IDEMPOTENCY_KEY_MAX:
        raise InvalidParameter(
            f"`Idempotency-Key` must be 1 to {IDEMPOTENCY_KEY_MAX} characters, not {len(value)}.",
            param="Idempotency-Key",
        )
    return value
