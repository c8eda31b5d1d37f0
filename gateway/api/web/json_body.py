"""Reads the body of a request and turns JSON into plain values, or refuses it with an error that names the place."""

import json
import math
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request

from gateway.api.web.headers import header
from gateway.api.web.timeouts import timeout
from gateway.clock import Clock
from gateway.domain.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    InvalidJson,
    InvalidParameter,
    RequestTimeout,
    UnsupportedMediaType,
)
from gateway.domain.json_size import OF_REQUEST, excess

IDLE_SECONDS = 30.0  # the longest pause while a body arrives
BODY_SECONDS = 300.0  # the longest time for a whole body
DEPTH_MAX = 64
_INTEGERS = range(-(2**63), 2**64)  # what the store and every provider can hold

_decode = msgspec.json.Decoder().decode


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """The whole body. It can be read once per request.

    Raises `BodyTooLarge` as soon as it is clear that the body has more than `limit` bytes, and `RequestTimeout` when
    it stops arriving or takes too long: other clients need the connection.
    """
    announced = header(request, "content-length")
    if announced is not None:
        if not (announced.isascii() and announced.isdigit()):
            raise BadRequest("The Content-Length header is not a number.")
        if len(announced) > 18 or int(announced) > limit:
            raise _too_large(limit)
    clock: Clock = request.app.state.context.clock
    try:
        return await _collect(request, limit, clock)
    except TimeoutError as error:
        limits = f"within {BODY_SECONDS:g} seconds, or nothing more of it for {IDLE_SECONDS:g} seconds"
        raise RequestTimeout(f"The body was not complete {limits}.") from error


async def _collect(request: Request[Any, Any, Any], limit: int, clock: Clock) -> bytes:
    chunks: list[bytes] = []
    size = 0
    ends_at = clock.now() + timedelta(seconds=BODY_SECONDS)
    while (left := (ends_at - clock.now()).total_seconds()) > 0:
        async with timeout(clock, min(IDLE_SECONDS, left)):  # one timer at a time: most bodies arrive at once
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client closed the connection before the body was complete.")
        if message["type"] != "http.request":
            continue
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    raise TimeoutError


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {limit:,} bytes.")


def parse_json(
    raw: bytes, content_type: str | None, content_encoding: str | None, accepted: str = "application/json"
) -> dict[str, object]:
    """The JSON object in a body; raises `UnsupportedMediaType`, `InvalidJson` or `InvalidParameter`.

    In what it returns, no string has NUL or half of a surrogate pair, every integer fits 64 bits, every float is
    finite, and nothing is nested deeper than `DEPTH_MAX`. Of two equal keys the last one counts. `accepted` is the
    media type that the message of `UnsupportedMediaType` recommends.
    """
    if content_type not in _PLAIN_TYPES:
        _check_content_type(content_type, accepted)
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("Compressed bodies are not accepted; send it without Content-Encoding.")
    if (what := excess(raw, OF_REQUEST)) is not None:
        raise InvalidJson(f"The body has {what}. Send only the fields of this request, or split it into several.")
    try:
        value = _decode(raw)
    except RecursionError as error:
        raise _deep("") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _fault(raw) or InvalidJson(f"The body is not valid JSON: {error}.") from error
    if type(value) is not dict:
        raise InvalidJson(f"The body must be a JSON object, not {_KINDS[type(value)]}.")
    # JSON can express NUL and surrogates only as escapes. In a body without one, no string has to be looked at, which
    # matters for images of many megabytes. Finding one byte is many times faster than finding two.
    if not _is_usable(value, escaped=b"\\" in raw and b"\\u" in raw):
        raise _fault(raw) or InvalidJson("The body has a value that cannot be used.")
    return value


