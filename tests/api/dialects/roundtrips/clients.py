"""The clients of the round trips: each says a request in its own API's words, and reads what became of it."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from msgspec.structs import replace

from gateway.domain.adapter.request import Kind

from .providers import FIRST_FILE, LAST_FILE, Ask, Image

FIRST = Image("https://example.com/first.png")
LAST = Image("https://example.com/last.png")
LOOKS = (Image("https://example.com/look-1.png"), Image("https://example.com/look-2.png"))
SIZES = {("1080p", "16:9"): "1920x1080", ("2K", "1:1"): "2048x2048"}
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
        """Send the request in the client's own words."""
        path = self.path if isinstance(self.path, str) else self.path(ask)
        body = {name: value for name, value in self.body(ask).items() if value is not None}
        if not self.is_form(ask):
            return await client.post(path, json=body)
        parts: list[Any] = [
            (name, ("blob", member, "image/png") if isinstance(member, bytes) else (None, member))
            for name, value in body.items()
            for member in (value if isinstance(value, list) else [value])
        ]
        return await client.post(path, files=parts)


def _url(image: Image | None) -> str | None:
    return None if image is None else image.url


def _urls(images: tuple[Image, ...]) -> list[str] | None:
    return [image.url for image in images] or None


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _object(image: Image | None) -> dict[str, str] | None:
    return None if image is None else {"url": image.url}


def _in_pixels(ask: Ask) -> Ask:
    """A size in pixels needs a ratio."""
    return ask if ask.ratio is not None else replace(ask, resolution=None)


def _size(ask: Ask) -> str | None:
    return None if ask.ratio is None else SIZES[ask.resolution or ask.quality or "", ask.ratio]


def _sides(ask: Ask) -> dict[str, int | None]:
    width, _, height = (_size(ask) or "").partition("x")
    return {"width": int(width), "height": int(height)} if width else {}


def _as_files(ask: Ask) -> Ask:
    """The frames as bytes."""
    first = None if ask.first is None else Image(ask.first.url, FIRST_FILE)
    return replace(ask, first=first, last=None if ask.last is None else Image(ask.last.url, LAST_FILE))


def _plain(ask: Ask) -> Ask:
    return replace(ask, mode=None)


def _kling(ask: Ask) -> Ask:
    """Kling has modes in place of resolutions, and takes raw base64."""
    return replace(_as_files(ask), resolution=None)


def _raw(image: Image | None) -> str | None:
    return None if image is None else b64encode(image.content or b"").decode()


def _service(ask: Ask) -> str:
    return "text2video" if ask.first is None and not ask.references else "image2video"


def _frame(image: Image | None, frame_type: str) -> list[dict[str, Any]]:
    given = {"type": "image_url", "image_url": _object(image), "frame_type": frame_type}
    return [] if image is None else [given]


def _look_files(ask: Ask) -> Ask:
    """The references as bytes."""
    files = (FIRST_FILE, LAST_FILE)
    looks = tuple(Image(image.url, content) for image, content in zip(ask.references, files, strict=False))
    return replace(_plain(ask), references=looks)


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


def _ours(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": _url(ask.first),
        "last_image": _url(ask.last),
        "reference_images": _urls(ask.references),
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "quality": ask.quality,
        "aspect_ratio": ask.ratio,
    }


def _openai(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "seconds": _text(ask.seconds),
        "size": _size(ask),
        "input_reference": None if ask.first is None else {"image_url": ask.first.url},
        "last_image": _url(ask.last),
        "reference_images": _urls(ask.references),
    }


def _openai_form(ask: Ask) -> dict[str, Any]:
    given = {name: value for name, value in _openai(ask).items() if name != "reference_images"}
    files = {
        "input_reference": None if ask.first is None else ask.first.content,
        "last_image": None if ask.last is None else ask.last.content,
        "reference_images[]": _urls(ask.references),
    }
    return {**given, **files}


def _openrouter(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
        "frame_images": [*_frame(ask.first, "first_frame"), *_frame(ask.last, "last_frame")] or None,
        "input_references": [{"type": "image_url", "image_url": _object(look)} for look in ask.references] or None,
    }


def _xai(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": _object(ask.first),
        "last_frame": _object(ask.last),
        "reference_images": list(map(_object, ask.references)) or None,
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
    }


def _foxapi(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image_url": _url(ask.first),
        "end_image_url": _url(ask.last),
        "image_urls": _urls(ask.references),
        "duration": ask.seconds,
        "quality": ask.resolution,  # EvoLink's word
        "aspect_ratio": ask.ratio,
    }


def _kling_native(ask: Ask) -> dict[str, Any]:
    return {
        "model_name": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": _raw(ask.first),
        "image_tail": _raw(ask.last),
        "reference_images": _urls(ask.references),
        "duration": _text(ask.seconds),
        "mode": ask.mode,
        "aspect_ratio": ask.ratio,
        "cfg_scale": 0.5,
    }


def _relay(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": _url(ask.first),
        "reference_images": _urls(ask.references),
        "duration": ask.seconds,
        **_sides(ask),
        "n": 1,
        "response_format": "url",
        "user": "user-1234",
        "metadata": {"image_tail": _url(ask.last)},
    }


