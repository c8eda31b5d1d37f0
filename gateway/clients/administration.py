"""Makes, changes and deletes clients and keys at run time: in the ledger first, then in the directory."""

import secrets
from collections.abc import Callable
from datetime import datetime

import structlog

from gateway.clients.directory import Directory
from gateway.clock import Clock
from gateway.domain.clients import Client, ClientKey, Limits, Scope, key_digest, owner_of
from gateway.domain.errors import Conflict, NotFound
from gateway.ids import new_id
from gateway.store.clients import ClientRows, StoredClient

log = structlog.get_logger()
KEY_PREFIX = "vg_"
KEY_BYTES = 32


class Administration:
    """What operators do with clients and keys."""

    def __init__(self, rows: ClientRows, directory: Directory, clock: Clock) -> None:
        self._rows = rows
        self._directory = directory
        self._clock = clock

    def clients(self) -> list[Client]:
        """Every client with a name."""
        return self._directory.named()

    def client(self, name: str) -> Client:
        """One client. Raises `NotFound`."""
        client = self._directory.by_name(name)
        if client is None:
            raise NotFound(f"The client {name[:100]!r} does not exist.", param="name")
        return client

    async def create(self, name: str, limits: Limits) -> Client:
        """Make a client. Raises `Conflict` if there is one of this name."""
        existing = self._directory.by_name(name)
        if existing is not None and existing.configured:
            raise Conflict(f"The client {name!r} exists: the configuration has it, in [clients.{name}].", param="name")
        client = StoredClient(name=name, limits=limits, created_at=self._clock.now())
        await self._rows.add(client)
        self._directory.put(client)
        log.info("client_created", client=name)
        return self.client(name)

    async def change(self, name: str, change: Callable[[Limits], Limits]) -> Client:
        """Replace the limits of a client by what `change` returns. Raises `NotFound`, or `Conflict`."""
        self._check_changeable(name)
        changed = await self._rows.change(name, change)
        if changed is None:
            raise NotFound(f"The client {name!r} does not exist.", param="name")
        self._directory.put(changed)
        log.info("client_changed", client=name)
        return self.client(name)

    async def delete(self, name: str) -> None:
        """Delete a client and its keys. Raises `NotFound`, or `Conflict` while it has open generations."""
        self._check_changeable(name)
        if not await self._rows.remove(name, owner_of(name)):
            raise NotFound(f"The client {name!r} does not exist.", param="name")
        self._directory.drop(name)
        log.info("client_deleted", client=name)

    async def keys(self, name: str) -> list[ClientKey]:
        """The keys of a client that were made at run time, the oldest first. Raises `NotFound`."""
        self.client(name)
        return await self._rows.keys_of(name)

    async def create_key(
        self, name: str, *, label: str, scopes: tuple[Scope, ...], expires_at: datetime | None
    ) -> tuple[ClientKey, str]:
        """Make a key, and return it with its text, which is stored nowhere. Raises `NotFound`, or `Conflict`."""
        client, now = self.client(name), self._clock.now()
        text = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        key = ClientKey(
            id=new_id("ck_", now),
            client=name,
            sha256=key_digest(text),
            label=label,
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
        )
        await self._rows.add_key(key, stored_client=not client.configured)
        self._directory.put_key(key)
        log.info("client_key_created", client=name, key_id=key.id, scopes=scopes)
        return key, text

    async def revoke(self, name: str, key_id: str) -> ClientKey:
        """Revoke a key: it is refused from now on. Raises `NotFound`."""
        self.client(name)
        key = await self._rows.revoke(key_id, name, self._clock.now())
        if key is None:
            raise NotFound(f"The client {name!r} has no key {key_id[:100]!r} that was made at run time.", param="id")
        self._directory.put_key(key)
        log.info("client_key_revoked", client=name, key_id=key.id)
        return key

    def _check_changeable(self, name: str) -> None:
        if self.client(name).configured:
            raise Conflict(
                f"The client {name!r} is in the configuration; change the table [clients.{name}] of its file instead.",
                param="name",
            )
