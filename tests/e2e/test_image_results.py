"""Files of image generations through the engine: what counts as a result, and how a client gets it.

FoxAPI's adapter gets one more model, which makes images: the sandbox takes each submit for a video, and serves what the
test wants as its file.
"""

import io
import os
import struct
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.api.generations.views import generation_view
from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.request import InputKind, TextInput, UpstreamRequest
from gateway.domain.adapter.task import Artifact, Completed
from gateway.domain.errors import UnreadableReply
from gateway.domain.generation.model import GenerationRequest
from gateway.sandbox.files import Files, ranged
from gateway.sandbox.wire import Reply, Request

from .conftest import ADAPTERS, KEY, Gateway, sandboxed

PAINTER = "foxapi/painter"
MAKES_IMAGES = Capability(inputs=frozenset({InputKind.TEXT}), prompt_max=1000, kind="image", count_max=1)
OWNER = f"key_{sha256(KEY.encode()).hexdigest()[:24]}"


def picture(form: str, size: tuple[int, int] = (800, 600)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (30, 90, 160)).save(out, form)
    return out.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb() -> bytes:
    """A sound PNG of 100 megapixels in about 100 kilobytes."""
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_001 * 10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def submit(request: UpstreamRequest, provider: str = "foxapi", name: str = "kling-v3-text-to-video") -> Any:
    """What the provider's adapter sends for a model that the sandbox has."""
    return ADAPTERS[provider].to_upstream(
        replaced(request, model=name, capability_name=name, settings=replaced(request.settings, duration_seconds=5))
    )


def painter(provider: str, **changes: Any) -> Any:
    """The provider's adapter with one more model, which makes images."""
    adapter = ADAPTERS[provider]
    return replace(adapter, capabilities={**adapter.capabilities, "painter": (MAKES_IMAGES,)}, **changes)


def replaced(struct_: Any, **changes: Any) -> Any:
    return type(struct_)(**{name: getattr(struct_, name) for name in struct_.__struct_fields__} | changes)


class Served:
    """What the host of the results serves, and what it was asked for."""

    def __init__(self) -> None:
        self.bodies: list[tuple[bytes, str]] = []  # content and declared type; the last one is served from then on
        self.accepted: list[str] = []

    def serve(self, content: bytes, content_type: str = "application/octet-stream") -> None:
        self.bodies.append((content, content_type))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    served = Served()

    async def serve(_: Files, *args: Any) -> Reply:
        request: Request = args[-1]
        served.accepted.append(request.headers.get("accept", ""))
        content, content_type = served.bodies.pop(0) if len(served.bodies) > 1 else served.bodies[0]
        return ranged(Reply(body=content, content_type=content_type), request)

    monkeypatch.setattr(Files, "_served", serve)
    monkeypatch.setattr(Files, "result", serve)  # through the provider's own call
    return served


