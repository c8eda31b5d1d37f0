"""The JSON in which each version of the relay reports a task."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.sandbox.state import Task, View

OUTER = {
    "queued": "NOT_START",
    "running": "IN_PROGRESS",
    "done": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "CANCELLED",
}
KLING = {
    "queued": "submitted",
    "running": "processing",
    "done": "succeed",
    "failed": "failed",
    "cancelled": "cancelled",
}
DOCUMENTED = {
    "queued": "queued",
    "running": "in_progress",
    "done": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
LEGACY = {
    "queued": "queued",
    "running": "processing",
    "done": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}
OPENAI = DOCUMENTED | {"queued": "unknown"}  # how NOT_START is shown
PROGRESS = {"queued": 0, "running": 30, "done": 100, "failed": 100, "cancelled": 100}  # the source has no other steps
FAILURES = {
    "fail": "upstream returned error",
    "fail_content": "Failure to pass the risk control system",
    "fail_image": "Image pixel is invalid",
    "given_up": "任务超时（1440分钟）",
}
REQUEST_ID = "ace7625a-0000-4000-8000-000000000000"


def submit_reply(shape: str, task: Task) -> dict[str, Any]:
    """The reply of the version `shape` to a submit."""
    kling: dict[str, Any] = {
        "task_id": kling_id(task),
        "task_status": "submitted",
        "task_status_msg": "",
        "task_result": {"videos": None},
    }
    kling |= {"created_at": int(task.created_at * 1000), "updated_at": int(task.created_at * 1000)}
    match shape:
        case "documented":
            return {"task_id": task.id, "status": "queued"}
        case "task_id":
            return {"task_id": task.id}
        case "kling_task_id":
            kling["task_id"] = task.id
            return {"code": 0, "message": "SUCCEED", "task_id": task.id, "request_id": REQUEST_ID, "data": kling}
        case "kling_envelope":
            return {"code": 0, "message": "SUCCEED", "request_id": REQUEST_ID, "data": kling | {"task_id": task.id}}
        case "native":
            return _native(task, View(phase="queued"), "")
        case _:
            ids = {"id": task.id, "task_id": task.id, "object": "video", "model": task.model}
            return ids | {"status": "queued", "progress": 0, "created_at": int(task.created_at)}


def query_reply(shape: str, task: Task, view: View) -> dict[str, Any]:
    """The reply of the version `shape` to a query."""
    reason = view.message or FAILURES.get(view.reason, "")
    match shape:
        case "documented":
            return _documented(task, view, reason)
        case "openai_video":
            return openai_video(shape, task, view)
        case "kling_envelope":
            return _kling(task, view, reason)
        case "native":
            return _native(task, view, reason)
        case "native_bare":  # without the answer of Kling
            bare = {"task_id": task.id, "task_status": view.word or KLING[view.phase], "task_status_msg": reason}
            return {"code": 0, "data": bare}
        case "legacy":
            answer = {
                "task_id": task.id,
                "status": view.word or LEGACY[view.phase],
                "url": _url(task, view),
                "format": "mp4",
            }
            error = {"code": 0, "message": reason} if view.phase == "failed" else None
            return {"code": "success", "message": "", "data": answer | {"metadata": None, "error": error}}
        case "flat":
            flat: dict[str, Any] = {"created_at": int(task.created_at)}
            flat |= {"fail_reason": reason, "finished_at": _finished(task, view)}
            flat |= {"platform": "1", "progress": f"{PROGRESS[view.phase]}%"}
            return flat | {"status": view.word or OUTER[view.phase], "task_id": task.id}
        case _:
            return {"code": "success", "message": "", "data": _task_dto(shape, task, view, reason)}


def kling_id(task: Task) -> str:
    """The id of the task at Kling itself."""
    return task.id if task.id.isdecimal() else str(8 * 10**17 + sum(map(ord, task.id)) * 10**12)


def _task_dto(shape: str, task: Task, view: View, reason: str) -> dict[str, Any]:
    early = shape == "task_dto_2025"
    inner: Mapping[str, Any] = _kling(task, _of_kling(view), "" if view.reason == "given_up" else reason)
    url = _url(task, view)
    answer = {
        "task_id": task.id,
        "action": "generate" if task.action == "image2video" else "textGenerate",
        "status": view.word or OUTER[view.phase],
        "fail_reason": (url or reason) if early else reason,
        "submit_time": int(task.created_at),
        "start_time": int(task.running_at) if view.phase != "queued" else 0,
        "finish_time": _finished(task, view),
        "progress": f"{PROGRESS[view.phase]}%",
        "data": inner,
    }
    if early:
        return answer
    names: dict[str, str] = {"input": "", "upstream_model_name": task.model, "origin_model_name": task.model}
    answer |= {"id": 1024, "created_at": int(task.created_at), "updated_at": int(task.created_at) + task.polls}
    answer |= {
        "platform": "50",
        "user_id": 7,
        "group": "default",
        "channel_id": 12,
        "quota": 250000,
        "properties": names,
    }
    if view.phase in {"done", "failed"} and (url or reason):
        answer["result_url"] = url or reason
    if shape == "nested":
        answer["data"] = {
            "code": "success",
            "message": "",
            "data": answer | {"task_id": "task_InnerSupplierTaskId00000000000000"},
        }
    if shape == "proxy_url" and url:
        answer["data"] = {}
    if shape in {"nested", "proxy_url"} and url:
        answer["result_url"] = _outer_url(shape, task)
    return answer


def _outer_url(shape: str, task: Task) -> str:
    """The URL in the relay's own fields: that of its supplier, or its own `/content` if that is unknown."""
    path = f"/v1/videos/{task.id}/content"
    own = {"proxy_url": f"http://localhost:3000{path}", "nested": f"{task.base}/kling_relay{path}"}
    return own.get(shape, task.result_url)


