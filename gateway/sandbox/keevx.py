"""Keevx as documented: image to video (models V and KL), images, one kind of upload, callbacks."""

import secrets
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from gateway.sandbox.faults import FEWER_IDS
from gateway.sandbox.inputs import UPLOADS, BadImageError
from gateway.sandbox.keevx_rules import MOST_REFERENCES, RATIOS, RefusedError, check_image, check_video, image_size
from gateway.sandbox.media import Spec, size_for, sniff
from gateway.sandbox.provider import BAD_KEY, POOR_KEY, Desk, Errors, Provider, Route
from gateway.sandbox.state import State, Task, Upload, View
from gateway.sandbox.wire import Reply, Request, any_reply, json_reply

RESULT_SECONDS = 7 * 86400
IMAGE_BYTES = 20 * 1024 * 1024
KINDS = frozenset({"jpeg", "png", "webp"})
SHORT_SIDES = {"720p": 720, "1080p": 1080, "4k": 2160}
IMAGE_KINDS = KINDS | {"bmp", "gif"}
FAMILY = {"image_to_video": "i2v", "image_generate": "i2is"}
ERRORS: Errors = {
    "400": (400, {"code": 100001, "msg": "Parameter error: prompt cannot be empty"}),
    "100001": (400, {"code": 100001, "msg": "Parameter error: prompt cannot be empty"}),
    "200_error": (200, {"code": 100001, "msg": "Parameter error: prompt cannot be empty", "data": None}),
    "401": (401, {"code": 100002, "msg": "Invalid token"}),
    "100002": (401, {"code": 100002, "msg": "Invalid token"}),
    "100002_http200": (200, {"code": 100002, "msg": "Invalid token", "data": None}),
    "100002_validation": (400, {"code": 100002, "msg": "Validation failed"}),
    "404": (404, {"code": 100003, "msg": "Task not found"}),
    "100003": (404, {"code": 100003, "msg": "Task not found"}),
    "100003_http200": (200, {"code": 100003, "msg": "Task not found", "data": None}),
    "413": (413, {"code": 100004, "msg": "Image size exceeded"}),
    "100004": (413, {"code": 100004, "msg": "Image size exceeded"}),
    "100005": (400, {"code": 100005, "msg": "Prompt too long"}),
    "100006": (400, {"code": 100006, "msg": "Image URL inaccessible"}),
    "100007": (400, {"code": 100007, "msg": "Unsupported image format"}),
    "110002": (404, {"code": 110002, "msg": "Task not found"}),
    "530002": (200, {"code": 530002, "msg": "Image processing error", "data": None}),
    "530003": (500, {"code": 530003, "msg": "Task creation failed"}),
    "503_no_channel": (404, {"msg": "no route to the service"}),  # from the network in front of Keevx; not documented
    # No code is documented for exhausted credit or refused content: these have invented codes and a clear message.
    "402": (402, {"code": 100020, "msg": "Insufficient credit balance"}),
    "no_credit": (402, {"code": 100020, "msg": "Insufficient credit balance"}),
    "no_credit_http200": (200, {"code": 100020, "msg": "Insufficient credit balance", "data": None}),
    "content_refusal": (400, {"code": 100021, "msg": "Prompt rejected due to content policy"}),
    "429": (429, None),
    "500": (500, "<html><body>Internal Server Error</body></html>"),
}
FAILURES = {
    "fail": "internal error, please try again later",
    "fail_content": "{} generation failed due to content policy",
    "fail_image": "reference image could not be read: unsupported format",
}
BAD_IMAGES = {"inaccessible": "100006", "too_large": "100004", "format": "100007"}


def refuse(request: Request, state: State, operation: str) -> Reply | None:
    """Refuse a wrong key, or the lack of a header that some pages require. Uploads also accept the key as `token`."""
    token = request.token or (request.headers.get("token") if operation == "upload" else None)
    if token is None or token == BAD_KEY:
        return _error(state, "401")
    if token == POOR_KEY and operation == "submit":
        return _error(state, "402")
    if state.settings.keevx_requires_source and request.headers.get("source") != "skill":
        return _error(state, "400", "Parameter error: header source is required")
    return None


