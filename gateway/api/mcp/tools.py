"""The tools of `/mcp`: what a model can ask the gateway to do. Each answers within `CALL_SECONDS`."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar import Request
from litestar_mcp import MCPRequestContext
from msgspec.structs import replace

from gateway.api.generations.create_request import Normalised
from gateway.api.generations.creating import normalised, read_idempotency_key
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.parameter import Holder
from gateway.api.generations.public_ids import stored_id, whole_id
from gateway.api.generations.quote import quote_view
from gateway.api.generations.readers import read_choice, read_integer, read_text
from gateway.api.generations.refusals import refuse
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.mcp import models, schemas
from gateway.api.mcp.results import Result, generation_result, result_of
from gateway.api.mcp.tasks import GenerationTasks
from gateway.api.mcp.wording import for_tools
from gateway.api.models.views import ModelView, model_view, seen
from gateway.api.web.context import Context
from gateway.api.web.headers import header, trace_of
from gateway.api.web.json_body import join
from gateway.api.web.timeouts import timeout
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import GatewayError, InvalidParameter, Overloaded, UnknownParameter
from gateway.domain.generation.model import Generation
from gateway.domain.parameters import spellings
from gateway.generations.catalog import Model

CALL_SECONDS = 20  # clients cut calls that take 30 to 60 seconds
TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
_WAIT_ASKED_MAX = 86_400  # seconds; what is over `CALL_SECONDS` is capped, not refused
_KEY_HEADER, _KEY_NAME = "Idempotency-Key", "idempotency_key"
_ROUTES_MAX = 10  # of a quote that are listed, and as many of those that are left out
_WAIT_NEXT = "It has not ended: call wait_for_generation again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool by the client with this key."""

    gateway: Context
    key: str
    request: Request[Any, Any, Any]
    rpc: MCPRequestContext
    arguments: Mapping[str, object]

    @property
    def understands_tasks(self) -> bool:
        """True if the client declares the Tasks extension, so that a task may be the answer."""
        extensions = (self.rpc.client_capabilities or {}).get("extensions")
        return isinstance(extensions, dict) and TASKS_EXTENSION in extensions

    def view(self, generation: Generation) -> GenerationView:
        """The public object of a generation, with URLs for this client."""
        return generation_view(generation, self.gateway.links(self.request), self.gateway.health.of)

    def take(self, *names: str) -> Mapping[str, object]:
        """The arguments without nulls; raises `UnknownParameter` for a name that is not among `names`."""
        for name in self.arguments:
            if name not in names:
                shown = join("", name)
                raise UnknownParameter(
                    f"`{shown}` is not an argument of this tool. Its arguments are: {', '.join(names)}.", param=shown
                )
        return {name: value for name, value in self.arguments.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as it is listed, and the function that answers its calls."""

    title: str
    description: str
    input: schemas.Schema
    run: Callable[[Call], Awaitable[Result]]
    output: schemas.Schema | None = None
    reads_only: bool = False  # it changes nothing
    destroys: bool = False  # it ends work that cannot be taken up again
    repeats: bool = True  # a repeated call changes nothing more

    def listed(self, name: str) -> dict[str, Any]:
        """The tool in the answer to `tools/list`."""
        return {
            "name": name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input,
            **({} if self.output is None else {"outputSchema": self.output}),
            "annotations": {
                "readOnlyHint": self.reads_only,
                "destructiveHint": self.destroys,
                "idempotentHint": self.repeats,
                "openWorldHint": not self.reads_only,
            },
        }


async def _create(call: Call) -> Result:
    if header(call.request, _KEY_HEADER.lower()) is not None:  # a client of MCP sends the same headers with each call
        message = (
            f"The header {_KEY_HEADER} does not count here: give the argument `{_KEY_NAME}`, one for each purchase."
        )
        raise InvalidParameter(message, param=_KEY_NAME)
    body = dict(call.arguments)
    given = body.pop(_KEY_NAME, None)
    idempotency_key = None if given is None else _idempotency_key(given)
    wanted = await _wanted(body, call)
    with wanted.named(), _key_named():
        created = await call.gateway.generations.create(
            wanted.request,
            key=call.key,
            files=wanted.files,
            idempotency_key=idempotency_key,
            trace=trace_of(call.request),
        )
    if created.replayed:
        call.gateway.rates.give_back(call.key)
    generation = created.generation
    if call.understands_tasks and not generation.status.terminal:
        task = GenerationTasks(call.gateway, call.gateway.links(call.request)).record(generation)
        return {"resultType": "task", **task.to_dict()}
    if created.replayed:
        note = "An earlier call with this idempotency_key made this generation; nothing was bought now."
    else:
        note = "The generation is stored and is being made: call wait_for_generation with its id."
    return generation_result(call.view(generation), note=note)


@contextmanager
def _key_named() -> Iterator[None]:
    """Let `param` of an error name the idempotency key as the tool does; the services name the header."""
    try:
        yield
    except GatewayError as error:
        if error.param == _KEY_HEADER:
            error.param = _KEY_NAME
        raise


async def _quote(call: Call) -> Result:
    body = dict(call.arguments)
    wanted = await _wanted(body, call)
    with wanted.named():
        quote = await call.gateway.generations.quote(wanted.request, key=call.key, files=wanted.files)
    view = quote_view(quote, call.gateway.health, call.gateway.clients.limits_of(call.key).sees)
    left_out = tuple(
        replace(route, reasons=tuple(replace(why, message=for_tools(why.message)) for why in route.reasons))
        for route in view.left_out[:_ROUTES_MAX]
    )
    count = len(view.routes)
    lines = (*view.summary[:count][:_ROUTES_MAX], *view.summary[count:][:_ROUTES_MAX])
    shown = replace(view, routes=view.routes[:_ROUTES_MAX], left_out=left_out, summary=tuple(map(for_tools, lines)))
    more = max(count, len(view.left_out)) > _ROUTES_MAX
    note = f"Only {_ROUTES_MAX} routes of each kind are listed: {count} can do it." if more else None
    return result_of(shown, note=note)


async def _wait(call: Call) -> Result:
    """Wait until the generation has ended. A call with a progress token gets a report of each progress."""
    arguments = call.take("id", "seconds")
    generation_id = _id(arguments)
    given = arguments.get("seconds", CALL_SECONDS)
    seconds = read_integer(given, "seconds", low=0, high=_WAIT_ASKED_MAX, units=spellings.UNITS_OF_TIME)
    until = call.gateway.clock.now() + timedelta(seconds=min(seconds, CALL_SECONDS))
    generation = await call.gateway.generations.read(generation_id, call.key)
    reported = await _report(call, generation, -1)
    while not generation.status.terminal:
        left = (until - call.gateway.clock.now()).total_seconds()
        if left <= 0:
            break
        before = generation.version
        generation = await call.gateway.generations.read(generation_id, call.key, left, {before})
        if generation.version == before:  # the time is over, or the gateway is stopping
            break
        reported = await _report(call, generation, reported)
    return generation_result(call.view(generation), note=_wait_note(generation, seconds))


def _wait_note(generation: Generation, seconds: int) -> str | None:
    if generation.status.terminal:
        return None
    capped = f"A call waits at most {CALL_SECONDS} seconds, not {seconds}. " if seconds > CALL_SECONDS else ""
    return capped + _WAIT_NEXT


async def _report(call: Call, generation: Generation, reported: float) -> float:
    """Report the progress in percent if it is more than was reported before; the newest that was reported."""
    percent = call.view(generation).progress
    if call.rpc.progress_token is None or percent <= reported:
        return reported
    await call.rpc.report_progress(percent, 100, generation.status.value)
    return percent


async def _read(call: Call) -> Result:
    generation_id = _id(call.take("id"))
    return generation_result(call.view(await call.gateway.generations.read(generation_id, call.key)))


async def _cancel(call: Call) -> Result:
    generation_id = whole_id(_text_id(call.take("id")))
    return generation_result(call.view(await call.gateway.generations.cancel(generation_id, call.key)))


async def _models(call: Call) -> Result:
    arguments = call.take("model", "kind", "after")
    catalog, allowed = call.gateway.catalog, call.gateway.clients.limits_of(call.key).models
    kind = _kind(dict(arguments)) if "kind" in arguments else None
    if "model" in arguments:
        model = catalog.resolve(_text(arguments["model"], "model").strip(), allowed=allowed)
        if kind is None or _makes(model, kind):
            return result_of(models.detail(_model_view(call, model)))
        return result_of({"data": [], "note": f"This model makes no {kind}."})
    listed = [model for model in catalog.listed(allowed) if kind is None or _makes(model, kind)]
    after = _text(arguments["after"], "after").strip() if "after" in arguments else None
    if after is not None and after not in {model.name for model in listed}:
        raise InvalidParameter("`after` must be the `id` of a model of the page before.", param="after")
    return result_of(models.page([_model_view(call, model) for model in listed], after))


def _model_view(call: Call, model: Model) -> ModelView:
    return seen(
        model_view(model, call.gateway.started_at, call.gateway.health), call.gateway.clients.limits_of(call.key).sees
    )


def _makes(model: Model, kind: Kind) -> bool:
    return any(capability.kind == kind for route in model.candidates for capability in route.capabilities)


def _text(value: object, name: str) -> str:
    return read_text(value, name, least=1, most=256)


def _idempotency_key(value: object) -> str:
    if not isinstance(value, str):
        refuse(_KEY_NAME, "a string", value)
    return read_idempotency_key(value, _KEY_NAME)


def _id(arguments: Mapping[str, object]) -> str:
    """The id of a generation as it is stored, from the id in any dialect. A missing one is refused as null is."""
    return stored_id(_text_id(arguments))


def _text_id(arguments: Mapping[str, object]) -> str:
    return read_text(arguments.get("id"), "id", least=1, most=100)


async def _wanted(body: dict[str, object], call: Call) -> Normalised:
    """What a create or a quote asks for, of the kind that it names."""
    kind = _kind(body)
    for name in PARAMETERS_OF[kind].held[Holder.ANSWER]:
        if body.get(name) is not None:
            message = f"`{name}` is not an argument of this tool: the files are in `data[].url` of the generation."
            raise InvalidParameter(message, param=name)
    return await normalised(body, call.gateway, call.key, kind=kind)


def _kind(body: dict[str, object]) -> Kind:
    """What is to be made; it is taken out of the body."""
    given = body.pop("kind", None)
    if given is None:
        return "video"
    return "image" if read_choice(given, "kind", choices=("video", "image")) == "image" else "video"


_UNDER_WAY: set[asyncio.Task[Result]] = set()


async def run(tool: Tool, call: Call) -> Result:
    """Answer a call within about `CALL_SECONDS`.

    The work goes on when the client leaves, or when the time is over: a create that is stopped between its commit and
    the start of its driver would leave a generation that nobody makes before the next start of the gateway.
    """
    work: Coroutine[Any, Any, Result] = _as_coroutine(tool.run(call))
    task = asyncio.create_task(work)
    _UNDER_WAY.add(task)
    task.add_done_callback(_ended)
    try:
        async with timeout(call.gateway.clock, CALL_SECONDS + 1):  # a wait ends by itself after `CALL_SECONDS`
            return await asyncio.shield(task)
    except TimeoutError:
        if task.done():
            raise
        raise Overloaded(
            f"The gateway has not finished this within {CALL_SECONDS} seconds and goes on with it. Call the tool again;"
            " for a create with the same idempotency_key.",
            retry_after=1,
        ) from None


async def _as_coroutine(work: Awaitable[Result]) -> Result:
    return await work


def _ended(task: asyncio.Task[Result]) -> None:
    _UNDER_WAY.discard(task)
    if not task.cancelled():
        task.exception()  # the client may have gone, so that nobody else reads it


_SECONDS: schemas.Schema = {
    "type": "integer",
    "minimum": 0,
    "default": CALL_SECONDS,
    "description": f"The longest wait. A call waits at most {CALL_SECONDS} seconds, also if you ask for more: then the"
    " answer has a note, and you call again.",
}
_MAKES: schemas.Schema = {"type": "string", "enum": ["video", "image"], "description": "Only models that make this."}
_MODEL: schemas.Schema = {"type": "string", "description": "The name of one model, which is shown in detail."}
_AFTER: schemas.Schema = {"type": "string", "description": "The last `id` of the page before."}
TOOLS: Mapping[str, Tool] = {
    "list_models": Tool(
        title="List models",
        description="List the models in short: kinds of input, durations, resolutions, the lowest price in USD. With"
        " `model`: all that one model can do, by route, with prices and how fast it is. It lacks what is absent.",
        input=schemas.arguments({"model": _MODEL, "kind": _MAKES, "after": _AFTER}),
        run=_models,
        reads_only=True,
    ),
    "quote_generation": Tool(
        title="Quote",
        description="Show what create_generation would do: the routes in their order, prices, and why other routes are"
        " left out. Nothing is bought or stored. It takes every argument of create_generation but idempotency_key.",
        input=schemas.quote_arguments(),
        run=_quote,
        reads_only=True,
    ),
    "create_generation": Tool(
        title="Create a video or an image",
        description="Buy a video or an image. This costs money: give an idempotency_key, so that a repeated call does"
        " not buy again. The answer comes at once, before the file exists; call wait_for_generation with its id until"
        " the status is completed, failed, cancelled or expired. The files are in data[].url.",
        input=schemas.create_arguments({"idempotency_key": schemas.IDEMPOTENCY_KEY}),
        output=schemas.GENERATION,
        run=_create,
        repeats=False,
    ),
    "wait_for_generation": Tool(
        title="Wait for a generation",
        description=f"Wait until a generation has ended, for at most {CALL_SECONDS} seconds. If it has not ended by"
        " then, the answer says so: call again. A video takes minutes.",
        input=schemas.arguments({"id": schemas.ID, "seconds": _SECONDS}, "id"),
        output=schemas.GENERATION,
        run=_wait,
        reads_only=True,
    ),
    "read_generation": Tool(
        title="Read a generation",
        description="Read a generation as it is now: status, progress, files, error, cost.",
        input=schemas.arguments({"id": schemas.ID}, "id"),
        output=schemas.GENERATION,
        run=_read,
        reads_only=True,
    ),
    "cancel_generation": Tool(
        title="Cancel a generation",
        description="Cancel a generation that has not ended. A provider that has started cannot be stopped and may"
        " bill; `cancellation` in the answer says so.",
        input=schemas.arguments({"id": schemas.ID}, "id"),
        output=schemas.GENERATION,
        run=_cancel,
        destroys=True,
    ),
}
