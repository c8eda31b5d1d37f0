"""The scope of a request, for tests that call an application as a server does, to see each message of it."""

from collections.abc import Mapping
from typing import Any


def scope_of(method: str, path: str, headers: Mapping[str, str], *, query: str = "", **more: Any) -> dict[str, Any]:
    """The scope of a request to a path without escapes. `more` are further entries, such as `state`."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        **more,
    }
