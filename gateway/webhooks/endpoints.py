"""Webhook endpoints and deliveries as the API uses them: each call is limited to one API key."""

import structlog
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from gateway.clock import Clock, wait
from gateway.domain.errors import Conflict, NotFound, ReceiverNotReached
from gateway.domain.webhooks import (
    ENDPOINTS_MAX,
    ROTATION_SECONDS,
    TEST,
    Delivery,
    DeliveryTry,
    Endpoint,
    OpenAIEventName,
    SigningSecret,
    rotated,
)
from gateway.ids import new_id
from gateway.live import Live
from gateway.store.webhooks import DeliveryPage, DeliveryQuery
from gateway.store.webhooks import WebhookRows as WebhookStore
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.signing import SigningKeys, new_secret

log = structlog.get_logger()
QUEUE_SECONDS = 5.0  # how long a test may wait for other deliveries before it is sent


class EndpointChanges(Struct, frozen=True, kw_only=True):
    """The changes that a client wants to make to an endpoint; an unset field stays."""

    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET

    def of(self, endpoint: Endpoint) -> Endpoint:
        """The changed endpoint. An endpoint that is disabled already keeps its reason."""
        fields = {name: value for name, value in asdict(self).items() if value is not UNSET and name != "disabled"}
        if self.disabled is UNSET:
            return replace(endpoint, **fields)
        return replace(endpoint, **fields, disabled=(endpoint.disabled or "requested") if self.disabled else None)


class WebhookEndpoints:
    """The endpoints and deliveries of one API key at a time. For those of another key it raises `NotFound`."""

    def __init__(self, *, store: WebhookStore, keys: Live[SigningKeys], clock: Clock, deliverer: Deliverer) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._deliverer = deliverer

    def secret(self, key: str) -> str | None:
        """The secret for deliveries to a generation's own `webhook_url`; None if the operator has configured one."""
        return self._keys.current.shown(key)

    async def create(self, *, key: str, url: str, events: tuple[str, ...], description: str | None) -> Endpoint:
        """Add an endpoint. Raises `Conflict` if the key has `ENDPOINTS_MAX` already."""
        now = self._clock.now()
        endpoint = Endpoint(
            id=new_id("whe_", now),
            key=key,
            url=url,
            events=events,
            description=description,
            secrets=(SigningSecret(new_secret()),),
            created_at=now,
        )
        if not await self._store.add_endpoint(endpoint):
            raise Conflict(
                f"Your key has {ENDPOINTS_MAX} webhook endpoints, the most it may have; delete one that is not needed."
            )
        log.info("webhook_endpoint_created", endpoint=endpoint.id)
        return endpoint

    async def endpoints(self, key: str) -> list[Endpoint]:
        """The endpoints of the key, the oldest first."""
        return await self._store.endpoints(key)

    async def read(self, endpoint_id: str, key: str) -> Endpoint:
        """One endpoint."""
        return _existing(await self._store.endpoint(endpoint_id, key), endpoint_id)

    async def change(self, endpoint_id: str, key: str, changes: EndpointChanges) -> Endpoint:
        """Change an endpoint. If it becomes disabled, its pending deliveries become `dead`."""
        endpoint = _existing(await self._store.change_endpoint(endpoint_id, key, changes.of), endpoint_id)
        log.info("webhook_endpoint_changed", endpoint=endpoint_id, disabled=endpoint.disabled)
        return endpoint

    async def remove(self, endpoint_id: str, key: str) -> None:
        """Delete an endpoint with its deliveries."""
        if not await self._store.remove_endpoint(endpoint_id, key):
            raise _missing(endpoint_id)
        log.info("webhook_endpoint_deleted", endpoint=endpoint_id)

    async def rotate(self, endpoint_id: str, key: str, expires_after_seconds: float = ROTATION_SECONDS) -> Endpoint:
        """Give an endpoint a new secret. The previous one goes on signing for `expires_after_seconds`."""
        now, value = self._clock.now(), new_secret()
        changed = await self._store.change_endpoint(
            endpoint_id, key, lambda endpoint: rotated(endpoint, value, now, expires_after_seconds)
        )
        log.info("webhook_secret_rotated", endpoint=endpoint_id)
        return _existing(changed, endpoint_id)

    async def test(self, endpoint_id: str, key: str, event: str = TEST) -> Delivery:
        """Send a test once, as an event of this type.

        Raises `Conflict` while the previous test is pending or the endpoint is disabled.
        """
        now = self._clock.now()
        added = await self._store.add_test(endpoint_id, key, new_id("evt_", now), now, event)
        if added is None:
            raise _missing(endpoint_id)
        return added

    async def test_and_wait(self, endpoint_id: str, key: str, event: OpenAIEventName) -> DeliveryTry:
        """Send a sample of one of OpenAI's events once, and wait for the receiver's answer.

        Raises `ReceiverNotReached` if there is no answer, and what `test` raises.
        """
        delivery = await self.test(endpoint_id, key, event)
        with self._deliverer.outcomes.expecting(delivery.id) as tried:
            delivery = await self.delivery(delivery.id, key)  # it may have been sent before anybody waited for it
            if not delivery.tries:
                await wait(self._clock, tried, self._deliverer.timeout_seconds.current + QUEUE_SECONDS)
                delivery = await self.delivery(delivery.id, key)
        if not delivery.tries:
            raise ReceiverNotReached(
                f"The test still waits to be sent. GET /v1/webhook_deliveries/{delivery.id} has its result later."
            )
        if delivery.tries[-1].status is None:
            raise ReceiverNotReached(f"{delivery.url} did not answer the test: {delivery.tries[-1].error}.")
        return delivery.tries[-1]

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of the key's own deliveries, or for operators of those of all keys."""
        return await self._store.page(query)

    async def delivery(self, delivery_id: str, key: str | None) -> Delivery:
        """One delivery with its tries; without a `key`, of any owner."""
        delivery = await self._store.delivery(delivery_id, key)
        if delivery is None:
            raise NotFound(f"There is no webhook delivery {delivery_id[:100]!r}.", param="id")
        return delivery

    async def redeliver(self, delivery_id: str, key: str | None) -> Delivery:
        """Send a delivery again now, in any state. Raises `Conflict` if its endpoint is disabled."""
        delivery = await self._store.redeliver(delivery_id, key, self._clock.now())
        return delivery or await self.delivery(delivery_id, key)


def _existing(endpoint: Endpoint | None, endpoint_id: str) -> Endpoint:
    if endpoint is None:
        raise _missing(endpoint_id)
    return endpoint


def _missing(endpoint_id: str) -> NotFound:
    return NotFound(f"There is no webhook endpoint {endpoint_id[:100]!r}.", param="id")
