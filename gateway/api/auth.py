"""Who is calling: static client keys, compared by their hash."""

import re
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from litestar import Request

from gateway.api.headers import header
from gateway.domain.errors import ForbiddenHost, Unauthenticated
from gateway.settings import is_loopback

ANONYMOUS = "anonymous"  # the owner of everything when `server.auth` is "none"
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")  # with or without a port


class Authenticator:
    """Maps an `Authorization: Bearer` to the id of its key."""

    def __init__(self, keys: Sequence[str], *, open_to_all: bool) -> None:
        """`keys` are the clients' secrets; with `open_to_all` nobody is asked."""
        self._digests = {sha256(key.encode()).digest() for key in keys}
        self._open = open_to_all

    def key_of(self, request: Request) -> str:  # type: ignore[type-arg]  # Litestar's defaults
        """The id of the caller's key, the same at every start; `Unauthenticated` or `ForbiddenHost` otherwise."""
        if self._open:
            _check_host(header(request, "host") or "")
            return ANONYMOUS
        scheme, _, token = (header(request, "authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Send your key as `Authorization: Bearer KEY`.")
        digest = sha256(token.strip().encode()).digest()
        # Hashes are compared, all of them, in constant time: nothing about a key shows in how long this takes.
        if not sum(compare_digest(digest, known) for known in self._digests):
            raise Unauthenticated("The API key is not known.")
        return f"key_{digest.hex()[:24]}"


def _check_host(host: str) -> None:
    """Refuse a page of the web whose own name was made to lead here: its name is all that gives it away."""
    found = _HOST.fullmatch(host)
    if found is None or not is_loopback((found[1] or found[2] or "").lower().removesuffix(".")):
        raise ForbiddenHost(
            "Without API keys the gateway answers to localhost and loopback addresses alone;"
            " set server.api_keys, or VIDEO_GATEWAY_API_KEY, to be called by another name."
        )
