"""All clients and keys in memory: those of the configuration, and those of the ledger that were made at run time.

The ledger has the truth about the latter. `Administration` changes it there first, and then here.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import TypeVar

import structlog
from msgspec import Struct

from gateway.domain.clients import (
    NO_LIMITS,
    OF_CLIENTS,
    Budgets,
    Client,
    ClientKey,
    CreateLimits,
    Limits,
    Scope,
    Sight,
    create_limits,
    key_digest,
    name_of,
    owner_of,
    owner_of_key,
)
from gateway.settings.clients import alone
from gateway.settings.load import Settings
from gateway.store.clients import Adopted, ClientRows, StoredClient

log = structlog.get_logger()
T = TypeVar("T")

_PREFIX = 8  # bytes of a digest by which it is looked up; all of it is compared in constant time


class KnownKey(Struct, frozen=True, kw_only=True):
    """A key that the gateway accepts, or has accepted."""

    digest: bytes
    key_id: str
    owner: str  # the owner id of its client; empty for a key of an operator
    scopes: tuple[Scope, ...] = OF_CLIENTS
    stored: ClientKey | None = None  # None: a key of the configuration


class Keys:
    """Finds a key by its digest in a time that reveals nothing about the keys there are."""

    def __init__(self, keys: Iterable[KnownKey] = ()) -> None:
        self._by_prefix: dict[bytes, tuple[KnownKey, ...]] = {}
        self._prefixes: dict[str, set[bytes]] = {}  # by the name of the client: of its keys that were made at run time
        for key in keys:
            self.put(key)

    def put(self, key: KnownKey) -> None:
        """Add a key, or replace it."""
        prefix = key.digest[:_PREFIX]
        others = (other for other in self._by_prefix.get(prefix, ()) if other.digest != key.digest)
        self._by_prefix[prefix] = (*others, key)
        if key.stored is not None:
            self._prefixes.setdefault(key.stored.client, set()).add(prefix)

    def drop(self, client: str) -> None:
        """Remove the keys of a client that were made at run time."""
        for prefix in self._prefixes.pop(client, ()):
            keys = self._by_prefix.pop(prefix, ())
            if left := tuple(key for key in keys if key.stored is None or key.stored.client != client):
                self._by_prefix[prefix] = left

    def find(self, digest: bytes) -> KnownKey | None:
        """The key with this digest."""
        match = None
        for key in self._by_prefix.get(digest[:_PREFIX], ()):
            if compare_digest(key.digest, digest):
                match = key
        return match


_GONE = Limits(sees=())  # of a client that was removed: webhooks of its last generations may still be sent


class _Configured(Struct, frozen=True):
    """What a configuration says of clients and keys."""

    clients: Mapping[str, Client]  # those with a name, by owner id
    keys: Keys
    signers: Mapping[str, str]  # access key → secret key, for JWTs
    signer_owners: Mapping[str, str]  # access key → owner id
    all_clients: Budgets


class Directory:
    """Finds clients by their owner id, and keys by their digest."""

    def __init__(self, settings: Settings, adopted: Sequence[Adopted] = ()) -> None:
        """`adopted` are keys whose things a client owns since a start; see `Start.adopted`."""
        self._configured = _configured(settings)
        self._stored: dict[str, StoredClient] = {}
        self._keys = Keys()
        self._changes = 0  # how often something that was made at run time has changed here
        self._adopted: dict[str, tuple[Adopted, ...]] = {}
        for row in adopted:
            self._adopted[row.client] = (*self._adopted.get(row.client, ()), row)

    async def load(self, rows: ClientRows) -> None:
        """Read what was made at run time."""
        clients, keys = await self._newest(rows.all)
        self._stored = {client.name: client for client in clients}
        self._keys = Keys(map(_stored_key, keys))

    async def load_again(self, rows: ClientRows, name: str) -> None:
        """Read what was made at run time of one client, because another process may have changed it."""

        async def read() -> tuple[StoredClient | None, list[ClientKey]]:
            return await rows.named(name), await rows.keys_of(name)

        client, keys = await self._newest(read)
        self.drop(name)
        if client is not None:
            self.put(client)
        for key in keys:
            self.put_key(key)

    async def _newest(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` returns. It is read again if something was changed here meanwhile, which may be newer."""
        while True:
            changes = self._changes
            result = await read()
            if self._changes == changes:
                return result

    def renew(self, settings: Settings) -> None:
        """Take the clients and keys of another configuration instead of those of the present one."""
        self._configured = _configured(settings)
        self.warn(settings)

    def warn(self, settings: Settings) -> None:
        """Log which keys do not find what they have made."""
        for warning in left_behind(settings, (row for rows in self._adopted.values() for row in rows)):
            log.warning("key_left_things_behind", detail=warning)

    # --- what was made at run time ------------------------------------------------------------------------------------

    def put(self, client: StoredClient) -> None:
        """Note a client that the ledger has now."""
        self._changes += 1
        self._stored[client.name] = client

    def drop(self, name: str) -> None:
        """Forget a client that the ledger has no more, and its keys."""
        self._changes += 1
        self._stored.pop(name, None)
        self._keys.drop(name)

    def put_key(self, key: ClientKey) -> None:
        """Note a key that the ledger has now."""
        self._changes += 1
        self._keys.put(_stored_key(key))

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def signers(self) -> Mapping[str, str]:
        """The secret key of each access key that signs JWTs."""
        return self._configured.signers

    def owner_of_signer(self, access_key: str) -> str:
        """The owner id of a client that signs JWTs with this access key."""
        return self._configured.signer_owners[access_key]

    def find(self, digest: bytes) -> KnownKey | None:
        """The key with this SHA-256, also one that was revoked, has ended, or whose client is gone."""
        return self._configured.keys.find(digest) or self._keys.find(digest)

    def named(self) -> list[Client]:
        """Every client with a name, by name; one of the configuration counts instead of a stored one."""
        clients = {name: _client(stored) for name, stored in self._stored.items()}
        clients |= {client.name or "": client for client in self._configured.clients.values()}
        return [clients[name] for name in sorted(clients)]

    def by_name(self, name: str) -> Client | None:
        """The client with this name."""
        configured = self._configured.clients.get(owner_of(name))
        stored = self._stored.get(name)
        return configured or (None if stored is None else _client(stored))

    def client(self, owner: str) -> Client:
        """The client with this owner id. A key by itself has no limits, and a client that is gone sees nothing."""
        name = name_of(owner)
        if name is None:
            return Client(owner=owner)
        return self.by_name(name) or Client(owner=owner, name=name, limits=_GONE)

    def limits_of(self, owner: str) -> Limits:
        """The limits of an owner id."""
        return NO_LIMITS if name_of(owner) is None else self.client(owner).limits

    def create_limits_of(self, owner: str) -> CreateLimits | None:
        """The limits that a create of this owner id has to count; None without any."""
        return create_limits(self.limits_of(owner))

    def budgets_of(self, owner: str) -> Budgets:
        """What an owner id may spend."""
        return self.limits_of(owner).budgets

    @property
    def budgets(self) -> Budgets:
        """What all clients together may spend."""
        return self._configured.all_clients

    def sees(self, owner: str, what: Sight) -> bool:
        """Whether an owner id may see this."""
        return what in self.limits_of(owner).sees

    def adopted_by(self, owner: str) -> Sequence[Adopted]:
        """The keys whose things this owner id has."""
        return self._adopted.get(owner, ())

    def owners_before(self, owner: str) -> Sequence[str]:
        """The owner ids of these keys."""
        return [adopted.owner for adopted in self.adopted_by(owner)]


