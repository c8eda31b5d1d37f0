"""Tolerant readers of JSON values: a value of the wrong type reads as missing. Only `read_json` raises."""

import math
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.errors import UnreadableReply

_DEPTH = 12  # objects inside one another: an envelope and its data, and five more such pairs inside


def read_json(reply: HttpReply) -> object:
    """The body as plain JSON values. Text around one whole object is ignored, see `loose_json`.

    Raises `UnreadableReply` if the body has no JSON value, or too many values to decode them.
    """
    value, fault = reply.json
    if fault is not None:
        raise UnreadableReply(f"HTTP {reply.status}: {fault}")
    return value


def json_or_none(reply: HttpReply) -> object:
    """The body as `read_json` returns it, or None for a body without JSON: for error bodies, which may be anything."""
    return reply.json[0]


def mapping(value: object) -> Mapping[str, object]:
    """The value if it is an object, else an empty object."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[object]:
    """The value if it is an array, else an empty array."""
    return value if isinstance(value, list) else []


def json_object(value: object) -> Mapping[str, object] | None:
    """The value if it is an object or a string with the JSON text of an object, else None."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json_or_none(HttpReply(status=200, body=text(value).encode()))
    return value if isinstance(value, Mapping) else None


def nested(value: object, inner: Callable[[Mapping[str, object]], object]) -> list[Mapping[str, object]]:
    """An object, the object that `inner` returns for it, the one for that, and so on: outermost first, at most 12."""
    layers: list[Mapping[str, object]] = []
    layer = json_object(value)
    while layer is not None and len(layers) < _DEPTH:
        layers.append(layer)
        layer = json_object(inner(layer))
    return layers


def text(value: object) -> str:
    """A string as it is, an integer in digits, "" for anything else and for a string that could not be decoded."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-8", "replace").decode() if value.strip("\ufffd") else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def first_text(*values: object) -> str:
    """The first value whose `text` is not blank, else ""."""
    return next((words for words in map(text, values) if words.strip()), "")


def number(value: object) -> float | None:
    """A finite number, also one in a string such as "5.1" or "30%"; else None."""
    if isinstance(value, bool):
        return None
    # What `float` does not accept raises, and is not a number: so the type of `value` is left to it.
    try:
        parsed = float(value.strip().removesuffix("%")) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def whole(value: object) -> int | None:
    """A positive whole number below 10⁹, such as a width or a count; else None."""
    parsed = number(value)
    return int(parsed) if parsed is not None and 0 < parsed < 1e9 and parsed.is_integer() else None


def progress(value: object) -> float | None:
    """A percentage (30 or "30%") as a fraction from 0.0 to 1.0; None if it is not between 0 and 100."""
    percent = number(value)
    return None if percent is None or not 0 <= percent <= 100 else percent / 100


def http_url(value: object) -> str | None:
    """The value if it is an absolute http(s) URL with a host, else None."""
    url = text(value).strip()
    if any(character <= " " or character == "\x7f" for character in url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.scheme.lower() in {"http", "https"} and parts.hostname else None
    except ValueError:
        return None
