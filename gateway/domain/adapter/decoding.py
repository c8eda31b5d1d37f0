"""Tolerant reading of upstream replies: what is there is taken, what is odd is absent, nothing raises by surprise."""

import math
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.loose_json import json_value
from gateway.domain.errors import UnreadableReply

_DEPTH = 12  # of objects in one another: an envelope and its data, five more times nested


def read_json(reply: HttpReply) -> object:
    """The body as plain JSON values, dirt around one object passed over; `UnreadableReply` when it holds no JSON."""
    try:
        return json_value(reply.body)
    except ValueError as error:
        raise UnreadableReply(f"HTTP {reply.status}: the body is not JSON") from error


def json_or_none(reply: HttpReply) -> object:
    """The body as plain JSON values, `None` when it is no JSON: for error bodies, which may be anything."""
    try:
        return read_json(reply)
    except UnreadableReply:
        return None


def mapping(value: object) -> Mapping[str, object]:
    """The value when it is an object, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[object]:
    """The value when it is an array, otherwise an empty one."""
    return value if isinstance(value, list) else []


def json_object(value: object) -> Mapping[str, object] | None:
    """The value when it is an object, also one that is written in a string; else `None`."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json_or_none(HttpReply(status=200, body=text(value).encode()))
    return value if isinstance(value, Mapping) else None


def nested(value: object, inner: Callable[[Mapping[str, object]], object]) -> list[Mapping[str, object]]:
    """An object, the one that `inner` finds in it, the one in that, …: outermost first, at most 12."""
    found: list[Mapping[str, object]] = []
    layer = json_object(value)
    while layer is not None and len(found) < _DEPTH:
        found.append(layer)
        layer = json_object(inner(layer))
    return found


def text(value: object) -> str:
    """A string as it is, an integer in digits, anything else and what could not be decoded at all as `""`."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-8", "replace").decode() if value.strip("\ufffd") else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def first_text(*values: object) -> str:
    """The first value that reads as a text with something in it, else `""`."""
    return next((found for found in map(text, values) if found.strip()), "")


def number(value: object) -> float | None:
    """A finite number, also from a string such as `"5.1"` or `"30%"`; else `None`."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value.strip().removesuffix("%")) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """A positive whole number, else `None`: widths, heights, counts."""
    found = number(value)
    return int(found) if found is not None and 0 < found < 1e9 and found.is_integer() else None


def progress(value: object) -> float | None:
    """Per cent, as a number or as `"30%"`, to 0.0–1.0; else `None`."""
    found = number(value)
    return None if found is None or not 0 <= found <= 100 else found / 100


def http_url(value: object) -> str | None:
    """The value when it is an absolute http(s) URL with a host, else `None`."""
    url = text(value).strip()
    if any(character <= " " or character == "\x7f" for character in url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.scheme.lower() in {"http", "https"} and parts.hostname else None
    except ValueError:
        return None
