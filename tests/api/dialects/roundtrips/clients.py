"""The clients of the round trips: each says a request in its own API's words, and reads what became of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.domain.adapter.request import Kind

from . import bodies
from .providers import Ask

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"


@dataclass(frozen=True, kw_only=True)
class Client:
    """One end of a round trip. A body of it has `None` for a field that is not sent."""

    name: str
    kind: Kind = "video"
    path: str | Callable[[Ask], str]
    body: Callable[[Ask], dict[str, Any]]
    # What of a request the client's words can say; the rest is not asked for. Images can become files.
    said: Callable[[Ask], Ask] = lambda ask: ask
    is_form: Callable[[Ask], bool] = lambda _: False
    started: Callable[[Any], str] = lambda answer: str(answer["id"])  # the id in the answer to a create
    started_status: int = 200
    read: str | None = None  # the path with `{id}`; None: the create waits, and its answer is the result
    word: Callable[[Any], str] = lambda answer: str(answer["status"])
    words: Mapping[str, str] = field(default_factory=dict)  # QUEUED … → its own words
    urls: Callable[[Any], list[str]]  # of the results; a relative one needs the key
    reason: Callable[[Any], str]  # why it has failed
    refusal: Callable[[Any], tuple[str, str | None]]  # of an error: the message, and the parameter if it has one
    refused_status: int = 422  # of a value that no route takes
    absent: str | None = None  # its name of a first frame that the body lacks; None: that of one that it has
    # Its own names: of the model, the first frame, the last frame and the references.
    names: Mapping[str, str]

    async def create(self, client: httpx.AsyncClient, ask: Ask) -> httpx.Response:
        """Send the request in the client's own words. The same prompt is the same request, also by its key."""
        headers = {"idempotency-key": f"aisdk_{ask.prompt}"}
        path = self.path if isinstance(self.path, str) else self.path(ask)
        body = {name: value for name, value in self.body(ask).items() if value is not None}
        if not self.is_form(ask):
            return await client.post(path, json=body, headers=headers)
        parts: list[Any] = [
            (name, ("blob", member, "image/png") if isinstance(member, bytes) else (None, member))
            for name, value in body.items()
            for member in (value if isinstance(value, list) else [value])
        ]
        return await client.post(path, files=parts, headers=headers)


_OPENAI_WORDS = {QUEUED: "queued", RUNNING: "in_progress", DONE: "completed", FAILED: "failed"}
_OUR_NAMES = {"model": "model", "first": "image", "last": "last_image", "references": "reference_images"}
_OPENAI_NAMES = {**_OUR_NAMES, "first": "input_reference"}
_FOX_NAMES = {"model": "model", "first": "image_url", "last": "end_image_url", "references": "image_urls"}
_XAI_NAMES = {**_OUR_NAMES, "last": "last_frame"}
_KLING_NAMES = {**_OUR_NAMES, "model": "model_name", "last": "image_tail"}
_RELAY_NAMES = {**_OUR_NAMES, "last": "metadata.image_tail"}
_KEEVX_NAMES = {**_OUR_NAMES, "first": "image_url", "last": "end_image_url"}


def _openai_error(answer: Any) -> tuple[str, str | None]:
    return answer["error"]["message"], answer["error"]["param"]


_OURS = {
    "said": bodies.plain,
    "words": _OPENAI_WORDS,
    "urls": lambda read: [output["url"] for output in read["data"]],
    "reason": lambda read: read["error"]["message"],
    "refusal": _openai_error,
    "names": _OUR_NAMES,
}
_OF_OPENAI = {
    **_OURS,
    "path": "/v1/videos",
    "read": "/v1/videos/{id}",
    "urls": lambda read: [f"/v1/videos/{read['id']}/content"],
    "names": _OPENAI_NAMES,
}
_OF_XAI = {
    "said": bodies.plain,
    "body": bodies.xai,
    "started": lambda answer: answer["request_id"],
    "words": {QUEUED: "pending", RUNNING: "pending", DONE: "done", FAILED: "failed"},
    "urls": lambda read: [read["video"]["url"]],
    "reason": lambda read: read["error"]["message"],
    "names": _XAI_NAMES,
}
_OF_FOXAPI = {
    **_OURS,
    "body": bodies.foxapi,
    "words": {QUEUED: "pending", RUNNING: "processing", DONE: "completed", FAILED: "failed"},
    "urls": lambda read: read["results"],
    "names": _FOX_NAMES,
}
_OF_KLING = {
    "refused_status": 400,
    "refusal": lambda answer: (answer["message"], None),
}
_OF_KEEVX = {
    "said": bodies.plain,
    "started": lambda answer: answer["data"]["task_ids"][0],
    "word": lambda read: read["data"]["status"],
    "reason": lambda read: read["data"]["error_message"],
    "refused_status": 400,
    "refusal": lambda answer: (answer["msg"], answer["param"]),
    "names": _KEEVX_NAMES,
}
_BLOCKING = {"kind": "image", "urls": lambda answer: [image["url"] for image in answer["data"]]}
_XAI_ERROR = {"refusal": lambda answer: (answer["error"], None)}

