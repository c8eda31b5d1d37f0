"""Sends the file of an output: all of it, parts of it, or a redirect to where it is (RFC 9110)."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC
from email.utils import format_datetime
from secrets import token_hex
from typing import Any, Final, cast
from urllib.parse import quote

from litestar import Request, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse

from gateway.api.generations.public_ids import parse_id, sent_id, stored_id
from gateway.api.web.answers import GET, SANDBOX_TEXT, file_headers
from gateway.api.web.client import note_link
from gateway.api.web.conditional import Validators, is_current, joined_headers, range_applies
from gateway.api.web.context import Context, key_beside_token
from gateway.api.web.headers import COST_HEADER, cost_header
from gateway.api.web.links import CONTENT
from gateway.api.web.operation import INDEX, Operation
from gateway.api.web.query import Params
from gateway.api.web.streaming import Streamed
from gateway.artifacts.access import File, Redirect, Stream, Variant
from gateway.domain.adapter.request import Kind
from gateway.domain.byte_ranges import ranges_of
from gateway.domain.errors import RangeNotSatisfiable
from gateway.domain.generation.model import Generation
from gateway.generations.kind import ROOT, of_kind
from gateway.tokens import TOKEN_MAX

Call = Request[Any, Any, State]
CACHE_SECONDS = 86_400  # a browser may show a file for this long without asking, even after the file was deleted
VARIANTS: Final[Mapping[Kind, tuple[Variant, ...]]] = {
    "video": ("video", "thumbnail"),  # the first is the default
    "image": ("image", "thumbnail"),
}
_IN_URL = "%!#$&'()*+,/:;=?@[]~"  # characters that a URL may have unescaped
_CONDITIONS: Mapping[str, str] = {
    "If-None-Match": "ETags; 304 when the file has one of them",
    "If-Modified-Since": "a date; 304 when the file is not newer",
    "If-Match": "ETags; 412 when the file has none of them",
    "If-Unmodified-Since": "a date; 412 when the file is newer",
}
_VALIDATOR_HEADERS: Mapping[str, str] = {
    "ETag": "identifies the bytes, which never change; absent for a file that the provider serves",
    "Last-Modified": "when the generation ended; absent for a file that the provider serves",
    "Accept-Ranges": "`bytes`; absent for a file that the provider serves, which is always sent whole",
    **COST_HEADER,
    "Cache-Control": "for how long it may be used without asking again; absent for a file that the provider serves",
}
_FILE_HEADERS: Mapping[str, str] = {
    **_VALIDATOR_HEADERS,
    "Content-Length": "in bytes; absent where the provider does not say",
    "Content-Disposition": "a name for the file",
    "Content-Security-Policy": SANDBOX_TEXT,
}
_REDIRECT_HEADERS = {"Location": "where the file is", **COST_HEADER}


def _query(kind: Kind) -> Mapping[str, Mapping[str, Any]]:
    return {
        "index": INDEX,
        "variant": {"type": "string", "enum": list(VARIANTS[kind]), "default": kind},
        "download": {
            "type": "string",
            "enum": ["0", "1"],
            "default": "0",
            "description": "`1`: a browser saves the file instead of showing it",
        },
    }


def _get(kind: Kind) -> Operation:
    """The operation of `GET`: `readVideoContent` or `readImageContent`."""
    return Operation(
        id=f"read{kind.title()}Content",
        summary="Get the file of an output: all of it, parts of it, or a redirect to it",
        query=_query(kind),
        headers={
            "Range": "`bytes=0-499`, and so on; several ranges give `multipart/byteranges`",
            "If-Range": "an ETag or a date; when the file does not match it, the whole file is sent",
            **_CONDITIONS,
        },
        answer_headers=_FILE_HEADERS,
        other_headers={
            206: {
                **_FILE_HEADERS,
                "Content-Length": "of the part that is sent, in bytes",
                "Content-Range": "`bytes 0-499/1234`; with several ranges each part has its own",
            },
            302: _REDIRECT_HEADERS,
            304: _VALIDATOR_HEADERS,
            416: {"Content-Range": "`bytes */1234`: how many bytes the file has"},
        },
        media_types=(*(f"{media}/*" for media in dict.fromkeys((kind, "image"))), "application/octet-stream"),
        errors=(206, 302, 304, 400, 404, 410, 412, 416, 502, 503),
        token=True,
    )


def _head(kind: Kind) -> Operation:
    """The operation of `HEAD`: `headVideoContent` or `headImageContent`."""
    return Operation(
        id=f"head{kind.title()}Content",
        summary="Get the headers of the file of an output",
        query=_query(kind),
        headers=_CONDITIONS,
        answer_headers=_FILE_HEADERS,
        other_headers={302: _REDIRECT_HEADERS, 304: _VALIDATOR_HEADERS},
        media_types=(),
        errors=(302, 304, 400, 404, 410, 412, 502, 503),
        token=True,
    )


@route(
    f"{ROOT['video']}/{{generation_id:str}}/content",
    http_method=GET,
    operation=_get("video"),
    head_operation=_head("video"),
)
async def video_content(request: Call) -> ASGIResponse:
    """Send the video of an output, or its thumbnail."""
    return await send_content(request, "video")


@route(
    f"{ROOT['image']}/{{generation_id:str}}/content",
    http_method=GET,
    operation=_get("image"),
    head_operation=_head("image"),
)
async def image_content(request: Call) -> ASGIResponse:
    """Send the image of an output, or its thumbnail."""
    return await send_content(request, "image")


async def send_content(request: Call, kind: Kind, check: Callable[[Generation], None] = lambda _: None) -> ASGIResponse:
    """Send the file of an output to a caller that has the key of the generation, or a token for this file.

    `check` may refuse the generation with an error of the path's own dialect.
    """
    context: Context = request.app.state.context
    params = Params.of(request)
    name = sent_id(request)
    index, public = params.whole("index", 0, INDEX["maximum"]), parse_id(name)
    if index is None:
        index = 0 if public is None else public.output  # an id may name one output
    variant = params.choice("variant", VARIANTS[kind]) or kind
    inline = params.choice("download", ("0", "1")) != "1"
    token = params.text("token", longest=TOKEN_MAX)
    generation_id = stored_id(name)
    key = await _key(request, context, token, (generation_id, str(index), variant))
    params.done()
    generation = of_kind(await context.generations.read(generation_id, key), kind, "/content")
    if key is None:
        note_link(request, generation.owner, generation.id)
    check(generation)
    source = await context.artifacts.open(generation, index, variant)
    if isinstance(source, File) and request.method != HttpMethod.HEAD:  # a bucket signs a link for one method only
        source = await context.artifacts.link(source, inline=inline) or source
    match source:
        case Redirect(url=url):
            answer = ASGIResponse(status_code=302, headers={"location": quote(url, safe=_IN_URL)})
            del answer.headers["content-type"]  # the framework sets one, and this answer has no body
        case Stream():
            answer = await _from_provider(request, context, source, inline=inline)
        case File():
            answer = _archived(request, context, generation, source, inline=inline)
    shown = (
        {} if key is None else cost_header(generation, context.clients.sees)
    )  # a link with a token is for people who see no prices
    for name, value in shown.items():
        answer.headers[name] = value
    return answer


async def _key(request: Call, context: Context, token: str | None, subject: tuple[str, str, str]) -> str | None:
    """The id of the caller's key; None if the caller has a good token instead."""
    if token is not None and context.signer.admits(token, CONTENT, *subject, now=context.clock.now()):
        return None
    return await key_beside_token(request, context, token)


