"""The content of archived images: variants, tokens, names, and ids under the path of the other kind."""

import gzip
from hashlib import sha256
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from gateway.api.web.links import CONTENT
from gateway.domain.adapter.task import Artifact
from gateway.domain.errors import ProviderUnavailable
from gateway.domain.generation.model import Generation

from .conftest import Body
from .results import keep, kept_generation

IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos/generations"
FILE = bytes(at * 7 % 251 for at in range(1000))
PICTURE = b"\xff\xd8\xff a picture"
TAG = f'"{sha256(FILE).hexdigest()}"'


class Made:
    """A completed image generation with an archived file."""

    def __init__(self, gateway: Any, generation: Generation) -> None:
        self.gateway = gateway
        self.client: httpx.AsyncClient = gateway.client
        self.generation = generation
        self.id = generation.id
        self.path = f"{IMAGES}/{generation.id}/content"

    def url(self, variant: str) -> str:
        """The URL with a token, as the public object has it."""
        archived = self.generation.outputs[0].kept
        assert archived is not None
        links = self.gateway.application.litestar.state.context.links(None)
        return str(links.opened(self.generation, 0, variant, archived.kept_until))


async def make(
    gateway: Any, *, thumbnail: bool = True, kind: str = "image", provider: str = "foxapi", **changes: Any
) -> Made:
    owner = (await gateway.stored((await gateway.create())["id"])).owner
    if kind == "image" and "artifact" not in changes:
        changes["artifact"] = Artifact(url="https://cdn.example/a.png")
    made = kept_generation(
        owner, gateway.clock.now(), FILE, content_type=f"{kind}/x".replace("image/x", "image/png"), thumbnail=thumbnail
    )
    archived = made.outputs[0].kept
    assert archived is not None
    if kind == "image":
        stem = archived.name.removesuffix(".mp4")
        archived = replace(archived, name=f"{stem}.png", thumbnail=f"{stem}-thumbnail.jpg" if thumbnail else None)
    output = replace(made.outputs[0], **{"kept": archived, **changes})
    request = replace(made.request, kind=kind)
    plan = replace(made.plan, routes=(replace(made.plan.routes[0], provider=provider),))
    made = replace(made, kind=kind, request=request, plan=plan, outputs=(output,))  # type: ignore[arg-type]  # callers give a kind
    await keep(gateway.application, made, FILE, PICTURE)
    return Made(gateway, made)


@pytest.mark.parametrize("params", [{}, {"variant": "image"}, {"index": "0"}])
async def test_the_image_with_the_clients_key(gateway: Any, params: dict[str, str]) -> None:
    made = await make(gateway)
    answer = await made.client.get(made.path, params=params)
    assert (answer.status_code, answer.content) == (200, FILE)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == TAG
    assert answer.headers["content-disposition"] == f'inline; filename="{made.id}-0.png"'


async def test_head_parts_conditions_and_downloads(gateway: Any) -> None:
    made = await make(gateway)
    head = await made.client.head(made.path)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(FILE)), b"")
    part = await made.client.get(made.path, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, FILE[10:20])
    assert (await made.client.get(made.path, headers={"if-none-match": TAG})).status_code == 304
    saved = await made.client.get(made.path, params={"download": "1"})
    assert saved.headers["content-disposition"] == f'attachment; filename="{made.id}-0.png"'


async def test_the_thumbnail_has_a_name_of_its_own(gateway: Any, check_error: Any) -> None:
    made = await make(gateway)
    answer = await made.client.get(made.path, params={"variant": "thumbnail"})
    assert (answer.status_code, answer.content) == (200, PICTURE)
    assert answer.headers["content-disposition"] == f'inline; filename="{made.id}-0-thumbnail.jpg"'
    assert answer.headers["etag"] not in {TAG, ""}
    bare = await make(gateway, thumbnail=False)
    check_error(await bare.client.get(bare.path, params={"variant": "thumbnail"}), 404, "not_found", "variant")


async def test_an_image_is_not_the_variant_of_a_video(gateway: Any, check_error: Any) -> None:
    made = await make(gateway)
    message = check_error(
        await made.client.get(made.path, params={"variant": "video"}), 400, "invalid_parameter", "variant"
    )
    assert "image" in message
    video = await make(gateway, kind="video")
    path = f"{VIDEOS}/{video.id}/content"
    check_error(await video.client.get(path, params={"variant": "image"}), 400, "invalid_parameter", "variant")


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_id_under_the_path_of_the_other_kind_names_its_own(
    gateway: Any, check_error: Any, kind: str, method: str
) -> None:
    made = await make(gateway, kind=kind)
    right, wrong = (IMAGES, VIDEOS) if kind == "image" else (VIDEOS, IMAGES)
    answer = await made.client.request(method, f"{wrong}/{made.id}/content")
    assert answer.status_code == 404
    if method == "GET":
        message = check_error(answer, 404, "not_found", "id")
        article = "an image" if kind == "image" else "a video"
        assert message == f"{made.id} is {article} generation: use {right}/{made.id}/content."


