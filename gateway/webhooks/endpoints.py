"""What the API does with webhook endpoints and deliveries, and what they are signed with."""

import base64
import os
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest

import structlog
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from gateway.clock import Clock
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.webhooks import ENDPOINTS_MAX, ROTATION_SECONDS, Delivery, Endpoint, SigningSecret, rotated
from gateway.ids import new_id
from gateway.store.webhooks import DeliveryPage, DeliveryQuery
from gateway.store.webhooks import Webhooks as WebhookStore

log = structlog.get_logger()
SECRET_BYTES = 32


class SigningKeys:
    """What signs the deliveries of generations that name their own `webhook_url`."""

    def __init__(self, configured: Sequence[str], root: bytes) -> None:
        """`configured` are the operator's secrets, the newest first; without any, each API key has one made of `root`.

        So no client can sign in the name of the gateway towards another.
        """
        self._configured = tuple(configured)
        self._root = root

    def of(self, key: str) -> tuple[str, ...]:
        """The secrets for the generations of an API key, the newest first."""
        return self._configured or (_whsec(digest(self._root, key.encode(), sha256)),)

    def shown(self, key: str) -> str | None:
        """The secret that a client may read: its own; `None` for the operator's."""
        return None if self._configured else self.of(key)[0]


class Changes(Struct, frozen=True, kw_only=True):
    """What is to be another than before about an endpoint."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET

    def of(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with it; one that is disabled already keeps its reason."""
        said = {name: value for name, value in asdict(self).items() if value is not UNSET and name != "disabled"}
        if self.disabled is UNSET:
            return replace(endpoint, **said)
        return replace(endpoint, **said, disabled=(endpoint.disabled or "requested") if self.disabled else None)


class Webhooks:
    """Every call belongs to one API key; what another key owns does not exist."""

    def __init__(self, *, store: WebhookStore, keys: SigningKeys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock

    def secret(self, key: str) -> str | None:
        """What signs the deliveries of the key's generations that name their own `webhook_url`; `None`: see there."""
        return self._keys.shown(key)

    async def create(self, *, key: str, url: str, events: tuple[str, ...], description: str | None) -> Endpoint:
        """Add an endpoint."""
        now = self._clock.now()
        endpoint = Endpoint(
            id=new_id("whe_", now),
            key=key,
            url=url,
            events=events,
            description=description,
            secrets=(SigningSecret(_new_secret()),),
            created_at=now,
        )
        if not await self._store.add_endpoint(endpoint):
            raise Conflict(f"There are {ENDPOINTS_MAX} webhook endpoints already; delete one that is not needed.")
        log.info("webhook_endpoint_created", endpoint=endpoint.id)
        return endpoint

    async def endpoints(self, key: str) -> list[Endpoint]:
        """All of the key's own, the oldest first."""
        return await self._store.endpoints(key)

    async def read(self, endpoint_id: str, key: str) -> Endpoint:
        """One endpoint."""
        return _found(await self._store.endpoint(endpoint_id, key), endpoint_id)

    async def change(self, endpoint_id: str, key: str, changes: Changes) -> Endpoint:
        """Change an endpoint; disabling it gives up what is still to be sent to it."""
        endpoint = _found(await self._store.change_endpoint(endpoint_id, key, changes.of), endpoint_id)
        log.info("webhook_endpoint_changed", endpoint=endpoint_id, disabled=endpoint.disabled)
        return endpoint

    async def remove(self, endpoint_id: str, key: str) -> None:
        """Delete an endpoint with its deliveries."""
        if not await self._store.remove_endpoint(endpoint_id, key):
            raise _missing(endpoint_id)
        log.info("webhook_endpoint_deleted", endpoint=endpoint_id)

    async def rotate(self, endpoint_id: str, key: str, expires_after_seconds: float = ROTATION_SECONDS) -> Endpoint:
        """Give it a new secret; the one before signs beside it for so long."""
        now, value = self._clock.now(), _new_secret()
        changed = await self._store.change_endpoint(
            endpoint_id, key, lambda endpoint: rotated(endpoint, value, now, expires_after_seconds)
        )
        log.info("webhook_secret_rotated", endpoint=endpoint_id)
        return _found(changed, endpoint_id)

    async def test(self, endpoint_id: str, key: str) -> Delivery:
        """Send a `webhook.test`, once; `Conflict` while the one before is under way."""
        now = self._clock.now()
        added = await self._store.add_test(endpoint_id, key, new_id("evt_", now), now)
        if added is None:
            raise _missing(endpoint_id)
        return added

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of the key's own deliveries."""
        return await self._store.page(query)

    async def delivery(self, delivery_id: str, key: str) -> Delivery:
        """One delivery with its tries."""
        found = await self._store.delivery(delivery_id, key)
        if found is None:
            raise NotFound(f"There is no webhook delivery {delivery_id[:100]!r}.", param="id")
        return found

    async def redeliver(self, delivery_id: str, key: str) -> Delivery:
        """Send one now, whatever became of it."""
        found = await self._store.redeliver(delivery_id, key, self._clock.now())
        return found or await self.delivery(delivery_id, key)


def _new_secret() -> str:
    return _whsec(os.urandom(SECRET_BYTES))


def _whsec(value: bytes) -> str:
    return "whsec_" + base64.b64encode(value).decode()


def _found(endpoint: Endpoint | None, endpoint_id: str) -> Endpoint:
    if endpoint is None:
        raise _missing(endpoint_id)
    return endpoint


def _missing(endpoint_id: str) -> NotFound:
    return NotFound(f"There is no webhook endpoint {endpoint_id[:100]!r}.", param="id")
