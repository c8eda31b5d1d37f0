"""What handlers answer with: wire structures as JSON, the name of a file."""

from urllib.parse import quote

import msgspec
from litestar.enums import HttpMethod, MediaType
from litestar.response.base import ASGIResponse

from gateway.domain.media_types import OCTETS, sent_type

GET = (HttpMethod.GET, HttpMethod.HEAD)  # for HEAD the server leaves out the body
FILE_POLICY = "sandbox; default-src 'none'"
SANDBOX_TEXT = f"`{FILE_POLICY}`: a browser that shows the file as a page runs nothing in it"
_encode = msgspec.json.Encoder().encode


def json_answer(view: object, headers: dict[str, str] | None = None) -> ASGIResponse:
    """A wire structure as a JSON response with status 200."""
    return ASGIResponse(body=_encode(view), media_type=MediaType.JSON, headers=headers)


def file_headers(media_type: str, filename: str, *, inline: bool) -> dict[str, str]:
    """The headers of a file that a stranger made: a browser runs nothing in it, and shows only types of a fixed list.

    A file whose type is not in the list is sent as plain bytes to be saved. The policy counts where a browser opens the
    file as a page: it gives the page an origin of its own, no scripts, and nothing else that a page may load. Every
    answer of the gateway has `nosniff` besides.
    """
    sent = sent_type(media_type)
    return {
        "content-type": sent,
        "content-disposition": disposition(filename, inline=inline and sent != OCTETS),
        "content-security-policy": FILE_POLICY,
    }


def disposition(filename: str, *, inline: bool) -> str:
    """The value of `Content-Disposition` (RFC 6266): show the file, or save it, under this name.

    A name with other characters than ASCII is sent twice: with `_` for each of them, and encoded (RFC 8187).
    """
    plain = "".join(letter if letter.isascii() and letter not in '"\\%' else "_" for letter in filename)
    encoded = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'{"inline" if inline else "attachment"}; filename="{plain}"{encoded}'
