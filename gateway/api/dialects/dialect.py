"""What every dialect has, and the calls that their handlers share."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request, post, route
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from gateway.api.generations.create_request import Given
from gateway.api.generations.creating import Fields, Read, create, created_headers, wanted
from gateway.api.generations.public_ids import generation_id, public_id
from gateway.api.web.answers import GET
from gateway.api.web.context import Context, context_of
from gateway.api.web.error_format import ErrorFormat
from gateway.api.web.headers import cost_header, poll_headers
from gateway.api.web.links import Links
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params
from gateway.domain.adapter.request import Kind
from gateway.domain.generation.model import Generation, WebhookFormat
from gateway.domain.generation.summary import Problem, Summary

Call = Request[Any, Any, State]
Answer = Callable[[Call, Generation, Mapping[str, str]], ASGIResponse]  # of a generation, with these headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The shape of another API over the same generations."""

    id_prefix: str  # of the ids that its answers have: see `gateway.api.generations.public_ids`
    own_paths: tuple[str, ...] = ()  # what the paths that only it has begin with, also those that do not exist
    error: ErrorFormat
    read: Read  # its body of a create → the fields of a create request; raises 400 in its own words
    webhook: WebhookFormat | None = None  # in whose words its `callback_url` is called; None: in the gateway's own

    def id(self, generation: Generation, index: int = 0) -> str:
        """The id of a generation, or of one of its outputs, in this dialect."""
        return public_id(self.id_prefix, generation.id, index)


def links_of(request: Call) -> Links:
    """The URLs for the answer to a request."""
    context: Context = request.app.state.context
    return context.links(request)


async def create_in(
    dialect: Dialect, request: Call, location: str, kind: Kind = "video"
) -> tuple[Context, Generation, dict[str, str]]:
    """Create what the body asks for; return the generation, and the headers of the answer.

    `location` is the path at which the dialect reads it, with `{id}` where the id is.
    """
    context, key = await context_of(request)
    normalised = await wanted(request, context, key, dialect.read, kind)
    created = await create(request, context, key, normalised.calling_back(dialect.webhook))
    path = location.format(id=dialect.id(created.generation))
    return context, created.generation, created_headers(created, context, path)


async def read_generation(
    request: Call, ignored: Collection[str] = (), kind: Kind | None = None
) -> tuple[Context, Generation, dict[str, str]]:
    """The generation that the path names, in whatever dialect its id is, and the headers of the answer to a read.

    `ignored` are query parameters of the dialect that ask for what happens anyway. `kind` is what the path is for; a
    generation of another kind is a 404 that names the right path.
    """
    context, key = await context_of(request)
    params = Params.of(request)
    for name in ignored:
        params.text(name)
    params.done()
    generation = await context.generations.read(generation_id(request), key, kind=kind)
    return (
        context,
        generation,
        poll_headers(generation, context.poll_advisor) | cost_header(generation, context.clients.sees),
    )


def creator(
    dialect: Dialect, path: str, location: str, operation: Operation, answer: Answer, *, kind: Kind = "video"
) -> HTTPRouteHandler:
    """The handler of `POST path` that creates a generation; `location` as in `create_in`."""

    @post(path, status_code=operation.status, error_format=dialect.error, operation=operation)
    async def create_generation(request: Call) -> ASGIResponse:
        """Create a generation."""
        _, generation, headers = await create_in(dialect, request, location, kind)
        return answer(request, generation, headers)

    return create_generation


def reader(
    dialect: Dialect,
    path: str,
    operation: Operation,
    answer: Answer,
    *,
    kind: Kind | None = None,
    ignored: Collection[str] = (),
) -> HTTPRouteHandler:
    """The handler of `GET path` that reads a generation; `kind` and `ignored` as in `read_generation`."""

    @route(path, http_method=GET, error_format=dialect.error, operation=operation)
    async def read_one(request: Call) -> ASGIResponse:
        """Read a generation."""
        _, generation, headers = await read_generation(request, ignored, kind)
        return answer(request, generation, headers)

    return read_one


def with_names(fields: Fields, names: Mapping[str, str]) -> list[Given]:
    """The fields of a body, and for errors the dialect's own names of fields that the body may lack.

    `names` has our name of a field → its name in the dialect.
    """
    given = [Given(*field) for field in fields.items()] if isinstance(fields, Mapping) else list(fields)
    return [*given, *(Given(name, None, field) for field, name in names.items())]


def problem_of(summary: Summary) -> Problem | None:
    """Why there is no result. A cancelled generation has no error, but here it is shown as a failed one."""
    if summary.cancellation is not None:
        return Problem("cancelled", summary.cancellation.message)
    return summary.error
