"""FoxAPI as documented: Kling V3 and O3 models, tasks, three kinds of upload."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.sandbox.foxapi_rules import MODELS, RefusedError, check, image_urls
from gateway.sandbox.foxapi_uploads import upload
from gateway.sandbox.inputs import BadImageError
from gateway.sandbox.media import Spec, dimensions, size_for
from gateway.sandbox.provider import BAD_KEY, POOR_KEY, Desk, Errors, Provider, Route, prompt_of
from gateway.sandbox.state import State, Task, View
from gateway.sandbox.wire import Reply, Request, any_reply, json_reply

RESULT_SECONDS = 86400
IMAGE_BYTES = 50 * 1024 * 1024  # not documented; the limit of public clients
SHORT_SIDES = {"720p": 720, "1080p": 1080, "4k": 2160}
RATIOS = {"16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1.0}
DEFAULT_AGENTS = ("python-httpx/", "python-requests/", "Python-urllib/", "Python/", "Go-http-client/", "curl/")
WORDS = {
    "queued": "pending",
    "running": "processing",
    "done": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
FAILURES = {
    "fail": ("generation_failed", "Video generation failed"),
    "fail_content": ("content_policy_violation", "Content violates policy"),
    "fail_image": ("image_processing_error", "The input image could not be processed"),
}


def _error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind} | ({"code": code} if code else {})}


_BAD = "invalid_request_error"
_ADVANCED = "No available channels currently support the advanced parameters in the request"
ERRORS: Errors = {
    "400": (400, _error("Invalid JSON", _BAD)),
    "401": (401, _error("Invalid API key", "authentication_error")),
    "402": (402, _error("Insufficient account balance", "insufficient_quota")),
    "no_credit": (402, _error("Insufficient account balance", "insufficient_quota")),
    "403": (403, "error code: 1010"),
    "403_storage_full": (403, _error("Storage is insufficient", _BAD)),
    "404": (404, _error("Task not found", "not_found")),
    "413": (413, _error("File too large", "file_too_large_error")),
    "422": (422, _error("duration must be 5 or 10", _BAD)),
    "422_flat": (422, {"code": 422, "message": "validation failed", "data": {"error": "duration must be 5 or 10"}}),
    "422_invalid_image_url": (422, _error("image_url is not accessible", _BAD, "invalid_image_url")),
    "422_invalid_file_type": (422, _error("Unsupported file type", _BAD, "invalid_file_type")),
    "422_model_not_found": (422, _error("Model does not exist", _BAD, "model_not_found")),
    "422_no_available_channel": (
        422,
        _error("Model temporarily unavailable (no available channels)", "service_unavailable_error"),
    ),
    "422_no_compatible_channel": (422, _error("No compatible channel", _BAD, "no_compatible_channel")),
    "422_unsupported_advanced_options": (422, _error(_ADVANCED, _BAD, "unsupported_advanced_options")),
    "content_refusal": (422, _error("Content violates policy", _BAD, "content_policy_violation")),
    "429": (429, _error("Rate limit exceeded, please retry later", "rate_limit_error")),
    "500": (500, _error("Internal server error (request_id: 20260101000000)", "server_error")),
    "503": (503, _error("No available channels for the current model", "service_unavailable_error")),
    "503_no_channel": (503, _error("No available channels for the current model", "service_unavailable_error")),
}


def refuse(request: Request, state: State, operation: str) -> Reply | None:
    """What Cloudflare refuses, then a wrong key."""
    agent = request.headers.get("user-agent", "")
    if state.settings.foxapi_blocks_default_agents and (not agent or agent.startswith(DEFAULT_AGENTS)):
        return any_reply(*ERRORS["403"])
    if request.token is None or request.token == BAD_KEY:
        return any_reply(*ERRORS["401"])
    if request.token == POOR_KEY and operation == "submit":
        return any_reply(*ERRORS["402"])
    return None


async def submit(request: Request, desk: Desk, _: str) -> Reply:
    """Check the body against the fields of its model, then start one task."""
    body, state = request.json(), desk.state
    if body is None:
        return any_reply(*ERRORS["400"])
    try:
        check(body)
        image = await _first_image(body, request, desk)
    except RefusedError as refused:
        return any_reply(422, _error(refused.message, _BAD, refused.code))
    prompt = prompt_of(body)
    spec = _spec(body, prompt, image, state.settings.max_short_side)
    task = state.new_task(
        "foxapi", body, model=body["model"], prompt=prompt, base=request.base, keep=RESULT_SECONDS, spec=spec
    )
    [task] = state.start(task, 1, lambda: f"task-unified-{int(state.clock.now())}-{secrets.token_hex(4)}")
    if state.settings.foxapi_submit == "documented":
        about: dict[str, Any] = {"task_info": {"can_cancel": True, "estimated_time": _estimate(state)}}
    else:
        about = {"results": None, "error": None, "usage": _usage()}
    return replace(json_reply(_head(task, "pending", 0) | about), tasks=(task.id,))


async def query(request: Request, desk: Desk, task_id: str) -> Reply:
    """One task."""
    synced = request.query.get("sync_upstream", "").lower() in {"true", "1"}
    task, view = desk.state.poll("foxapi", task_id, synced=synced)
    if task is None or view.phase == "lost":
        return any_reply(*ERRORS["404"])
    progress = 100 if view.phase == "failed" else round(view.progress * 100)
    answer = _head(task, view.word or WORDS[view.phase], progress)
    code, message = FAILURES.get(view.reason, ("", ""))
    error = {"code": view.code or code, "message": view.message or message, "type": "task_error"}
    failure = error if view.phase == "failed" else None
    shape = desk.state.settings.foxapi_query
    if shape == "old":
        answer["task_info"] = {"can_cancel": True, "estimated_time": _estimate(desk.state)}
        return json_reply(answer | _old_output(task, view) | ({"error": failure} if failure else {}))
    results = [_result(task, shape)] if view.has_url else None
    return json_reply(answer | {"results": results, "error": failure, "usage": _usage()})


async def models(_: Request, __: Desk, ___: str) -> Reply:
    """The models that the key may use."""
    return json_reply(
        {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "kling"} for name in MODELS]}
    )


async def credits_left(_: Request, __: Desk, ___: str) -> Reply:
    """The balance. Its JSON is not documented."""
    return json_reply({"object": "account.credits", "credits": 1000})


def unknown_path(_: Request) -> Reply:
    """The reply to an unknown path."""
    return json_reply(_error("Not found", "not_found"), 404)


async def _first_image(body: Mapping[str, Any], request: Request, desk: Desk) -> bytes | None:
    first = None
    for name, url in image_urls(body):
        try:
            image = await desk.images.by_url(url, request.base, limit=IMAGE_BYTES, kinds=frozenset({"jpeg", "png"}))
        except BadImageError:
            raise RefusedError(f"{name} is not accessible", "invalid_image_url") from None
        first = first if first is not None else image
    return first


def _spec(body: Mapping[str, Any], prompt: str, image: bytes | None, ceiling: int | None) -> Spec:
    ratio = RATIOS[body.get("aspect_ratio", "16:9")] if body.get("aspect_ratio") != "auto" else 16 / 9
    size = dimensions(image) if image and "aspect_ratio" not in MODELS[body["model"]].fields else None
    if size:  # these models take no aspect ratio: the result has that of the image
        ratio = min(max(size[0] / size[1], 0.4), 2.5)
    width, height = size_for(ratio, SHORT_SIDES[body.get("resolution", "720p")], ceiling)
    return Spec(prompt=prompt, width=width, height=height, seconds=body.get("duration", 5), image=image)


def _head(task: Task, status: str, progress: int) -> dict[str, Any]:
    head: dict[str, Any] = {"id": task.id, "object": "video.generation.task", "type": "video", "model": task.model}
    return head | {"status": status, "progress": progress, "created": int(task.created_at)}


def _result(task: Task, shape: str) -> object:
    if shape == "strings":
        return task.result_url
    if shape == "dimensions":
        size = {"width": task.spec.width, "height": task.spec.height}
        return {"url": task.result_url, **size, "content_type": "video/mp4"}
    return {"url": task.result_url}


def _old_output(task: Task, view: View) -> dict[str, Any]:
    if not view.has_url:
        return {}
    size = {"duration": task.spec.seconds, "width": task.spec.width, "height": task.spec.height}
    output = {"url": task.result_url, "urls": [task.result_url], **size}
    # The sample of the old documentation has an error although the task succeeded.
    return {
        "output": output,
        "error": {"code": "generation_failed", "message": "Image generation failed due to content policy violation"},
    }


def _usage() -> dict[str, Any]:
    return {"credits_reserved": 5, "user_group": "default"}


def _estimate(state: State) -> int:
    return max(round(state.settings.total_seconds), 1)


FOXAPI = Provider(
    name="foxapi",
    routes=(
        Route(method="POST", path="/v1/videos/generations", handler=submit, operation="submit"),
        Route(method="GET", path="/v1/tasks/([^/]+)", handler=query, operation="poll"),
        Route(method="POST", path="/v1/files/upload/(stream|base64|url)", handler=upload, operation="upload"),
        Route(method="GET", path="/v1/models", handler=models),
        Route(method="GET", path="/v1/account/credits", handler=credits_left),
    ),
    errors=ERRORS,
    refuse=refuse,
    unknown_path=unknown_path,
)
