"""What handlers answer with: wire structures as JSON, moments as Unix seconds, the name of a file."""

from datetime import datetime
from typing import overload
from urllib.parse import quote

import msgspec
from litestar.enums import HttpMethod, MediaType
from litestar.response.base import ASGIResponse

GET = (HttpMethod.GET, HttpMethod.HEAD)  # for HEAD the server leaves out the body
OWNER_SHOWN = 4  # characters: enough to tell a few keys apart, too few to use
_encode = msgspec.json.Encoder().encode


def json_answer(view: object, headers: dict[str, str] | None = None) -> ASGIResponse:
    """A wire structure as a JSON response with status 200."""
    return ASGIResponse(body=_encode(view), media_type=MediaType.JSON, headers=headers)


@overload
def unix(moment: datetime) -> int: ...
@overload
def unix(moment: datetime | None) -> int | None: ...
def unix(moment: datetime | None) -> int | None:
    """A moment in whole Unix seconds, as every wire structure has it; None without one."""
    return None if moment is None else int(moment.timestamp())


def owner_shown(key: str) -> str:
    """How operators see the owner of a generation: the end of the id of the client's key, which itself is a hash."""
    return key[-OWNER_SHOWN:]


def disposition(filename: str, *, inline: bool) -> str:
    """The value of `Content-Disposition` (RFC 6266): show the file, or save it, under this name.

    A name with other characters than ASCII is sent twice: with `_` for each of them, and encoded (RFC 8187).
    """
    plain = "".join(letter if letter.isascii() and letter not in '"\\%' else "_" for letter in filename)
    encoded = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'{"inline" if inline else "attachment"}; filename="{plain}"{encoded}'
