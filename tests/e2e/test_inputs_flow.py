"""Input images on their way to a provider: as a URL, inline, uploaded, or by a link to the gateway."""

import base64
import io
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as replaced
from PIL import Image

from gateway.domain.adapter.contract import ImageTransport
from gateway.sandbox.state import Upload
from gateway.settings.load import Secret

V, KL = "keevx/V", "keevx/KL"
RELAY = "kling_relay/kling-v1"
FOX = "foxapi/kling-v3-image-to-video"
FOX_REFERENCE = "foxapi/kling-o3-reference-to-video"


def data_url(content: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture(kind: str, shade: int = 90, size: tuple[int, int] = (400, 320)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (30, shade, 160)).save(out, kind)
    return out.getvalue()


def sent(gateway) -> list[dict[str, Any]]:
    """The bodies of the submits that started a task."""
    return [dict(task.request) for task in gateway.sandbox.state.tasks.values()]


def uploaded(gateway) -> list[bytes]:
    return [upload.data for upload in gateway.sandbox.state.uploads.values()]


@pytest.mark.parametrize(("route", "field"), [(V, "image_url"), (RELAY, "image"), (FOX, "image_url")])
async def test_a_url_is_passed_on_as_it_is(gateway, route: str, field: str):
    url = "https://example.com/a%20b.jpg?signature=1&x=%2F"
    made = await gateway.make(model=route, image=url)
    assert made["status"] == "completed"
    assert [body[field] for body in sent(gateway)] == [url]
    assert made["request"]["image"] == url
    assert uploaded(gateway) == []


@pytest.mark.parametrize(("route", "field"), [(V, "image_url"), (FOX, "image_url")])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
async def test_bytes_are_uploaded_where_a_provider_has_an_upload(gateway, route: str, field: str, kind: str):
    content = picture(kind)
    made = await gateway.make(model=route, image=data_url(content, f"image/{kind.lower()}"))
    assert made["status"] == "completed"
    assert uploaded(gateway) == [content]
    assert gateway.received(route.partition("/")[0], "upload") == 1
    [body] = sent(gateway)
    [upload] = gateway.sandbox.state.uploads.values()
    assert body[field].startswith(gateway.sandbox.url)
    assert upload.name.endswith({"JPEG": ".jpg", "PNG": ".png"}[kind])
    assert made["request"]["image"].startswith("file_")


async def test_bytes_go_inline_to_a_provider_without_an_upload(gateway, jpeg: bytes):
    made = await gateway.make(model=RELAY, image=data_url(jpeg))
    assert made["status"] == "completed"
    [body] = sent(gateway)
    assert base64.b64decode(body["image"], validate=True) == jpeg
    assert not body["image"].startswith("data:")
    assert uploaded(gateway) == []


@pytest.mark.parametrize("text", [True, False])
async def test_every_image_is_in_its_own_field(gateway, text: bool):
    first, last = picture("PNG", 10), picture("PNG", 200)
    given = [base64.b64encode(image).decode() if text else data_url(image, "image/png") for image in (first, last)]
    made = await gateway.make(model=RELAY, image=given[0], last_image=given[1])
    assert made["status"] == "completed"
    [body] = sent(gateway)
    assert [base64.b64decode(body[name]) for name in ("image", "image_tail")] == [first, last]


async def test_a_request_may_have_urls_and_bytes(gateway):
    url, content = "https://example.com/a.jpg", picture("PNG")
    made = await gateway.make(model=KL, reference_images=[url, data_url(content, "image/png"), url])
    assert made["status"] == "completed"
    [body] = sent(gateway)
    references = body["reference_images"]
    assert (references[0], references[2]) == (url, url)
    assert references[1].startswith(gateway.sandbox.url)
    assert uploaded(gateway) == [content]


async def test_the_same_image_twice_is_uploaded_once(gateway, jpeg: bytes):
    made = await gateway.make(model=FOX_REFERENCE, reference_images=[data_url(jpeg), data_url(jpeg)])
    assert made["status"] == "completed"
    assert gateway.received("foxapi", "upload") == 1
    [body] = sent(gateway)
    assert body["image_urls"][0] == body["image_urls"][1]


@pytest.mark.parametrize("provider", ["keevx", "foxapi"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("500", "unavailable"),
        ("502_html", "unavailable"),
        ("404", "unavailable"),
        ("close_after_accept", "unavailable"),
        ("half_reply", "unavailable"),
        ("garbage", "unavailable"),
        ("empty_object", "unavailable"),
        ("429", "rate_limited"),
        ("401", "credential_refused"),
        ("413", "invalid_request"),
    ],
)
async def test_an_upload_that_fails_costs_nothing(idle, jpeg: bytes, provider: str, fault: str, kind: str):
    idle.route({"keevx": V, "foxapi": FOX}[provider], RELAY)
    gateway = await idle.start()
    gateway.sandbox.fault(provider, "upload", fault)
    made = await gateway.make(model="m", image=data_url(jpeg))
    assert made["status"] == "completed"
    assert [(attempt["provider"], attempt["failure"], attempt["billed"]) for attempt in made["attempts"]] == [
        (provider, kind, "no"),
        ("kling_relay", None, "yes"),
    ]
    assert gateway.submits == gateway.paid == {"kling_relay": 1}
    assert gateway.received(provider, "upload") == 1


async def test_an_upload_that_hangs(idle, jpeg: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.inputs.provider_uploads.UPLOAD_TIMEOUT_SECONDS", 0.2)
    idle.route(V, RELAY)
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "upload", "hang")
    made = await gateway.make(model="m", image=data_url(jpeg))
    assert [attempt["failure"] for attempt in made["attempts"]] == ["unavailable", None]


async def test_on_the_last_route_an_upload_is_tried_again(gateway, jpeg: bytes):
    gateway.sandbox.fault("keevx", "upload", "502_html", times=2)
    made = await gateway.make(model=V, image=data_url(jpeg))
    assert made["status"] == "completed"
    assert [attempt["failure"] for attempt in made["attempts"]] == ["unavailable", "unavailable", None]
    assert (gateway.received("keevx", "upload"), gateway.paid) == (3, {"keevx": 1})


async def test_the_next_route_gets_the_bytes_in_its_own_form(idle, jpeg: bytes):
    idle.route(V, RELAY)
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "503_no_channel")
    made = await gateway.make(model="m", image=data_url(jpeg))
    assert made["status"] == "completed"
    [body] = sent(gateway)
    assert base64.b64decode(body["image"]) == jpeg


