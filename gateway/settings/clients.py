"""`[clients.<name>]` and `[budgets]`: who may call the gateway, with which keys, and how much each may use.

A client owns generations and files, so its keys may change without a loss. Clients that are made at run time have the
same limits: see `gateway.domain.clients`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated

from msgspec import Meta

from gateway.domain.clients import NAME, NAME_RULE, Budgets, Limits, key_digest, owner_of_key
from gateway.settings.sections import ApiKey, KlingKey, ServerSettings
from gateway.settings.toml import KeyPath, Secret, TomlReader, show_path

BudgetSettings = Budgets  # `[budgets]`, for all clients together, and `budgets` of one client
CLIENT_KEY_MIN = 16  # characters; a shorter key causes a warning
OwnerId = Annotated[str, Meta(pattern=r"^key_[0-9a-f]{24}$")]


class ClientSettings(Limits, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[clients.<name>]`: a client, its keys and its limits."""

    keys: tuple[ApiKey, ...] = ()  # each may generate and read; further ones can be made at run time
    kling_keys: tuple[KlingKey, ...] = ()  # for a JWT, as in `server.kling_keys`
    # Owner ids of keys that were clients by themselves. What they owned belongs to this client after the next start.
    adopt: tuple[OwnerId, ...] = ()

    @property
    def limits(self) -> Limits:
        """The limits without the keys."""
        return Limits(**{name: getattr(self, name) for name in Limits.__struct_fields__})


def check_clients(
    server: ServerSettings, clients: Mapping[str, ClientSettings], reader: TomlReader, warnings: list[str]
) -> None:
    """Report wrong names, and every key that is in two places: it would be unclear whose it is."""
    places = {
        key.reveal(): (name, show_path(("server", name, place)))
        for name in ("api_keys", "admin_keys")
        for place, key in enumerate(getattr(server, name))
    }
    for place, pair in enumerate(server.kling_keys):
        path = ("server", "kling_keys", place, "access_key")
        places.setdefault(pair.access_key.reveal(), ("kling_keys", show_path(path)))
    adopted: dict[str, str] = {}
    owners = alone(server)
    for name, client in clients.items():
        if not NAME.fullmatch(name):
            reader.report(("clients", name), f"expected another name: {NAME_RULE}")
            continue
        for key_path, key, signs in _keys_of(name, client):
            where, text = show_path(key_path), key.reveal()
            holder, earlier = places.setdefault(text, (name, where))
            if earlier == where:
                pass
            elif holder == name and signs:
                warnings.append(f"{where}: everybody who sees a JWT reads this key, which is also {earlier}")
            else:
                reader.report(key_path, f"the same key is listed twice, also as {earlier}; remove one of the two")
            if len(text) < CLIENT_KEY_MIN and not signs:
                warnings.append(f"{where}: under {CLIENT_KEY_MIN} characters, which can be guessed; use a longer key")
        for place, owner in enumerate(client.adopt):
            owner_path = ("clients", name, "adopt", place)
            if owner in owners:
                # Otherwise the key would lose what it has created, and a repeat of its requests would buy again.
                reader.report(
                    owner_path, f"the key of this owner id is {owners[owner]}; move it to keys of this client"
                )
            earlier = adopted.setdefault(owner, show_path(owner_path))
            if earlier != show_path(owner_path):
                reader.report(
                    owner_path, f"the same owner id is listed twice, also as {earlier}; remove one of the two"
                )


def alone(server: ServerSettings) -> dict[str, str]:
    """By owner id, the paths of the keys that are clients by themselves."""
    keys: dict[KeyPath, Secret] = {("server", "api_keys", place): key for place, key in enumerate(server.api_keys)}
    pairs = enumerate(server.kling_keys)
    keys |= {("server", "kling_keys", place, "access_key"): pair.access_key for place, pair in pairs}
    return {owner_of_key(key_digest(key.reveal())): show_path(path) for path, key in keys.items()}


def named_keys(clients: Mapping[str, ClientSettings], owners: Collection[str]) -> list[str]:
    """The paths of the keys of these clients that are clients by themselves in `owners`, which has owner ids.

    Danger: what such a key owns becomes its client's at a start only. Until then a repeat of a request that it has sent
    would not be recognised, and would buy a second time.
    """
    keys = (key for name, client in clients.items() for key in _keys_of(name, client))
    return [show_path(path) for path, key, _ in keys if owner_of_key(key_digest(key.reveal())) in owners]


def _keys_of(name: str, client: ClientSettings) -> Iterator[tuple[KeyPath, Secret, bool]]:
    """The keys of a client with their places; true for one that signs JWTs."""
    for place, key in enumerate(client.keys):
        yield ("clients", name, "keys", place), key, False
    for place, pair in enumerate(client.kling_keys):
        yield ("clients", name, "kling_keys", place, "access_key"), pair.access_key, True
