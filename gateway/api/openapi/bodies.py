"""The examples of request bodies: what a client can send unchanged. A test sends each create to a gateway."""

from collections.abc import Mapping
from typing import Any

from gateway.api.openapi.answers import kind_of
from gateway.api.openapi.sample_generations import MODEL, PROMPT
from gateway.api.web.operation import Described

_IMAGE = "https://example.com/beach.png"
_HOOK = "https://client.example.com/hooks/videos"
# A PNG of 320 × 320 pixels, all of one colour.
_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAUAAAAFACAAAAADo+/p2AAABmUlEQVR42u3QMQEAAAwCIHPaP4ghdg4ikHISBQIFChSIQIECBSJQ"
    "oECBCBQoUCACBQoUiECBAgUiUKBAgQgUKFAgAgUKFIhAgQIFIlCgQIECEShQoEAEChQoEIECBQpEoECBAhEoUKBABAoUKBCBAgUK"
    "RKBAgQIRKFCgQAQKFChQoAKBAgUKRKBAgQIRKFCgQAQKFCgQgQIFCkSgQIECEShQoEAEChQoEIECBQpEoECBAhEoUKBAgQgUKFAg"
    "AgUKFIhAgQIFIlCgQIEIFChQIAIFChSIQIECBSJQoECBCBQoUCACBQoUKFCBQIECBSJQoECBCBQoUCACBQoUiECBAgUiUKBAgQgU"
    "KFAgAgUKFIhAgQIFIlCgQIEIFChQoEAEChQoEIECBQpEoECBAhEoUKBABAoUKBCBAgUKRKBAgQIRKFCgQAQKFCgQgQIFChSoQKBA"
    "gQIRKFCgQAQKFCgQgQIFCkSgQIECEShQoEAEChQoEIECBQpEoECBAhEoUKBABAoUKFAgAgUKFIhAgQIFIlCgQIEIFCjwhwELlag1"
    "paOJ0AAAAABJRU5ErkJggg=="
)
_VIDEO = {"model": MODEL["video"], "prompt": PROMPT}
_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "CreateVideo": {**_VIDEO, "duration": 5, "aspect_ratio": "16:9"},
    "CreateImage": {"model": MODEL["image"], "prompt": PROMPT, "size": "1024x1024"},
    "OpenAIVideoCreate": {**_VIDEO, "seconds": "5", "size": "1280x720"},
    "OpenRouterCreate": {**_VIDEO, "duration": 5, "aspect_ratio": "16:9"},
    "XaiCreate": {**_VIDEO, "duration": 5, "aspect_ratio": "16:9"},
    "XaiCreateImages": {"model": MODEL["image"], "prompt": PROMPT, "aspect_ratio": "1:1"},
    "KlingCreate": {"model_name": MODEL["video"], "prompt": PROMPT, "duration": "5"},
    "KeevxCreateVideo": {"model": "auto", "prompt": PROMPT, "image_url": _IMAGE, "duration": 5},
    "KeevxCreateImage": {"prompt": PROMPT, "module": "std", "image_quality": "1K", "image_ratio": "1:1"},
    "FoxUploadBase64": {"file_data": _PNG, "file_name": "beach.png"},
    "FoxUploadUrl": {"url": _IMAGE, "file_name": "beach.png"},
    "AttachTask": {"task_id": "831922345719271433"},
    "CreateWebhookEndpoint": {"url": _HOOK, "events": ["video.generation.completed", "video.generation.failed"]},
    "ChangeWebhookEndpoint": {"events": ["*"], "disabled": False},
    "TestWebhookEndpoint": {"event_type": "video.completed"},
    "RotateWebhookSecret": {"expires_after_seconds": 86_400},
    "CreateClient": {"name": "shop", "models": ["auto", "kling"], "open_generations": 200, "budgets": {"day": 50}},
    "ChangeClient": {"requests_per_minute": 600, "budgets": {"day": 80, "month": 1000}},
    "CreateClientKey": {"label": "the shop's server", "scopes": ["generate", "read"]},
    "Nothing": {},
}
# End of a path → what its example has beside that of the structure.
_BESIDE: Mapping[str, Mapping[str, Any]] = {
    "/image2video": {"image": _IMAGE},
    "/images/edits": {"image": _IMAGE},
    "/xai/v1/images/edits": {"image": {"url": _IMAGE}},
}


def body_example(route: Described, structure: str) -> Mapping[str, Any]:
    """Return the example of the JSON body of an operation. Raises `LookupError` if its structure has none."""
    if structure not in _EXAMPLES:
        raise LookupError(f"{structure} needs an example in `gateway.api.openapi.bodies`.")
    beside = [extra for end, extra in sorted(_BESIDE.items(), key=lambda row: -len(row[0])) if route.path.endswith(end)]
    return {**_EXAMPLES[structure], **(beside[0] if beside else {})}


def form_example(route: Described) -> Mapping[str, Any] | None:
    """Return the example of the form of a create; None for a form that has a file alone."""
    if route.operation.body is None:
        return None
    kind = kind_of(route.path)
    example = {"model": MODEL[kind], "prompt": PROMPT}
    return {**example, "image": [_IMAGE]} if route.path.endswith("/images/edits") else example
