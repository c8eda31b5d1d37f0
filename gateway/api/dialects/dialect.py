"""What every dialect has, and the calls that their handlers share."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.datastructures import State

from gateway.api.generations.creating import Read, create, created_headers, wanted
from gateway.api.generations.public_ids import generation_id, public_id
from gateway.api.web.context import Context, context_of
from gateway.api.web.error_format import ErrorFormat
from gateway.api.web.headers import cost_header, poll_headers
from gateway.api.web.links import Links
from gateway.api.web.query import Params, path_id
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import InvalidParameter, NotFound
from gateway.domain.generation.model import Generation, WebhookFormat
from gateway.domain.generation.summary import FileSource, OutputSummary, Problem, Summary

Call = Request[Any, Any, State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """The shape of another API over the same generations."""

    id_prefix: str  # of the ids that its answers have: see `gateway.api.generations.public_ids`
    own_path: str  # what the paths that only it has begin with
    error: ErrorFormat
    read: Read  # its body of a create → the fields of a create request; raises 400 in its own words
    webhook: WebhookFormat | None = None  # in whose words its `callback_url` is called; None: in the gateway's own

    def id(self, generation: Generation, index: int = 0) -> str:
        """The id of a generation, or of one of its outputs, in this dialect."""
        return public_id(self.id_prefix, generation.id, index)


async def create_in(
    dialect: Dialect, request: Call, location: str, kind: Kind = "video"
) -> tuple[Context, Generation, dict[str, str]]:
    """Create what the body asks for; return the generation, and the headers of the answer.

    `location` is the path at which the dialect reads it, with `{id}` where the id is.
    """
    context, key = context_of(request)
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
    context, key = context_of(request)
    params = Params.of(request)
    for name in ignored:
        params.text(name)
    params.done()
    with naming_id(request):
        generation = await context.generations.read(generation_id(request), key, kind=kind)
    return context, generation, poll_headers(generation, context.poll_advisor) | cost_header(generation)


@contextmanager
def naming_id(request: Call) -> Iterator[None]:
    """Let a 404 name the generation by the id that the client has sent, and not by the stored one."""
    try:
        yield
    except NotFound as error:
        error.detail = error.detail.replace(generation_id(request), path_id(request, "generation_id"))
        raise


def url_member(value: object, name: str) -> object:
    """The image in `{"url": …}`, or the value itself if it is not an object. Raises `InvalidParameter`.

    `"type": "image_url"` beside it says what the image is anyway, as `@ai-sdk/xai` sends it.
    """
    if not isinstance(value, Mapping):
        return value
    if value.keys() - {"type"} != {"url"} or value.get("type", "image_url") != "image_url":
        raise InvalidParameter(f"`{name}` must be an object with one member, `url`.", param=name)
    return value["url"]


def file_url(generation: Generation, output: OutputSummary, links: Links) -> str | None:
    """The URL at which anybody can fetch the file of an output; None while there is no file.

    A file that the provider gives to the gateway's key alone has a signed URL too: the gateway passes it through.
    """
    if output.archived is not None:
        return links.opened(generation, output.index, generation.kind, output.archived.kept_until)
    if output.source is FileSource.PASS_THROUGH:  # the provider gives it to the gateway's key alone
        until = output.expires_at or generation.deadline_at
        return links.opened(generation, output.index, generation.kind, until)
    return output.provider_url


def problem_of(summary: Summary) -> Problem | None:
    """Why there is no result. A cancelled generation has no error, but here it is shown as a failed one."""
    if summary.cancellation is not None:
        return Problem("cancelled", summary.cancellation.message)
    return summary.error
