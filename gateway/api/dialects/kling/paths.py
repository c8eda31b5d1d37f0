"""The paths of Kling's own API, at the root and below `/kling`."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from litestar import post, route
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.dialects.dialect import Call, Dialect
from gateway.api.dialects.kling.requests import EXTERNAL_TASK_ID, EXTERNAL_TASK_ID_MAX, UNIVERSAL, Service, fields_of
from gateway.api.dialects.kling.tasks import caller, create_task, find_task, page_of, request_id_of
from gateway.api.dialects.kling.views import (
    KlingAnswer,
    KlingCosts,
    KlingError,
    KlingTasks,
    answer_of,
    kling_error,
    task_of,
)
from gateway.api.generations.public_ids import KLING as PREFIX
from gateway.api.generations.public_ids import sent_id
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.headers import cost_header, poll_headers
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.domain.adapter.request import InputKind
from gateway.domain.errors import InvalidParameter, NotFound

PAGE_MAX, SIZE_MAX, SIZE = 1000, 500, 30  # Kling's page: bounds of `pageNum` and `pageSize`, and the usual size
OFFSET_MAX = 50_000  # tasks that a page may pass over: each of them is looked at
_INPUTS: Mapping[Service, tuple[InputKind, ...]] = {
    "text2video": (InputKind.TEXT,),
    "image2video": (InputKind.IMAGE, InputKind.REFERENCES),
}
_TIME: Mapping[str, Any] = {"type": "integer", "minimum": 0, "description": "Unix time in milliseconds"}
_TIME_MAX = 10**14


class KlingCreate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a create: Kling's fields, and those of a relay's page.

    The fields of the gateway's own create are accepted too.
    """

    model_name: str | None = None  # a name of a model; `kling-v1` if it is absent
    model: str | None = None  # another name of `model_name`
    prompt: str | None = None  # what the video shows
    image: str | None = None  # the first frame: a URL, or base64
    image_tail: str | None = None  # the last frame: a URL, or base64
    negative_prompt: str | None = None  # what the video must not show
    cfg_scale: float | None = None  # how closely the video follows the prompt, 0 to 1
    mode: str | None = None  # for example `std` or `pro`
    aspect_ratio: str | None = None  # for example `16:9`
    duration: str | int | None = None  # seconds
    sound: Literal["on", "off"] | None = None  # `on` or `off`
    callback_url: str | None = None  # gets a POST when the task has ended
    external_task_id: str | None = None  # an id of the client's own, with which the task can be read
    width: int | None = None  # pixels, together with `height`
    height: int | None = None  # pixels, together with `width`
    fps: int | None = None  # frames a second
    seed: int | None = None  # the same seed gives a similar result
    n: int | None = None  # how many videos
    response_format: str | None = None  # only `url`
    user: str | None = None  # the end user for whom the client acts
    metadata: dict[str, Any] | None = None  # more of Kling's fields, or pairs of the client's own


# What paths begin with that only Kling's clients call. The last of them are other services of Kling, which the gateway
# does not have: its clients read an error only in Kling's form.
_OWN_PATHS = (
    "/kling/",
    "/account/costs",
    *(f"/v1/videos/{name}" for name in ("text2video", "image2video")),
    *(f"/v1/videos/{name}" for name in ("multi-image2video", "omni-video", "motion-control")),
)
KLING = Dialect(id_prefix=PREFIX, own_paths=_OWN_PATHS, error=kling_error, read=UNIVERSAL)


def _create(base: str, service: Service, name: str) -> HTTPRouteHandler:
    path = f"{base}/v1/videos/{service}"
    reader = fields_of(service)

    @post(
        path,
        status_code=200,
        error_format=kling_error,
        operation=Operation(
            id=f"{name}Create",
            summary=f"Create a generation in Kling's shape: {service}",
            body=KlingCreate,
            answer=KlingAnswer,
            error_body=KlingError,
            errors=(*INPUT_ERRORS, 404, 409),
        ),
    )
    async def create(request: Call) -> ASGIResponse:
        """Create a generation."""
        context, generation, headers = await create_task(request, reader, f"{path}/{{id}}")
        return json_answer(answer_of(generation, context.links(request), request_id_of(request)), headers)

    return create


