"""The providers of the round trips: what each must be sent for a request, and its answers as its pages print them."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from msgspec import Struct

from gateway.domain.adapter.contract import Adapter, Capability, HttpCall, HttpReply, ImageTransport, Polling
from gateway.domain.adapter.decoding import items, mapping, read_json, text
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.replies import artifact, pending
from gateway.domain.adapter.request import FramesInput, InputKind, Kind, ReferencesInput, UpstreamRequest
from gateway.domain.adapter.task import Completed, Failed, Status, TaskRef, TaskSnapshot
from gateway.fetch.fetcher import FetchRefused

from ...conftest import ADAPTERS, StubUpstream
from ...test_images import png

EXCHANGES = Path(__file__).parents[3] / "exchanges"
PROCESSING, COMPLETED, FAILED = "processing", "completed", "failed"
FIRST_FILE, LAST_FILE = png(320, 320), png(330, 330)  # Kling takes no smaller ones


class Image(Struct, frozen=True):
    """An image of a client: bytes, or the URL of it."""

    url: str
    content: bytes | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """What a client wants, in the words of no API."""

    kind: Kind
    model: str  # the provider's own name
    provider: str
    prompt: str
    first: Image | None = None
    last: Image | None = None
    references: tuple[Image, ...] = ()
    seconds: int | None = None
    resolution: str | None = None
    quality: str | None = None
    ratio: str | None = None
    mode: str | None = None  # the mode that makes `resolution`, at a provider that has modes


# --- a provider that is not part of the gateway, and has nothing in common with those that are


def _acme_call(request: UpstreamRequest) -> HttpCall:
    first = last = None
    looks: tuple[str, ...] = ()
    match request.input:
        case FramesInput(first_frame=first, last_frame=last):
            pass
        case ReferencesInput(references=looks, first_frame=first, last_frame=last):
            pass
    settings = request.settings
    body = {
        "engine": request.model,
        "script": request.prompt,
        "opening": first,
        "ending": last,
        "looks": list(looks) or None,
        "length": settings.duration_seconds,
        "lines": settings.resolution,
        "shape": settings.aspect_ratio,
        "grade": settings.quality,
    }
    path = "/v2/pictures" if request.kind == "image" else "/v2/films"
    return HttpCall(method="POST", path=path, json={name: value for name, value in body.items() if value is not None})


def _acme_task(reply: HttpReply) -> TaskSnapshot:
    job = mapping(read_json(reply))
    word = text(job.get("state"))
    if word == "ready":
        files = [artifact(mapping(file).get("href"), mapping(file)) for file in items(job.get("files"))]
        return Completed(tuple(file for file in files if file is not None))
    if word == "broken":
        return failed(FailureKind.CONTENT_POLICY, text(job.get("why")))
    return pending(word, {"waiting": Status.QUEUED, "working": Status.IN_PROGRESS})


def _acme_refusal(reply: HttpReply) -> Failed | None:
    return None if reply.status < 400 else failed(FailureKind.INVALID_REQUEST, "Acme refused it.")


def _acme_refs(_: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    return (TaskRef(id=text(mapping(read_json(reply)).get("job"))),)


ACME = Adapter(
    name="acme",
    base_url="https://api.acme.example",
    capabilities={
        "film": (
            Capability(
                inputs=frozenset(InputKind),
                prompt_max=500,
                durations=frozenset({5, 12}),
                resolutions=frozenset({"720p", "1080p"}),
                aspect_ratios=frozenset({"16:9", "1:1"}),
                last_frame=True,
                frames_with_references=True,
                references_max=3,
                image_transports=(ImageTransport.BASE64, ImageTransport.URL),
            ),
        ),
        "picture": (
            Capability(
                kind="image",
                inputs=frozenset({InputKind.TEXT, InputKind.REFERENCES}),
                prompt_max=500,
                qualities=frozenset({"1K", "2K"}),
                aspect_ratios=frozenset({"16:9", "1:1"}),
                references_max=3,
                image_transports=(ImageTransport.BASE64, ImageTransport.URL),
            ),
        ),
    },
    polling=Polling(first_poll_seconds=5, poll_seconds=5, poll_max_seconds=5),
    to_upstream=_acme_call,
    task_refs=_acme_refs,
    poll=lambda task: HttpCall(method="GET", path=f"/v2/jobs/{task.id}"),
    from_upstream=_acme_task,
    classify=_acme_refusal,
)


# --- what each provider is sent, by its own pages


def _keevx(ask: Ask) -> tuple[str, dict[str, Any]]:
    if ask.kind == "image":
        path = "/v1/image_generate"
        body: dict[str, Any] = {"prompt": ask.prompt, "image_quality": ask.quality, "image_ratio": ask.ratio}
    else:
        path = "/v1/image_to_video"
        body = {
            "model": ask.model,
            "prompt": ask.prompt,
            "image_url": _url(ask.first),
            "end_image_url": _url(ask.last),
            "duration": ask.seconds,
            "aspect_resolution": ask.resolution or "720p",  # the page requires one
            "aspect_ratio": ask.ratio,
        }
    return path, body | {"reference_images": list(map(_url, ask.references)) or None}


def _foxapi(ask: Ask) -> tuple[str, dict[str, Any]]:
    last, first = {
        "kling-v3-image-to-video": ("image_tail_url", "image_url"),
        "kling-o3-reference-to-video": ("end_image_url", "start_image_url"),
    }.get(ask.model, ("", ""))
    return "/v1/videos/generations", {
        "model": ask.model,
        "prompt": ask.prompt,
        first: _url(ask.first),
        last: _url(ask.last),
        "image_urls": list(map(_url, ask.references)) or None,
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
    }


def _kling_relay(ask: Ask) -> tuple[str, dict[str, Any]]:
    """The body that every version of the relay understands: some read the top level, and some `metadata`."""
    mode = ask.mode or (None if ask.resolution is None else "pro")
    mode = "pro" if ask.last is not None else mode  # without it the relay refuses a last frame
    size = {"pro": "1920x1080", None: "1280x720"}[mode] if ask.ratio is not None else None
    both = {"aspect_ratio": ask.ratio, "image_tail": _base64(ask.last)}
    seconds = None if ask.seconds in {None, 5} else str(ask.seconds)  # left out, it is 5 in every version
    inner = {name: value for name, value in {**both, "duration": seconds}.items() if value is not None}
    service = "text2video" if ask.first is None else "image2video"
    return f"/kling/v1/videos/{service}", {
        "model": ask.model,
        "model_name": ask.model,
        "prompt": ask.prompt,
        "image": _base64(ask.first),
        "mode": mode,
        "size": size,
        "duration": seconds,
        "metadata": inner or None,
        **both,
    }


def _acme(ask: Ask) -> tuple[str, dict[str, Any]]:
    return "/v2/pictures" if ask.kind == "image" else "/v2/films", {
        "engine": ask.model,
        "script": ask.prompt,
        "opening": _base64(ask.first),
        "ending": _base64(ask.last),
        "looks": list(map(_base64, ask.references)) or None,
        "length": ask.seconds,
        "lines": ask.resolution,
        "shape": ask.ratio,
        "grade": ask.quality,
    }


def _url(image: Image | None) -> str | None:
    """An image where a provider takes URLs: bytes have been uploaded to it."""
    return None if image is None else image.url if image.content is None else uploaded(image.content)


def _base64(image: Image | None) -> str | None:
    """An image where a provider takes base64 too, without `data:` before it."""
    if image is None or image.content is None:
        return _url(image)
    return b64encode(image.content).decode()


def uploaded(content: bytes) -> str:
    """The URL that every provider gives to uploaded bytes."""
    return f"https://cdn.example/{sha256(content).hexdigest()[:12]}.png"


# --- what each provider answers


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One end of a round trip."""

    adapter: Adapter
    sent: Callable[[Ask], tuple[str, dict[str, Any]]]  # the path and the body of the submit; None: not in the body
    answers: Mapping[str, Mapping[str, Any]]  # kind and state → the reply, in which the id of the task is `TASK`
    reason: str  # why a task has failed, as a client reads it


