"""Which client a request comes from: the one that its places and its bytes count for.

A client is a key. A request with a link that works without a key counts for the key whose file it leads to, as a part
of its own, so that the people who have the link share what is left of that key's share. The client is noted when the
request has proven who it is. Until then the request counts for the one client that nobody is, so that strangers share
among themselves.
"""

from typing import Any

from litestar import Request
from litestar.types import Scope

from gateway import log_context

OPERATOR = "operator"  # the client of all requests with an admin key
_CLIENT = "client"  # key in the state of a request
_PART = "part"  # likewise
_STRANGER = ""


def note_client(request: Request[Any, Any, Any], client: str) -> None:
    """Note the client: the id of a key, or another text that no key has for an id."""
    request.scope["state"][_CLIENT] = client
    log_context.add(client=client)


def note_link(request: Request[Any, Any, Any], owner: str, what: str) -> None:
    """Note that the request has a valid link to `what`, an id; `owner` is the id of the key that it belongs to."""
    note_client(request, owner)
    request.scope["state"][_PART] = what


def client_of(scope: Scope) -> str:
    """The client of a request."""
    return str(scope["state"].get(_CLIENT, _STRANGER))


def part_of(scope: Scope) -> str:
    """Which part of its client a request counts for: the id that a link leads to, or an empty text for the key."""
    return str(scope["state"].get(_PART, ""))