def _page(base: str, service: Service, name: str) -> HTTPRouteHandler:
    @route(
        f"{base}/v1/videos/{service}",
        http_method=GET,
        error_format=kling_error,
        operation=Operation(
            id=f"{name}List",
            summary=f"List your own generations in Kling's shape: {service}",
            query={
                "pageNum": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 1},
                "pageSize": {"type": "integer", "minimum": 1, "maximum": SIZE_MAX, "default": SIZE},
                EXTERNAL_TASK_ID: {"type": "string", "description": "only the task with this id of yours"},
            },
            answer=KlingTasks,
            error_body=KlingError,
            errors=(400, 503),
        ),
    )
    async def page(request: Call) -> ASGIResponse:
        """List the generations of the caller's key with this kind of input."""
        context, key = await caller(request)
        params = Params.of(request)
        number = params.whole("pageNum", 1, PAGE_MAX) or 1
        size = params.whole("pageSize", 1, SIZE_MAX) or SIZE
        external = params.text(EXTERNAL_TASK_ID, longest=EXTERNAL_TASK_ID_MAX)
        params.done()
        offset = (number - 1) * size
        if offset > OFFSET_MAX:
            message = (
                f"`pageNum` x `pageSize` reaches back {OFFSET_MAX:,} tasks at most; older ones: /v1/videos/generations."
            )
            raise InvalidParameter(message, param="pageNum")
        if external is None:
            generations = await page_of(context, key, _INPUTS[service], offset, size)
        else:
            try:
                generations = [await find_task(context, key, external)]
            except NotFound:
                generations = []
        links = context.links(request)
        tasks = tuple(task_of(generation, links) for generation in generations)
        return json_answer(KlingTasks(request_id=request_id_of(request), data=tasks))

    return page


def _read(base: str, service: Service, name: str) -> HTTPRouteHandler:
    @route(
        f"{base}/v1/videos/{service}/{{generation_id:str}}",
        http_method=GET,
        error_format=kling_error,
        operation=Operation(
            id=f"{name}Read",
            summary="Read a generation in Kling's shape, by its id or by your `external_task_id`",
            query={EXTERNAL_TASK_ID: {"type": "string", "description": "has to be that of the task"}},
            answer=KlingAnswer,
            error_body=KlingError,
            errors=(400, 404, 503),
        ),
    )
    async def read(request: Call) -> ASGIResponse:
        """Read a generation; either path finds any."""
        context, key = await caller(request)
        params = Params.of(request)
        external = params.text(EXTERNAL_TASK_ID, longest=EXTERNAL_TASK_ID_MAX)
        params.done()
        generation = await find_task(context, key, sent_id(request))
        if external is not None and generation.request.metadata.get(EXTERNAL_TASK_ID) != external:
            raise NotFound(f"The task has another `{EXTERNAL_TASK_ID}`.", param=EXTERNAL_TASK_ID)
        view = answer_of(generation, context.links(request), request_id_of(request))
        return json_answer(
            view, poll_headers(generation, context.poll_advisor) | cost_header(generation, context.clients.sees)
        )

    return read


def _costs(base: str, name: str) -> HTTPRouteHandler:
    @route(
        f"{base}/account/costs",
        http_method=GET,
        error_format=kling_error,
        operation=Operation(
            id=f"{name}Costs",
            summary="List resource packs in Kling's shape; the gateway has none",
            query={"start_time": _TIME, "end_time": _TIME, "resource_pack_name": {"type": "string"}},
            answer=KlingCosts,
            error_body=KlingError,
            errors=(400,),
        ),
    )
    async def costs(request: Call) -> ASGIResponse:
        """Answer that there is no resource pack, which is true of every account."""
        await caller(request)
        params = Params.of(request)
        start, end = (params.whole(moment, 0, _TIME_MAX) for moment in ("start_time", "end_time"))
        params.text("resource_pack_name")
        params.done()
        if start is not None and end is not None and end < start:
            raise InvalidParameter("`end_time` must not be before `start_time`.", param="end_time")
        return json_answer(KlingCosts(request_id=request_id_of(request)))

    return costs


_MAKERS: tuple[Callable[[str, Service, str], HTTPRouteHandler], ...] = (_create, _page, _read)
_BASES = {"/kling": "kling", "": "klingRoot"}  # where the paths begin → what the names of their operations begin with
_SERVICES: Mapping[Service, str] = {"text2video": "TextVideo", "image2video": "ImageVideo"}
HANDLERS = (
    *(
        make(base, service, f"{name}{word}")
        for base, name in _BASES.items()
        for service, word in _SERVICES.items()
        for make in _MAKERS
    ),
    *(_costs(base, name) for base, name in _BASES.items()),
)
