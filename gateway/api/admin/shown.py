"""How operators name clients, and what they are shown of URLs."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_OWNER = re.compile(r"key_[0-9a-f]{24}|client_.+|anonymous", re.DOTALL)
_NAMED = "client_"
HIDDEN = "hidden"  # in place of the query of a URL


def owner_of(client: str) -> str:
    """The owner id of the client that an operator names, by its name or by the owner id itself."""
    return client if _OWNER.fullmatch(client) else _NAMED + client


def client_shown(owner: str) -> str:
    """How answers name the owner of a generation: a client by its name, a key by the id that is made of its hash."""
    return owner.removeprefix(_NAMED)


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
