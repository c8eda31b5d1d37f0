"""Where the gateway's answers differ from the captured ones, and why that is right.

`DIFFERENCES` has, for each capture, lines as `Replay.run` prints them with the reason for each. A difference without a
line fails the replay, and so does a line without a difference.
`NOT_SPOKEN` has the captures of clients whose protocol the gateway does not speak. `REASONS` has the calls of client
packages that fail, with the reason: the first expression that matches the whole of `client: call` counts. A call that
fails without a reason fails the run, and so does a call with a reason that works.
"""

import re

from .clients import Result

_NO_REMIX = (
    "No provider can change a video that exists. The error says so: a new video would be paid, and not be meant."
)
_NO_CHARACTER = "No provider keeps characters. The error says so, and that a create takes a prompt and images."
_NO_SPRITESHEET = "The gateway makes no spritesheets. The error names the other variants."
_NO_VARIATION = "No model makes variations without a prompt. The error names `images.edit`."
_NO_STYLE = (
    "No model has styles, and a field that does nothing is refused. The error says to describe it in the prompt."
)
_NO_FORMAT = "The provider of this model chooses the format of the file, so a demand for one is refused."
_NO_RATIO = (
    'The model has no ratio 7:4, and a changed ratio would be paid. It is 16:9 with `adapt = "nearest"` in the'
    " configuration of the model, or in the request."
)
_GUESSED_AS_OPENAI = (
    "At `/v1` a body without images does not tell this client from OpenAI's, so the answer is OpenAI's. With"
    " OpenRouter's own base URL `/api/v1` it works."
)
REASONS: dict[str, str] = {
    r"openai .*: videos\.(remix|edit|extend)": _NO_REMIX,
    r"openai .*: videos\.create_?[cC]haracter": _NO_CHARACTER,
    r"litellm .*: video_remix": _NO_REMIX,
    r"openai .*: videos\.download_?[cC]ontent, spritesheet": _NO_SPRITESHEET,
    r"openai .*: images\.generate, size: 1792x1024": _NO_RATIO,
    r"openai .*: images\.generate, quality: hd, style": _NO_STYLE,
    r"openai .*: images\.generate, output_format: png": _NO_FORMAT,
    r"openai .*: images\.create_variation": _NO_VARIATION,
    r"openrouter .*: video_generation\.generate, /v1": _GUESSED_AS_OPENAI,
    r"openrouter .*: video_generation\.(get_generation|get_video_content), /v1": _GUESSED_AS_OPENAI,
    r"@openrouter/sdk .*: videoGeneration\.(generate|getGeneration|getVideoContent), /v1": _GUESSED_AS_OPENAI,
    r"ai .*: @openrouter/ai-sdk-provider: generateVideo, /v1": _GUESSED_AS_OPENAI,
    r"curl, .*Kling.*: image2video with fps and seed": (
        "No relay honours `fps` and `seed`, so they are refused by name instead of being left out."
    ),
    r"curl, .*Kling.*: image2video in Kling's own words": (
        "With a last frame Kling's model needs `mode: pro`; the line has `std`, and another mode has another price."
    ),
}

