"""How operators name the owners of generations, and how answers show them. No web framework: commands use it too."""

import re

from gateway.domain.clients import name_of
from gateway.domain.clients import owner_of as owner_of_name

_OWNER = re.compile(r"key_[0-9a-f]{24}|client_.+|anonymous", re.DOTALL)


def owner_of(client: str) -> str:
    """The owner id of the client that an operator names, by its name or by the owner id itself."""
    return client if _OWNER.fullmatch(client) else owner_of_name(client)


def client_shown(owner: str) -> str:
    """How operators see an owner: a client by its name, a key by the id that is made of its hash."""
    return name_of(owner) or owner
