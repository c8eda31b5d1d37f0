"""Image generation of Keevx in the sandbox, over real HTTP, compared with its documentation."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, UnidentifiedImageError

from gateway.sandbox.keevx_rules import IMAGE_SIZES
from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock

KEY = {"authorization": "Bearer k", "source": "skill"}
LAKE = {"prompt": "A serene mountain lake at sunset", "image_ratio": "16:9", "image_quality": "1K"}


def picture(kind: str = "PNG", color: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 40), color).save(out, kind)
    return out.getvalue()


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(clock=Clock(1_763_700_000), journal=tmp_path / "journal") as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.base_urls()["keevx"], headers=KEY, trust_env=False) as client:
        yield client


async def submit(client: httpx.AsyncClient, **changes: Any) -> list[str]:
    reply = await client.post("/image_generate", json=LAKE | changes)
    assert reply.status_code == 200, reply.text
    ids: list[str] = reply.json()["data"]["task_ids"]
    return ids


async def read(client: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    data: dict[str, Any] = (await client.get(f"/image_generate/{task_id}")).json()["data"]
    return data


async def made(sandbox: SandboxServer, client: httpx.AsyncClient, **changes: Any) -> httpx.Response:
    """The file of a finished task."""
    [task_id] = await submit(client, **changes)
    sandbox.state.clock.advance(6)
    return await client.get((await read(client, task_id))["image_url"])


async def test_task_runs_from_generating_to_a_picture(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    [task_id] = await submit(client)
    running = await read(client, task_id)
    sandbox.state.clock.advance(6)
    done = await read(client, task_id)
    result, thumbnail = await client.get(done["image_url"]), await client.get(done["thumbnail_url"])

    assert task_id.startswith("i2is-")
    assert running == {
        "task_id": task_id,
        "status": "GENERATING",
        "image_url": "",
        "thumbnail_url": "",
        "error_message": "",
    }
    assert (done["status"], set(done)) == ("SUCCEEDED", set(running))
    assert (result.headers["content-type"], done["image_url"][-4:]) == ("image/png", ".png")
    with Image.open(io.BytesIO(result.content)) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (1376, 768))
    with Image.open(io.BytesIO(thumbnail.content)) as image:
        assert image.format == "WEBP"


@pytest.mark.parametrize(("form", "ending"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
async def test_the_form_of_the_file_can_be_chosen(
    sandbox: SandboxServer, client: httpx.AsyncClient, form: str, ending: str
) -> None:
    sandbox.state.settings = sandbox.state.settings.changed({"keevx_image_format": form, "max_short_side": 64})
    file = await made(sandbox, client)
    assert (file.headers["content-type"], file.url.path.endswith(ending)) == (f"image/{form}", True)
    with Image.open(io.BytesIO(file.content)) as image:
        image.load()
        assert (image.format or "").lower() == form


@pytest.mark.parametrize(
    ("quality", "ratio", "size"),
    [
        ("1K", "1:1", (1024, 1024)),
        ("2K", "9:16", (1536, 2752)),
        (None, "1:1", (2048, 2048)),
        ("1K", None, (768, 1376)),
        ("4K", "1:1", (4096, 4096)),
    ],
)
async def test_size_follows_from_quality_and_ratio(
    sandbox: SandboxServer, client: httpx.AsyncClient, quality: str | None, ratio: str | None, size: tuple[int, int]
) -> None:
    body = {"prompt": "x", "image_quality": quality, "image_ratio": ratio}
    reply = await client.post("/image_generate", json={name: value for name, value in body.items() if value})
    [task_id] = reply.json()["data"]["task_ids"]
    sandbox.state.clock.advance(6)
    file = await client.get((await read(client, task_id))["image_url"])
    with Image.open(io.BytesIO(file.content)) as image:
        assert image.size == size


@pytest.mark.parametrize(("ratio", "size"), IMAGE_SIZES.items())
def test_a_size_has_its_ratio_and_as_many_pixels_as_its_quality(ratio: str, size: tuple[int, int]) -> None:
    across, down = (int(part) for part in ratio.split(":"))
    width, height = size
    assert width / height == pytest.approx(across / down, rel=0.02)
    assert width * height == pytest.approx(1024 * 1024, rel=0.03)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
async def test_picture_is_made_from_an_uploaded_reference(
    sandbox: SandboxServer, client: httpx.AsyncClient, kind: str
) -> None:
    upload = await client.post("/figure-resource/upload/file", files={"file": ("a.bin", picture(kind))})
    sandbox.state.settings = sandbox.state.settings.changed({"max_short_side": 64})
    file = await made(sandbox, client, reference_images=[upload.json()["result"]["url"]])
    with Image.open(io.BytesIO(file.content)) as image:
        assert image.getpixel((10, 10)) == pytest.approx((0, 128, 128), abs=6)


async def test_each_image_is_a_task_of_its_own(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    ids = await submit(client, generate_count=8)
    assert (len(set(ids)), sandbox.state.started["keevx"]) == (8, 8)
    assert {task.action for task in sandbox.state.tasks.values()} == {"image_generate"}


async def test_a_sixth_reference_is_ignored_silently(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    """What the provider does, so that a test can show that six are never sent: the sixth is not even fetched."""
    urls = [f"https://example.com/{number}.png" for number in range(5)]
    [task_id] = await submit(client, reference_images=[*urls, f"{sandbox.url}/files/uploads/none/a.png"])
    assert len(sandbox.state.tasks[task_id].request["reference_images"]) == 6
    fifth = LAKE | {"reference_images": [*urls[:4], f"{sandbox.url}/files/uploads/none/a.png"]}
    assert (await client.post("/image_generate", json=fifth)).json()["code"] == 530002


REFUSALS = [
    ({"prompt": None}, 100001),
    ({"prompt": " "}, 100001),
    ({"prompt": 7}, 100001),
    ({"prompt": "x" * 1001}, 100002),
    ({"image_ratio": "2:1"}, 100002),
    ({"image_quality": "8K"}, 100002),
    ({"image_quality": "2k"}, 100002),
    ({"module": "max"}, 100002),
    ({"generate_count": 0}, 100002),
    ({"generate_count": 9}, 100002),
    ({"generate_count": True}, 100001),
    ({"reference_images": []}, 100001),
    ({"reference_images": "https://example.com/1.png"}, 100001),
    ({"reference_images": ["http://127.0.0.1:9/a.png"]}, 530002),
    ({"callback_url": "ftp://x"}, 100001),
    ({"model": "V"}, 100001),
    ({"image_url": "https://example.com/1.png"}, 100001),
]


@pytest.mark.parametrize(("changes", "code"), REFUSALS, ids=str)
async def test_image_rules_have_their_own_codes(
    sandbox: SandboxServer, client: httpx.AsyncClient, changes: dict[str, Any], code: int
) -> None:
    body = {name: value for name, value in (LAKE | changes).items() if value is not None}
    reply = await client.post("/image_generate", json=body)
    assert (reply.status_code, reply.json()["code"]) == (200 if code == 530002 else 400, code)
    assert sandbox.state.started["keevx"] == 0


async def test_a_body_that_is_not_json_is_a_parameter_error(client: httpx.AsyncClient) -> None:
    reply = await client.post("/image_generate", content=b"prompt=x")
    assert (reply.status_code, reply.json()["code"]) == (400, 100001)


async def test_tasks_are_read_at_the_path_of_their_kind_alone(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    [task_id] = await submit(client)
    assert (await client.get(f"/image_to_video/{task_id}")).json()["code"] == 100003
    unknown = await client.get("/image_generate/i2is-unknown")
    assert (unknown.status_code, unknown.json()) == (404, {"code": 110002, "msg": "Task not found"})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("fail_content", "Image generation failed due to content policy"),
        ("fail", "internal error, please try again later"),
        ("fail_content?message=图像生成因内容策略失败", "图像生成因内容策略失败"),
    ],
)
async def test_a_failed_image_says_why(
    sandbox: SandboxServer, client: httpx.AsyncClient, fault: str, message: str
) -> None:
    [task_id] = await submit(client, prompt=f"[[sandbox:keevx:task:{fault}]]")
    sandbox.state.clock.advance(6)
    failed = await read(client, task_id)
    assert (failed["status"], failed["error_message"], failed["image_url"]) == ("FAILED", message, "")


async def test_an_image_can_be_done_without_a_link(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    [task_id] = await submit(client, prompt="[[sandbox:keevx:task:no_url?polls=1]]")
    sandbox.state.clock.advance(6)
    first, second = await read(client, task_id), await read(client, task_id)
    assert (first["status"], first["image_url"]) == ("SUCCEEDED", "")
    assert second["image_url"].startswith("http")


@pytest.mark.parametrize(
    ("fault", "code", "started"),
    [("530003", 530003, 0), ("530002", 530002, 0), ("100002_validation", 100002, 0), ("530003?started=1", 530003, 1)],
)
async def test_documented_errors_can_be_had(
    sandbox: SandboxServer, client: httpx.AsyncClient, fault: str, code: int, started: int
) -> None:
    reply = await client.post("/image_generate", json=LAKE | {"prompt": f"[[sandbox:keevx:submit:{fault}]]"})
    assert (reply.json()["code"], sandbox.state.started["keevx"]) == (code, started)


async def test_a_callback_says_that_it_is_about_an_image(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    trap = f"{sandbox.url}/_sandbox/trap"
    [task_id] = await submit(client, prompt="[[sandbox:keevx:callback:early]]", callback_url=trap)
    [callback] = sandbox.state.callbacks
    assert (callback["body"]["task_type"], callback["body"]["data"]["task_id"]) == ("image_generate", task_id)
    assert callback["body"]["data"]["image_url"].endswith(f"{task_id}.png")


@pytest.mark.parametrize("fault", ["truncated_file", "garbage", "html_200", "empty"])
async def test_a_result_can_be_no_picture(sandbox: SandboxServer, client: httpx.AsyncClient, fault: str) -> None:
    sandbox.state.settings = sandbox.state.settings.changed({"max_short_side": 64})
    sandbox.fault("keevx", "result", fault)
    file = await made(sandbox, client)
    assert file.status_code == 200
    with pytest.raises((UnidentifiedImageError, OSError)), Image.open(io.BytesIO(file.content)) as image:
        image.load()


async def test_a_result_can_be_a_small_file_with_very_many_pixels(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    sandbox.state.settings = sandbox.state.settings.changed({"max_short_side": 64})
    sandbox.fault("keevx", "result", "image_bomb", side=3000)
    file = await made(sandbox, client)
    with Image.open(io.BytesIO(file.content)) as image:
        image.load()
        assert (image.format, image.size, len(file.content) < 10_000) == ("PNG", (3000, 3000), True)


async def test_purchases_of_images_are_in_the_journal(
    sandbox: SandboxServer, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    ids = await submit(client, generate_count=3, module="pro")
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert [(line["event"], line["model"]) for line in lines] == [("submit", "pro"), ("start", "pro")]
    assert (lines[0]["count"], lines[1]["tasks"], lines[1]["action"]) == (3, ids, "image_generate")