def adoptions(settings: Settings) -> dict[str, str]:
    """Which owner ids of keys belong to which client: for a start, which moves what they own."""
    owners: dict[str, str] = {}
    for name, client in settings.clients.items():
        keys = [*client.keys, *(pair.access_key for pair in client.kling_keys)]
        olds = [*(owner_of_key(key_digest(key.reveal())) for key in keys), *client.adopt]
        owners |= dict.fromkeys(olds, owner_of(name))
    return owners


def left_behind(settings: Settings, adopted: Iterable[Adopted]) -> list[str]:
    """A warning for each key of the configuration whose earlier things belong to another client than its present one.

    Danger: the key does not find what it has made, and the repeat of an earlier request buys again.
    """
    places: dict[str, tuple[str, str | None]] = {
        owner: (place, None) for owner, place in alone(settings.server).items()
    }
    places |= {owner: (f"clients.{name_of(client)}", client) for owner, client in adoptions(settings).items()}
    return [
        f"{place}: what the key {row.owner} made until {row.adopted_at:%Y-%m-%d} belongs to the client"
        f" {name_of(row.client)}; the key does not find it, and the repeat of an earlier request buys again. To undo"
        f" this, move the key to `keys` of [clients.{name_of(row.client)}]"
        for row in adopted
        for place, client in [places.get(row.owner, ("", row.client))]
        if client != row.client
    ]


def _client(stored: StoredClient) -> Client:
    return Client(owner=owner_of(stored.name), name=stored.name, limits=stored.limits, configured=False)


def _stored_key(key: ClientKey) -> KnownKey:
    return KnownKey(digest=key.sha256, key_id=key.id, owner=owner_of(key.client), scopes=key.scopes, stored=key)


def _own_key(key: str, owner: str | None, scopes: tuple[Scope, ...] = OF_CLIENTS) -> KnownKey:
    """A key of the configuration. Without an owner it is a client by itself."""
    digest = key_digest(key)
    own = owner_of_key(digest)
    return KnownKey(digest=digest, key_id=own, owner=own if owner is None else owner, scopes=scopes)


def _configured(settings: Settings) -> _Configured:
    server = settings.server
    keys = [_own_key(key.reveal(), None) for key in server.api_keys]
    keys += [_own_key(key.reveal(), "", ("admin",)) for key in server.admin_keys]
    pairs = [(pair, owner_of_key(key_digest(pair.access_key.reveal()))) for pair in server.kling_keys]
    for name, client in settings.clients.items():
        keys += [_own_key(key.reveal(), owner_of(name)) for key in client.keys]
        pairs += [(pair, owner_of(name)) for pair in client.kling_keys]
    return _Configured(
        clients={
            owner_of(name): Client(owner=owner_of(name), name=name, limits=client.limits)
            for name, client in settings.clients.items()
        },
        keys=Keys(keys),
        signers={pair.access_key.reveal(): pair.secret_key.reveal() for pair, _ in pairs},
        signer_owners={pair.access_key.reveal(): owner for pair, owner in pairs},
        all_clients=settings.budgets,
    )