_PLAIN_TYPES = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")
_CHARSET = re.compile(r"""charset\s*=\s*(?:"utf-?8"|utf-?8)""")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,40}")
_KINDS: dict[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _check_content_type(content_type: str | None, accepted: str) -> None:
    if content_type is None or not content_type.strip():
        raise UnsupportedMediaType(f"The Content-Type header is missing; send {accepted}.")
    declared, *parameters = content_type.lower().split(";")
    if _JSON_TYPE.fullmatch(declared.strip()) is None:
        raise other_media_type(declared, accepted)
    for parameter in map(str.strip, parameters):
        if parameter.startswith("charset") and _CHARSET.fullmatch(parameter) is None:
            raise UnsupportedMediaType("This charset is not accepted; send application/json in UTF-8.")


def other_media_type(declared: str, accepted: str) -> UnsupportedMediaType:
    """The error for a body of another type. It names the type: many clients send one that their user did not choose."""
    name = declared.strip().lower()
    which = f"The Content-Type {name}" if _MEDIA_TYPE.fullmatch(name) else "This Content-Type"
    return UnsupportedMediaType(f"{which} is not accepted here; send {accepted}.")


def _is_usable(body: dict[str, Any], *, escaped: bool) -> bool:
    """Check all values of a decoded body, level by level; strings only if the body has escapes."""
    level: list[Any] = [body]
    for _ in range(DEPTH_MAX):
        deeper: list[Any] = []
        for container in level:
            members = container
            if type(container) is dict:
                if escaped and not all(map(_is_plain, container)):
                    return False
                members = container.values()
            for value in members:
                kind = type(value)
                if kind is str:
                    if escaped and not _is_plain(value):
                        return False
                elif kind is dict or kind is list:
                    deeper.append(value)
                elif kind is int and value not in _INTEGERS:
                    return False
        if not deeper:
            return True
        level = deeper
    return False


def _is_plain(text: str) -> bool:
    if "\0" in text:
        return False
    return text.isascii() or _SURROGATE.search(text) is None


_SURROGATE = re.compile("[\ud800-\udfff]")


# Everything below runs only for a body that is refused: it finds out what is wrong with it, and where.


class _Unusable(str):
    """Takes the place of a number that cannot be kept; the text says why."""

    __slots__ = ()


def _integer(digits: str) -> int | _Unusable:
    value = int(digits) if len(digits) <= 20 else None
    return value if value is not None and value in _INTEGERS else _Unusable("is an integer of more than 64 bits")


def _float(digits: str) -> float | _Unusable:
    value = float(digits)
    return value if math.isfinite(value) else _Unusable("is a number too large for a 64-bit float")


_DIAGNOSTIC = json.JSONDecoder(
    parse_int=_integer,
    parse_float=_float,
    parse_constant=lambda name: _Unusable(f"is {name}, which is not JSON"),
)


def _fault(raw: bytes) -> GatewayError | None:
    """The first fault of a body, with its place; None for a body without a fault."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return InvalidJson(f"The body is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}.")
    if text.startswith("\ufeff"):
        return InvalidJson("The body begins with a byte order mark; send UTF-8 without one.")
    if not text.strip(" \t\r\n"):
        return InvalidJson("The body is empty; send a JSON object.")
    try:
        value = _DIAGNOSTIC.decode(text)
    except json.JSONDecodeError as error:
        return _malformed(text, error)
    except RecursionError:
        return _deep("")
    return next(_faults(value, "", 1), None)


def _malformed(text: str, error: json.JSONDecodeError) -> InvalidJson:
    what = error.msg.removesuffix(" at").removesuffix(" starting")
    if error.pos >= len(text.rstrip(" \t\r\n")) or what == "Unterminated string":
        what = f"it ends too early ({what[0].lower()}{what[1:]})"
    else:
        what = what[0].lower() + what[1:]
    return InvalidJson(f"The body is not valid JSON: {what} at line {error.lineno}, column {error.colno}.")


def _faults(value: object, path: str, depth: int) -> Iterator[GatewayError]:
    """Every fault of a decoded value in the order of the text; what is nested too deep is not looked into."""
    if isinstance(value, _Unusable):
        yield InvalidParameter(f"{_named(path)} {value}.", param=path or None)
    elif isinstance(value, str):
        if not _is_plain(value):
            yield InvalidParameter(f"{_named(path)} has {_character(value)} in its text.", param=path or None)
    elif isinstance(value, list | dict) and depth > DEPTH_MAX:
        yield _deep(path)
    elif isinstance(value, dict):
        for key, member in value.items():
            below = join(path, key)
            if not _is_plain(key):
                yield InvalidParameter(f"The name of a field, `{below}`, has {_character(key)}.", param=below)
            yield from _faults(member, below, depth + 1)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _faults(member, f"{path}[{index}]", depth + 1)


def _deep(path: str) -> InvalidJson:
    top = re.match(r"[^.\[]*", path)
    return InvalidJson(f"The body is nested deeper than {DEPTH_MAX}.", param=(top and top.group()) or None)


def _named(path: str) -> str:
    return f"`{path}`" if path else "The body"


def _character(text: str) -> str:
    return "the character U+0000" if "\0" in text else "half of a surrogate pair"


def join(path: str, key: str) -> str:
    """The path of a member, safe to show in a message: a long name is shortened, an unprintable one escaped."""
    shown = key[:64]
    if not shown.isprintable():
        shown = ascii(shown)[1:-1]
    return f"{path}.{shown}" if path else shown
