"""Who is calling: static client keys, compared by their hash."""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from litestar import Request

from gateway.domain.errors import Unauthenticated

ANONYMOUS = "anonymous"  # the owner of everything when `server.auth` is "none"


class Authenticator:
    """Maps an `Authorization: Bearer` to the id of its key."""

    def __init__(self, keys: Sequence[str], *, open_to_all: bool) -> None:
        """`keys` are the clients' secrets; with `open_to_all` nobody is asked."""
        self._digests = {sha256(key.encode()).digest() for key in keys}
        self._open = open_to_all

    def key_of(self, request: Request) -> str:  # type: ignore[type-arg]  # Litestar's defaults
        """The id of the caller's key, the same at every start; `Unauthenticated` otherwise."""
        if self._open:
            return ANONYMOUS
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Send your key as `Authorization: Bearer KEY`.")
        digest = sha256(token.strip().encode()).digest()
        # Hashes are compared, all of them, in constant time: nothing about a key shows in how long this takes.
        if not sum(compare_digest(digest, known) for known in self._digests):
            raise Unauthenticated("The API key is not known.")
        return f"key_{digest.hex()[:24]}"