def _archived(request: Call, context: Context, generation: Generation, file: File, *, inline: bool) -> ASGIResponse:
    """The file in the artifact store: answers conditional requests and ranges."""
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
    conditions = joined_headers(request, "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
    if is_current(conditions, validators):
        return ASGIResponse(status_code=304, headers=headers)
    headers |= file_headers(file.content_type, file.filename, inline=inline)
    whole = {**headers, "content-length": str(file.size)}
    if request.method == HttpMethod.HEAD:
        return ASGIResponse(headers=whole, is_head_response=True)
    parts = _ranges(request, validators, file.size)
    if parts is None:
        return Streamed(context, context.artifacts.read(file, range(file.size)), whole)
    if len(parts) > 1:
        return _multipart(context, file, parts, headers)
    part = {"content-length": str(len(parts[0])), "content-range": _content_range(parts[0], file.size)}
    return Streamed(context, context.artifacts.read(file, parts[0]), {**whole, **part}, status_code=206)


def _ranges(request: Call, validators: Validators, size: int) -> Sequence[range] | None:
    """The byte ranges to send; None for the whole file; `RangeNotSatisfiable` when the file has none of them."""
    headers = joined_headers(request, "range", "if-range")
    if "range" not in headers or not range_applies(headers.get("if-range"), validators):
        return None
    parts = ranges_of(headers["range"], size)
    if parts == ():
        raise RangeNotSatisfiable(f"The file has {size} bytes, and none of the requested ones.", size=size)
    return parts


def _multipart(context: Context, file: File, parts: Sequence[range], headers: Mapping[str, str]) -> ASGIResponse:
    """Several ranges in one body: RFC 9110, section 14.6."""
    boundary, media_type = token_hex(16), headers["content-type"]
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


async def _from_provider(request: Call, context: Context, stream: Stream, *, inline: bool) -> ASGIResponse:
    """A file that the provider gives only to its own key: passed through, always whole."""
    headers = file_headers(stream.content_type, stream.filename, inline=inline)
    if stream.length is not None:
        headers["content-length"] = str(stream.length)
    if request.method == HttpMethod.HEAD:
        await stream.chunks.aclose()
        return ASGIResponse(headers=headers, is_head_response=True)
    return Streamed(context, stream.chunks, headers)


def _content_range(part: range, size: int) -> str:
    return f"bytes {part.start}-{part.stop - 1}/{size}"
