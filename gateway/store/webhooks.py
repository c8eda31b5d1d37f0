"""The protocol for webhook endpoints and deliveries. A delivery is stored before it is sent."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct

from gateway.domain.webhooks import TEST, Delivery, DeliveryState, DeliveryTry, Endpoint, SigningSecret

TEST_LIFE = timedelta(days=7)  # how long a test is stored; other deliveries are deleted with their generation
_DELIVERY = re.compile(r"dlv_[0-9A-HJKMNP-TV-Z]{26}")
_ENDPOINT = re.compile(r"whe_[0-9A-HJKMNP-TV-Z]{26}")


def is_delivery(text: str) -> bool:
    """Whether the text has the form of a delivery's id. The delivery may have been deleted."""
    return _DELIVERY.fullmatch(text) is not None


def is_endpoint(text: str) -> bool:
    """Whether the text has the form of an endpoint's id. The endpoint may have been deleted."""
    return _ENDPOINT.fullmatch(text) is not None


class DeliveryQuery(Struct, frozen=True, kw_only=True):
    """Which page of deliveries is wanted; the order of ids is that of the events."""

    key: str | None  # the owner whose deliveries are wanted; None: those of all owners, for operators
    limit: int
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
    endpoint_id: str | None = None
    generation_id: str | None = None
    state: DeliveryState | None = None


class DeliveryPage(Struct, frozen=True):
    """Deliveries in the order of the query, and whether more follow."""

    data: tuple[Delivery, ...]
    has_more: bool


class Claim(Struct, frozen=True, kw_only=True):
    """A delivery that only the process which claimed it may send, until a moment."""

    delivery: Delivery
    secrets: tuple[SigningSecret, ...]  # of its endpoint; empty for a generation's own `webhook_url`
    until: datetime


class WebhookRows(Protocol):
    """A method that writes returns after the change is on the disk. Every method may raise `StoreUnavailable`.

    The write that ends a generation adds its deliveries, in the same transaction: see `Store.write`. A *receiver* is
    the host and port that a URL leads to.
    """

    def on_due(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the event loop whenever a delivery may be due sooner than `next_due` said.

        There is one listener: a later call replaces it.
        """
        ...

    async def add_endpoint(self, endpoint: Endpoint) -> bool:
        """Insert an endpoint; False if its key has `ENDPOINTS_MAX` already."""
        ...

    async def endpoints(self, key: str) -> list[Endpoint]:
        """The endpoints of a key, the oldest first."""
        ...

    async def endpoint(self, endpoint_id: str, key: str) -> Endpoint | None:
        """One endpoint, or None if the key owns no such endpoint."""
        ...

    async def change_endpoint(
        self, endpoint_id: str, key: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint | None:
        """Replace an endpoint by what `change` returns for it; None if the key owns no such endpoint.

        Pending deliveries go to the new URL. If the endpoint is disabled, they become `dead`.
        """
        ...

    async def remove_endpoint(self, endpoint_id: str, key: str) -> bool:
        """Delete an endpoint with all its deliveries; False if the key owns no such endpoint."""
        ...

    async def add_test(
        self, endpoint_id: str, key: str, event_id: str, now: datetime, event: str = TEST
    ) -> Delivery | None:
        """Add a delivery without a generation that is due now; None if the key owns no such endpoint.

        Raises `Conflict` if the endpoint is disabled or an earlier test of it is pending.
        """
        ...

    async def page(self, query: DeliveryQuery) -> DeliveryPage:
        """One page of deliveries."""
        ...

    async def delivery(self, delivery_id: str, key: str | None) -> Delivery | None:
        """One delivery, or None if it does not exist; with `key`, only a delivery that this key owns."""
        ...

    async def redeliver(self, delivery_id: str, key: str | None, now: datetime) -> Delivery | None:
        """Make a delivery due now, in any state; None as for `delivery`.

        Raises `Conflict` if its endpoint is disabled.
        """
        ...

    async def keys(self) -> list[tuple[str, datetime]]:
        """Every API key with a pending delivery, and when the first of its deliveries is due."""
        ...

    async def receivers(self, key: str, now: datetime, limit: int) -> list[tuple[str, datetime]]:
        """At most `limit` receivers with a due delivery of a key, and since when; the longest due first."""
        ...

    async def next_due(self, now: datetime) -> datetime | None:
        """When the next delivery becomes due, of those that are not due at `now`; None if nothing is pending."""
        ...

    async def claim(self, free: Mapping[tuple[str, str], int], now: datetime, until: datetime) -> list[Claim]:
        """Claim due deliveries, the longest due first; `free` has the most for each key and receiver.

        Until `until` no other call gets them. After it a delivery whose try was not noted is due again.
        """
        ...

    async def note(
        self, claim: Claim, made: DeliveryTry, *, final: bool = False, retry_after_seconds: float | None = None
    ) -> Delivery | None:
        """Store a try and the state that the delivery gets by it; None if the delivery was deleted.

        `final` says that no later try can succeed. A delivery that a client asked to be sent again meanwhile stays due.
        An answer of 410 disables the endpoint.
        """
        ...

    async def expire(self, now: datetime, limit: int, *, before: datetime | None = None) -> int:
        """Delete at most `limit` tests that have ended and are older than `TEST_LIFE`; returns how many.

        With `before`, all deliveries from before it that are not pending are deleted as well.
        """
        ...
