"""Who is calling: a client or an operator, by an API key of which only the hash is stored and compared, or by a JWT."""

from litestar import Request

from gateway.api.web.access_keys import AccessKeys, is_jwt
from gateway.clients.directory import Directory, KnownKey
from gateway.clock import Clock
from gateway.domain.clients import ANONYMOUS, SCOPES, Caller, Client, Scope, check_valid, key_digest
from gateway.domain.errors import AdminRequired, BadRequest, ScopeMissing, Unauthenticated

_KEYS = "keys are set by server.api_keys, or VIDEO_GATEWAY_API_KEY."
_ADMIN_KEYS = "the gateway's are set by server.admin_keys, or VIDEO_GATEWAY_ADMIN_KEY."
_OTHER_HEADERS = (b"x-api-key", b"api-key")  # of Anthropic's, Azure's and other clients; the value is the key alone
_SENT = frozenset({b"authorization", *_OTHER_HEADERS})
_EVERYBODY = Caller(client=Client(owner=ANONYMOUS), key_id=ANONYMOUS, scopes=SCOPES)


class Authenticator:
    """Finds out who has sent a request, and whether the key may do what the request is for."""

    def __init__(self, directory: Directory, clock: Clock, *, open_to_all: bool) -> None:
        """With `open_to_all` every request is accepted that `gateway.domain.keyless_access` does not refuse before."""
        self._directory = directory
        self._clock = clock
        self.is_open = open_to_all
        self._access_keys = AccessKeys(directory.signers, clock)
        self._signers = directory.signers  # those of `_access_keys`; another configuration has others

    def caller_of(self, request: Request, needs: Scope | None) -> Caller:  # type: ignore[type-arg]  # Litestar's defaults
        """The client that has sent a request, and its key.

        `needs` is the scope that the key must have; None: any. Raises `Unauthenticated`, `ScopeMissing`, or
        `BadRequest` for two keys. A client that signs a JWT is the one that its access key would be as a key, so that
        it owns what it created before with the same text as its key.
        """
        if self.is_open:
            return _EVERYBODY
        token = _token_of(request)
        caller = self._caller_with(token)
        if needs is not None:
            _check_scope(caller, needs)
        return caller

    def _caller_with(self, token: str) -> Caller:
        key = self._directory.find(key_digest(token))
        if key is None:
            if is_jwt(token):
                return self._signer_of(token)
            raise Unauthenticated("The API key is not known; " + _KEYS)
        if not key.owner:
            raise Unauthenticated("This path needs a client's key, and yours is an admin key; " + _KEYS)
        return self._checked(key)

    def _checked(self, key: KnownKey) -> Caller:
        """The caller with this key. Raises `Unauthenticated` if it may not be used any more."""
        client = self._directory.client(key.owner)
        if key.stored is not None:
            check_valid(key.stored, self._clock.now())
            if self._directory.by_name(key.stored.client) is None:
                raise Unauthenticated(f"The client of the API key {key.key_id} does not exist any more.")
        return Caller(client=client, key_id=key.key_id, scopes=key.scopes)

    def _signer_of(self, token: str) -> Caller:
        if self._signers is not self._directory.signers:
            self._signers = self._directory.signers
            self._access_keys = AccessKeys(self._signers, self._clock)
        if not self._access_keys:
            raise Unauthenticated(
                "A JWT needs its access key in server.kling_keys, and the gateway has no such keys; " + _KEYS
            )
        owner = self._directory.owner_of_signer(self._access_keys.signer_of(token))
        return Caller(client=self._directory.client(owner), key_id=owner)

    def check_admin(self, request: Request) -> None:  # type: ignore[type-arg]  # as above
        """Accept an operator; raises `Unauthenticated`, or `ScopeMissing` for a client's key without `admin`."""
        if self.is_open:
            return
        key = self._directory.find(key_digest(_token_of(request)))
        if key is None:
            raise Unauthenticated(f"The admin key is not known; {_ADMIN_KEYS}")
        if key.owner:
            caller = self._checked(key)
            if key.stored is None:
                raise AdminRequired(f"This path needs an admin key, and yours is a client's; {_ADMIN_KEYS}")
            _check_scope(caller, "admin")

    def is_unknown(self, request: Request) -> bool:  # type: ignore[type-arg]  # as above
        """True if the request has a key, and the gateway knows no such key of a client or an operator."""
        if self.is_open or not (_SENT & {name for name, _ in request.scope["headers"]}):
            return False
        try:
            token = _token_of(request)
            if self._directory.find(key_digest(token)) is None:  # it may be a key that has the form of a JWT
                if not is_jwt(token):
                    return True
                self._signer_of(token)
        except (Unauthenticated, BadRequest):
            return True
        return False


def _check_scope(caller: Caller, needs: Scope) -> None:
    if needs not in caller.scopes:
        has = " and ".join(f"`{scope}`" for scope in caller.scopes)
        raise ScopeMissing(f"This request needs a key with the scope `{needs}`; the key {caller.key_id} has {has}.")


def _token_of(request: Request) -> str:  # type: ignore[type-arg]  # as above
    """The only key of a request: of a bearer in `Authorization`, or the whole value of one of the other headers.

    An `Authorization` of another scheme is left alone: a proxy in front of the gateway may ask for a password. Two
    different keys are refused, because they may belong to two clients, and one of them would pay.
    """
    keys: set[str] = set()
    for name, value in request.scope["headers"]:
        if name not in _SENT:
            continue
        text = value.decode("latin-1")
        if name == b"authorization":
            scheme, _, text = text.partition(" ")
            if scheme.lower() != "bearer":
                continue
        keys.add(text.strip())
    keys.discard("")
    if not keys:
        raise Unauthenticated("Send your key as `Authorization: Bearer KEY`.")
    if len(keys) > 1:
        raise BadRequest("The request has two different keys; send one, in `Authorization`, `x-api-key` or `api-key`.")
    return keys.pop()