async def submit_video(request: Request, desk: Desk, _: str) -> Reply:
    """Check every documented rule, then start `generate_count` tasks."""
    body = request.json()
    if body is None:
        return _error(desk.state, "400", "Parameter error: the body is not JSON")
    try:
        check_video(body, desk.state.settings.keevx_kl_references)
        urls = [body[name] for name in ("image_url", "end_image_url") if name in body]
        image = await _first_image([*urls, *body.get("reference_images", [])], request, desk, KINDS)
    except RefusedError as refused:
        return _error(desk.state, refused.error, refused.message)
    ceiling = desk.state.settings.max_short_side
    width, height = size_for(RATIOS[body.get("aspect_ratio", "16:9")], SHORT_SIDES[body["aspect_resolution"]], ceiling)
    spec = Spec(prompt=body["prompt"], width=width, height=height, seconds=body["duration"], image=image)
    return await _start(request, desk, body, "image_to_video", spec)


async def submit_image(request: Request, desk: Desk, _: str) -> Reply:
    """Images: like videos with other codes. More than five reference images are ignored silently."""
    body = request.json()
    if body is None:
        return _error(desk.state, "100001", "Parameter error: the body is not JSON")
    try:
        check_image(body)
        used = body.get("reference_images", [])[:MOST_REFERENCES]
        image = await _first_image(used, request, desk, IMAGE_KINDS)
    except RefusedError as refused:
        if refused.error in BAD_IMAGES.values():
            return _error(desk.state, "530002")
        return _error(desk.state, refused.error, refused.message)
    width, height = image_size(body)
    settings = desk.state.settings
    if settings.max_short_side is not None:
        width, height = size_for(width / height, min(width, height), settings.max_short_side)
    form = settings.keevx_image_format
    spec = Spec(prompt=body["prompt"], width=width, height=height, image=image, image_format=form)
    return await _start(request, desk, body, "image_generate", spec)


async def query(request: Request, desk: Desk, task_id: str) -> Reply:
    """One task. The paths of images do not have the tasks of videos, and the reverse."""
    family = request.path.split("/")[2]
    task, view = desk.state.poll("keevx", task_id)
    if task is None or view.phase == "lost" or not task.id.startswith(FAMILY[family] + "-"):
        return _error(desk.state, "110002" if family == "image_generate" else "404")
    data = _view(desk.state, task, view, family)
    if view.has_url and family == "image_to_video":
        data |= {"duration": task.spec.seconds, "width": task.spec.width, "height": task.spec.height}
    return json_reply({"code": 0, "msg": "ok", "data": data})


async def upload(request: Request, desk: Desk, _: str) -> Reply:
    """Store one file. The reply has an envelope that no other reply has."""
    part = request.form().get("file")
    if part is None or not part.filename:
        return _error(desk.state, "400", "Parameter error: file is required")
    if len(part.value) > IMAGE_BYTES:
        return _error(desk.state, "413")
    kind = sniff(part.value)
    if (
        kind not in IMAGE_KINDS
    ):  # both skill pages have this call; a video refuses two of these kinds when it is submitted
        return _error(desk.state, "100007")
    file_id = secrets.token_hex(16)
    name = f"{file_id}/{part.filename}"
    expires = desk.state.clock.now() + RESULT_SECONDS  # how long uploads are stored is not documented
    desk.state.uploads[name] = Upload(part.filename, part.value, f"image/{kind}", expires)
    url = f"{desk.state.settings.public_url or request.base}{UPLOADS}{quote(name)}"
    result = {"url": url, "fileId": file_id, "fileName": part.filename}
    return json_reply({"code": 0, "success": True, "message": {"global": "success"}, "result": result})


async def _first_image(urls: list[str], request: Request, desk: Desk, kinds: frozenset[str]) -> bytes | None:
    """Check every image; the result is drawn from the first one that can be read."""
    first = None
    for url in urls:
        try:
            image = await desk.images.by_url(url, request.base, limit=IMAGE_BYTES, kinds=kinds)
        except BadImageError as bad:
            raise RefusedError(BAD_IMAGES[bad.reason]) from None
        first = first if first is not None else image
    return first


