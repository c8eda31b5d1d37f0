"""The bytes of an output: all of them, parts of them, or the way to where they are (RFC 9110)."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC
from email.utils import format_datetime
from secrets import token_hex
from typing import Any, cast
from urllib.parse import quote

from litestar import Request, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse

from gateway.api.web.answers import GET
from gateway.api.web.conditional import Validators, is_known, joined_headers, range_counts
from gateway.api.web.context import Context, key_beside_token
from gateway.api.web.links import CONTENT
from gateway.api.web.query import Params
from gateway.api.web.streaming import Streamed
from gateway.artifacts.access import File, Redirect, Stream, Variant
from gateway.domain.byte_ranges import ranges_of
from gateway.domain.errors import RangeNotSatisfiable
from gateway.domain.generation.model import Generation
from gateway.tokens import TOKEN_MAX

Call = Request[Any, Any, State]
CACHE_SECONDS = 86_400  # how long a browser may go without asking: a file that was deleted is gone from there, too
VARIANTS: tuple[Variant, ...] = ("video", "thumbnail")
_IN_URL = "%!#$&'()*+,/:;=?@[]~"  # characters that stand for themselves
_SCRIPTED = frozenset({"image/svg+xml"})  # an image that a browser might run as a page of ours


@route("/v1/videos/generations/{generation_id:str}/content", http_method=GET)
async def content(request: Call) -> ASGIResponse:
    """Hand over an output, to its key or to whoever has a token for it."""
    context: Context = request.app.state.context
    params = Params.of(request)
    index = params.whole("index", 0, 10_000) or 0
    variant = params.choice("variant", VARIANTS) or "video"
    inline = params.choice("download", ("0", "1")) != "1"
    token = params.text("token", longest=TOKEN_MAX)
    generation_id: str = request.path_params["generation_id"]
    key = _key(request, context, token, (generation_id, str(index), variant))
    params.done()
    generation = await context.generations.read(generation_id, key)
    found = await context.artifacts.open(generation, index, variant)
    if isinstance(found, File) and request.method != HttpMethod.HEAD:  # a link is good for one method alone
        found = await context.artifacts.link(found, inline=inline) or found
    match found:
        case Redirect(url=url):
            redirect = ASGIResponse(status_code=302, headers={"location": quote(url, safe=_IN_URL)})
            del redirect.headers["content-type"]  # the framework's, for a body that there is none of
            return redirect
        case Stream():
            return await _passed_through(request, context, found, inline=inline)
        case File():
            return _kept(request, context, generation, found, inline=inline)


def _key(request: Call, context: Context, token: str | None, subject: tuple[str, str, str]) -> str | None:
    """The caller's key, `None` for who has a good token instead: that is enough, whatever name it came by.

    A page that made its own name lead to this machine has no token, since it cannot read what has one.
    """
    if token is not None and context.signer.admits(token, CONTENT, *subject, now=context.clock.now()):
        return None
    return key_beside_token(request, context, token)


def _kept(request: Call, context: Context, generation: Generation, file: File, *, inline: bool) -> ASGIResponse:
    ended = generation.completed_at
    validators = Validators(f'"{file.digest}"', ended and ended.astimezone(UTC).replace(microsecond=0))
    left = int((file.kept_until - context.clock.now()).total_seconds())
    headers = {
        "etag": validators.tag,
        "cache-control": f"private, max-age={max(min(left, CACHE_SECONDS), 0)}, immutable",
        "accept-ranges": "bytes",
    }
    if validators.modified is not None:
        headers["last-modified"] = format_datetime(validators.modified, usegmt=True)
    asked = joined_headers(request, "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
    if is_known(asked, validators):
        return ASGIResponse(status_code=304, headers=headers)
    headers["content-disposition"] = _disposition(file.filename, inline=inline)
    media_type = _content_type(file.content_type)
    whole = {**headers, "content-type": media_type, "content-length": str(file.size)}
    if request.method == HttpMethod.HEAD:
        return ASGIResponse(headers=whole, is_head_response=True)
    parts = _ranges(request, validators, file.size)
    if parts is None:
        return Streamed(context, context.artifacts.read(file, range(file.size)), whole)
    if len(parts) > 1:
        return _multipart(context, file, parts, headers, media_type)
    part = {"content-length": str(len(parts[0])), "content-range": _content_range(parts[0], file.size)}
    return Streamed(context, context.artifacts.read(file, parts[0]), {**whole, **part}, status_code=206)


def _ranges(request: Call, validators: Validators, size: int) -> Sequence[range] | None:
    """The parts to send; `None` for the whole file, `RangeNotSatisfiable` when it has none of them."""
    asked = joined_headers(request, "range", "if-range")
    if "range" not in asked or not range_counts(asked.get("if-range"), validators):
        return None
    parts = ranges_of(asked["range"], size)
    if parts == ():
        raise RangeNotSatisfiable(f"The file has {size} bytes, and none of those asked for.", size=size)
    return parts


def _multipart(
    context: Context, file: File, parts: Sequence[range], headers: Mapping[str, str], media_type: str
) -> ASGIResponse:
    """Several parts in one body: RFC 9110, section 14.6."""
    boundary = token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {_content_range(part, file.size)}\r\n\r\n"
        for part in parts
    ]
    end = f"\r\n--{boundary}--\r\n"

    async def body() -> AsyncIterator[bytes]:
        for head, part in zip(heads, parts, strict=True):
            yield head.encode()
            async with aclosing(cast("AsyncGenerator[bytes]", context.artifacts.read(file, part))) as chunks:
                async for chunk in chunks:
                    yield chunk
        yield end.encode()

    length = sum(map(len, heads)) + sum(map(len, parts)) + len(end)
    described = {"content-type": f"multipart/byteranges; boundary={boundary}", "content-length": str(length)}
    return Streamed(context, body(), {**headers, **described}, status_code=206)


async def _passed_through(request: Call, context: Context, found: Stream, *, inline: bool) -> ASGIResponse:
    """A file that the provider hands over to its own key alone, whole."""
    headers = {
        "content-type": _content_type(found.content_type),
        "content-disposition": _disposition(found.filename, inline=inline),
    }
    if found.length is not None:
        headers["content-length"] = str(found.length)
    if request.method == HttpMethod.HEAD:
        await found.chunks.aclose()
        return ASGIResponse(headers=headers, is_head_response=True)
    return Streamed(context, found.chunks, headers)


def _content_range(part: range, size: int) -> str:
    return f"bytes {part.start}-{part.stop - 1}/{size}"


def _content_type(told: str) -> str:
    """What the file is called, unless a browser might run it as a page of ours."""
    kind = told.partition(";")[0].strip().lower()
    return told if kind.startswith(("video/", "image/")) and kind not in _SCRIPTED else "application/octet-stream"


def _disposition(filename: str, *, inline: bool) -> str:
    return f'{"inline" if inline else "attachment"}; filename="{filename}"'
