"""The Kling relay, an instance of new-api, as documented: Kling's own paths and the unified paths."""

import re
import secrets
import string
from dataclasses import replace

import msgspec

from gateway.sandbox.inputs import BadImageError
from gateway.sandbox.media import Spec, dimensions, size_for
from gateway.sandbox.provider import BAD_KEY, POOR_KEY, Desk, Provider, Route
from gateway.sandbox.relay_errors import ERRORS, auth_error, general_error, native_error, refused_by_kling
from gateway.sandbox.relay_rules import (
    DEFAULTS,
    RATIOS,
    SHORT_SIDES,
    RefusedByKlingError,
    RefusedError,
    check_given,
    check_types,
    in_english,
    model_of,
    payload_of,
    prompt_in,
)
from gateway.sandbox.relay_rules import refused_by_kling as refuse_by_kling
from gateway.sandbox.relay_shapes import openai_video, query_reply, submit_reply
from gateway.sandbox.state import State, View
from gateway.sandbox.wire import Reply, Request, any_reply, json_reply

RESULT_SECONDS = 30 * 86400
IMAGE_BYTES = 10 * 1024 * 1024
BODY_BYTES = 128 * 1024 * 1024
KINDS = frozenset({"jpeg", "png"})


def refuse(request: Request, state: State, operation: str) -> Reply | None:
    """Refuse a wrong key, and, as older builds do, a GET with a content type."""
    if request.token is None:
        return any_reply(*ERRORS["401_missing"])
    if request.token == BAD_KEY:
        return any_reply(*ERRORS["401_english" if in_english(request, state) else "401"])
    if request.token == POOR_KEY and operation == "submit":
        return any_reply(*ERRORS["403"])
    typed = request.method == "GET" and not request.body and "json" in request.headers.get("content-type", "")
    if state.settings.relay_refuses_get_type and typed:
        return any_reply(400, auth_error("Invalid request, unexpected end of JSON input"))
    return None


async def submit_kling(request: Request, desk: Desk, action: str) -> Reply:
    """A submit to Kling's own paths. The regime decides which part of the body counts; the path counts only in C."""
    reply = await _submit(request, desk, desk.state.settings.relay_regime, action)
    return _native(reply, desk.state) if reply.status >= 400 else reply


async def submit_unified(request: Request, desk: Desk, _: str) -> Reply:
    """A submit to the relay's own paths: never converted, in any regime."""
    regime = desk.state.settings.relay_regime
    return await _submit(request, desk, "B" if regime in {"B", "C"} else "B-old")


async def query(request: Request, desk: Desk, task_id: str) -> Reply:
    """One task of the user, by any path. A missing task is a 400, or a 404 on the paths of the plug-in."""
    settings = desk.state.settings
    native = settings.relay_regime == "C" and request.path.startswith("/kling/")
    task, view = desk.state.poll("kling_relay", task_id)
    age = desk.state.clock.now() - task.created_at if task else 0.0
    if task is None or view.phase == "lost" or age < settings.relay_insert_seconds:
        missing = ERRORS["404_task_not_found" if native else "400_task_not_exist"]
        return any_reply(*missing)
    shape = settings.relay_query or ("native" if native else "task_dto")
    if request.path.startswith("/v1/videos/") and shape != "flat":
        return json_reply(openai_video(shape, task, view, by_plugin=settings.relay_regime == "C"))
    return json_reply(query_reply(shape, task, view))


async def content(request: Request, desk: Desk, task_id: str) -> Reply:
    """The result, passed through the relay: it needs the key and a successful task."""
    task = desk.state.tasks.get(task_id)
    view = desk.state.look(task) if task else View(phase="lost")
    if task is None or task.provider != "kling_relay" or view.phase == "lost":
        return json_reply({"error": {"message": "Task not found", "type": "invalid_request_error"}}, 404)
    if not view.has_url:
        word = {"queued": "NOT_START", "running": "IN_PROGRESS", "done": "SUCCESS"}.get(view.phase, "FAILURE")
        message = f"Task is not completed yet, current status: {word}"
        return json_reply({"error": {"message": message, "type": "invalid_request_error"}}, 400)
    reply = await desk.content(f"{task.id}.mp4", request)
    if reply.status >= 400:
        message = f"Upstream service returned status {reply.status}"
        return json_reply({"error": {"message": message, "type": "server_error"}}, 502)
    return replace(reply, headers=(*reply.headers, ("cache-control", "public, max-age=86400")))


async def artifact(request: Request, desk: Desk, task_id: str) -> Reply:
    """The same result at the path that the task plug-ins added."""
    if desk.state.settings.relay_regime != "C":
        return unknown_path(request)
    return await content(request, desk, task_id)


async def models(_: Request, desk: Desk, __: str) -> Reply:
    """The enabled models, in the format of OpenAI."""
    listed = [
        {"id": name, "object": "model", "created": 1626777600, "owned_by": "kling"}
        for name in desk.state.settings.relay_models
    ]
    return json_reply({"success": True, "object": "list", "data": listed})


