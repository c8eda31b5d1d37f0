"""Replies that quote the key of the caller: `{key:SHAPE}` in a `reply` fault becomes the key that was received.

Real providers quote keys in errors. A gateway must hide them in every shape.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from gateway.sandbox.wire import Reply

SHAPES: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "upper": str.upper,
    "lower": str.lower,
    "reversed": lambda key: key[::-1],
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64_1": lambda key: base64.b64encode(b"u" + key.encode()).decode(),
    "base64_2": lambda key: base64.b64encode(b"u:" + key.encode()).decode(),
    "base64url": lambda key: base64.urlsafe_b64encode(key.encode()).decode().rstrip("="),
    "hex": lambda key: key.encode().hex(),
    "hex_upper": lambda key: key.encode().hex().upper(),
    "url": lambda key: quote(key, safe=""),
    "percent": lambda key: "".join(f"%{byte:02x}" for byte in key.encode()),
    "percent_upper": lambda key: "".join(f"%{byte:02X}" for byte in key.encode()),
    "percent_twice": lambda key: "".join(f"%25{byte:02X}" for byte in key.encode()),
    "json": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "html": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "first_half": lambda key: key.partition(":")[0],
    "second_half": lambda key: key.rpartition(":")[2],
    "first_10": lambda key: key[:10],
    "last_6": lambda key: key[-6:],
    "last_10": lambda key: key[-10:],
    "dots": lambda key: f"{key[:3]}…{key[-4:]}",
    "stars": lambda key: f"{key[:5]}{'*' * 12}{key[-4:]}",
    "without_last": lambda key: key[:-1],
    "zero_width": "\u200b".join,
    "quoted": lambda key: f"'{key}'",
}
_PLACE = re.compile(rb"\{key:(\w+)\}")


def with_key(reply: Reply, key: str) -> Reply:
    """The reply with the key in the shape that each `{key:SHAPE}` in its body and its headers names."""

    def shaped(match: re.Match[bytes]) -> bytes:
        shape = SHAPES.get(match[1].decode())
        text = match[0].decode() if shape is None else shape(key)
        return text.replace("\\", "\\\\").replace('"', '\\"').encode()

    headers = tuple((name, _PLACE.sub(shaped, value.encode()).decode("latin-1")) for name, value in reply.headers)
    return replace(reply, body=_PLACE.sub(shaped, reply.body), headers=headers)