TASK = "the-id-of-the-task"


def _recorded(provider: str, submitted: str, *states: str) -> dict[str, Any]:
    """The replies of these exchanges: to a submit, and to a poll while it runs, when it is done, and when it failed."""
    replies: dict[str, Any] = {}
    for state, name in zip(("submitted", PROCESSING, COMPLETED, FAILED), (submitted, *states), strict=True):
        exchange = json.loads((EXCHANGES / provider / f"{name}.json").read_text())
        refs = exchange["reads_as"].get("refs")
        own_id = exchange["call"]["path"].rpartition("/")[2] if refs is None else refs[0]["id"]
        replies[state] = json.loads(json.dumps(exchange["reply"]["json"]).replace(own_id, TASK))
    return replies


_ACME_ANSWERS = {
    "submitted": {"job": TASK},
    PROCESSING: {"job": TASK, "state": "working"},
    COMPLETED: {"job": TASK, "state": "ready", "files": [{"href": "https://cdn.acme.example/result"}]},
    FAILED: {"job": TASK, "state": "broken", "why": "The script is not allowed."},
}
PROVIDERS = {
    "keevx": Provider(
        adapter=ADAPTERS["keevx"],
        sent=_keevx,
        answers={
            "video": _recorded(
                "keevx", "submitted-v-start-frame", "pending-processing", "completed-video", "failed-content-policy"
            ),
            "image": _recorded(
                "keevx",
                "submitted-image-prompt-only",
                "pending-image-generating",
                "completed-image",
                "failed-image-content-policy",
            ),
        },
        reason="content policy",
    ),
    "kling_relay": Provider(
        adapter=ADAPTERS["kling_relay"],
        sent=_kling_relay,
        answers={
            "video": _recorded(
                "kling_relay",
                "submitted-openai-video-public-id",
                "pending-task-in-progress",
                "completed-task-result-url",
                "failed-task-content-policy",
            )
        },
        reason="Failure to pass the risk control system",
    ),
    "foxapi": Provider(
        adapter=ADAPTERS["foxapi"],
        sent=_foxapi,
        answers={
            "video": _recorded(
                "foxapi",
                "submitted-v3-text-to-video",
                "pending-processing",
                "completed-video",
                "failed-content-policy-by-code",
            )
        },
        reason="Content violates policy",
    ),
    "acme": Provider(
        adapter=ACME,
        sent=_acme,
        answers={"video": _ACME_ANSWERS, "image": _ACME_ANSWERS},
        reason="The script is not allowed.",
    ),
}


