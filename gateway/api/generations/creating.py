"""Creates a generation from an HTTP request, in any dialect: bounds, decoding, normalising, idempotency.

Everything that decides whether something is bought is here or below, so that no dialect has rules of its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from litestar import Request
from litestar.datastructures import State

from gateway.api.generations.create_request import Given, Normalised, normalise
from gateway.api.generations.form import read_create
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.parameter import Holder
from gateway.api.web.context import Context
from gateway.api.web.headers import is_retry, only_header, poll_headers, sender_of, trace_of
from gateway.api.web.held_body import release_body
from gateway.api.web.query import Params
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import InvalidParameter
from gateway.generations.service import Created
from gateway.inputs.prepare import file_name
from gateway.media.image_header import LARGE

Call = Request[Any, Any, State]
Fields = Mapping[str, object] | Sequence[Given]
Read = Callable[[Mapping[str, object]], Fields]  # the body as it came → the fields of a create request
IDEMPOTENCY_KEY_MAX = 255  # characters


def own_fields(body: Mapping[str, object]) -> Fields:
    """The fields of a body that has our names already."""
    return body


async def wanted(
    request: Call, context: Context, key: str, read: Read = own_fields, kind: Kind = "video"
) -> Normalised:
    """Return what the body of a create or a quote asks for; a large body is decoded in a thread.

    `read` is pure, and may raise `InvalidParameter` or `UnknownParameter` in the words of its dialect.
    """
    Params.of(request).done()
    body = await read_create(request, context.max_body_bytes, PARAMETERS_OF[kind])
    return await normalised(body, context, key, read, kind)


async def normalised(
    body: Mapping[str, object], context: Context, key: str, read: Read = own_fields, kind: Kind = "video"
) -> Normalised:
    """Return what a body asks for that has been read already."""

    def normalise_body() -> Normalised:
        fields = _with_own_files(read(body), kind, partial(context.files.linked, key))
        return normalise(
            fields,
            partial(file_name, key),
            context.fetch_allow,
            kind,
            option_shapes=context.catalog.option_shapes,
            sees=context.clients.limits_of(key).sees,
        )

    return normalise_body() if _weight(body) <= LARGE else await asyncio.to_thread(normalise_body)


async def create(
    request: Call,
    context: Context,
    key: str,
    normal: Normalised,
    *,
    instead_of_key: str | None = None,
    waits: bool = False,
) -> Created:
    """Create the generation; it is durable when this returns. A repeat gets the generation that it repeats.

    `instead_of_key` counts as an idempotency key of the request, also beside one of the client's. `waits`: the call is
    answered with the result.
    """
    given = _idempotency_key(request)
    with normal.named():
        created = await context.generations.create(
            normal.request,
            key=key,
            catalog=context.catalog,
            files=normal.files,
            idempotency_key=given or instead_of_key,
            also_key=None if given is None else instead_of_key,
            retry=is_retry(request),
            waits=waits,
            sender=sender_of(request),
            trace=trace_of(request),
        )
    if created.replayed:
        context.rates.give_back(key)
    return created


def let_go(request: Call, normal: Normalised) -> None:
    """Free the memory of a body whose generation is created: its request goes on without it."""
    normal.files.clear()
    release_body(request.scope)


def created_headers(created: Created, context: Context, location: str) -> dict[str, str]:
    """Return the headers of the answer to a create; `location` is the path at which the dialect reads it."""
    headers = {"location": context.public_path(location)} | poll_headers(created.generation, context.poll_advisor)
    return headers | replayed_headers(created)


def replayed_headers(created: Created) -> dict[str, str]:
    """What says that the request repeats an earlier one, so that a client sees that its wish was not a new one."""
    if created.because is None:
        return {}
    return {"idempotent-replayed": "true", "idempotent-replayed-because": created.because}


def _with_own_files(fields: Fields, kind: Kind, file_of: Callable[[str], str | None]) -> Fields:
    """The fields, with `file_…` instead of each link to a file that the same client has uploaded.

    A provider may not reach the gateway at such a link, and the gateway has the file.
    """
    by_name = PARAMETERS_OF[kind].by_name

    def changed(name: str, value: object) -> object:
        row = by_name.get(name)
        return value if row is None or row.target.holder is not Holder.INPUT else _unlinked(value, file_of)

    if isinstance(fields, Mapping):
        return {name: changed(name, value) for name, value in fields.items()}
    return [given._replace(value=changed(given.field or given.name, given.value)) for given in fields]


def _unlinked(value: object, file_of: Callable[[str], str | None]) -> object:
    match value:
        case str():
            return file_of(value.strip()) or value
        case list():
            return [_unlinked(member, file_of) for member in value]
        case Mapping():
            return {name: _unlinked(member, file_of) for name, member in value.items()}
        case _:
            return value


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


def _idempotency_key(request: Call) -> str | None:
    value = only_header(request, "idempotency-key")
    return None if value is None else read_idempotency_key(value, "Idempotency-Key")


def read_idempotency_key(value: str, name: str) -> str:
    """The idempotency key without spaces and tabs around it: a repeated request may have lost or gained some.

    `name` is the header or the field that it came in. Raises `InvalidParameter`.
    """
    value = value.strip(" \t")
    if any(character < " " or character == "\x7f" for character in value):
        raise InvalidParameter(f"`{name}` has a control character in it; send printable characters.", param=name)
    if not 0 < len(value) <= IDEMPOTENCY_KEY_MAX:
        raise InvalidParameter(f"`{name}` must be 1 to {IDEMPOTENCY_KEY_MAX} characters, not {len(value)}.", param=name)
    return value