@pytest.fixture
async def painting(tmp_path: Path, served: Served, sandbox_options: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway with a model that makes images, and that may fetch results of the sandbox."""
    async with sandboxed(tmp_path, **sandbox_options) as gateway:
        gateway.fetch_allow = (ip_network("127.0.0.0/8"),)
        gateway.adapters["foxapi"] = painter("foxapi", to_upstream=submit)
        yield await gateway.start()


async def make(gateway: Gateway, model: str = PAINTER, **changes: Any) -> str:
    """Create an image generation and move the clock until it has ended; its id."""
    request = GenerationRequest(model=model, input=TextInput(), kind="image", prompt="A boat.", **changes)
    context = gateway.app.litestar.state.context
    generation = (await context.generations.create(request, key=OWNER, catalog=context.catalog)).generation
    assert generation.kind == "image"

    async def ended() -> bool:
        return (await gateway.stored(generation.id)).status.terminal

    await gateway.clock.run_until(ended)
    await gateway.traffic.settle()
    return str(generation.id)


async def view(gateway: Gateway, generation_id: str) -> Any:
    """The public object."""
    links = gateway.app.litestar.state.context.links(None)
    return generation_view(await gateway.stored(generation_id), links)


FORMATS = {
    "PNG": ("image/png", ".png"),
    "JPEG": ("image/jpeg", ".jpg"),
    "WEBP": ("image/webp", ".webp"),
    "GIF": ("image/gif", ".gif"),
    "BMP": ("image/bmp", ".bmp"),
    "AVIF": ("image/avif", ".avif"),
}


@pytest.mark.parametrize("form", FORMATS)
async def test_image_is_archived_and_served(painting: Gateway, served: Served, form: str):
    """Its type is that of its content, whatever the host and the name of the file say."""
    content, (content_type, extension) = picture(form), FORMATS[form]
    served.serve(content, "binary/octet-stream")
    made = await view(painting, await make(painting))
    [output] = made.data
    assert (made.status, made.object, made.warnings) == ("completed", "image.generation", ())
    assert (output.content_type, output.width, output.height, output.duration) == (content_type, 800, 600, None)
    assert (output.bytes, output.sha256) == (len(content), sha256(content).hexdigest())
    assert output.url.startswith(f"https://gw.example/v1/images/generations/{made.id}/content?index=0&token=")
    assert served.accepted == ["image/*,*/*;q=0.8"]
    assert painting.paid == {"foxapi": 1}

    painting.clock.move_on(8 * 86_400)  # the provider's link has ended
    async with painting.client_of(None) as anybody:
        answer = await anybody.get(output.url, headers={"range": "bytes=0-9"})
        assert (answer.status_code, answer.content) == (206, content[:10])
        answer = await anybody.get(output.url)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f'inline; filename="{made.id}-0{extension}"'


async def test_thumbnail_of_an_image_is_drawn_in_the_background(painting: Gateway, served: Served):
    """A JPEG has a thumbnail beside it that is a JPEG too: neither takes the place of the other."""
    painting.thumbnails = True
    await painting.restart()
    served.serve(content := picture("JPEG", (1600, 1200)))
    made = await view(painting, await make(painting))
    [output] = made.data
    image = await painting.client.get(output.url)
    small = await painting.client.get(output.thumbnail_url)
    assert image.content == content
    assert (small.status_code, small.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(small.content)).size == (640, 480)
    assert small.headers["content-disposition"] == f'inline; filename="{made.id}-0-thumbnail.jpg"'
    assert output.thumbnail_url != output.url
    assert not any((painting.folder / "artifacts" / "results" / ".partial").iterdir())


async def test_thumbnail_of_the_provider_is_taken(painting: Gateway, served: Served):
    painting.thumbnails = True
    read = ADAPTERS["foxapi"].from_upstream

    def with_thumbnail(reply: Any) -> Any:
        snapshot = read(reply)
        if not isinstance(snapshot, Completed):
            return snapshot
        url = snapshot.artifacts[0].url
        return Completed((Artifact(url=url, thumbnail_url=f"{url}?small"),))

    painting.adapters["foxapi"] = painter("foxapi", to_upstream=submit, from_upstream=with_thumbnail)
    await painting.restart()
    image, small = picture("WEBP"), picture("WEBP", (80, 60))
    served.serve(image)
    served.serve(small)
    [output] = (await view(painting, await make(painting))).data
    assert (await painting.client.get(output.url)).content == image
    assert (await painting.client.get(output.thumbnail_url)).content == small


NO_IMAGES = {
    "a page": b"<!doctype html><title>Not Found</title>",
    "nothing": b"",
    "a truncated PNG": picture("PNG")[:-40],
    "a bomb": bomb(),
    "a video": b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + os.urandom(500),
    "a header alone": picture("JPEG")[:300],
}


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES)
async def test_file_that_is_not_an_image_is_a_missing_result(painting: Gateway, served: Served, content: bytes):
    served.serve(content, "image/png")  # what the host declares does not count
    made = await view(painting, await make(painting))
    assert (made.status, made.error.code) == ("failed", "result_missing")
    assert [(attempt.failure, attempt.billed) for attempt in made.attempts] == [("result_missing", "yes")]
    assert painting.paid == {"foxapi": 1}
    assert [output.url for output in made.data] == [None]
    results = painting.folder / "artifacts" / "results"
    assert [path for path in results.rglob("*") if path.is_file()] == []


async def test_page_of_a_moment_is_waited_out(painting: Gateway, served: Served):
    served.serve(b"<html>Busy</html>", "text/html")
    served.serve(b"<html>Busy</html>", "text/html")
    served.serve(picture("PNG"))
    made = await view(painting, await make(painting))
    assert (made.status, len(made.attempts), made.data[0].content_type) == ("completed", 1, "image/png")


@pytest.mark.parametrize("content", [picture("PNG"), picture("AVIF")], ids=["PNG", "AVIF"])
async def test_image_is_not_the_result_of_a_video(painting: Gateway, served: Served, content: bytes):
    painting.adapters["foxapi"] = ADAPTERS["foxapi"]
    await painting.restart()
    served.serve(content, "video/mp4")
    made: Mapping[str, Any] = await painting.make(model="foxapi/kling-v3-text-to-video")
    assert (made["status"], made["error"]["code"]) == ("failed", "result_missing")


def unreadable(_: Any) -> Any:
    raise UnreadableReply


async def test_link_to_a_video_in_a_reply_that_the_adapter_cannot_read_is_not_an_image(
    painting: Gateway, served: Served
):
    """The shared reading looks for files of the kind that was asked for: nothing is fetched."""
    painting.adapters["foxapi"] = painter("foxapi", to_upstream=submit, from_upstream=unreadable)
    await painting.restart()
    served.serve(picture("PNG"))
    made = await view(painting, await make(painting))
    assert (made.status, made.error.code, served.accepted) == ("failed", "result_missing", [])


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "native_bare", "relay_regime": "C"}])
@pytest.mark.parametrize(("content", "status"), [(picture("PNG"), "completed"), (b"<html>Busy</html>", "expired")])
async def test_image_that_needs_the_providers_key_is_fetched_with_it(
    painting: Gateway, served: Served, content: bytes, status: str
):
    """A reply without a link: the provider's call for the content is asked, and a page is not taken for an image."""
    painting.adapters["kling_relay"] = painter(
        "kling_relay", to_upstream=partial(submit, provider="kling_relay", name="kling-v1")
    )
    await painting.restart()
    served.serve(content)
    made = await view(painting, await make(painting, "kling_relay/painter"))
    assert made.status == status
    if status == "completed":
        [output] = made.data
        assert (output.content_type, output.provider_url) == ("image/png", None)
        assert (await painting.client.get(output.url)).content == content


async def test_id_under_the_path_of_the_other_kind_names_the_right_one(painting: Gateway, served: Served):
    served.serve(picture("PNG"))
    generation_id = await make(painting)
    wrong = f"/v1/videos/generations/{generation_id}/content"
    answer = await painting.client.get(wrong)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        f"{generation_id} is an image generation: use /v1/images/generations/{generation_id}/content."
    )
    [output] = (await view(painting, generation_id)).data
    token = output.url.partition("token=")[2]
    async with painting.client_of(None) as anybody:  # the token opens the image only
        assert (await anybody.get(wrong, params={"token": token})).status_code == 401
