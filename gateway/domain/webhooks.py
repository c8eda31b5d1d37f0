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

from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import Generation, WebhookFormat

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
# The same ends under the names that OpenAI's API has for them, in its form; OpenAI has no events of images.
OpenAIEventName = Literal["video.completed", "video.failed"]
OPENAI_EVENTS: tuple[OpenAIEventName, ...] = get_args(OpenAIEventName)
# As a filter: every event of the gateway's own, also those that later versions add. OpenAI's names are wanted only by
# an endpoint that lists them, so that no end is announced twice to an endpoint that did not ask for it.
ALL_EVENTS = "*"
FormatName = Literal["own", "openai"] | WebhookFormat  # in whose words a delivery is
TEST = "webhook.test"  # the type of a test, unless the client asks for one of OpenAI's types
OPENAI_ID = "video_"  # the prefix of a generation's id in OpenAI's words
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
    output: int | None = None  # the index of the output that it is about; None: it is about the generation
    endpoint_id: str | None = None  # None: the generation's own `webhook_url`
    state: DeliveryState = DeliveryState.PENDING
    next_at: datetime | None = None  # when the next try is due; None: there will not be one
    retries: int = 0  # how many pauses of `RETRY_SECONDS` have been used
    tries: tuple[DeliveryTry, ...] = ()


class Notice(Struct, frozen=True):
    """One event that announces the end of a generation to one receiver."""

    event_id: str  # the receiver tells repetitions by it
    type: str
    output: int | None = None  # the index of the output that it is about; None: it is about the generation


def event_id(generation_id: str) -> str:
    """The id of the event that a generation has ended. A generation ends once, so the id follows from its own."""
    return "evt_" + generation_id.removeprefix("gen_")


def event_type(kind: Kind, status: Status) -> str:
    """The event type for a generation of this kind that ends with this status."""
    return f"{kind}.generation.{status}"


def openai_event_type(kind: Kind, status: Status) -> OpenAIEventName | None:
    """OpenAI's type for this end; None for images. A video that was cancelled or has expired counts as failed."""
    if kind != "video":
        return None
    return "video.completed" if status is Status.COMPLETED else "video.failed"


def wants(events: Sequence[str], event: str) -> bool:
    """True if a filter includes an event."""
    return event in events or (ALL_EVENTS in events and event not in OPENAI_EVENTS)


def notices_to_endpoint(generation: Generation, status: Status, events: Sequence[str]) -> tuple[Notice, ...]:
    """What an endpoint with this filter gets about a generation that ends with this status.

    An endpoint may want one end under both names. These are two events: each has an id of its own.
    """
    own, openai = event_type(generation.kind, status), openai_event_type(generation.kind, status)
    notices = [Notice(event_id(generation.id), own)] if wants(events, own) else []
    if openai is not None and wants(events, openai):
        notices.append(Notice(f"evt_{OPENAI_ID}{generation.id.removeprefix('gen_')}", openai))
    return tuple(notices)


def notices_to_own_url(generation: Generation, status: Status) -> tuple[Notice, ...]:
    """What the `webhook_url` of a generation gets at its end: one event, or, for Keevx's clients, one for each output.

    A client of Keevx knows one task for each output that it asked for, and waits for a callback about each.
    """
    if generation.request.webhook_url is None:
        return ()
    event, kind = event_id(generation.id), event_type(generation.kind, status)
    if generation.request.webhook_format != "keevx":
        return (Notice(event, kind),)
    outputs = range(generation.request.count)
    return tuple(Notice(f"{event}-{index}" if index else event, kind, index) for index in outputs)


def format_of(delivery: Delivery, generation: Generation | None) -> FormatName:
    """In whose words a delivery is; `generation` is None for a test."""
    if delivery.type in OPENAI_EVENTS:
        return "openai"
    if delivery.endpoint_id is None and generation is not None and generation.request.webhook_format is not None:
        return generation.request.webhook_format
    return "own"


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
    is_test = delivery.generation_id is None  # the caller is watching the result
    if final or attempt.status == HTTPStatus.GONE or is_test or delivery.retries >= len(RETRY_SECONDS):
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