def unknown_path(request: Request) -> Reply:
    """The reply to an unknown path."""
    message = f"Invalid URL ({request.method} {request.path})"
    return json_reply({"error": {"message": message, "type": "invalid_request_error", "param": "", "code": ""}}, 404)


def headers() -> tuple[tuple[str, str], ...]:
    """The headers of every reply."""
    return (("x-oneapi-request-id", secrets.token_hex(16)),)


async def _submit(request: Request, desk: Desk, regime: str, action: str = "") -> Reply:
    state = desk.state
    if len(request.body) > BODY_BYTES:
        return any_reply(*ERRORS["413"])
    body = request.json() or {}
    try:
        model = model_of(request, state, body, regime)
        check_types(body, regime)
        prompt = prompt_in(body, regime, action)
        action, given = payload_of(body, regime, model, action)
        check_given(model, action, prompt, given)
        images = action == "image2video"  # text to video ignores images in the body
        image = await _image(given.get("image"), request, desk) if images else None
        if images:
            await _image(given.get("image_tail"), request, desk)
    except RefusedError as refused:
        return refused.reply
    except RefusedByKlingError as refused:
        how = state.settings.relay_kling_refuses
        return any_reply(*refused_by_kling(regime, how, refused.code, refused.message))
    made = DEFAULTS | given
    size = size_for(RATIOS[made["aspect_ratio"]], SHORT_SIDES[made["mode"]], state.settings.max_short_side)
    spec = Spec(prompt=prompt, width=size[0], height=size[1], seconds=int(made["duration"]), image=image)
    draft = state.new_task(
        "kling_relay",
        body,
        model=model,
        prompt=prompt,
        base=request.base,
        keep=RESULT_SECONDS,
        spec=spec,
        action=action,
    )
    shape = state.settings.relay_submit or ("native" if regime == "C" else "openai_video")
    [task] = state.start(draft, 1, lambda: _new_id(shape))
    reply = json_reply(submit_reply(shape, task), headers=(("x-new-api-other-ratios", '{"seconds":1}'),))
    return replace(reply, tasks=(task.id,))


def _native(reply: Reply, state: State) -> Reply:
    """An error in the format of the plug-in. Errors of Kling, and errors from before the plug-in, stay unchanged."""
    settings = state.settings
    body = msgspec.json.decode(reply.body) if reply.content_type == "application/json" and reply.body else {}
    if settings.relay_regime != "C" or "error" in body or "message" not in body:
        return reply
    if settings.relay_native_errors == "general":
        message = reply.body.decode() if "request_id" in body else body["message"]
        return replace(reply, body=msgspec.json.encode(general_error(reply.status, message)))
    if "request_id" in body:
        return reply
    return replace(reply, body=msgspec.json.encode(native_error(body["code"], body["message"])))


async def _image(value: object, request: Request, desk: Desk) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        refuse_by_kling("image is invalid")
    try:
        if re.match(r"https?://", value):
            image = await desk.images.by_url(value, request.base, limit=IMAGE_BYTES, kinds=KINDS)
        else:
            image = desk.images.by_base64(value, limit=IMAGE_BYTES, kinds=KINDS)
    except BadImageError as bad:
        words = {"base64": "File is not in a valid base64 format", "format": "Image format is invalid"}
        words |= {"too_large": "Image size is too large", "inaccessible": "Failed to download image"}
        refuse_by_kling(words[bad.reason])
    size = dimensions(image) if image and desk.state.settings.check_images else None
    if size and (min(size) < 300 or not 0.4 <= size[0] / size[1] <= 2.5):
        refuse_by_kling("Image pixel is invalid")
    return image


def _new_id(shape: str) -> str:
    if shape in {"openai_video", "native"}:
        return "task_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))
    if shape == "documented":
        return secrets.token_hex(6)
    return str(8 * 10**17 + secrets.randbelow(10**17))  # the format of Kling's own ids


KLING_RELAY = Provider(
    name="kling_relay",
    routes=(
        Route(
            method="POST", path="/kling/v1/videos/(text2video|image2video)", handler=submit_kling, operation="submit"
        ),
        Route(
            method="GET", path="/kling/v1/videos/(?:text2video|image2video)/([^/]+)", handler=query, operation="poll"
        ),
        Route(method="POST", path="/v1/video/generations", handler=submit_unified, operation="submit"),
        Route(method="GET", path="/v1/video/generations/([^/]+)", handler=query, operation="poll"),
        Route(method="POST", path="/v1/videos", handler=submit_unified, operation="submit"),
        Route(method="GET", path="/v1/videos/([^/]+)", handler=query, operation="poll"),
        Route(method="GET", path="/v1/videos/([^/]+)/content", handler=content, operation="result"),
        Route(method="HEAD", path="/v1/videos/([^/]+)/content", handler=content, operation="result"),
        Route(method="GET", path="/v1/tasks/([^/]+)/artifacts/video/content", handler=artifact, operation="result"),
        Route(method="HEAD", path="/v1/tasks/([^/]+)/artifacts/video/content", handler=artifact, operation="result"),
        Route(method="GET", path="/v1/models", handler=models),
    ),
    errors=ERRORS,
    refuse=refuse,
    unknown_path=unknown_path,
    headers=headers,
)
