"""What the gateway asks of a store about webhooks: endpoints, and deliveries that are there before they are sent."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct

from gateway.domain.webhooks import Delivery, DeliveryState, Endpoint, SigningSecret, Try

TEST_LIFE = timedelta(days=7)  # of a delivery that belongs to no generation
_DELIVERY = re.compile(r"dlv_[0-9A-HJKMNP-TV-Z]{26}")


def is_delivery(text: str) -> bool:
    """Whether this can be the id of a delivery, though it may be gone by now."""
    return _DELIVERY.fullmatch(text) is not None


class DeliveryQuery(Struct, frozen=True, kw_only=True):
    """A page of a key's own deliveries, newest first unless `order` is `asc`; ids order as the events did."""

    key: str
    limit: int
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
    endpoint_id: str | None = None
    generation_id: str | None = None
    state: DeliveryState | None = None


class DeliveryPage(Struct, frozen=True):
    """Deliveries in the order asked for, and whether more follow."""

    data: tuple[Delivery, ...]
    has_more: bool


class Claim(Struct, frozen=True, kw_only=True):
    """A delivery that is its holder's to send until a moment."""

    delivery: Delivery
    secrets: tuple[SigningSecret, ...]  # of its endpoint; none of a generation's own `webhook_url`
    until: datetime


class Webhooks(Protocol):
    """Every method is durable when it returns. Raises `StoreUnavailable`.

    The write that ends a generation adds its deliveries, in the same transaction: see `Store.write`.
    """

    def subscribe(self, wake: Callable[[], None]) -> None:
        """From now on call `wake`, on the event loop, whenever something may be due sooner than `next_due` said."""
        ...

    async def add_endpoint(self, endpoint: Endpoint) -> bool:
        """Insert one; False when its key has `ENDPOINTS_MAX` already."""
        ...

    async def endpoints(self, key: str) -> list[Endpoint]:
        """All of a key, the oldest first."""
        ...

    async def endpoint(self, endpoint_id: str, key: str) -> Endpoint | None:
        """One, when the key owns it."""
        ...

    async def change_endpoint(
        self, endpoint_id: str, key: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint | None:
        """Put what `change` makes of it in its place; `None` when the key owns none such.

        What is still to be sent follows the endpoint to its URL, and is given up where it is disabled.
        """
        ...

    async def remove_endpoint(self, endpoint_id: str, key: str) -> bool:
        """Remove one with all its deliveries; False when the key owns none such."""
        ...

    async def add_test(self, endpoint_id: str, key: str, event_id: str, now: datetime) -> Delivery | None:
        """Add a delivery of `webhook.test`, due now; `None` when the key owns no such endpoint.

        `Conflict` when that is disabled, or while it has a test that is pending.
        """
        ...

    async def page(self, query: DeliveryQuery) -> DeliveryPage:
        """A page of deliveries."""
        ...

    async def delivery(self, delivery_id: str, key: str) -> Delivery | None:
        """One, when the key owns it."""
        ...

    async def redeliver(self, delivery_id: str, key: str, now: datetime) -> Delivery | None:
        """Let one be due now, whatever became of it; `None` when the key owns none such.

        `Conflict` when its endpoint is disabled.
        """
        ...

    async def keys(self) -> list[tuple[str, datetime]]:
        """Every API key that has something to be sent, and when the first of it is due."""
        ...

    async def receivers(self, key: str, now: datetime, limit: int) -> list[tuple[str, datetime]]:
        """So many at most of the receivers that something of a key is due at, and since when; longest due first."""
        ...

    async def next_due(self, now: datetime) -> datetime | None:
        """When something is due next, of what is not due yet."""
        ...

    async def claim(self, free: Mapping[tuple[str, str], int], now: datetime, until: datetime) -> list[Claim]:
        """Take what is due, so many at most of each key and receiver, longest due first.

        Until then nobody else gets it.
        """
        ...

    async def note(
        self, claim: Claim, one: Try, *, final: bool = False, retry_after_seconds: float | None = None
    ) -> Delivery | None:
        """Keep a try with what it makes of the delivery; `None` when that is gone.

        What was asked for anew meanwhile stays due. A 410 disables the endpoint.
        """
        ...

    async def expire(self, now: datetime, limit: int) -> int:
        """Remove ended tests past `TEST_LIFE`, so many at most; how many there were."""
        ...
