"""What operators are shown of URLs."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "hidden"  # in place of the query of a URL


def without_secrets(value: Any) -> Any:
    """The value with every URL in it that a client sent without user, password and query, which may be secrets."""
    if isinstance(value, str):
        return _shortened(value) if value.startswith(("http://", "https://")) else value
    if isinstance(value, Mapping):
        return {name: without_secrets(item) for name, item in value.items()}
    return [without_secrets(item) for item in value] if isinstance(value, list | tuple) else value


def _shortened(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # no client could have sent it where a URL is expected: it is some other text
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, HIDDEN if parts.query else "", ""))
