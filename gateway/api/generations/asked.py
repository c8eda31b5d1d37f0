"""What a create or a quote asks for, for every endpoint that takes one: the request, and the idempotency key."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from msgspec import structs

from gateway.api.generations.create_request import Normalised, normalise
from gateway.api.web.context import Context
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import InvalidParameter
from gateway.inputs.prepare import file_name
from gateway.media.image_header import LARGE

IDEMPOTENCY_KEY_MAX = 255  # characters


async def asked_for(body: Mapping[str, object], context: Context, key: str, kind: Kind = "video") -> Normalised:
    """What a decoded body asks for; a large body is read in a thread. Raises a 400 that names the field at fault.

    `kind` is what the endpoint makes, or what the client of one that makes both wants.
    """
    read = partial(normalise, body, lambda content: file_name(key, content), context.fetch_allow)
    wanted = read() if _weight(body) <= LARGE else await asyncio.to_thread(read)
    return wanted if kind == "video" else replace(wanted, request=structs.replace(wanted.request, kind=kind))


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
