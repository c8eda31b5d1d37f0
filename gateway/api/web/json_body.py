"""From the bytes of a request to plain JSON values: one meaning, or a refusal that names the place."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar import Request

from gateway.api.web.headers import header
from gateway.api.web.timeouts import within
from gateway.clock import Clock
from gateway.domain.errors import (
    BadRequest,
    BodyTooLarge,
    GatewayError,
    InvalidJson,
    InvalidParameter,
    Overloaded,
    RequestTimeout,
    UnsupportedMediaType,
)

IDLE_SECONDS = 30.0  # without anything new of a body
BODY_SECONDS = 300.0  # for all of it
DEPTH_MAX = 64
VALUES_MAX = 100_000  # a body has a few dozen; walking millions would hold up everybody else
_COLONS_MAX = 10_000
_SPACES_MAX = 64
_INTEGERS = range(-(2**63), 2**64)  # what the store and every upstream can hold

FREE_BYTES = 16 * 1024  # of every body, which has room however many large ones there are
FULL_SECONDS = 5.0  # until a client should ask again whether there is room
_decode = msgspec.json.Decoder().decode


class Bodies:
    """The bytes of the bodies of all requests under way: never more than the limit, but for `FREE_BYTES` of each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def grow(self, size: int, by: int) -> None:
        """A body of this size has become larger; `Overloaded` when there is no room for that."""
        more = _counted(size + by) - _counted(size)
        if self.held + more > self._limit:
            raise Overloaded("Too many large bodies are being read.", retry_after=FULL_SECONDS)
        self.held += more

    def release(self, size: int) -> None:
        """A request with a body of this size is over."""
        self.held -= _counted(size)


def _counted(size: int) -> int:
    return max(0, size - FREE_BYTES)


async def read_body(request: Request[Any, Any, Any], limit: int) -> bytes:
    """The whole body, once per request; `BodyTooLarge` as soon as it is known to be over `limit` bytes.

    `RequestTimeout` where it stops coming or goes on for ever: a connection that is waited on is one that others lack.
    """
    announced = header(request, "content-length")
    if announced is not None:
        if not (announced.isascii() and announced.isdigit()):
            raise BadRequest("The Content-Length header is not a number.")
        if len(announced) > 18 or int(announced) > limit:
            raise _too_large(limit)
    clock: Clock = request.app.state.context.clock
    try:
        async with within(clock, BODY_SECONDS):
            return await _collect(request, limit, clock)
    except TimeoutError as error:
        told = f"within {BODY_SECONDS:g} seconds, or nothing more of it for {IDLE_SECONDS:g} seconds"
        raise RequestTimeout(f"The body was not complete {told}.") from error


async def _collect(request: Request[Any, Any, Any], limit: int, clock: Clock) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        async with within(clock, IDLE_SECONDS):
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


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is over the limit of {limit / 2**20:.4g} MB.")


def parse_json(
    raw: bytes, content_type: str | None, content_encoding: str | None, accepted: str = "application/json"
) -> dict[str, object]:
    """The object that the body is; `UnsupportedMediaType`, `InvalidJson` or `InvalidParameter` otherwise.

    `accepted` is what a client is told to send that sends something else.
    Every string is free of NUL and of lone surrogates, every integer fits 64 bits, every float is finite, no object
    has a key twice, and nothing is nested deeper than 64.
    """
    if content_type not in _PLAIN_TYPES:
        _check_content_type(content_type, accepted)
    if content_encoding is not None and content_encoding.strip().lower() not in {"", "identity"}:
        raise UnsupportedMediaType("A compressed body is not taken; send it without Content-Encoding.")
    try:
        value = _decode(raw)
    except RecursionError as error:
        raise _deep("") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _fault(raw) or InvalidJson(f"The body is not valid JSON: {error}.") from error
    if type(value) is not dict:
        raise InvalidJson(f"The body must be a JSON object, not {_KINDS[type(value)]}.")
    # An escape is the only way to NUL and surrogates: raw control characters are no JSON. Without one, no string is
    # looked at. Looking for one byte is many times faster than looking for two.
    members = _members(value, escaped=b"\\" in raw and b"\\u" in raw)
    # The decoder keeps the last of two equal keys, so a body with more members than keys has one twice.
    if (members is None or members != _colons_after_quotes(raw)) and (fault := _fault(raw)) is not None:
        raise fault
    return value


