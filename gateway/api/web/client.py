"""Which client a request comes from: the one that its places and its bytes count for.

A client is a key, or a link that works without a key. It is noted when the request has proven who it is. Until then
the request counts for the one client that nobody is, so that strangers share among themselves.
"""

from typing import Any

from litestar import Request
from litestar.types import Scope

OPERATOR = "operator"  # the client of all requests with an admin key
_CLIENT = "client"  # key in the state of a request
_STRANGER = ""


def note_client(request: Request[Any, Any, Any], client: str) -> None:
    """Note the client: the id of a key, or another text that no key has for an id."""
    request.scope["state"][_CLIENT] = client


def note_link(request: Request[Any, Any, Any], what: str) -> None:
    """Note that the request has a valid link to `what`, an id; everybody who has the link is one client."""
    note_client(request, f"link:{what}")


def client_of(scope: Scope) -> str:
    """The client of a request."""
    return str(scope["state"].get(_CLIENT, _STRANGER))
