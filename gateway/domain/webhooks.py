"""Webhooks as rules: which event goes to whom, when a delivery is tried again, what an answer makes of it."""

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
]
EVENTS: tuple[EventName, ...] = get_args(EventName)
ALL_EVENTS = "*"  # in the place of a filter: those of today and those to come
TEST = "webhook.test"  # tried once: who asks for it is looking on
RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 36_000)  # from the end of a try to the next one
RETRY_AFTER_MAX = 36_000  # seconds that a receiver may ask for
ENDPOINTS_MAX = 20  # of one key
TRIES_KEPT = 32  # of one delivery, the newest
ROTATION_SECONDS = 86_400  # in which the secret before still signs, where a client says nothing else
_WAITS = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class DeliveryState(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"  # it is to be sent, at once or later
    SUCCEEDED = "succeeded"
    DEAD = "dead"  # given up; it may be sent again by hand


class SigningSecret(Struct, frozen=True, omit_defaults=True):
    """A secret of an endpoint, `whsec_…`."""

    value: str
    expires_at: datetime | None = None


class Endpoint(Struct, frozen=True, kw_only=True):
    """A client's URL that is told of what happens to the generations of its API key."""

    id: str  # whe_…
    key: str
    url: str
    events: tuple[str, ...]  # those it wants, or `ALL_EVENTS` alone
    secrets: tuple[SigningSecret, ...]  # the newest first, two at most
    created_at: datetime
    description: str | None = None
    disabled: Literal["requested", "gone"] | None = None  # by its owner, or by itself with 410


class Try(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One POST to the receiver, and what came of it: a status, or why there is none."""

    at: datetime
    duration_seconds: float
    status: int | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class Delivery(Struct, frozen=True, kw_only=True):
    """One event bound for one receiver, over its own tries."""

    id: str  # dlv_…
    key: str
    event_id: str  # evt_…, the same over all receivers and tries
    type: str
    url: str
    created_at: datetime  # when it happened
    generation_id: str | None = None  # None: a test
    endpoint_id: str | None = None  # None: the generation's own `webhook_url`
    state: DeliveryState = DeliveryState.PENDING
    next_at: datetime | None = None  # of the next try; None at the end
    retries: int = 0  # of the schedule, that were begun
    tries: tuple[Try, ...] = ()


def event_id(generation_id: str) -> str:
    """The id of the event that a generation has ended: it ends once."""
    return "evt_" + generation_id.removeprefix("gen_")


def event_type(kind: str, status: Status) -> str:
    """What a generation of a kind tells when it ends so."""
    return f"{kind}.generation.{status}"


def wants(events: Sequence[str], event: str) -> bool:
    """Whether a filter has an event."""
    return ALL_EVENTS in events or event in events


def receiver(url: str) -> str:
    """Host and port that a URL leads to: whatever is slow there delays nobody elsewhere."""
    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme.lower() == "http" else 443)
    return f"{(parts.hostname or '').rstrip('.')}:{port}"


def live(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, ...]:
    """The secrets that sign now, the newest first."""
    return tuple(one.value for one in secrets if one.expires_at is None or one.expires_at > now)


def rotated(endpoint: Endpoint, value: str, now: datetime, seconds: float) -> Endpoint:
    """With a new secret; the one before signs beside it for so long, and none that is older."""
    before = SigningSecret(endpoint.secrets[0].value, now + timedelta(seconds=seconds))
    return replace(endpoint, secrets=(SigningSecret(value), *((before,) if seconds > 0 else ())))


def tried(delivery: Delivery, one: Try, *, final: bool = False, retry_after_seconds: float | None = None) -> Delivery:
    """What a try makes of a pending delivery; `final`: no later one can do better. A test has no other."""
    after = noted(delivery, one)
    if one.succeeded:
        return replace(after, state=DeliveryState.SUCCEEDED, next_at=None)
    if final or one.status == HTTPStatus.GONE or delivery.type == TEST or delivery.retries >= len(RETRY_SECONDS):
        return replace(after, state=DeliveryState.DEAD, next_at=None)
    wait = float(RETRY_SECONDS[delivery.retries])
    if retry_after_seconds is not None and one.status in _WAITS:
        wait = max(wait, min(retry_after_seconds, RETRY_AFTER_MAX))
    ended_at = one.at + timedelta(seconds=one.duration_seconds)
    return replace(after, next_at=ended_at + timedelta(seconds=wait), retries=delivery.retries + 1)


def noted(delivery: Delivery, one: Try) -> Delivery:
    """With one try more, and nothing else changed."""
    return replace(delivery, tries=(*delivery.tries, one)[-TRIES_KEPT:])


def again(delivery: Delivery, url: str, now: datetime) -> Delivery:
    """To be sent now, whatever became of it, with the whole schedule before it."""
    return replace(delivery, url=url, state=DeliveryState.PENDING, next_at=now, retries=0)