def _new_api(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "images": None if ask.first is None else [ask.first.url],
        "reference_images": _urls(ask.references),
        "duration": ask.seconds,
        "size": _size(ask),
        "metadata": {"image_tail": _url(ask.last), "cfg_scale": 0.5},
    }


def _keevx(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image_url": _url(ask.first),
        "end_image_url": _url(ask.last),
        "reference_images": _urls(ask.references),
        "duration": ask.seconds,
        "aspect_resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
        "generate_count": 1,
    }


def _images(ask: Ask) -> tuple[Image, ...]:
    """An image generation has no frames: a first frame is a reference there."""
    return ask.references if ask.first is None else (ask.first, *ask.references)


def _our_images(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "reference_images": _urls(_images(ask)),
        "last_image": _url(ask.last),
        "quality": ask.quality,
        "aspect_ratio": ask.ratio,
    }


def _openai_images(ask: Ask) -> dict[str, Any]:
    files = [image.content or image.url for image in _images(ask)]
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "n": "1",
        "size": _size(ask) if ask.quality else None,
        "image[]": files or None,
        "last_image": _url(ask.last),
        "response_format": "url",
    }


def _xai_images(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "images": list(map(_object, _images(ask))) or None,
        "last_frame": _object(ask.last),
        "resolution": None if ask.quality is None else ask.quality.lower(),
        "aspect_ratio": ask.ratio,
        "response_format": "url",
    }


def _keevx_images(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "reference_images": _urls(_images(ask)),
        "end_image_url": _url(ask.last),
        "image_quality": ask.quality,
        "image_ratio": ask.ratio,
        "generate_count": 1,
    }


_OURS = {
    "said": _plain,
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
    "said": _plain,
    "body": _xai,
    "started": lambda answer: answer["request_id"],
    "words": {QUEUED: "pending", RUNNING: "pending", DONE: "done", FAILED: "failed"},
    "urls": lambda read: [read["video"]["url"]],
    "reason": lambda read: read["error"]["message"],
    "names": _XAI_NAMES,
}
_OF_FOXAPI = {
    **_OURS,
    "body": _foxapi,
    "words": {QUEUED: "pending", RUNNING: "processing", DONE: "completed", FAILED: "failed"},
    "urls": lambda read: read["results"],
    "names": _FOX_NAMES,
}
_OF_KLING = {
    "refused_status": 400,
    "refusal": lambda answer: (answer["message"], None),
}
_OF_KEEVX = {
    "said": _plain,
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
    Client(name="ours", path="/v1/videos/generations", body=_ours, read="/v1/videos/generations/{id}", **_OURS),
    Client(name="OpenAI videos, JSON", body=_openai, **{**_OF_OPENAI, "said": lambda ask: _in_pixels(_plain(ask))}),
    Client(
        name="OpenAI videos, form",
        body=_openai_form,
        is_form=lambda _: True,
        **{**_OF_OPENAI, "said": lambda ask: _in_pixels(_as_files(_plain(ask)))},
    ),
    Client(
        name="OpenRouter",
        path="/api/v1/videos",
        body=_openrouter,
        said=_plain,
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
        path=lambda ask: f"/v1/videos/{_service(ask)}",
        body=_kling_native,
        said=_kling,
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
        path=lambda ask: f"/kling/v1/videos/{_service(ask)}",
        body=_relay,
        said=lambda ask: _in_pixels(_plain(ask)),
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
        body=_new_api,
        said=lambda ask: _in_pixels(_plain(ask)),
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
        body=_keevx,
        read="/keevx/v1/image_to_video/{id}",
        words={QUEUED: "PENDING", RUNNING: "PROCESSING", DONE: "SUCCEEDED", FAILED: "FAILED"},
        urls=lambda read: [read["data"]["video_url"]],
        **_OF_KEEVX,
    ),
    Client(
        name="our images",
        kind="image",
        path="/v1/images/generations?async=true",
        body=_our_images,
        read="/v1/images/generations/{id}",
        **_OURS,
    ),
    Client(
        name="OpenAI images",
        path=lambda ask: f"/v1/images/{'edits' if _images(ask) else 'generations'}",
        body=_openai_images,
        said=_look_files,
        is_form=lambda ask: bool(_images(ask)),
        reason=lambda answer: answer["error"]["message"],
        refusal=_openai_error,
        names={**_OUR_NAMES, "references": "image"},
        **_BLOCKING,
    ),
    Client(
        name="xAI images",
        path=lambda ask: f"/xai/v1/images/{'edits' if _images(ask) else 'generations'}",
        body=_xai_images,
        said=_plain,
        reason=lambda answer: answer["error"],
        names=_XAI_NAMES,
        **_BLOCKING,
        **_XAI_ERROR,
    ),
    Client(
        name="Keevx images",
        kind="image",
        path="/keevx/v1/image_generate",
        body=_keevx_images,
        read="/keevx/v1/image_generate/{id}",
        words={QUEUED: "GENERATING", RUNNING: "GENERATING", DONE: "SUCCEEDED", FAILED: "FAILED"},
        urls=lambda read: [read["data"]["image_url"]],
        **_OF_KEEVX,
    ),
)
