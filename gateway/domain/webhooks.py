"""The rules of webhooks: who gets which event, when a delivery is tried again, and what an answer means. Pure.

A delivery is made at least once: it is stored with the event, and tried until the receiver answers with 2xx or the
schedule `RETRY_SECONDS` ends.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import Literal, get_args
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.task import Status

EventName = Literal[
    "video.generation.completed",
    "video.generation.failed",
    "video.generation.cancelled",
    "video.generation.expired",
    "image.generation.completed",
    "image.generation.failed",
    "image.generation.cancelled",
    "image.generation.expired",
]
EVENTS: tuple[EventName, ...] = get_args(EventName)
ALL_EVENTS = "*"  # as a filter: every event, also those that later versions add
TEST = "webhook.test"  # sent once, never retried: the caller is watching the result
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 36_000)  # the pauses between the end of a try and the next try
RETRY_AFTER_MAX = 36_000  # the longest wait in seconds that a receiver can ask for
ENDPOINTS_MAX = 20  # endpoints of one API key
TRIES_KEPT = 32  # the newest tries of a delivery that are stored
ROTATION_SECONDS = 86_400  # how long the previous secret still signs after a rotation, unless the client says otherwise
_WAITS = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"  # it will be sent, now or later
    SUCCEEDED = "succeeded"
    DEAD = "dead"  # it is not tried again unless a client asks for it


class SigningSecret(Struct, frozen=True, omit_defaults=True):
    """A secret that signs the deliveries to an endpoint."""

    value: str  # whsec_…
    expires_at: datetime | None = None  # None: it does not expire


class Endpoint(Struct, frozen=True, kw_only=True):
    """A client's URL that receives the events of all generations of its API key."""

    id: str  # whe_…
    key: str  # the API key that owns it
    url: str
    events: tuple[str, ...]  # the names that it receives, or only `ALL_EVENTS`
    secrets: tuple[SigningSecret, ...]  # the newest first, at most two
    created_at: datetime
    description: str | None = None
    disabled: Literal["requested", "gone"] | None = None  # by its owner, or because it answered 410


class DeliveryTry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One POST to the receiver and its result: an HTTP status, or the reason why no answer came."""

    at: datetime  # when it began
    duration_seconds: float
    status: int | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """True if the receiver confirmed the delivery with 2xx."""
        return self.status is not None and 200 <= self.status < 300


class Delivery(Struct, frozen=True, kw_only=True):
    """One event for one receiver, with its tries."""

    id: str  # dlv_…
    key: str  # the API key that owns it
    event_id: str  # evt_…, the same for all receivers and tries
    type: str
    url: str
    created_at: datetime  # when the event happened
    generation_id: str | None = None  # None: a test
    endpoint_id: str | None = None  # None: the generation's own `webhook_url`
    state: DeliveryState = DeliveryState.PENDING
    next_at: datetime | None = None  # when the next try is due; None: there will not be one
    retries: int = 0  # how many pauses of `RETRY_SECONDS` have been used
    tries: tuple[DeliveryTry, ...] = ()


def event_id(generation_id: str) -> str:
    """The id of the event that a generation has ended. A generation ends once, so the id follows from its own."""
    return "evt_" + generation_id.removeprefix("gen_")


def event_type(kind: str, status: Status) -> str:
    """The event type for a generation of this kind (`video`, `image`) that ends with this status."""
    return f"{kind}.generation.{status}"


def wants(events: Sequence[str], event: str) -> bool:
    """True if a filter includes an event."""
    return ALL_EVENTS in events or event in events


def receiver(url: str) -> str:
    """The host and port of a URL. Deliveries are queued by receiver, so that a slow one does not delay the others."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme.lower() == "http" else 443)
    return f"{(parts.hostname or '').rstrip('.')}:{port}"


def live(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, ...]:
    """The values of the secrets that sign now, the newest first."""
    return tuple(secret.value for secret in secrets if secret.expires_at is None or secret.expires_at > now)


def rotated(endpoint: Endpoint, value: str, now: datetime, seconds: float) -> Endpoint:
    """The endpoint with a new secret. The previous secret also signs for `seconds`; older ones are removed."""
    before = SigningSecret(endpoint.secrets[0].value, now + timedelta(seconds=seconds))
    return replace(endpoint, secrets=(SigningSecret(value), *((before,) if seconds > 0 else ())))


def tried(
    delivery: Delivery, attempt: DeliveryTry, *, final: bool = False, retry_after_seconds: float | None = None
) -> Delivery:
    """A pending delivery after a try: succeeded, dead, or pending with the time of its next try.

    `final`: a later try cannot succeed either. A test and a receiver that answers 410 get no further try.
    """
    after = noted(delivery, attempt)
    if attempt.succeeded:
        return replace(after, state=DeliveryState.SUCCEEDED, next_at=None)
    if final or attempt.status == HTTPStatus.GONE or delivery.type == TEST or delivery.retries >= len(RETRY_SECONDS):
        return replace(after, state=DeliveryState.DEAD, next_at=None)
    wait = float(RETRY_SECONDS[delivery.retries])
    if retry_after_seconds is not None and attempt.status in _WAITS:
        wait = max(wait, min(retry_after_seconds, RETRY_AFTER_MAX))
    ended_at = attempt.at + timedelta(seconds=attempt.duration_seconds)
    return replace(after, next_at=ended_at + timedelta(seconds=wait), retries=delivery.retries + 1)


def noted(delivery: Delivery, attempt: DeliveryTry) -> Delivery:
    """The delivery with one more try in its list. Its state and schedule stay."""
    return replace(delivery, tries=(*delivery.tries, attempt)[-TRIES_KEPT:])


def again(delivery: Delivery, url: str, now: datetime) -> Delivery:
    """The delivery as one that is due now, whatever its state was, with the whole retry schedule ahead."""
    return replace(delivery, url=url, state=DeliveryState.PENDING, next_at=now, retries=0)
