"""Clients of the protocol before 2026-07-28, which open with `initialize`. Their messages become today's.

Since 2026-07-28 every request carries its version and the client's capabilities in `_meta`, and says its method in a
header; there is no handshake and no session (https://modelcontextprotocol.io/specification/2026-07-28). `litestar-mcp`
speaks only that. Most installed clients still send `initialize` first. The gateway answers it without a session, which
the older versions allow, and adds to later requests what today's protocol requires.
"""

import base64
from collections.abc import Mapping
from typing import Any

from gateway.api.mcp.service import INSTRUCTIONS, VERSION, server_info

OLDER = ("2025-03-26", "2025-06-18", "2025-11-25")  # versions with one path for everything, the newest last
VERSION_HEADER, METHOD_HEADER, NAME_HEADER = b"mcp-protocol-version", b"mcp-method", b"mcp-name"
_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
Message = Mapping[str, Any]


def is_older(message: Message, version_header: str | None) -> bool:
    """True for a message of a client that opens with `initialize`: neither its header nor its `_meta` has a version."""
    if version_header is not None and version_header.strip() == VERSION:
        return False
    return message.get("method") != "server/discover" and _VERSION_KEY not in _meta(message)


def answer_of(message: Message) -> dict[str, Any] | None:
    """The result of a method that today's protocol does not have; None for every other method."""
    match message.get("method"):
        case "initialize":
            wanted = _params(message).get("protocolVersion")
            return {
                "protocolVersion": wanted if wanted in OLDER else OLDER[-1],
                "capabilities": {"tools": {}},
                "serverInfo": server_info(),
                "instructions": INSTRUCTIONS,
            }
        case "ping":
            return {}
        case _:
            return None


def renewed(message: Message) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """The message and the headers as today's protocol wants them, without capabilities: so no task is an answer."""
    params = _params(message)
    meta = {**_meta(message), _VERSION_KEY: VERSION, _CAPABILITIES_KEY: {}}
    headers = {VERSION_HEADER: VERSION.encode(), METHOD_HEADER: str(message.get("method")).encode(errors="replace")}
    name = params.get("name")
    if isinstance(name, str):
        headers[NAME_HEADER] = b"=?base64?" + base64.b64encode(name.encode()) + b"?="
    return {**message, "params": {**params, "_meta": meta}}, headers


def _params(message: Message) -> Mapping[str, Any]:
    params = message.get("params")
    return params if isinstance(params, dict) else {}


def _meta(message: Message) -> Mapping[str, Any]:
    meta = _params(message).get("_meta")
    return meta if isinstance(meta, dict) else {}