async def _start(request: Request, desk: Desk, body: dict[str, Any], family: str, spec: Spec) -> Reply:
    state, prompt = desk.state, body["prompt"]
    fault = state.faults.take("keevx", "submit", "ids", prompt=prompt)
    other = int(fault.args.get("n", 1)) if fault else 0
    extra, fewer = (0, other) if fault and fault.name == FEWER_IDS else (other, 0)
    count = body.get("generate_count", 1) + state.settings.keevx_extra_ids + extra
    model = body.get("model", body.get("module", "std"))
    draft = state.new_task("keevx", body, model=model, prompt=prompt, base=request.base, keep=RESULT_SECONDS, spec=spec)
    draft.action = family if family == "image_generate" else ""
    draft.callback_url = body.get("callback_url")
    tasks = state.start(draft, count, lambda: f"{FAMILY[family]}-{secrets.token_hex(16)}")
    if draft.callback_url:
        for task in tasks:
            await _call_back(desk, task, family)
    ids = [task.id for task in tasks]
    named = ids[: max(count - fewer, 0)]
    state.withhold("keevx", ids[len(named) :])
    return replace(json_reply({"code": 0, "msg": "ok", "data": {"task_ids": named}}), tasks=tuple(named))


async def _call_back(desk: Desk, task: Task, family: str) -> None:
    fault = desk.state.faults.take("keevx", "callback", "callback", prompt=task.prompt)
    name, url = fault.name if fault else "", task.callback_url or ""

    def truth() -> dict[str, Any]:
        return {
            "code": 0,
            "msg": "ok",
            "task_type": family,
            "data": _view(desk.state, task, desk.state.look(task), family),
        }

    if fault and name == "forged":
        lie = truth()
        field = "video_url" if family == "image_to_video" else "image_url"
        lie["data"] |= {
            "task_id": fault.args.get("task_id", task.id),
            "status": "SUCCEEDED",
            field: fault.args.get("url", "http://169.254.169.254/latest/meta-data/"),
        }
        desk.callbacks.at(task.created_at + float(fault.args.get("after", 0)), url, lambda: lie)
    if name == "early":
        task.ends_at = task.running_at = task.created_at
        await desk.callbacks.send(url, truth())
    elif name != "none" and (task.fate is None or task.fate.name not in {"stuck", "lost"}):
        for _ in range(2 if name == "duplicated" else 1):
            desk.callbacks.at(task.ends_at, url, truth)


def _view(state: State, task: Task, view: View, family: str) -> dict[str, Any]:
    nothing = None if state.settings.keevx_empty == "null" else ""
    running = "PROCESSING" if family == "image_to_video" else "GENERATING"
    words = {"queued": "PENDING" if family == "image_to_video" else "GENERATING", "running": running}
    words |= {"done": "SUCCEEDED", "failed": "FAILED", "cancelled": "CANCELLED", "lost": "UNKNOWN"}
    message: str | None = nothing
    if view.phase == "failed":
        message = view.message or FAILURES[view.reason].format("Video" if family == "image_to_video" else "Image")
    return {
        "task_id": task.id,
        "status": view.word or words[view.phase],
        "video_url" if family == "image_to_video" else "image_url": task.result_url if view.has_url else nothing,
        "thumbnail_url": task.thumbnail_url if view.has_url else nothing,
        "error_message": message,
    }


def _error(state: State, name: str, message: str | None = None) -> Reply:
    status, body = ERRORS[name]
    body = body | {"msg": message or body["msg"]}
    reply = any_reply(status, body)
    if state.settings.keevx_errors == "200" and "code" in body:
        return replace(json_reply(body | {"data": None}), headers=reply.headers)
    return reply


def unknown_path(_: Request) -> Reply:
    """The reply to an unknown path. It is not documented, so this is a plain 404."""
    return any_reply(404, "404 page not found")


KEEVX = Provider(
    name="keevx",
    routes=(
        Route(method="POST", path="/v1/image_to_video", handler=submit_video, operation="submit"),
        Route(method="GET", path="/v1/image_to_video/([^/]+)", handler=query, operation="poll"),
        Route(method="POST", path="/v1/image_generate", handler=submit_image, operation="submit"),
        Route(method="GET", path="/v1/image_generate/([^/]+)", handler=query, operation="poll"),
        Route(method="POST", path="/v1/figure-resource/upload/file", handler=upload, operation="upload"),
    ),
    errors=ERRORS,
    refuse=refuse,
    unknown_path=unknown_path,
)
