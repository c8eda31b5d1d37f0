"""Where the gateway's answers differ from the captured ones, and why that is right.

`DIFFERENCES` has, for each capture, lines as `Replay.run` prints them with the reason for each.
`NOT_SPOKEN` has the captures of clients whose protocol the gateway does not speak. `REASONS` has the calls of client
packages that fail, with the reason: the first expression that matches the name of a call counts.
"""

import re

from .clients import Result

REASONS: dict[str, str] = {}

_LAST_FRAME = "With a last frame Kling needs `mode: pro`; a route that would make another video is left out."
_OF_VIDEOS = "The captured answer about an image is one about a video; Keevx's page of images has no such field."
DIFFERENCES: dict[str, dict[str, str]] = {
    "curl-kling": {
        "POST /kling/v1/videos/image2video: status 400 instead of 200": (
            "The relay ignores `fps` and `seed`, so they are refused by name. " + _LAST_FRAME
        ),
        "POST /kling/v1/videos/text2video: status 400 instead of 200": "The body has no prompt, which Kling needs.",
    },
    "kling-python": {
        "POST /v1/videos/image2video: status 400 instead of 200": _LAST_FRAME,
        "POST /kling/v1/videos/image2video: status 400 instead of 200": _LAST_FRAME,
    },
    "klingai-api-python": {"POST /v1/videos/image2video: status 400 instead of 200": _LAST_FRAME},
    "curl-keevx": {
        "GET /keevx/v1/image_generate/{id}: data.video_url is missing": _OF_VIDEOS,
        "GET /keevx/v1/image_generate/{id}: data.thumbnail_url is missing": _OF_VIDEOS,
        "POST /keevx/v1/image_to_video: status 400 instead of 200": "The prompt is empty, and Keevx requires one.",
    },
}
NOT_SPOKEN: dict[str, str] = {
    "ai-sdk-replicate": "The gateway does not speak Replicate's predictions.",
    "ai-sdk-vercel-gateway": "The gateway does not speak the protocol of Vercel's gateway.",
    "fal-python": "The gateway does not speak the protocol of fal's queue.",
    "replicate-node": "The gateway does not speak Replicate's predictions.",
    "replicate-python": "The gateway does not speak Replicate's predictions.",
}
NOT_YET = "The gateway does not speak this shape yet."
PENDING: set[str] = {
    "ai-sdk-images",
    "ai-sdk-openrouter",
    "ai-sdk-xai",
    "curl-foxapi",
    "evolink-node",
    "litellm-proxy",
    "litellm-python",
    "openai-node",
    "openai-python",
    "openrouter-node",
    "openrouter-python",
}  # captures whose shape the gateway does not speak yet


def reason_of(result: Result) -> str | None:
    """Why a call that failed may fail; `None` if nothing here says so."""
    reason = next((reason for pattern, reason in REASONS.items() if re.search(pattern, result.call)), None)
    return reason or (NOT_YET if PENDING else None)