class Upstream(StubUpstream):
    """All providers of the round trips. A task whose prompt begins with `Fail` fails in place of being completed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, tuple[str, str, dict[str, Any]]] = {}  # prompt → provider, path and body of its submit
        self._tasks: dict[str, tuple[str, Kind, str]] = {}  # id → provider, kind and prompt

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a call as the provider of its host."""
        self.requests.append(request)
        [name] = [name for name, each in PROVIDERS.items() if httpx.URL(each.adapter.base_url).host == request.url.host]
        if "upload" in request.url.path:
            [url] = [uploaded(content) for content in (FIRST_FILE, LAST_FILE) if content in request.content]
            return httpx.Response(200, json={"url": url, "result": {"url": url}})
        if request.method == "POST":
            body = json.loads(request.content)
            prompt = body.get("prompt") or body["script"]
            assert prompt not in self.sent, "a second purchase"
            self.sent[prompt] = (name, request.url.path, body)
            kind: Kind = "image" if "image_generate" in request.url.path or "pictures" in request.url.path else "video"
            task, state = f"task-{len(self._tasks)}", "submitted"
            self._tasks[task] = (name, kind, prompt)
        else:
            task = request.url.path.rpartition("/")[2]
            name, kind, prompt = self._tasks[task]
            state = FAILED if self.word == COMPLETED and prompt.startswith("Fail") else self.word
        answer = json.dumps(PROVIDERS[name].answers[kind][state]).replace(TASK, task)
        return httpx.Response(200, content=answer, headers={"content-type": "application/json"})

    @asynccontextmanager
    async def fetch(self, url: str, **_: Any) -> AsyncIterator[Any]:
        """Any URL is that of the result."""
        if self.withheld:
            raise FetchRefused(f"{url} is not for the gateway")

        async def chunks() -> AsyncIterator[bytes]:
            yield self.content

        yield SimpleNamespace(host="stub", status=200, is_whole=True, headers={}, raw=chunks, chunks=chunks)
