"""Input images on their way to a provider: as a URL, inline, or through the provider's own upload."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

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
    """The bodies of the submits that started something."""
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
async def test_every_image_has_its_own_place(gateway, text: bool):
    first, last = picture("PNG", 10), picture("PNG", 200)
    given = [base64.b64encode(one).decode() if text else data_url(one, "image/png") for one in (first, last)]
    made = await gateway.make(model=RELAY, image=given[0], last_image=given[1])
    assert made["status"] == "completed"
    [body] = sent(gateway)
    assert [base64.b64decode(body[name]) for name in ("image", "image_tail")] == [first, last]


async def test_urls_and_bytes_side_by_side(gateway):
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
    assert [(one["provider"], one["failure"], one["billed"]) for one in made["attempts"]] == [
        (provider, kind, "no"),
        ("kling_relay", None, "yes"),
    ]
    assert gateway.submits == gateway.paid == {"kling_relay": 1}
    assert gateway.received(provider, "upload") == 1


async def test_an_upload_that_hangs(idle, jpeg: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.services.inputs.UPLOAD_TIMEOUT_SECONDS", 0.2)
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


async def test_a_next_route_gets_the_bytes_in_its_own_form(idle, jpeg: bytes):
    idle.route(V, RELAY)
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "503_no_channel")
    made = await gateway.make(model="m", image=data_url(jpeg))
    assert made["status"] == "completed"
    [body] = sent(gateway)
    assert base64.b64decode(body["image"]) == jpeg


async def test_a_file_is_named_again_by_its_own_key_alone(gateway, jpeg: bytes):
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


async def test_an_image_that_no_longer_is_there(gateway, jpeg: bytes):
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


async def test_an_image_that_a_provider_does_not_take_leaves_its_route_out(idle):
    idle.route(RELAY, V)
    gateway = await idle.start()
    made = await gateway.make(model="m", image=data_url(picture("WEBP"), "image/webp"))
    assert (made["status"], made["provider"]) == ("completed", "keevx")
    assert [attempt["provider"] for attempt in made["attempts"]] == ["keevx"]
    tiny = data_url(picture("PNG", size=(100, 100)), "image/png")
    body = {"model": RELAY, "prompt": "A beach.", "image": tiny}
    answer = await gateway.client.post("/v1/videos/generations", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "image")
