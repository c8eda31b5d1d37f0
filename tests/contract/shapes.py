"""Replies of the three built-in providers in their own documented shapes, for tests that alter them."""

from typing import Any

import msgspec

from gateway.domain.adapter.contract import HttpCall, HttpReply

PROVIDERS = ("keevx", "kling_relay", "foxapi")
FILE = "https://cdn.example/v.mp4"
TASK = "task-123456"
DONE = {"keevx": "SUCCEEDED", "kling_relay": "SUCCESS", "foxapi": "completed"}
RUNNING = {"keevx": "PROCESSING", "kling_relay": "IN_PROGRESS", "foxapi": "processing"}
CALLS = {
    "keevx": HttpCall(method="POST", path="/image_to_video", json={}),
    "kling_relay": HttpCall(method="POST", path="/kling/v1/videos/image2video", json={}),
    "foxapi": HttpCall(method="POST", path="/v1/videos/generations", json={}),
}


def submitted(name: str, task_id: str = TASK) -> dict[str, Any]:
    """The documented reply to a submit."""
    return {
        "keevx": {"code": 0, "msg": "ok", "data": {"task_ids": [task_id]}},
        "kling_relay": {"id": task_id, "task_id": task_id, "object": "video", "status": "queued", "progress": 0},
        "foxapi": {"created": 1757165031, "id": task_id, "status": "pending", "progress": 0, "type": "video"},
    }[name]


def state(name: str, word: Any, url: Any = None, reason: str = "", **more: Any) -> dict[str, Any]:
    """The documented reply to a poll, with this word as the task's status."""
    if name == "keevx":
        task = {"task_id": TASK, "status": word, "video_url": url or "", "error_message": reason}
        return {"code": 0, "msg": "ok", "data": task | more}
    if name == "kling_relay":
        task = {"task_id": TASK, "action": "generate", "status": word, "fail_reason": reason, "result_url": url or ""}
        return {"code": "success", "message": "", "data": task | {"progress": "30%", "data": None} | more}
    error = {"code": "generation_failed", "message": reason} if reason else None
    results = [{"url": url}] if url else None
    return {"id": TASK, "type": "video", "status": word, "progress": 30, "results": results, "error": error} | more


def answer(body: Any, status: int = 200, method: str = "GET", **more: Any) -> HttpReply:
    """A reply with this body: bytes are sent as they are, other values as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(status=status, body=content, method=method, **more)
