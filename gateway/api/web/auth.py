"""Who is calling: static keys of clients and of operators, compared by their hash."""

import re
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from litestar import Request

from gateway.api.web.headers import header
from gateway.domain.errors import ForbiddenHost, GatewayError, Unauthenticated
from gateway.settings.load import is_loopback

ANONYMOUS = "anonymous"  # the owner of everything when `server.auth` is "none"
_ADMIN_KEYS = "the gateway's are set by server.admin_keys, or VIDEO_GATEWAY_ADMIN_KEY."
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")  # with or without a port


class AdminRequired(GatewayError):
    """The key is a client's; the path is for operators."""

    code, status, type, title = "admin_required", 403, "permission_error", "The path needs an admin key."


class Authenticator:
    """Maps an `Authorization: Bearer` to the id of its key, or to an operator's rights."""

    def __init__(self, keys: Sequence[str], *, open_to_all: bool, admin_keys: Sequence[str] = ()) -> None:
        """`keys` are the clients' secrets, `admin_keys` the operators'; with `open_to_all` nobody is asked."""
        self._digests = _digests(keys)
        self._admin_digests = _digests(admin_keys)
        self._open = open_to_all

    def key_of(self, request: Request) -> str:  # type: ignore[type-arg]  # Litestar's defaults
        """The id of the caller's key, the same at every start; `Unauthenticated` or `ForbiddenHost` otherwise."""
        if self._open:
            _check_host(header(request, "host") or "")
            return ANONYMOUS
        digest = _digest_of(request)
        if not _is_among(digest, self._digests):
            raise Unauthenticated("The API key is not known.")
        return f"key_{digest.hex()[:24]}"

    def check_admin(self, request: Request) -> None:  # type: ignore[type-arg]  # as above
        """Pass an operator; `Unauthenticated`, `AdminRequired` for a client, or `ForbiddenHost` otherwise."""
        if self._open:
            _check_host(header(request, "host") or "")
            return
        digest = _digest_of(request)
        is_admin, is_client = _is_among(digest, self._admin_digests), _is_among(digest, self._digests)
        if is_client:
            raise AdminRequired(f"This path needs an admin key, and yours is a client's; {_ADMIN_KEYS}")
        if not is_admin:
            raise Unauthenticated(f"The admin key is not known; {_ADMIN_KEYS}")


def _digests(keys: Sequence[str]) -> frozenset[bytes]:
    return frozenset(sha256(key.encode()).digest() for key in keys)


def _digest_of(request: Request) -> bytes:  # type: ignore[type-arg]  # as above
    scheme, _, token = (header(request, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send your key as `Authorization: Bearer KEY`.")
    return sha256(token.strip().encode()).digest()


def _is_among(digest: bytes, known: frozenset[bytes]) -> bool:
    """Hashes are compared, all of them, in constant time: nothing about a key shows in how long this takes."""
    return sum(compare_digest(digest, one) for one in known) > 0


def _check_host(host: str) -> None:
    """Refuse a page of the web whose own name was made to lead here: its name is all that gives it away."""
    found = _HOST.fullmatch(host)
    if found is None or not is_loopback((found[1] or found[2] or "").lower().removesuffix(".")):
        raise ForbiddenHost(
            "Without API keys the gateway answers to localhost and loopback addresses alone;"
            " set server.api_keys, or VIDEO_GATEWAY_API_KEY, to be called by another name."
        )
