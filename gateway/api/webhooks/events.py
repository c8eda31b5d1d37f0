"""What a receiver of webhooks gets: the section `webhooks` of the OpenAPI document."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

from msgspec import Struct

from gateway.api.generations.views import GenerationView
from gateway.api.web.operation import REF
from gateway.domain.webhooks import RETRY_AFTER_MAX, RETRY_SECONDS, EventName


class WebhookEvent(Struct, frozen=True, kw_only=True):
    """The body of a webhook. `data` is the generation as it is when this try is made."""

    type: EventName  # the name of the event
    timestamp: str  # when it happened, ISO 8601
    data: GenerationView  # the generation


class OpenAIEventData(Struct, frozen=True):
    """The video that has ended."""

    id: str  # `video_…`: `GET /v1/videos/{id}` reads it; in a test it names no video


class OpenAIEvent(Struct, frozen=True, kw_only=True):
    """The body of a webhook under one of OpenAI's names. It has no more than the id of the video.

    Source: the package `openai` 3.57 for Python, `client.webhooks.unwrap`.
    """

    id: str  # the `webhook-id`
    object: Literal["event"] = "event"  # the kind of this object
    created_at: int  # Unix seconds: when it happened
    type: str  # `video.completed`; `video.failed` also for a video that was cancelled or has expired
    data: OpenAIEventData  # the video


class TestedEndpoint(Struct, frozen=True, kw_only=True):
    """The endpoint that is tested."""

    id: str  # names the endpoint
    object: Literal["webhook_endpoint"]  # the kind of this object


class WebhookTest(Struct, frozen=True, kw_only=True):
    """The body of a `webhook.test`."""

    type: Literal["webhook.test"]  # the name of the event
    timestamp: str  # when the test was requested, ISO 8601
    data: TestedEndpoint  # the endpoint


_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))


def spelled_out(seconds: Sequence[int]) -> str:
    """Pauses as the documentation writes them: `5 seconds, 5 minutes, 30 minutes, 2, 5, 10 and 10 hours`."""
    amounts = [next((pause // size, unit) for size, unit in _UNITS if pause % size == 0) for pause in seconds]
    words: list[str] = []
    for unit, group in groupby(amounts, key=lambda amount: amount[1]):
        numbers = [str(number) for number, _ in group]
        if unit == "hours" and len(numbers) > 1:
            words.append(f"{', '.join(numbers[:-1])} and {numbers[-1]} {unit}")
        else:
            words += [f"{number} {unit}" for number in numbers]
    return ", ".join(words)


_ENDED = (
    "Sent when a generation has ended, to its own `webhook_url` and to every enabled endpoint of its API key that wants"
    " the event. It is signed as Standard Webhooks describes; verify it with one of their libraries.\n\n"
    "Delivery is at least once: the same event can arrive again with the same `webhook-id`, so remember the ids that"
    " you have seen. A generation has one event, its end; events of several generations arrive in any order.\n\n"
    "An answer of 2xx within 15 seconds, unless configured otherwise, is a success. Everything else, also a redirect,"
    f" is tried again after {spelled_out(RETRY_SECONDS)}, and then given up;"
    f" `Retry-After` on 429 and 503 is followed, up to {spelled_out((RETRY_AFTER_MAX,))}."
    " An endpoint that answers 410 is disabled."
)
_ENDED_IN_OPENAI = (
    "Sent to an endpoint that lists `video.completed` or `video.failed`, as OpenAI's API sends it:"
    " `client.webhooks.unwrap` of its packages accepts it. An endpoint that lists the gateway's name of an end too gets"
    " two events. Everything else is as for the gateway's own events."
)
_TESTED = (
    "Sent once, when the client requests it, whatever events the endpoint wants. It is signed like every other event."
    " An answer of 2xx in time is a success; anything else is a failure, and is not tried again."
)
_HEADERS = {
    "webhook-id": "the id of the event, the same for all tries and receivers",
    "webhook-timestamp": "when this try was made, Unix seconds",
    "webhook-signature": "`v1,` and base64; two of them with a space between while a secret is rotated",
}


def _webhook(name: str, summary: str, description: str, body: type) -> dict[str, Any]:
    parameters = [
        {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for header, text in _HEADERS.items()
    ]
    content = {"application/json": {"schema": {"$ref": REF.format(name=body.__name__)}}}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "description": description,
            "parameters": parameters,
            "requestBody": {"required": True, "content": content},
            "responses": {"200": {"description": "Received"}},
            "security": [],
        }
    }


BODIES = (WebhookEvent, OpenAIEvent, WebhookTest)
WEBHOOKS: Mapping[str, Any] = {
    "generationEnded": _webhook("generationEnded", "A generation has ended", _ENDED, WebhookEvent),
    "openaiVideoEnded": _webhook(
        "openaiVideoEnded", "A video has ended, in OpenAI's words", _ENDED_IN_OPENAI, OpenAIEvent
    ),
    "webhookTest": _webhook("webhookTest", "A test of an endpoint", _TESTED, WebhookTest),
}
