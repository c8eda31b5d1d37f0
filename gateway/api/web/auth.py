"""Who is calling: the API keys of clients and of operators, of which only hashes are held and compared, or a JWT."""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from litestar import Request

from gateway.api.web.access_keys import AccessKeys, is_jwt
from gateway.clock import Clock
from gateway.domain.errors import BadRequest, GatewayError, Unauthenticated
from gateway.settings.load import ServerSettings

ANONYMOUS = "anonymous"  # the owner of all generations and files when `server.auth` is "none"
_KEYS = "keys are set by server.api_keys, or VIDEO_GATEWAY_API_KEY."
_ADMIN_KEYS = "the gateway's are set by server.admin_keys, or VIDEO_GATEWAY_ADMIN_KEY."
_OTHER_HEADERS = (b"x-api-key", b"api-key")  # of Anthropic's, Azure's and other clients; the value is the key alone
_SENT = frozenset({b"authorization", *_OTHER_HEADERS})


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
        """`keys` are the secrets of clients, `admin_keys` those of operators.

        With `open_to_all` every request is accepted that `gateway.domain.keyless_access` does not refuse before.

        `access_keys` are those of clients that sign a JWT for each call.
        """
        self._digests = _digests(keys)
        self._admin_digests = _digests(admin_keys)
        self.is_open = open_to_all
        self._access_keys = access_keys or None

    def key_of(self, request: Request) -> str:  # type: ignore[type-arg]  # Litestar's defaults
        """The id of the caller's key, the same after every start; raises `Unauthenticated`, or `BadRequest` for two.

        A JWT has the id that its access key would have as a key: a client that signs owns what it created before with
        the same text as its key.
        """
        if self.is_open:
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
        """Accept an operator; raises `Unauthenticated`, or `AdminRequired` for a client's key."""
        if self.is_open:
            return
        digest = _digest_of(request)
        is_admin, is_client = _is_among(digest, self._admin_digests), _is_among(digest, self._digests)
        if is_client:
            raise AdminRequired(f"This path needs an admin key, and yours is a client's; {_ADMIN_KEYS}")
        if not is_admin:
            raise Unauthenticated(f"The admin key is not known; {_ADMIN_KEYS}")

    def is_unknown(self, request: Request) -> bool:  # type: ignore[type-arg]  # as above
        """True if the request has a key, and the gateway knows no such key of a client or an operator."""
        if self.is_open or not (_SENT & {name for name, _ in request.scope["headers"]}):
            return False
        try:
            token = _token_of(request)
            digest = sha256(token.encode()).digest()
            if _is_among(digest, self._digests | self._admin_digests):  # also a key that has the form of a JWT
                return False
            if is_jwt(token):
                self._signer_of(token)
                return False
        except (Unauthenticated, BadRequest):
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
    """The only key of a request: of a bearer in `Authorization`, or the whole value of one of the other headers.

    An `Authorization` of another scheme is left alone: a proxy in front of the gateway may ask for a password. Two
    different keys are refused, because they may belong to two clients, and one of them would pay.
    """
    keys: set[str] = set()
    for name, value in request.scope["headers"]:
        text = value.decode("latin-1")
        if name == b"authorization":
            scheme, _, text = text.partition(" ")
            if scheme.lower() != "bearer":
                continue
        elif name not in _OTHER_HEADERS:
            continue
        keys.add(text.strip())
    keys.discard("")
    if not keys:
        raise Unauthenticated("Send your key as `Authorization: Bearer KEY`.")
    if len(keys) > 1:
        raise BadRequest("The request has two different keys; send one, in `Authorization`, `x-api-key` or `api-key`.")
    return keys.pop()


def _is_among(digest: bytes, digests: frozenset[bytes]) -> bool:
    """Compare with every digest in constant time, so that the duration reveals nothing about a key."""
    return sum(compare_digest(digest, member) for member in digests) > 0