async def test_a_file_can_be_named_only_by_its_own_key(gateway, jpeg: bytes):
    made = await gateway.make(model=V, image=data_url(jpeg))
    name = made["request"]["image"]
    again = await gateway.make(model=FOX, image=name)
    assert again["status"] == "completed"
    assert uploaded(gateway) == [jpeg, jpeg]
    async with gateway.client_of("vg_test-key-number-two") as stranger:
        body = {"model": V, "prompt": "A beach.", "image": name}
        answer = await stranger.post("/v1/videos/generations", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")
        theirs = await stranger.post("/v1/videos/generations", json=body | {"image": data_url(jpeg)})
        assert theirs.json()["request"]["image"] != name


async def test_an_expired_file_serves_only_the_generations_that_began_before(gateway, jpeg: bytes):
    form = {"purpose": "vision", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    stored = await gateway.client.post("/v1/files", files={"file": ("a.jpg", jpeg, "image/jpeg")}, data=form)
    await gateway.clock.run_for(3590)
    gateway.sandbox.fault("keevx", "upload", "502_html", times=3)
    body = {"model": V, "prompt": "A beach.", "image": stored.json()["id"]}
    made = await gateway.client.post("/v1/videos/generations", json=body)
    await gateway.clock.run_for(11)
    for path in ("/v1/videos/generations", "/v1/videos/generations/quote"):
        late = await gateway.client.post(path, json=body)
        assert (late.status_code, late.json()["error"]["code"]) == (400, "invalid_image"), path
    assert (await gateway.finish(made.json()["id"]))["status"] == "completed"
    assert uploaded(gateway) == [jpeg]


async def test_an_image_that_is_no_longer_stored(gateway, jpeg: bytes):
    made = await gateway.post(model=V, image=data_url(jpeg))
    for blob in (gateway.folder / "artifacts" / "inputs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    now = await gateway.finish(made["id"])
    assert (now["status"], now["error"]["code"]) == ("failed", "invalid_request")
    assert gateway.submits == {}


async def test_a_disk_that_cannot_be_read_is_waited_for(gateway, jpeg: bytes, monkeypatch: pytest.MonkeyPatch):
    made = await gateway.post(model=V, image=data_url(jpeg))
    with monkeypatch.context() as broken:

        def refuse(_: Path) -> bytes:
            raise OSError(5, "Input/output error")

        broken.setattr(Path, "read_bytes", refuse)
        await gateway.clock.run_for(20)
        assert (await gateway.get(made["id"]))["status"] == "queued"
    now = await gateway.finish(made["id"])
    assert (now["status"], len(now["attempts"])) == ("completed", 1)


async def test_a_route_that_does_not_take_the_image_is_left_out(idle):
    idle.route(RELAY, V)
    gateway = await idle.start()
    made = await gateway.make(model="m", image=data_url(picture("WEBP"), "image/webp"))
    assert (made["status"], made["provider"]) == ("completed", "keevx")
    assert [attempt["provider"] for attempt in made["attempts"]] == ["keevx"]
    tiny = data_url(picture("PNG", size=(100, 100)), "image/png")
    body = {"model": RELAY, "prompt": "A beach.", "image": tiny}
    answer = await gateway.client.post("/v1/videos/generations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "image")


# Every form of an image, in every field that a provider has for images

FOX_O3 = "foxapi/kling-o3-image-to-video"
FORMS = ("url", "data", "base64", "part", "file")
PLACES = {  # for each route: a field of the API → the provider's name for it
    "keevx": [
        (V, {"image": "image_url"}),
        (V, {"image": "image_url", "last_image": "end_image_url"}),
        (V, {"reference_images": "reference_images"}),
        (KL, {"reference_images": "reference_images"}),
    ],
    "kling_relay": [
        (RELAY, {"image": "image"}),
        (RELAY, {"image": "image", "last_image": "image_tail"}),
    ],
    "foxapi": [
        (FOX, {"image": "image_url"}),
        (FOX, {"image": "image_url", "last_image": "image_tail_url"}),
        (FOX_O3, {"image": "image_url", "last_image": "end_image_url"}),
        (FOX_REFERENCE, {"reference_images": "image_urls"}),
        (
            FOX_REFERENCE,
            {"reference_images": "image_urls", "image": "start_image_url", "last_image": "end_image_url"},
        ),
    ],
}


def numbered(number: int) -> bytes:
    """An image that differs for each number."""
    out = io.BytesIO()
    Image.new("RGB", (400, 320), (number % 256, number // 256, 77)).save(out, "PNG", compress_level=1)
    return out.getvalue()


async def file_of(gateway, content: bytes) -> str:
    """Upload the image and return the id of its file."""
    answer = await gateway.client.post(
        "/v1/files", files={"file": ("a.png", content, "image/png")}, data={"purpose": "vision"}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def created(gateway, form: str, images: dict[str, list[bytes]], **fields: str) -> Any:
    """The answer to a create with these images, each sent as `form`: part, url, data, base64 or the id of a file."""
    path = "/v1/videos/generations"
    if form == "part":
        parts = [(name, ("a.png", image, "image/png")) for name, many in images.items() for image in many]
        return await gateway.client.post(path, data=fields, files=parts)
    given: dict[str, list[str]] = {}
    for name, many in images.items():
        match form:
            case "url":
                given[name] = [f"https://example.com/{sha256(image).hexdigest()}.png?a=%2F" for image in many]
            case "data":
                given[name] = [data_url(image, "image/png") for image in many]
            case "base64":
                given[name] = [base64.b64encode(image).decode() for image in many]
            case _:
                given[name] = [await file_of(gateway, image) for image in many]
    body = {name: many if name == "reference_images" else many[0] for name, many in given.items()}
    return await gateway.client.post(path, json={**fields, **body})


def digest_of(gateway, value: str) -> str:
    """The SHA-256 of the image that a provider got, in whichever form."""
    uploads = {
        f"{gateway.sandbox.url}/files/uploads/{name}": upload for name, upload in gateway.sandbox.state.uploads.items()
    }
    if value in uploads:
        return sha256(uploads[value].data).hexdigest()
    if value.startswith("https://example.com/"):
        assert value.endswith(".png?a=%2F")
        return value.removeprefix("https://example.com/").partition(".")[0]
    return sha256(base64.b64decode(value, validate=True)).hexdigest()


@pytest.mark.parametrize("provider", PLACES)
async def test_every_form_reaches_every_field(gateway, provider: str):
    cases: dict[str, dict[str, list[str]]] = {}
    number = files = 0
    for route, places in PLACES[provider]:
        for form in FORMS:
            images = {}
            for name in places:
                count = 2 if name == "reference_images" else 1
                images[name] = [numbered(number := number + 1) for _ in range(count)]
                files += 0 if form == "url" else count
            prompt = f"{form} {route} {' '.join(places)}"
            answer = await created(gateway, form, images, model=route, prompt=prompt)
            assert answer.status_code == 200, (prompt, answer.text)
            cases[answer.json()["id"]] = {
                theirs: [sha256(image).hexdigest() for image in images[ours]] for ours, theirs in places.items()
            } | {"prompt": [prompt]}
    for name, case in cases.items():
        assert (await gateway.finish(name))["status"] == "completed", case
    received = {body["prompt"]: body for body in sent(gateway)}
    for expected in cases.values():
        [prompt] = expected.pop("prompt")
        for field, digests in expected.items():
            value = received[prompt][field]
            handed = value if isinstance(value, list) else [value]
            assert [digest_of(gateway, image) for image in handed] == digests, (prompt, field)
    assert gateway.received(provider, "upload") == (0 if provider == "kling_relay" else files)
    assert gateway.paid == gateway.submits == {provider: len(cases)}


@pytest.mark.parametrize(
    ("route", "names", "param", "reason"),
    [
        (KL, ["image"], "image", "does not take `image` as the first frame; it takes `reference_images`"),
        (V, ["image", "reference_images"], "image", "takes no frames beside reference images"),
        (RELAY, ["reference_images"], "reference_images", "does not take `reference_images`"),
        (FOX, ["reference_images"], "reference_images", "does not take `reference_images`"),
        ("foxapi/kling-v3-motion-control", ["image", "last_image"], "last_image", "takes no last frame"),
        ("foxapi/kling-v3-text-to-video", ["image"], "image", "it takes a prompt without an image"),
    ],
)
async def test_an_image_without_a_field_at_the_provider_is_refused(
    gateway, route: str, names: list[str], param: str, reason: str
):
    for form in FORMS:
        answer = await created(gateway, form, {name: [numbered(1)] for name in names}, model=route, prompt="A beach.")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (422, "unsupported_parameter"), form
        assert f"`{param}`: " in error["message"]
        assert reason in error["message"]
    assert gateway.submits == {}


# An upload is made once, for as long as the provider keeps it


@pytest.mark.parametrize(("route", "keep_seconds"), [(V, 3600), (FOX, 24 * 3600)])
async def test_an_upload_is_used_until_it_may_be_gone(gateway, jpeg: bytes, route: str, keep_seconds: int):
    provider = route.partition("/")[0]
    made = await gateway.make(model=route, image=data_url(jpeg))
    async with gateway.client_of("vg_test-key-number-two") as other:
        body = {"model": route, "prompt": "A beach.", "image": data_url(jpeg)}
        theirs = await other.post("/v1/videos/generations", json=body)
        await gateway.clock.run_for(600)
        assert (await gateway.stored(theirs.json()["id"])).status == "completed"
    await gateway.restart()
    await gateway.make(model=route, image=made["request"]["image"])
    assert gateway.received(provider, "upload") == 1
    field = {V: "image_url", FOX: "image_url"}[route]
    assert len({body[field] for body in sent(gateway)}) == 1
    await gateway.clock.run_for(keep_seconds - 600, steps=4000)
    await gateway.make(model=route, image=data_url(jpeg))
    assert gateway.received(provider, "upload") == 2


async def test_another_account_has_its_own_uploads(idle, jpeg: bytes):
    gateway = await idle.start()
    await gateway.make(model=V, image=data_url(jpeg))
    gateway.providers["keevx"]["api_key"] = Secret.of("sk-another-account")
    await gateway.restart()
    await gateway.make(model=V, image=data_url(jpeg))
    assert gateway.received("keevx", "upload") == 2
    assert b"sk-" not in (gateway.folder / "ledger.db").read_bytes()


async def test_one_upload_serves_all_tries_of_a_generation(gateway, jpeg: bytes):
    gateway.sandbox.fault("foxapi", "submit", "503_no_channel", times=2)
    made = await gateway.make(model=FOX, image=data_url(jpeg), n=2)
    assert made["status"] == "completed"
    assert gateway.received("foxapi", "submit") == 4
    assert gateway.received("foxapi", "upload") == 1


@pytest.mark.parametrize("where", ["submit", "task"])
async def test_an_image_that_is_refused_is_uploaded_again(gateway, jpeg: bytes, where: str):
    fault = "422_invalid_image_url" if where == "submit" else "fail_image"
    gateway.sandbox.fault("foxapi", "submit", fault)
    refused = await gateway.make(model=FOX, image=data_url(jpeg))
    assert (refused["status"], refused["error"]["code"]) == ("failed", "invalid_request")
    assert (await gateway.make(model=FOX, image=data_url(jpeg)))["status"] == "completed"
    assert (await gateway.make(model=FOX, image=data_url(jpeg)))["status"] == "completed"
    assert gateway.received("foxapi", "upload") == 2


async def test_an_upload_that_the_provider_has_evicted_is_repeated(gateway, jpeg: bytes):
    await gateway.make(model=FOX, image=data_url(jpeg))
    gateway.sandbox.state.uploads.clear()
    assert (await gateway.make(model=FOX, image=data_url(jpeg)))["error"]["code"] == "invalid_request"
    assert (await gateway.make(model=FOX, image=data_url(jpeg)))["status"] == "completed"


# Routes that take only URLs, or no URLs


LOOPBACK = (ip_network("127.0.0.0/8"),)


def only(gateway, provider: str, *transports: ImageTransport, **limits: Any) -> None:
    """Let the models of a provider take images only in these forms."""
    adapter = gateway.adapters[provider]
    capabilities = {
        name: tuple(
            replace(capability, image_transports=transports, images=replaced(capability.images, **limits))
            for capability in rows
        )
        for name, rows in adapter.capabilities.items()
    }
    gateway.adapters = {**gateway.adapters, provider: replace(adapter, capabilities=capabilities)}


def hosted(gateway, content: bytes, name: str = "client/a.png") -> str:
    """A URL of the client's own server at which the image can be fetched."""
    gateway.sandbox.state.uploads[name] = Upload("a.png", content, "image/png", 1e12)
    return f"{gateway.sandbox.url}/files/uploads/{name}"


async def test_where_only_urls_are_taken_the_gateway_serves_the_bytes(idle, jpeg: bytes):
    only(idle, "keevx", ImageTransport.URL)
    gateway = await idle.start()
    for image in (data_url(jpeg), await file_of(gateway, picture("PNG"))):
        assert (await gateway.make(model=V, image=image))["status"] == "completed"
    links = [body["image_url"] for body in sent(gateway)]
    assert all(link.startswith("https://gw.example/v1/files/file_") for link in links)
    async with gateway.client_of(None) as provider:
        answers = [await provider.get(link) for link in links]
        assert [answer.content for answer in answers] == [jpeg, picture("PNG")]
        assert answers[0].headers["content-type"] == "image/jpeg"
        await gateway.clock.run_for(24 * 3600, steps=4000)
        assert (await provider.get(links[0])).status_code in {401, 403, 404}
    assert gateway.received("keevx", "upload") == 0


async def test_without_a_public_url_such_a_route_is_left_out(idle, jpeg: bytes):
    only(idle, "keevx", ImageTransport.URL)
    idle.public_url = None
    idle.route(V, RELAY)
    gateway = await idle.start()
    made = await gateway.make(model="m", image=data_url(jpeg))
    assert [attempt["provider"] for attempt in made["attempts"]] == ["kling_relay"]
    body = {"model": V, "prompt": "A beach.", "image": data_url(jpeg)}
    refused = await gateway.client.post("/v1/videos/generations", json=body)
    assert refused.status_code == 422
    assert "takes images by URL alone, and the gateway has no public URL" in refused.json()["error"]["message"]
    assert (await gateway.make(model=V, image="https://example.com/a.jpg"))["status"] == "completed"


@pytest.mark.parametrize("form", [ImageTransport.BASE64, ImageTransport.UPLOAD])
async def test_where_no_urls_are_taken_the_gateway_fetches(idle, form: ImageTransport):
    provider, route = {ImageTransport.BASE64: ("kling_relay", RELAY), ImageTransport.UPLOAD: ("keevx", V)}[form]
    only(idle, provider, form)
    idle.fetch_allow = LOOPBACK
    gateway = await idle.start()
    content = picture("PNG")
    made = await gateway.make(model=route, image=hosted(gateway, content))
    assert made["status"] == "completed"
    [body] = sent(gateway)
    handed = body["image" if provider == "kling_relay" else "image_url"]
    assert digest_of(gateway, handed) == sha256(content).hexdigest()
    assert [path for path in (gateway.folder / "artifacts" / "inputs").rglob("*") if path.is_file()] == []
    await gateway.make(model=route, image=hosted(gateway, content))  # nothing was kept, so it is uploaded again
    assert gateway.received(provider, "upload") == (2 if form is ImageTransport.UPLOAD else 0)


async def test_a_url_that_only_the_gateway_reaches_is_sent_as_bytes(idle):
    idle.fetch_allow = LOOPBACK
    gateway = await idle.start()
    content = picture("PNG")
    near, far = hosted(gateway, content), "https://93.184.216.34/a.jpg"
    made = await gateway.make(model=RELAY, image=near, last_image=far)
    assert made["status"] == "completed"
    [body] = sent(gateway)
    assert (base64.b64decode(body["image"]), body["image_tail"]) == (content, far)


async def test_a_url_that_may_not_be_fetched_is_left_to_the_provider(gateway):
    near = hosted(gateway, picture("PNG"))
    assert (await gateway.make(model=RELAY, image=near))["status"] == "completed"
    assert [body["image"] for body in sent(gateway)] == [near]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://10.1.2.3/a.png", "`image`: the URL could not be fetched: 10.1.2.3 does not lead to a public address"),
        ("missing", "`image`: the URL could not be fetched: its server answered with HTTP status 404."),
        (
            "text",
            "`image`: the URL could not be fetched: its server sent something that is not a usable image. The content",
        ),
        ("webp", "`image`: the provider takes jpeg, png, not webp."),
        ("large", "`image`: the image is over this provider's limit of 3,000 bytes."),
    ],
)
async def test_an_image_that_cannot_be_fetched_falls_back_with_the_reason(idle, url: str, message: str):
    only(idle, "kling_relay", ImageTransport.BASE64, max_bytes=3000)
    only(idle, "keevx", ImageTransport.URL)
    idle.fetch_allow = LOOPBACK
    idle.route(RELAY, V)
    gateway = await idle.start()
    contents = {"text": b"hello", "webp": picture("WEBP"), "large": picture("BMP")}
    if url in contents:
        url = hosted(gateway, contents[url])
    elif url == "missing":
        url = f"{gateway.sandbox.url}/files/uploads/never.png"
    made = await gateway.post(model="m", image=url)
    await gateway.clock.run_for(5)
    first = (await gateway.get(made["id"]))["attempts"][0]
    assert (first["provider"], first["failure"], first["billed"]) == ("kling_relay", "invalid_request", "no")
    assert first["message"].startswith(message)
    assert gateway.submits.get("kling_relay", 0) == 0
    assert (await gateway.get(made["id"]))["attempts"][1]["provider"] == "keevx"


async def test_a_clients_server_that_fails_is_asked_twice_and_the_provider_is_not_blamed(idle):
    only(idle, "kling_relay", ImageTransport.BASE64)
    idle.fetch_allow = LOOPBACK
    gateway = await idle.start()
    ended = await gateway.make(model=RELAY, image="http://127.0.0.1:9/a.png")
    [attempt] = ended["attempts"]
    assert (attempt["failure"], attempt["billed"]) == ("invalid_request", "no")
    assert attempt["message"].startswith("`image`: the URL could not be fetched: no connection to 127.0.0.1")
    assert (ended["status"], gateway.submits) == ("failed", {})
    assert ended["completed_at"] - ended["created_at"] == 2
    assert gateway.app.health.circuit("kling_relay", "kling-v1") == "closed"


def counted_fetches(gateway) -> list[str]:
    """The URLs of the images that the gateway fetches from now on, one for each request to their server."""
    urls: list[str] = []
    get = gateway.app.input_fetcher.get

    def counting(url: str, **options: Any) -> Any:
        urls.append(url)
        return get(url, **options)

    gateway.app.input_fetcher.get = counting
    return urls


FIVE = (RELAY, V, FOX, KL, "kling_relay/kling-v1-6")


@pytest.mark.parametrize(
    ("name", "why", "fetches"),
    [
        ("never.png", "its server answered with HTTP status 404", 1),
        ("text", "its server sent something that is not a usable image", 1),
        ("closed", "no connection to 127.0.0.1 could be opened", 2),
    ],
)
async def test_a_url_that_cannot_be_fetched_ends_the_generation_at_once(idle, name: str, why: str, fetches: int):
    """Every route needs the bytes, so no other route is tried, and the client learns what to change."""
    for provider in ("kling_relay", "keevx", "foxapi"):
        only(idle, provider, ImageTransport.BASE64 if provider == "kling_relay" else ImageTransport.UPLOAD)
    idle.fetch_allow = LOOPBACK
    idle.route(*FIVE)
    gateway = await idle.start()
    urls = counted_fetches(gateway)
    url = {
        "never.png": f"{gateway.sandbox.url}/files/uploads/never.png",
        "text": hosted(gateway, b"hello"),
        "closed": "http://127.0.0.1:9/a.png",
    }[name]
    made = await gateway.make(model="m", image=url)
    assert (made["status"], [attempt["provider"] for attempt in made["attempts"]]) == ("failed", ["kling_relay"])
    assert urls == [url] * fetches
    assert (made["error"]["code"], gateway.submits) == ("invalid_request", {})
    message = made["error"]["message"]
    assert message.startswith(f"`image`: the URL could not be fetched: {why}")
    assert message.endswith(
        "The URL must be one that anyone can open; or send the image itself, as base64 text or as the id of a file that"
        " you uploaded to `/v1/files`."
    )


async def test_a_url_that_cannot_be_fetched_is_left_to_a_route_that_passes_it_on(idle):
    """The provider may reach what the gateway cannot. The routes before it get the verdict without a download."""
    only(idle, "kling_relay", ImageTransport.BASE64)
    only(idle, "foxapi", ImageTransport.UPLOAD)
    idle.fetch_allow = LOOPBACK
    idle.route(RELAY, FOX, V)
    gateway = await idle.start()
    urls = counted_fetches(gateway)
    url = "https://93.184.216.34:9/a.png"
    made = await gateway.make(model="m", image=url)
    assert [(attempt["provider"], attempt["failure"]) for attempt in made["attempts"]] == [
        ("kling_relay", "invalid_request"),
        ("foxapi", "invalid_request"),
        ("keevx", None),
    ]
    assert (made["status"], urls) == ("completed", [url])
    assert [body["image_url"] for body in sent(gateway)] == [url]


async def test_after_the_routes_that_pass_a_url_on_the_generation_ends_at_once(idle):
    """Only the routes that need the bytes are left, and the bytes cannot be had."""
    only(idle, "kling_relay", ImageTransport.BASE64)
    only(idle, "foxapi", ImageTransport.UPLOAD)
    idle.route(V, RELAY, FOX)
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "fail")
    urls = counted_fetches(gateway)
    made = await gateway.make(model="m", image="https://93.184.216.34:9/a.png")
    assert [attempt["provider"] for attempt in made["attempts"]] == ["keevx", "kling_relay"]
    assert (made["status"], len(urls)) == ("failed", 1)
    assert made["error"]["message"].startswith("`image`: the URL could not be fetched: ")


# Images that do not fit are converted, where the client allows it


async def test_an_image_is_converted_with_a_warning(gateway):
    content = picture("WEBP")
    body = {"model": FOX, "prompt": "A beach.", "image": data_url(content, "image/webp"), "adapt": "nearest"}
    quote = (await gateway.client.post("/v1/videos/generations/quote", json=body)).json()
    for _ in range(2):
        made = await gateway.make(**body)
        assert made["status"] == "completed"
    [upload] = gateway.sandbox.state.uploads.values()
    with Image.open(io.BytesIO(upload.data)) as converted:
        assert (converted.format, converted.size, upload.content_type) == ("JPEG", (400, 320), "image/jpeg")
    assert upload.name.endswith(".jpg")
    [warning] = [warning for warning in made["warnings"] if warning["type"] == "adapted"]
    assert warning["param"] == "image"
    assert warning["from"] == f"400x320 image/webp, {len(content)} bytes"
    assert warning["to"] == "400x320 image/jpeg, at most 10485760 bytes"
    assert quote["routes"][0]["warnings"][0]["to"] == warning["to"]


async def test_a_converted_image_is_another_upload(gateway):
    content = data_url(picture("WEBP"), "image/webp")
    await gateway.make(model=V, image=content)
    only(gateway, "keevx", ImageTransport.UPLOAD, formats=frozenset({"image/jpeg"}))
    await gateway.restart()
    await gateway.make(model=V, image=content, adapt="nearest")
    kinds = [upload.content_type for upload in gateway.sandbox.state.uploads.values()]
    assert kinds == ["image/webp", "image/jpeg"]


async def test_an_image_is_made_smaller_in_bytes_and_pixels(idle):
    only(idle, "kling_relay", ImageTransport.BASE64, max_bytes=150_000)
    gateway = await idle.start()
    out = io.BytesIO()
    Image.effect_noise((600, 500), 60).convert("RGB").save(out, "PNG")
    images = {"image": data_url(out.getvalue(), "image/png"), "last_image": data_url(picture("PNG"), "image/png")}
    made = await gateway.make(model=RELAY, **images, adapt="nearest")
    assert made["status"] == "completed"
    assert [warning["param"] for warning in made["warnings"] if warning["type"] == "adapted"] == ["image"]
    [body] = sent(gateway)
    content = base64.b64decode(body["image"])
    with Image.open(io.BytesIO(content)) as converted:
        assert (converted.format, converted.size) == ("JPEG", (424, 353))
    assert len(content) <= 150_000
    assert base64.b64decode(body["image_tail"]) == picture("PNG")


async def test_no_image_is_converted_without_permission(idle):
    webp = data_url(picture("WEBP"), "image/webp")
    idle.route(RELAY, V, adapt="nearest")
    gateway = await idle.start()
    body = {"model": RELAY, "prompt": "A beach.", "image": webp}
    refused = await gateway.client.post("/v1/videos/generations", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "image")
    unchanged = await gateway.make(model="m", image=webp, adapt="none")
    assert (unchanged["provider"], unchanged["warnings"][0]["type"]) == ("keevx", "defaulted")
    assert uploaded(gateway) == [picture("WEBP")]
    changed = await gateway.make(model="m", image=webp)  # as the model is configured
    assert (changed["provider"], changed["warnings"][0]["param"]) == ("kling_relay", "image")


async def test_an_image_that_cannot_be_decoded_is_sent_nowhere(idle):
    idle.route(RELAY, V)
    gateway = await idle.start()
    content = picture("WEBP", size=(640, 480))
    damaged = content[:30] + bytes([255]) * (len(content) - 30)  # complete by its structure
    made = await gateway.make(model="m", image=data_url(damaged, "image/webp"), adapt="nearest")
    assert [(attempt["provider"], attempt["failure"]) for attempt in made["attempts"]] == [
        ("kling_relay", "invalid_request")
    ]
    assert made["error"]["message"].startswith("`image`: it is damaged, or not what it says it is.")
    assert gateway.submits == {}


@pytest.mark.parametrize("kind", ["AVIF", "TIFF"])
async def test_an_image_that_no_provider_takes_is_converted_where_that_is_allowed(idle, kind: str):
    gateway = await idle.start()
    content = picture(kind)
    body = {"model": RELAY, "prompt": "A beach.", "image": data_url(content, "application/octet-stream")}
    refused = await gateway.client.post("/v1/videos/generations", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_image")
    assert kind in refused.json()["error"]["message"]
    assert '"adapt": "nearest"' in refused.json()["error"]["message"]
    made = await gateway.make(**body, adapt="nearest")
    assert made["status"] == "completed"
    assert made["warnings"][0]["from"].startswith(f"400x320 image/{kind.lower()}")
    [sent_body] = sent(gateway)
    assert base64.b64decode(sent_body["image"]).startswith(b"\xff\xd8\xff")


async def test_an_image_that_is_cut_off_at_its_url_is_sent_nowhere(idle):
    idle.fetch_allow = LOOPBACK
    idle.route(RELAY, V)
    gateway = await idle.start()
    content = picture("JPEG")
    made = await gateway.make(model="m", image=hosted(gateway, content[: len(content) // 2]))
    assert [(attempt["provider"], attempt["failure"]) for attempt in made["attempts"]] == [
        ("kling_relay", "invalid_request")
    ]
    assert made["error"]["message"].startswith("`image`: The JPEG image is cut off")
    assert gateway.submits == {}