_PLAIN_TYPES = frozenset({"application/json", "application/json; charset=utf-8", "application/json;charset=utf-8"})
_JSON_TYPE = re.compile(r"application/(?:json|[a-z0-9!#$&^_.+-]+\+json)")
_CHARSET = re.compile(r"""charset\s*=\s*(?:"utf-?8"|utf-?8)""")
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
        raise UnsupportedMediaType(f"The Content-Type is not one that is taken here; send {accepted}.")
    for parameter in map(str.strip, parameters):
        if parameter.startswith("charset") and _CHARSET.fullmatch(parameter) is None:
            raise UnsupportedMediaType("The charset is not one that is taken; send application/json in UTF-8.")


def _members(body: dict[str, Any], *, escaped: bool) -> int | None:
    """How many members the objects of a body have together; `None` where something wants a closer look."""
    members = values = 0
    level: list[Any] = [body]
    for _ in range(DEPTH_MAX):
        deeper: list[Any] = []
        for container in level:
            values += len(container)
            if values > VALUES_MAX:
                return None
            held = container
            if type(container) is dict:
                members += len(container)
                if escaped and not all(map(_plain, container)):
                    return None
                held = container.values()
            for value in held:
                kind = type(value)
                if kind is str:
                    if escaped and not _plain(value):
                        return None
                elif kind is dict or kind is list:
                    deeper.append(value)
                elif kind is int and value not in _INTEGERS:
                    return None
        if not deeper:
            return members
        level = deeper
    return None


def _colons_after_quotes(raw: bytes) -> int:
    """How many colons follow a quotation mark, -1 for too many to look at.

    Every member has one; text inside a string may add to them.
    """
    found = 0
    position = raw.find(b":")
    for _ in range(_COLONS_MAX):
        if position < 0:
            return found
        before = raw[position - 1]
        if before in b" \t\r\n":
            window = raw[max(0, position - _SPACES_MAX) : position].rstrip(b" \t\r\n")
            if not window:
                return -1
            before = window[-1]
        found += before == 0x22
        position = raw.find(b":", position + 1)
    return -1


def _plain(text: str) -> bool:
    if "\0" in text:
        return False
    return text.isascii() or _SURROGATE.search(text) is None


_SURROGATE = re.compile("[\ud800-\udfff]")


# What is wrong, and where. All that follows runs only when something is.


class _Pairs(list[tuple[str, Any]]):
    """An object with its members as they came."""


class _Unusable(str):
    """A number that cannot be kept, as what is wrong with it."""

    __slots__ = ()


def _integer(digits: str) -> int | _Unusable:
    value = int(digits) if len(digits) <= 20 else None
    return value if value is not None and value in _INTEGERS else _Unusable("is an integer of more than 64 bits")


def _float(digits: str) -> float | _Unusable:
    value = float(digits)
    return value if math.isfinite(value) else _Unusable("is a number too large for a 64-bit float")


_LOOK = json.JSONDecoder(
    object_pairs_hook=_Pairs,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=lambda name: _Unusable(f"is {name}, which is not JSON"),
)


def _fault(raw: bytes) -> GatewayError | None:
    """The first fault of a body, with its place; `None` when it has none."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return InvalidJson(f"The body is not UTF-8: byte 0x{raw[error.start]:02x} at position {error.start}.")
    if text.startswith("\ufeff"):
        return InvalidJson("The body begins with a byte order mark; send UTF-8 without one.")
    if not text.strip(" \t\r\n"):
        return InvalidJson("The body is empty; send a JSON object.")
    if sum(map(text.count, ",[{")) > VALUES_MAX:  # every value has one; no body that is accepted has nearly as many
        return InvalidJson(f"The body has more than {VALUES_MAX:,} commas and brackets.")
    try:
        value = _LOOK.decode(text)
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
    """Every fault of a decoded value, in the order of the text, but for what is below one that is too deep."""
    if isinstance(value, _Unusable):
        yield InvalidParameter(f"{_named(path)} {value}.", param=path or None)
    elif isinstance(value, str):
        if not _plain(value):
            yield InvalidParameter(f"{_named(path)} has {_character(value)} in its text.", param=path or None)
    elif isinstance(value, list) and depth > DEPTH_MAX:
        yield _deep(path)
    elif isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, member in value:
            below = join(path, key)
            if not _plain(key):
                yield InvalidParameter(f"The name of a field, `{below}`, has {_character(key)}.", param=below)
            if key in seen:
                yield InvalidJson(f"The key `{below}` is there twice.", param=below)
            seen.add(key)
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
    """The path of a member, fit to be shown: a name that is long or not printable is shortened or escaped."""
    shown = key[:64]
    if not shown.isprintable():
        shown = ascii(shown)[1:-1]
    return f"{path}.{shown}" if path else shown
