"""In whose words webhooks are: the gateway's own, OpenAI's, or those of the API in which a generation was created.

Only the words differ. When a delivery is made, to whom, how often and with which signature of the gateway's is decided
below, for all formats alike. A format adds the headers that the clients of its API look for.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from hmac import digest

from msgspec import UNSET, Struct, UnsetType

from gateway.api.dialects import foxapi, keevx, openrouter
from gateway.api.dialects.kling.views import callback_body as kling_callback
from gateway.api.generations.public_ids import OPENAI, OPENROUTER, OWN, public_id
from gateway.api.generations.views import generation_view
from gateway.api.web.links import Links
from gateway.api.web.moments import unix
from gateway.api.webhooks.events import OpenAIEvent, OpenAIEventData
from gateway.domain.generation.model import Generation
from gateway.domain.webhooks import Delivery, FormatName
from gateway.webhooks.formats import Format


class OpenRouterEventData(Struct, frozen=True, kw_only=True):
    """The video that has ended."""

    id: str  # `or_…`
    status: openrouter.Word  # the state in words of OpenRouter
    generation_id: str  # the gateway's own id of it
    model: str  # as the request named it
    unsigned_urls: tuple[str, ...] | UnsetType = UNSET  # of the files; no key is needed for them
    error: str | UnsetType = UNSET  # only if it failed or expired: the reason, for people
    usage: openrouter.OpenRouterUsage | UnsetType = UNSET  # what it cost


class OpenRouterEvent(Struct, frozen=True, kw_only=True):
    """What OpenRouter posts to `callback_url`; source: its page "Video Generation", section "Webhook Payload"."""

    type: str  # the name of the event, the same as in the gateway's own webhooks
    created_at: str  # when it happened, ISO 8601
    data: OpenRouterEventData  # the video


def webhook_formats(links: Links) -> Mapping[FormatName, Format]:
    """Every format, by its name."""
    # Only a test has no generation, and only in the first two formats: nothing but an endpoint is tested.
    return {
        "own": Format(lambda delivery, generation: _own(delivery, generation, links)),
        "openai": Format(_openai),
        "keevx": Format(
            lambda delivery, generation: keevx.callback_body(_existing(generation), delivery.output or 0, links)
        ),
        "kling": Format(lambda _, generation: kling_callback(_existing(generation), links)),
        "openrouter": Format(
            lambda delivery, generation: _openrouter(delivery, _existing(generation), links), _openrouter_headers
        ),
        "foxapi": Format(lambda _, generation: foxapi.callback_body(_existing(generation), links)),
    }


def _own(delivery: Delivery, generation: Generation | None, links: Links) -> object:
    data: object = {"id": delivery.endpoint_id, "object": "webhook_endpoint"}
    if generation is not None:
        data = generation_view(generation, links)
    return {"type": delivery.type, "timestamp": _iso(delivery.created_at), "data": data}


def _openai(delivery: Delivery, generation: Generation | None) -> OpenAIEvent:
    """OpenAI's event has nothing but the id of the video; that of a test names no video."""
    video = generation.id if generation is not None else OWN + delivery.event_id.removeprefix("evt_")
    return OpenAIEvent(
        id=delivery.event_id,
        created_at=unix(delivery.created_at),
        type=delivery.type,
        data=OpenAIEventData(public_id(OPENAI, video)),
    )


def _openrouter(delivery: Delivery, generation: Generation, links: Links) -> OpenRouterEvent:
    view = openrouter.read_view(generation, links)
    data = OpenRouterEventData(
        id=view.id,
        status=view.status,
        generation_id=generation.id,
        model=generation.request.model,
        unsigned_urls=view.unsigned_urls or UNSET,
        error=view.error,
        usage=view.usage,
    )
    return OpenRouterEvent(type=delivery.type, created_at=_iso(delivery.created_at), data=data)


def _openrouter_headers(delivery: Delivery, body: str, secrets: Sequence[str], now: datetime) -> Mapping[str, str]:
    """OpenRouter's signature: HMAC-SHA256, in hex, of `TIMESTAMP,BODY`. The key is the secret as it is shown.

    While a secret is rotated there is a `v1` for each, the newest first.
    """
    timestamp = int(now.timestamp())
    signatures = (digest(secret.encode(), f"{timestamp},{body}".encode(), sha256).hex() for secret in secrets)
    job = public_id(OPENROUTER, delivery.generation_id or "")
    return {
        "x-openrouter-signature": ",".join((f"t={timestamp}", *(f"v1={signature}" for signature in signatures))),
        "x-openrouter-idempotency-key": f"{job}-{delivery.type.rpartition('.')[2]}",
    }


def _existing(generation: Generation | None) -> Generation:
    if generation is None:
        raise LookupError("A delivery in this format needs its generation.")
    return generation


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
