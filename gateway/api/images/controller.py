"""`/v1/images/…`: OpenAI's calls, which wait for the images unless the client asks for the object."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, cast

from litestar import Request, post
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.generations.controller import (
    CREATE_HEADERS,
    CREATED_HEADERS,
    created_answer,
    generation_controller,
)
from gateway.api.generations.create_request import Normalised
from gateway.api.generations.creating import Read, create, let_go, normalised, own_fields, replayed_headers
from gateway.api.generations.form import read_create
from gateway.api.generations.image_parameters import IMAGE_PARAMETERS, CreateImage
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.images.answer import ImagesAnswer, ResponseFormat, images_answer
from gateway.api.images.blocking import ClientGone, named, until_ended
from gateway.api.web.conditional import joined_headers
from gateway.api.web.context import Context, context_of
from gateway.api.web.headers import header
from gateway.api.web.operation import Operation, form_of
from gateway.api.web.query import Params
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.api.web.streaming import Streamed
from gateway.domain.adapter.request import TextInput
from gateway.domain.errors import BadRequest, GatewayError, InvalidParameter, Overloaded
from gateway.domain.generation.model import Generation, GenerationRequest
from gateway.generations.kind import ROOT

Call = Request[Any, Any, State]
End = Callable[[Generation, bool], Awaitable[None]]  # notes that a call has ended, and whether it was answered


class Preference(NamedTuple):
    """What the client wants instead of waiting."""

    responds_async: bool  # the object at once
    headers: Mapping[str, str]  # of the answer


EDITS = "/v1/images/edits"
_CLIENT_GONE = 499  # nobody reads this status
ASYNC: Mapping[str, Mapping[str, Any]] = {
    "async": {
        "type": "string",
        "enum": ["true", "false", "1", "0"],
        "default": "false",
        "description": "`true`: answer with the generation at once, without waiting for the images",
    }
}


def _operation(name: str, summary: str) -> Operation:
    return Operation(
        id=name,
        summary=summary,
        body=CreateImage,
        form=form_of(CreateImage),
        query=ASYNC,
        headers={**CREATE_HEADERS, "Prefer": "`respond-async` is the same as `?async=true`"},
        answer=ImagesAnswer,
        other_answers=(GenerationView,),
        answer_headers={**CREATED_HEADERS, "Preference-Applied": "`respond-async` if the request preferred it"},
        errors=(*INPUT_ERRORS, 404, 409, 422, 502, 504),
    )


async def generate(request: Call, read: Read = own_fields) -> ASGIResponse:
    """Make images. `read` gives the fields of a create request in a body of another dialect."""
    context, key = await context_of(request)
    preference = _preference(request)
    wanted = await _wanted(request, context, key, read)
    return await _make(request, context, key, wanted, preference)


async def edit(request: Call, read: Read = own_fields) -> ASGIResponse:
    """Make images from other images. Raises `InvalidParameter` for a body without any."""
    context, key = await context_of(request)
    preference = _preference(request)
    wanted = await _wanted(request, context, key, read)
    if isinstance(wanted.request.input, TextInput):
        raise InvalidParameter(
            f"`image` is required: the image to start from, or several. {ROOT['image']} makes images from a prompt"
            " alone.",
            param="image",
        )
    return await _make(request, context, key, wanted, preference)


async def _wanted(request: Call, context: Context, key: str, read: Read) -> Normalised:
    body = await read_create(request, context.max_body_bytes, IMAGE_PARAMETERS)
    return await normalised(body, context, key, read, "image")


@post(
    EDITS,
    status_code=200,
    operation=_operation("editImage", "Make images from other images and a prompt; the same as a create with images"),
)
async def edit_image(request: Call) -> ASGIResponse:
    """Make images from other images."""
    return await edit(request)


@post(
    "/v1/images/variations",
    status_code=200,
    operation=Operation(
        id="varyImage",
        summary="Refused: no model makes variations of an image without a prompt",
        any_body=True,
        answer=ImagesAnswer,
        errors=(400,),
    ),
)
async def vary_image(request: Call) -> ASGIResponse:
    """Refuse the call: a prompt that the client did not write would decide what is bought."""
    await context_of(request)
    raise BadRequest(
        f"No model makes variations of an image without a prompt. POST {EDITS} takes the image and a `prompt` that says"
        " what to make of it."
    )


def _preference(request: Call) -> Preference:
    """Whether the client wants the object instead of the images, and the header that says so."""
    params = Params.of(request)
    in_query = params.choice("async", ("true", "false", "1", "0"))
    params.done()
    preferences = joined_headers(request, "prefer").get("prefer", "").lower().split(",")
    prefers = any(preference.partition(";")[0].strip() == "respond-async" for preference in preferences)
    if in_query is not None:
        return Preference(in_query in {"true", "1"}, {})
    return Preference(prefers, {"preference-applied": "respond-async"} if prefers else {})


async def _make(request: Call, context: Context, key: str, wanted: Normalised, preference: Preference) -> ASGIResponse:
    response_format = cast("ResponseFormat | None", wanted.answer.get("response_format"))
    if preference.responds_async:
        if response_format == "b64_json":
            raise InvalidParameter(
                "`response_format` can only be `url` in a call that does not wait: there are no images yet.",
                param=wanted.names["response_format"],
            )
        return created_answer(await create(request, context, key, wanted), context, request, preference.headers)
    end = _end_of_call(request, context, wanted.request)
    try:
        # The place is taken before the create: refused after it, the call would have bought what it cannot answer.
        with context.generations.place(key) as place:
            created = await create(request, context, key, wanted, waits=True)
            let_go(request, wanted)  # the wait may be long, and the images are stored
            async with _ended_if_refused(partial(end, created.generation)):
                generation = await until_ended(request, context, created.generation, place)
    except Overloaded as error:
        error.detail += " With `?async=true` the call does not wait, and needs no place."
        raise
    except ClientGone:
        return ASGIResponse(status_code=_CLIENT_GONE)
    answered = {"location": context.public_path(f"{ROOT['image']}/{generation.id}"), **replayed_headers(created)}
    view = generation_view(generation, context.links(request), context.health.of)
    try:
        async with _ended_if_refused(partial(end, generation)):
            answer = await images_answer(generation, context, view, response_format, answered)
    except GatewayError as error:
        raise named(error, generation) from error
    if isinstance(answer, Streamed):
        answer.when_over = partial(end, generation)
    else:
        await end(generation, True)  # noqa: FBT003  # the same
    return answer


def _end_of_call(request: Call, context: Context, wanted: GenerationRequest) -> End:
    """Notes that the call has ended, for its repeats. An Idempotency-Key says by itself what is a repeat."""

    async def end(generation: Generation, is_answered: bool) -> None:  # noqa: FBT001  # `Streamed` gives it by position
        if header(request, "idempotency-key") is None:
            await context.generations.end_call(generation, wanted, answered=is_answered)

    return end


@asynccontextmanager
async def _ended_if_refused(end: Callable[[bool], Awaitable[None]]) -> AsyncIterator[None]:
    """Note the end of a call that gets no images. No client repeats what was answered with 400 or 404."""
    try:
        yield
    except Exception as error:
        await end(isinstance(error, GatewayError) and error.status in {400, 404})
        raise


ImageGenerationController = generation_controller(
    "image",
    CreateImage,
    _operation("createImageGeneration", "Make images: wait for them, or with `async` answer with the generation"),
    generate,
)