_LAST_FRAME = "With a last frame Kling needs `mode: pro`; a route that would make another video is left out."
_OF_VIDEOS = "The captured answer about an image is one about a video; Keevx's page of images has no such field."
_NOT_FOUND = (
    "A model that does not exist is 404, as at OpenAI; the recording server answered 400. Clients fail on both."
)
_NO_QUALITY = "The body asks for no quality, and the provider does not say which one it has used."
_OF_RECORDING = (
    "The recording server answered with OpenAI's video; the answer at this path is the gateway's own object, which has"
    " the same facts in `request` and `data`."
)
_NOT_STORED = "The gateway stores no time of the last change, and shows no part of a secret after its create."
_OF_ENDPOINTS = {
    f"{method} /v1/webhook_endpoints{path}: {holder}{member} is missing": _NOT_STORED
    for method, path, holder in (
        ("GET", "", "data[]."),
        ("POST", "", ""),
        ("GET", "/{id}", ""),
        ("POST", "/{id}", ""),
        ("POST", "/{id}/rotate_secret", ""),
    )
    for member in ("updated_at", "signing_secret_hint")
}
_ACCEPTED_AS_OPENAI = {"POST /v1/videos: status 200 instead of 202": _GUESSED_AS_OPENAI}
_OF_OPENAI = {
    **_OF_ENDPOINTS,
    "GET /v1/videos/{id}/content: status 404 instead of 200": (
        "No thumbnail: drawing them is switched off in this test, because it takes long. The packages get one."
    ),
    "GET /v1/videos/{id}/content: status 400 instead of 200": _NO_SPRITESHEET,
    "POST /v1/videos: status 404 instead of 400": _NOT_FOUND,
    "POST /v1/videos/{id}/remix: status 400 instead of 200": _NO_REMIX,
    "POST /v1/videos/edits: status 400 instead of 200": _NO_REMIX,
    "POST /v1/videos/extensions: status 400 instead of 200": _NO_REMIX,
    "POST /v1/videos/characters: status 400 instead of 200": _NO_CHARACTER,
    "POST /v1/videos/generations: prompt is missing": _OF_RECORDING,
    "POST /v1/videos/generations: seconds is missing": _OF_RECORDING,
    "POST /v1/videos/generations: remixed_from_video_id is missing": _OF_RECORDING,
    "POST /v1/videos/generations: size is missing": _OF_RECORDING,
    "POST /v1/images/generations: status 404 instead of 400": _NOT_FOUND,
    "POST /v1/images/generations: quality is missing": _NO_QUALITY,
    "POST /v1/images/edits: quality is missing": _NO_QUALITY,
}
_OF_IMAGES = {
    "POST /v1/images/generations: quality is missing": _NO_QUALITY,
    "POST /v1/images/edits: quality is missing": _NO_QUALITY,
}
_OWN_USAGE = (
    "The answer at this path is the gateway's own object, whose `usage` has the cost in USD. The client shows a price"
    " in credits only if it gets one; at `/v1/tasks/{id}` these members are there."
)
DIFFERENCES: dict[str, dict[str, str]] = {
    "ai-sdk-images": _OF_IMAGES,
    "ai-sdk-openrouter": _ACCEPTED_AS_OPENAI,
    "curl-foxapi": {
        "GET /foxapi/v1/tasks/{id}: status 404 instead of 200": (
            "The task does not exist; the recording server answered about another one."
        ),
    },
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
    "evolink-node": {
        f"POST /v1/videos/generations: usage.{member} is missing": _OWN_USAGE
        for member in ("credits_reserved", "user_group", "billing_rule")
    },
    "litellm-proxy": _OF_IMAGES,
    "litellm-python": {
        "POST /v1/videos/{id}/remix: status 400 instead of 200": _NO_REMIX,
        "POST /v1/videos: status 404 instead of 400": _NOT_FOUND,
        **_OF_IMAGES,
    },
    "openai-node": _OF_OPENAI,
    "openai-python": {
        **_OF_OPENAI,
        "POST /v1/images/generations: status 422 instead of 200": f"Size 1792x1024: {_NO_RATIO} PNG: {_NO_FORMAT}",
        "POST /v1/images/generations: status 400 instead of 200": _NO_STYLE,
        "POST /v1/images/variations: status 400 instead of 200": _NO_VARIATION,
    },
    "openrouter-node": _ACCEPTED_AS_OPENAI,
    "openrouter-python": _ACCEPTED_AS_OPENAI,
}
NOT_SPOKEN: dict[str, str] = {
    "ai-sdk-replicate": "The gateway does not speak Replicate's predictions.",
    "ai-sdk-vercel-gateway": "The gateway does not speak the protocol of Vercel's gateway.",
    "fal-python": "The gateway does not speak the protocol of fal's queue.",
    "replicate-node": "The gateway does not speak Replicate's predictions.",
    "replicate-python": "The gateway does not speak Replicate's predictions.",
}


def reason_of(result: Result) -> str | None:
    """Why a call may fail; `None` if nothing here says so."""
    call = f"{result.client}: {result.call}"
    return next((reason for pattern, reason in REASONS.items() if re.fullmatch(pattern, call)), None)


def faults(results: list[Result]) -> list[str]:
    """What is wrong with these results: a call that fails without a reason, or a reason for a call that works."""
    return [
        f"{result.client}: {result.call} " + ("works, but has a reason" if result.ok else f"fails: {result.why}")
        for result in results
        if result.ok != (reason_of(result) is None)
    ]