async def test_an_image_whose_file_is_not_whole_in_the_store_is_missing(gateway: Any, check_error: Any) -> None:
    made = await make(gateway)
    archived = made.generation.outputs[0].kept
    assert archived is not None
    partial = gateway.application.artifact_store.partial()
    partial.write_bytes(FILE[:-1])
    await gateway.application.artifact_store.put(archived.name, partial, archived.content_type)
    check_error(await made.client.get(made.path), 410, "artifact_missing", "index")


async def test_the_image_of_another_client_does_not_exist(gateway: Any, check_error: Any) -> None:
    """The answer does not say of which kind it is, either."""
    made = await make(gateway)
    for root in (IMAGES, VIDEOS):
        message = check_error(await gateway.other.get(f"{root}/{made.id}/content"), 404, "not_found", "id")
        assert message == f"The generation {made.id!r} does not exist."


async def test_a_token_opens_its_own_variant_only(gateway: Any) -> None:
    made = await make(gateway)
    urls = {variant: httpx.URL(made.url(variant)) for variant in ("image", "thumbnail")}
    assert {variant: url.params.get("variant") for variant, url in urls.items()} == {
        "image": None,
        "thumbnail": "thumbnail",
    }
    anybody = httpx.AsyncClient(transport=made.client._transport, base_url=made.client.base_url)
    opened = {variant: (await anybody.get(url.raw_path.decode())).content for variant, url in urls.items()}
    assert opened == {"image": FILE, "thumbnail": PICTURE}
    for variant, other in (("image", "thumbnail"), ("thumbnail", "image")):
        params = {"variant": other, "token": urls[variant].params["token"]}
        assert (await anybody.get(made.path, params=params)).status_code == 401
    signer = gateway.application.litestar.state.context.signer
    forged = signer.sign(CONTENT, made.id, "0", "video", until=made.generation.deadline_at)
    assert (await anybody.get(made.path, params={"token": forged})).status_code == 401


@pytest.mark.parametrize(
    ("declared", "said", "extension"),
    [
        ("image/webp", "image/webp", "webp"),
        ("image/png; q=1", "image/png", "png"),
        ("text/html", "application/octet-stream", "bin"),
        ("image/png, text/html", "application/octet-stream", "bin"),
    ],
)
async def test_a_file_that_only_the_gateway_can_fetch_is_passed_through(
    gateway: Any, declared: str, said: str, extension: str
) -> None:
    artifact = Artifact(url="https://relay.example/v1/videos/t/content", needs_credential=True)
    made = await make(gateway, provider="kling_relay", kept=None, artifact=artifact)
    gateway.upstream.file = lambda: httpx.Response(200, headers={"content-type": declared}, stream=Body(FILE))
    answer = await made.client.get(made.path)
    assert (answer.content, answer.headers["content-type"]) == (FILE, said)
    how = "attachment" if extension == "bin" else "inline"
    assert answer.headers["content-disposition"] == f'{how}; filename="{made.id}-0.{extension}"'
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


async def test_an_image_that_needs_the_providers_key_is_copied_with_it(gateway: Any) -> None:
    artifact = Artifact(url="https://relay.example/v1/videos/t/content", needs_credential=True)
    made = await make(gateway, provider="kling_relay", kept=None, artifact=artifact)
    content = PICTURE + bytes(1000)
    packed = gzip.compress(content)
    headers = {"content-type": "image/jpeg", "content-encoding": "gzip", "content-length": str(len(packed))}
    gateway.upstream.file = lambda: httpx.Response(200, headers=headers, stream=Body(packed))
    artifacts = gateway.application.litestar.state.context.artifacts
    copied = await artifacts.copy_image(made.generation, 0)
    assert (copied.path.read_bytes(), copied.size) == (content, len(content))
    assert "authorization" in gateway.upstream.requests[-1].headers
    await artifacts.remove_copies([copied])
    assert not copied.path.exists()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(404), "the answer was 404"),
        (httpx.Response(200, headers={"content-length": "5000"}, stream=Body(PICTURE)), "5,000 bytes"),
    ],
)
async def test_an_image_that_its_provider_does_not_give_whole_is_not_copied(
    gateway: Any, answer: httpx.Response, reason: str
) -> None:
    artifact = Artifact(url="https://relay.example/v1/videos/t/content", needs_credential=True)
    made = await make(gateway, provider="kling_relay", kept=None, artifact=artifact)
    gateway.upstream.file = lambda: answer
    with pytest.raises(ProviderUnavailable, match=reason):
        await gateway.application.litestar.state.context.artifacts.copy_image(made.generation, 0)
    assert list(gateway.application.artifact_store.partial().parent.iterdir()) == []