def _of_kling(view: View) -> View:
    """The last answer of Kling. For a task that the relay abandoned, that is "running"."""
    return replace(view, phase="running") if view.reason == "given_up" else view


def _native(task: Task, view: View, reason: str) -> dict[str, Any]:
    """The last answer of Kling as the plug-in stored it, with the relay's id; at first the answer to the submit."""
    view = _of_kling(view)
    answer = _kling(task, view, reason if view.phase == "failed" else "")
    answer["data"]["task_id"] = task.id
    if view.phase == "queued":
        answer["data"].pop("task_result")
    return answer


def _kling(task: Task, view: View, reason: str) -> dict[str, Any]:
    url = _url(task, view)
    videos = [{"id": kling_id(task) + "1", "url": url, "watermark_url": "", "duration": f"{task.spec.seconds:.1f}"}]
    answer = {
        "task_id": kling_id(task),
        "task_status": view.word or KLING[view.phase],
        "task_status_msg": reason,
        "task_info": {},
        "task_result": {"videos": videos} if url else {},
        "created_at": int(task.created_at * 1000),
        "updated_at": int(task.created_at * 1000) + task.polls,
    }
    return {"code": 0, "message": "SUCCEED", "request_id": REQUEST_ID, "data": answer}


def _documented(task: Task, view: View, reason: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"task_id": task.id, "status": view.word or DOCUMENTED[view.phase]}
    if view.has_url:
        size = {"width": task.spec.width, "height": task.spec.height}
        about = {"duration": task.spec.seconds, "fps": 30, **size, "seed": 20231234}
        answer |= {"url": task.result_url, "format": "mp4", "metadata": about}
    if view.phase in {"done", "failed"}:
        # The documented sample has an error although the task succeeded.
        answer["error"] = {"code": 0, "message": reason or "string"}
    return answer


def openai_video(shape: str, task: Task, view: View, *, by_plugin: bool = False) -> dict[str, Any]:
    """A video as OpenAI reports it, with the status of the relay. By the plug-in, it has neither URL nor reason."""
    reason = view.message or FAILURES.get(view.reason, "")
    per_second = 1 if by_plugin else 1000
    answer: dict[str, Any] = {"id": task.id, "object": "video", "model": task.model if by_plugin else ""}
    answer |= {"status": view.word or OPENAI[view.phase], "progress": PROGRESS[view.phase]}
    answer["created_at"] = int(task.created_at * per_second)
    if view.phase in {"done", "failed"}:
        answer["completed_at"] = int(task.ends_at * per_second)
    if view.has_url:
        answer["seconds"] = f"{task.spec.seconds:.1f}"
        if not by_plugin:
            answer["metadata"] = {"url": _outer_url(shape, task)}
    if view.phase == "failed" and not (by_plugin and view.reason == "given_up"):
        answer["error"] = {"message": reason, "code": ""}
    return answer


def _url(task: Task, view: View) -> str:
    return task.result_url if view.has_url else ""


def _finished(task: Task, view: View) -> int:
    return int(task.ends_at) if view.phase in {"done", "failed", "cancelled"} else 0
