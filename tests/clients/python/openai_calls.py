"""The calls of the package `openai`: each of its resources for videos, images, files, models and webhooks.

Pointed at the gateway by `base_url`, `api_key` and the names of models alone. `--async` uses `AsyncOpenAI`, whose
methods are the same.
"""

import asyncio
import inspect
import sys
import time
from collections.abc import Callable
from typing import Any

import openai
from calls import HOOK, IMAGE, KEY, PATIENCE, URL, call, until, webhooks

VIDEO, IMAGES, FAILING = "sora-2", "keevx/image", "foxapi/kling-v3-text-to-video"
SMALL = {"seconds": "4", "size": "1280x720"}


class Waiting:
    """`AsyncOpenAI` with methods that wait: the calls below are the same for both clients."""

    def __init__(self, part: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._part = part
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._part, name)
        return self._waits(member) if callable(member) else Waiting(member, self._loop)

    def _waits(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def waits(*args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                result = method(*args, **kwargs)
                if hasattr(result, "__aiter__"):  # a list: its pages are read one after the other
                    return [item async for item in result]
                result = await result if inspect.isawaitable(result) else result
                return Waiting(result, self._loop) if isinstance(result, openai.AsyncOpenAI) else result

            return self._loop.run_until_complete(run())

        return waits


def models(client: Any) -> None:
    with call("models.list"):
        assert any(model.id == "sora-2" for model in client.models.list())
    with call("models.retrieve"):
        assert client.models.retrieve("sora-2").id == "sora-2"
    with call("models.retrieve, a name with a slash"):
        assert client.models.retrieve("keevx/V").id == "keevx/V"


def files(client: Any) -> str | None:
    stored = None
    with call("files.create"):
        stored = client.files.create(file=("a.png", IMAGE.read_bytes()), purpose="vision").id
    with call("files.create, expires_after"):
        after = {"anchor": "created_at", "seconds": 3600}
        other = client.files.create(file=IMAGE, purpose="user_data", expires_after=after)
        assert other.expires_at is not None
    with call("files.retrieve"):
        assert client.files.retrieve(stored).filename == "a.png"
    with call("files.list, its pages"):
        assert {stored, other.id} <= {file.id for file in client.files.list(limit=1)}
    with call("files.content"):
        assert client.files.content(stored).read() == IMAGE.read_bytes()
    with call("files.delete"):
        assert client.files.delete(other.id).deleted
    with call("files.create, not an image: refused"):
        refused(client.files.create, openai.BadRequestError, file=("a.jsonl", b"{}"), purpose="vision")
    return stored


def refused(method: Callable[..., Any], error: type[Exception], **arguments: Any) -> None:
    """The package raises its own error for it."""
    try:
        method(**arguments)
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def videos(client: Any, file: str | None) -> str | None:
    made = None
    with call("videos.create"):
        first = client.videos.create(model=VIDEO, prompt="Waves roll in")
        assert first.status in ("queued", "in_progress")
    with call("videos.create_and_poll"):
        video = client.videos.create_and_poll(model=VIDEO, prompt="Waves", **SMALL)
        assert (video.status, video.seconds, video.size) == ("completed", "4", "1280x720")
        made = video.id
    # The package's own parameter takes only files: an image that is named goes into `extra_body`.
    references: dict[str, Any] = {
        "a file": {"input_reference": IMAGE},
        "bytes": {"input_reference": IMAGE.read_bytes()},
        "image_url": {"extra_body": {"input_reference": {"image_url": "https://example.com/a.png"}}},
        "file_id": {"extra_body": {"input_reference": {"file_id": file}}},
        "a URL": {"extra_body": {"input_reference": "https://example.com/a.png"}},
    }
    for name, reference in references.items():
        with call(f"videos.create, input_reference: {name}"):
            assert client.videos.create(model=VIDEO, prompt="Zoom in", **reference).id
    with call("videos.create, fields of the gateway in extra_body"):
        extra = {"metadata": {"order": "1"}, "generate_audio": False, "aspect_ratio": "16:9"}
        assert client.videos.create(model=VIDEO, prompt="Waves", extra_body=extra).id
    with call("videos.create, unknown model: refused"):
        refused(client.videos.create, openai.APIStatusError, model="sora-2-xyz", prompt="x")
    with call("videos.create, wrong seconds: refused"):
        refused(client.videos.create, openai.BadRequestError, model=VIDEO, prompt="x", seconds="7000")
    with call("videos.create, wrong key: refused"):
        other = client.with_options(api_key="sk-nobody")
        refused(other.videos.create, openai.AuthenticationError, model=VIDEO, prompt="x")
    with call("videos.create_and_poll, the provider fails"):
        failing = client.videos.create_and_poll(model=FAILING, prompt="x [[sandbox:foxapi:task:fail_content]]")
        assert failing.status == "failed"
        assert failing.error.code
    with call("videos.retrieve"):
        assert client.videos.retrieve(made).status == "completed"
    with call("videos.retrieve, unknown id: refused"):
        refused(client.videos.retrieve, openai.NotFoundError, video_id="video_00000000000000000000000000")
    with call("videos.list, its pages"):
        assert made in {video.id for video in client.videos.list(limit=2)}
    with call("videos.list, order"):
        oldest = client.videos.list(limit=1, order="asc")
        assert next(iter(oldest)).id == first.id
    with call("videos.download_content"):
        assert client.videos.download_content(made).read()[4:8] == b"ftyp"
    with call("videos.download_content, thumbnail"):
        assert until(lambda: thumbnail(client, made), bool)  # it is drawn after the video has completed
    with call("videos.download_content, spritesheet"):
        assert client.videos.download_content(made, variant="spritesheet").read()
    with call("videos.download_content, too early: refused"):
        early = client.videos.create(model=VIDEO, prompt="Waves [[sandbox:foxapi:task:slow_task?seconds=5]]")
        refused(client.videos.download_content, openai.APIStatusError, video_id=early.id)
    return made


def thumbnail(client: Any, video: str | None) -> bytes:
    """The thumbnail; nothing while it is not drawn yet."""
    try:
        picture: bytes = client.videos.download_content(video, variant="thumbnail").read()
    except openai.NotFoundError:
        return b""
    return picture


def changes_of_videos(client: Any, made: str | None) -> None:
    with call("videos.remix"):
        assert client.videos.remix(made, prompt="at night").remixed_from_video_id == made
    with call("videos.edit"):
        # `video` takes only files, and the package refuses a call without it.
        assert client.videos.edit(prompt="at night", video=b"", extra_body={"video": {"id": made}}).id
    with call("videos.extend"):
        more = {"video": {"id": made}}
        assert client.videos.extend(prompt="go on", seconds="4", video=b"", extra_body=more).id
    with call("videos.create_character"):
        assert client.videos.create_character(name="Bob", video=b"x").id
    with call("videos.create, a retry after a lost answer"):
        prompt = f"Waves {time.time()}"
        once = client.videos.create(model=VIDEO, prompt=prompt)
        again = client.videos.create(model=VIDEO, prompt=prompt, extra_headers={"x-stainless-retry-count": "1"})
        assert once.id == again.id
    with call("videos.delete"):
        assert client.videos.delete(made).deleted


def images(client: Any) -> None:
    variants: dict[str, dict[str, Any]] = {
        "images.generate": {},
        "images.generate, response_format: url": {"response_format": "url"},
        "images.generate, response_format: b64_json": {"response_format": "b64_json"},
        "images.generate, n: 2": {"n": 2, "quality": "high", "size": "1024x1024"},
        "images.generate, size: 1536x1024": {"size": "1536x1024"},
        "images.generate, size: 1024x1536": {"size": "1024x1536"},
        "images.generate, size: 1792x1024": {"size": "1792x1024"},
        "images.generate, size: auto": {"size": "auto"},
        "images.generate, quality: standard": {"quality": "standard"},
        "images.generate, quality: hd, style": {"quality": "hd", "style": "vivid"},
        "images.generate, the values auto": {"background": "auto", "moderation": "auto", "quality": "auto"},
        "images.generate, output_format: png": {"output_format": "png"},
        "images.generate, user": {"user": "user-1"},
    }
    for name, arguments in variants.items():
        with call(name):
            answer = client.images.generate(model=IMAGES, prompt="A lake", **arguments)
            assert len(answer.data) == arguments.get("n", 1)
            assert all(item.url or item.b64_json for item in answer.data)
    with call("images.generate, unknown model: refused"):
        refused(client.images.generate, openai.APIStatusError, model="dall-e-9", prompt="x")
    with call("images.generate, stream: refused"):
        streamed = {"model": IMAGES, "prompt": "x", "stream": True, "partial_images": 1}
        refused(client.images.generate, openai.BadRequestError, **streamed)
    with call("images.edit"):
        assert client.images.edit(model=IMAGES, prompt="at night", image=IMAGE).data
    with call("images.edit, two images"):
        assert client.images.edit(model=IMAGES, prompt="both", image=[IMAGE, IMAGE]).data
    with call("images.generate, a time-out and a retry"):
        before = images_made(client)
        impatient = client.with_options(timeout=0.3, max_retries=5)
        assert impatient.images.generate(model=IMAGES, prompt=f"A lake {time.time()}").data
        assert images_made(client) == before + 1  # the repeated call waited for the same image
    with call("images.create_variation"):
        assert client.images.create_variation(model=IMAGES, image=IMAGE).data


def images_made(client: Any) -> int:
    """How many images the gateway has in its list."""
    return len(client.get("/images/generations?limit=100", cast_to=dict[str, Any])["data"])


def webhook_endpoints(client: Any) -> None:
    with call("webhooks.create"):
        types = ["video.completed", "video.failed"]
        endpoint = client.webhooks.create(event_types=types, name="mine", url=HOOK)
        assert endpoint.signing_secret.startswith("whsec_")
    with call("webhooks.event_types.list"):
        assert set(types) <= set(client.webhooks.event_types.list().data)
    with call("webhooks.list"):
        assert endpoint.id in {item.id for item in client.webhooks.list(limit=20)}
    with call("webhooks.retrieve"):
        assert client.webhooks.retrieve(endpoint.id).name == "mine"
    with call("webhooks.update"):
        assert client.webhooks.update(endpoint.id, name="other").name == "other"
    with call("webhooks.test"):
        assert client.webhooks.test(endpoint.id, event_type="video.completed").success
    with call("webhooks.unwrap"):
        secret, seen = endpoint.signing_secret, len(webhooks())
        client.videos.create(model=VIDEO, prompt="Waves", **SMALL)
        until(lambda: webhooks()[seen:], bool)
        # Of several endpoints each has a secret of its own; the newest webhook is for this one.
        unwrapped = client.webhooks.unwrap(webhooks()[-1]["body"], webhooks()[-1]["headers"], secret=secret)
        assert unwrapped.type == "video.completed"
        assert unwrapped.data.id.startswith("video_")
    with call("webhooks.rotate_secret"):
        rotated = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
        assert rotated.signing_secret != endpoint.signing_secret
    with call("webhooks.delete"):
        assert client.webhooks.delete(endpoint.id).deleted


def main() -> None:
    if "--async" in sys.argv:
        loop = asyncio.new_event_loop()
        client: Any = Waiting(openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, timeout=PATIENCE), loop)
    else:
        client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, timeout=PATIENCE)
    models(client)
    file = files(client)
    made = videos(client, file)
    changes_of_videos(client, made)
    images(client)
    webhook_endpoints(client)


main()
