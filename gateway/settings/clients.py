"""`[clients.<name>]` and `[budgets]`: who may call the gateway, with which keys, and how much each may use.

A client owns generations and files, so its keys may change without a loss. Clients that are made at run time have the
same limits: see `gateway.domain.clients`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta

from gateway.domain.clients import NAME, NAME_RULE, Budgets, Limits
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
            earlier = adopted.setdefault(owner, show_path(owner_path))
            if earlier != show_path(owner_path):
                reader.report(
                    owner_path, f"the same owner id is listed twice, also as {earlier}; remove one of the two"
                )


def _keys_of(name: str, client: ClientSettings) -> Iterator[tuple[KeyPath, Secret, bool]]:
    """The keys of a client with their places; true for one that signs JWTs."""
    for place, key in enumerate(client.keys):
        yield ("clients", name, "keys", place), key, False
    for place, pair in enumerate(client.kling_keys):
        yield ("clients", name, "kling_keys", place, "access_key"), pair.access_key, True
