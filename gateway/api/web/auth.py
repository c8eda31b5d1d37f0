"""Who is calling: the API keys of clients and of operators, of which only hashes are held and compared, or a JWT."""

import re
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from litestar import Request

from gateway.api.web.access_keys import AccessKeys, is_jwt
from gateway.api.web.headers import header
from gateway.clock import Clock
from gateway.domain.errors import ForbiddenHost, GatewayError, Unauthenticated
from gateway.settings.load import ServerSettings, is_loopback

ANONYMOUS = "anonymous"  # the owner of all generations and files when `server.auth` is "none"
_KEYS = "keys are set by server.api_keys, or VIDEO_GATEWAY_API_KEY."
_ADMIN_KEYS = "the gateway's are set by server.admin_keys, or VIDEO_GATEWAY_ADMIN_KEY."
_HOST = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::[0-9]*)?")  # a name or an address, with or without a port


class AdminRequired(GatewayError):
    """The key belongs to a client, and the path is for operators."""

    code, status, type, title = "admin_required", 403, "permission_error", "The path needs an admin key."
    remedy = "Send a key of `server.admin_keys`."


class Authenticator:
    """Finds out whose key a request has: the id of a client's key, or the rights of an operator."""

    def __init__(
        self,
        keys: Sequence[str],
        *,
        open_to_all: bool,
        admin_keys: Sequence[str] = (),
        access_keys: AccessKeys | None = None,
    ) -> None:
        """`keys` are the secrets of clients, `admin_keys` those of operators; `open_to_all` accepts every request.

        `access_keys` are those of clients that sign a JWT for each call.
        """
        self._digests = _digests(keys)
        self._admin_digests = _digests(admin_keys)
        self._open = open_to_all
        self._access_keys = access_keys or None

    def key_of(self, request: Request) -> str:  # type: ignore[type-arg]  # Litestar's defaults
        """The id of the caller's key, the same after every start; raises `Unauthenticated` or `ForbiddenHost`.

        A JWT has the id that its access key would have as a key: a client that signs owns what it created before with
        the same text as its key.
        """
        if self._open:
            _check_host(header(request, "host") or "")
            return ANONYMOUS
        token = _token_of(request)
        digest = sha256(token.encode()).digest()
        if not _is_among(digest, self._digests):
            if is_jwt(token):
                return self._signer_of(token)
            if _is_among(digest, self._admin_digests):
                raise Unauthenticated("This path needs a client's key, and yours is an admin key; " + _KEYS)
            raise Unauthenticated("The API key is not known; " + _KEYS)
        return _id_of(digest)

    def _signer_of(self, token: str) -> str:
        if self._access_keys is None:
            raise Unauthenticated(
                "A JWT needs its access key in server.kling_keys, and the gateway has no such keys; " + _KEYS
            )
        return _id_of(sha256(self._access_keys.signer_of(token).encode()).digest())

    def check_admin(self, request: Request) -> None:  # type: ignore[type-arg]  # as above
        """Accept an operator; raises `Unauthenticated`, `AdminRequired` for a client's key, or `ForbiddenHost`."""
        if self._open:
            _check_host(header(request, "host") or "")
            return
        digest = _digest_of(request)
        is_admin, is_client = _is_among(digest, self._admin_digests), _is_among(digest, self._digests)
        if is_client:
            raise AdminRequired(f"This path needs an admin key, and yours is a client's; {_ADMIN_KEYS}")
        if not is_admin:
            raise Unauthenticated(f"The admin key is not known; {_ADMIN_KEYS}")

    def is_unknown(self, request: Request) -> bool:  # type: ignore[type-arg]  # as above
        """True if the request has a key, and the gateway knows no such key of a client or an operator."""
        if self._open or header(request, "authorization") is None:
            return False
        try:
            token = _token_of(request)
            digest = sha256(token.encode()).digest()
            if _is_among(digest, self._digests | self._admin_digests):  # also a key that has the form of a JWT
                return False
            if is_jwt(token):
                self._signer_of(token)
                return False
        except Unauthenticated:
            return True
        return True


def authenticator_of(server: ServerSettings, clock: Clock) -> Authenticator:
    """The authenticator with the keys that the configuration has."""
    return Authenticator(
        [key.reveal() for key in server.api_keys],
        admin_keys=[key.reveal() for key in server.admin_keys],
        open_to_all=server.auth == "none",
        access_keys=AccessKeys(
            {pair.access_key.reveal(): pair.secret_key.reveal() for pair in server.kling_keys}, clock
        ),
    )


def _digests(keys: Sequence[str]) -> frozenset[bytes]:
    return frozenset(sha256(key.encode()).digest() for key in keys)


def _id_of(digest: bytes) -> str:
    return f"key_{digest.hex()[:24]}"


def _digest_of(request: Request) -> bytes:  # type: ignore[type-arg]  # as above
    return sha256(_token_of(request).encode()).digest()


def _token_of(request: Request) -> str:  # type: ignore[type-arg]  # as above
    scheme, _, token = (header(request, "authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Send your key as `Authorization: Bearer KEY`.")
    return token.strip()


def _is_among(digest: bytes, digests: frozenset[bytes]) -> bool:
    """Compare with every digest in constant time, so that the duration reveals nothing about a key."""
    return sum(compare_digest(digest, member) for member in digests) > 0


def _check_host(host: str) -> None:
    """Refuse a request that came by another name than that of this machine.

    A web page can make its own name resolve to this machine (DNS rebinding) and so call a gateway without keys from the
    user's browser. The name in `Host` is the only sign of that.
    """
    match = _HOST.fullmatch(host)
    if match is None or not is_loopback((match[1] or match[2] or "").lower().removesuffix(".")):
        raise ForbiddenHost(
            "Without API keys the gateway answers to localhost and loopback addresses alone;"
            " set server.api_keys, or VIDEO_GATEWAY_API_KEY, to be called by another name."
        )