CLIENTS = (
    Client(name="ours", path="/v1/videos/generations", body=bodies.ours, read="/v1/videos/generations/{id}", **_OURS),
    Client(
        name="OpenAI videos, JSON",
        body=bodies.openai,
        **{**_OF_OPENAI, "said": lambda ask: bodies.in_pixels(bodies.plain(ask))},
    ),
    Client(
        name="OpenAI videos, form",
        body=bodies.openai_form,
        is_form=lambda _: True,
        **{**_OF_OPENAI, "said": lambda ask: bodies.in_pixels(bodies.as_files(bodies.plain(ask)))},
    ),
    Client(
        name="OpenRouter",
        path="/api/v1/videos",
        body=bodies.openrouter,
        said=bodies.plain,
        started_status=202,
        read="/api/v1/videos/{id}",
        words={QUEUED: "pending", RUNNING: "in_progress", DONE: "completed", FAILED: "failed"},
        urls=lambda read: [*read["urls"], *read["unsigned_urls"]],
        reason=lambda read: read["error"],
        refusal=lambda answer: (answer["error"]["message"], answer["error"]["metadata"]["param"]),
        absent="frame_images",
        names={
            "model": "model",
            "first": "frame_images[0].image_url",
            "last": "frame_images[1].image_url",
            "references": "input_references",
        },
    ),
    Client(name="xAI", path="/xai/v1/videos/generations", read="/xai/v1/videos/{id}", **_OF_XAI, **_XAI_ERROR),
    Client(
        name="xAI at our root",
        path="/v1/videos/generations",
        read="/v1/videos/{id}",
        refusal=_openai_error,
        **_OF_XAI,
    ),
    Client(name="FoxAPI", path="/foxapi/v1/videos/generations", read="/foxapi/v1/tasks/{id}", **_OF_FOXAPI),
    Client(
        name="FoxAPI at our root", absent="image", path="/v1/videos/generations", read="/v1/tasks/{id}", **_OF_FOXAPI
    ),
    Client(
        name="Kling",
        path=lambda ask: f"/v1/videos/{bodies.service(ask)}",
        body=bodies.kling_native,
        said=bodies.as_kling,
        started=lambda answer: answer["data"]["task_id"],
        read="/v1/videos/text2video/{id}",
        word=lambda read: read["data"]["task_status"],
        words={QUEUED: "submitted", RUNNING: "processing", DONE: "succeed", FAILED: "failed"},
        urls=lambda read: [video["url"] for video in read["data"]["task_result"]["videos"]],
        reason=lambda read: read["data"]["task_status_msg"],
        names=_KLING_NAMES,
        **_OF_KLING,
    ),
    Client(
        name="Kling's relay",
        path=lambda ask: f"/kling/v1/videos/{bodies.service(ask)}",
        body=bodies.relay,
        said=lambda ask: bodies.in_pixels(bodies.plain(ask)),
        started=lambda answer: answer["task_id"],
        read="/kling/v1/videos/image2video/{id}",
        words=_OPENAI_WORDS,
        urls=lambda read: [read["url"]],
        reason=lambda read: read["error"]["message"],
        names=_RELAY_NAMES,
        **_OF_KLING,
    ),
    Client(
        name="new-api",
        path="/v1/video/generations",
        body=bodies.new_api,
        said=lambda ask: bodies.in_pixels(bodies.plain(ask)),
        started=lambda answer: answer["task_id"],
        read="/v1/video/generations/{id}",
        word=lambda read: read["data"]["status"],
        words={QUEUED: "QUEUED", RUNNING: "IN_PROGRESS", DONE: "SUCCESS", FAILED: "FAILURE"},
        urls=lambda read: [read["data"]["result_url"]],
        reason=lambda read: read["data"]["fail_reason"],
        absent="image",
        names={**_RELAY_NAMES, "first": "images[0]"},
        **_OF_KLING,
    ),
    Client(
        name="Keevx videos",
        path="/keevx/v1/image_to_video",
        body=bodies.keevx,
        read="/keevx/v1/image_to_video/{id}",
        words={QUEUED: "PENDING", RUNNING: "PROCESSING", DONE: "SUCCEEDED", FAILED: "FAILED"},
        urls=lambda read: [read["data"]["video_url"]],
        **_OF_KEEVX,
    ),
    Client(
        name="our images",
        kind="image",
        path="/v1/images/generations?async=true",
        body=bodies.our_images,
        read="/v1/images/generations/{id}",
        **_OURS,
    ),
    Client(
        name="OpenAI images",
        path=lambda ask: f"/v1/images/{'edits' if bodies.images(ask) else 'generations'}",
        body=bodies.openai_images,
        said=bodies.look_files,
        is_form=lambda ask: bool(bodies.images(ask)),
        reason=lambda answer: answer["error"]["message"],
        refusal=_openai_error,
        names={**_OUR_NAMES, "references": "image"},
        **_BLOCKING,
    ),
    Client(
        name="xAI images",
        path=lambda ask: f"/xai/v1/images/{'edits' if bodies.images(ask) else 'generations'}",
        body=bodies.xai_images,
        said=bodies.plain,
        reason=lambda answer: answer["error"],
        names={**_XAI_NAMES, "references": "images"},
        **_BLOCKING,
        **_XAI_ERROR,
    ),
    Client(
        name="Keevx images",
        kind="image",
        path="/keevx/v1/image_generate",
        body=bodies.keevx_images,
        read="/keevx/v1/image_generate/{id}",
        words={QUEUED: "GENERATING", RUNNING: "GENERATING", DONE: "SUCCEEDED", FAILED: "FAILED"},
        urls=lambda read: [read["data"]["image_url"]],
        **_OF_KEEVX,
    ),
)
