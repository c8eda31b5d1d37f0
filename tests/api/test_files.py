"""Uploaded images: stored for a key until they expire, named in requests, served by signed URLs."""

import io
import threading
from base64 import b64encode
from contextlib import ExitStack
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
from PIL import Image

from gateway.api.web import multipart
from gateway.app import Application
from gateway.inputs.library import file_link
from gateway.media.image_header import IMAGE_MAX

FILES = "/v1/files"
VIDEOS = "/v1/videos/generations"
DAY = 86_400.0
MODEL = "kling_relay/kling-v1"


def picture(kind: str = "PNG", width: int = 400) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, 320)).save(out, kind)
    return out.getvalue()


PNG = picture()


def link(gateway: Any, file_id: str, *, owner: str | None = None, seconds: float = 60) -> str:
    """A signed URL of a file of this client."""
    application: Application = gateway.application
    owner = owner or f"key_{sha256(gateway.key.encode()).hexdigest()[:24]}"
    until = gateway.clock.now() + timedelta(seconds=seconds)
    return file_link("", application.litestar.state.context.signer, owner, file_id, until)


def blobs(gateway: Any) -> list[Path]:
    return [path for path in gateway.application.settings.artifacts.path.rglob("*") if len(path.name) == 64]


async def uploaded(gateway: Any, content: bytes = PNG, *, client: Any = None, **fields: str) -> Any:
    response = await (client or gateway.client).post(
        FILES, data={"purpose": "vision", **fields}, files={"file": ("a.png", content, "image/png")}
    )
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_image_is_stored_with_its_facts(gateway: Any) -> None:
    file = await uploaded(gateway, picture("JPEG"), purpose="user_data")

    created_at = file["created_at"]
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": len(picture("JPEG")),
        "created_at": created_at,
        "expires_at": created_at + 30 * DAY,
        "filename": "a.png",
        "purpose": "user_data",
        "status": "processed",
        "content_type": "image/jpeg",
        "width": 400,
        "height": 320,
    }
    assert (await gateway.client.get(f"{FILES}/{file['id']}")).json() == file
    content = await gateway.client.get(f"{FILES}/{file['id']}/content")
    assert content.content == picture("JPEG")
    head = await gateway.client.head(f"{FILES}/{file['id']}/content")
    assert head.content == b""
    for response in (content, head):
        assert response.headers["content-type"] == "image/jpeg"
        assert response.headers["content-length"] == str(file["bytes"])
        assert response.headers["content-disposition"] == 'inline; filename="a.png"'
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "stored", "disposition"),
    [
        ("/home/me/b.png", "b.png", 'filename="b.png"'),
        ("C:\\b.png", "b.png", 'filename="b.png"'),
        ("", "image.png", 'filename="image.png"'),
        ("..", "..", 'filename=".."'),
        ('ö"\u202e.png', 'ö".png', "filename=\"__.png\"; filename*=UTF-8''%C3%B6%22.png"),
        ("x" * 300, "x" * 255, f'filename="{"x" * 255}"'),
    ],
)
async def test_a_file_name_is_cleaned(gateway: Any, given: str, stored: str, disposition: str) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--b\r\n'
        b'Content-Disposition: form-data; name="file"; filename="'
        + given.replace('"', "%22").encode()
        + b'"\r\n\r\n'
        + PNG
        + b"\r\n--b--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=b"}
    file = (await gateway.client.post(FILES, content=body, headers=headers)).json()
    assert file["filename"] == stored
    content = await gateway.client.get(f"{FILES}/{file['id']}/content")
    assert content.headers["content-disposition"] == f"inline; {disposition}"


async def test_files_are_listed_page_by_page(gateway: Any) -> None:
    files = [await uploaded(gateway, purpose=purpose) for purpose in ("vision", "user_data", "vision")]
    await uploaded(gateway, client=gateway.other)
    first, second, third = (file["id"] for file in files)

    async def listed(**params: Any) -> tuple[list[str], bool]:
        page = (await gateway.client.get(FILES, params=params)).json()
        ids = [file["id"] for file in page["data"]]
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
        return ids, page["has_more"]

    assert (await gateway.client.get(FILES)).json()["data"] == files[::-1]
    assert await listed(order="asc", limit=2) == ([first, second], True)
    assert await listed(order="asc", limit=2, after=second) == ([third], False)
    assert await listed(limit=1, after=third) == ([second], True)
    assert await listed(purpose="vision") == ([third, first], False)
    assert await listed(after=first) == ([], False)
    await gateway.client.delete(f"{FILES}/{second}")
    assert await listed(after=second) == ([first], False), (
        "a page continues at its position although its last file was deleted"
    )


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("order=up", "order"), ("purpose=batch", "purpose"), ("after=file_x", "after")],
)
async def test_a_wrong_query_is_refused(gateway: Any, check_error: Any, query: str, param: str) -> None:
    check_error(await gateway.client.get(f"{FILES}?{query}"), 400, "invalid_parameter", param)
    check_error(await gateway.client.get(f"{FILES}?befor=1"), 400, "unknown_parameter", "befor")


async def test_files_of_another_key_do_not_exist(gateway: Any, check_error: Any) -> None:
    file = await uploaded(gateway)
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        check_error(await gateway.other.request(method, f"{FILES}/{file['id']}{path}"), 404, "not_found", "id")
    response = await gateway.other.post(VIDEOS, json={"model": MODEL, "prompt": "A.", "image": file["id"]})
    check_error(response, 400, "invalid_image", "image")
    assert (await gateway.client.get(f"{FILES}/{file['id']}")).json() == file


@pytest.mark.parametrize("name", ["file_x", "file_01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", "%ff%fe", "%00", "%ED%A0%80"])
async def test_a_file_that_is_not_there_is_not_found(gateway: Any, check_error: Any, name: str) -> None:
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        check_error(await gateway.client.request(method, f"{FILES}/{name}{path}"), 404, "not_found", "id")
    response = await gateway.client.get(f"{FILES}/{name}/content?token=x", headers={"authorization": ""})
    check_error(response, 401, "invalid_token")


async def test_a_deleted_file_is_gone_with_its_bytes(gateway: Any, check_error: Any) -> None:
    file = await uploaded(gateway)
    deleted = await gateway.client.delete(f"{FILES}/{file['id']}")
    assert deleted.json() == {"id": file["id"], "object": "file", "deleted": True}
    check_error(await gateway.client.delete(f"{FILES}/{file['id']}"), 404, "not_found", "id")
    check_error(await gateway.client.get(f"{FILES}/{file['id']}/content"), 404, "not_found", "id")
    assert gateway.rows()["files"] == 0
    assert await gateway.application.store.named_blobs([blob.name for blob in blobs(gateway)]) == set()


HUGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0"
GOOD: dict[str, Any] = {"data": {"purpose": "vision"}, "files": {"file": ("a.png", PNG)}}
IMAGE, TEXT = {"file": ("a.png", PNG)}, {"purpose": "vision"}
EXPIRES = "expires_after[seconds]"
ANCHOR = "expires_after[anchor]"
REFUSED: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "no image": ({"files": {"file": ("a.png", b"text")}}, 400, "invalid_image", "file"),
    "nothing": ({"files": {"file": ("a.png", b"")}}, 400, "invalid_image", "file"),
    "a bomb": ({"files": {"file": ("a.png", HUGE)}}, 400, "invalid_image", "file"),
    "too large": ({"files": {"file": ("a.png", PNG + bytes(IMAGE_MAX))}}, 400, "invalid_image", "file"),
    "far too large": ({"files": {"file": ("a.png", bytes(30 * 2**20))}}, 413, "body_too_large", None),
    "no file": ({"files": {"purpose": (None, "vision")}, "data": {}}, 400, "invalid_parameter", "file"),
    "text for the file": ({"files": {"file": (None, "a")}}, 400, "invalid_parameter", "file"),
    "no purpose": ({"data": {}}, 400, "invalid_parameter", "purpose"),
    "a purpose of others": ({"data": {"purpose": "fine-tune"}}, 400, "invalid_parameter", "purpose"),
    "an unknown field": ({"data": {**TEXT, "name": "x"}}, 400, "unknown_parameter", "name"),
    "second files": ({"files": [("file", ("a.png", PNG)), ("file", ("b.png", PNG))]}, 400, "invalid_form", "file"),
    "no anchor": ({"data": {**TEXT, EXPIRES: "3600"}}, 400, "invalid_parameter", ANCHOR),
    "another anchor": ({"data": {**TEXT, ANCHOR: "now", EXPIRES: "3600"}}, 400, "invalid_parameter", ANCHOR),
    "no seconds": ({"data": {**TEXT, ANCHOR: "created_at"}}, 400, "invalid_parameter", EXPIRES),
    "no number": ({"data": {**TEXT, ANCHOR: "created_at", EXPIRES: "1h"}}, 400, "invalid_parameter", EXPIRES),
    "too soon": ({"data": {**TEXT, ANCHOR: "created_at", EXPIRES: "3599"}}, 400, "invalid_parameter", EXPIRES),
    "too late": ({"data": {**TEXT, ANCHOR: "created_at", EXPIRES: "2592001"}}, 400, "invalid_parameter", EXPIRES),
    "JSON": ({"json": {"purpose": "vision"}, "files": None, "data": None}, 415, "unsupported_media_type", None),
    "a query": ({"params": {"purpose": "vision"}}, 400, "unknown_parameter", "purpose"),
}


async def test_a_refused_upload_leaves_nothing(untouched: Any, check_error: Any) -> None:
    for name, (changed, status, code, param) in REFUSED.items():
        response = await untouched.client.post(FILES, **{**GOOD, **changed})
        assert check_error(response, status, code, param), name
    assert blobs(untouched) == []


async def test_a_file_expires_at_the_requested_time(gateway: Any, check_error: Any) -> None:
    remaining = await uploaded(gateway)
    brief = await uploaded(gateway, **{ANCHOR: "created_at", EXPIRES: "3600"})
    assert brief["expires_at"] == brief["created_at"] + 3600

    await gateway.clock.advance(3601)

    for path in ("", "/content"):
        check_error(await gateway.client.get(f"{FILES}/{brief['id']}{path}"), 404, "not_found", "id")
    check_error(await gateway.client.delete(f"{FILES}/{brief['id']}"), 404, "not_found", "id")
    assert (await gateway.client.get(FILES)).json()["data"] == [remaining]
    response = await gateway.client.post(VIDEOS, json={"model": MODEL, "prompt": "A.", "image": brief["id"]})
    check_error(response, 400, "invalid_image", "image")
    library, now = gateway.application.store.library, gateway.clock.now()
    await library.expire(now, 10)  # the sweeper may have done it already
    assert (await library.expire(now, 10), gateway.rows()["files"]) == (0, 1)


async def test_a_file_serves_many_requests(gateway: Any, check_error: Any) -> None:
    file = await uploaded(gateway)
    first = await gateway.create(model=MODEL, image=file["id"])
    second = await gateway.create(model=MODEL, image={"file_id": file["id"]})

    refusal = await gateway.client.delete(f"{FILES}/{file['id']}")
    assert any(generation["id"] in check_error(refusal, 409, "file_in_use") for generation in (first, second))
    await gateway.finish("failed")

    assert len(gateway.upstream.submits) == 2
    assert (await gateway.client.delete(f"{FILES}/{file['id']}")).status_code == 200
    for generation in (first, second):
        path = f"{VIDEOS}/{generation['id']}"
        assert (await gateway.client.get(path)).json()["request"]["image"] == file["id"]
        assert (await gateway.client.delete(path)).status_code == 200


async def test_a_file_outlives_the_generations_that_used_it(gateway: Any) -> None:
    file = await uploaded(gateway)
    created = await gateway.create(model=MODEL, image=file["id"])
    await gateway.finish("failed")
    await gateway.client.delete(f"{VIDEOS}/{created['id']}")
    assert (await gateway.client.get(f"{FILES}/{file['id']}/content")).content == PNG


async def test_an_open_generation_keeps_a_file_that_expires_meanwhile(gateway: Any) -> None:
    file = await uploaded(gateway, **{ANCHOR: "created_at", EXPIRES: "3600"})
    await gateway.clock.advance(3500)
    await gateway.create(model=MODEL, image=file["id"])
    library = gateway.application.store.library

    later = gateway.clock.now() + timedelta(days=1)
    assert await library.expire(later, 10) == 0
    assert (await gateway.client.get(link(gateway, file["id"]), headers={"authorization": ""})).status_code == 200
    await gateway.finish("failed")
    assert len(gateway.upstream.submits) == 1
    await library.expire(later, 10)
    assert gateway.rows()["files"] == 0


async def test_an_image_of_a_create_is_not_listed_as_a_file(gateway: Any, check_error: Any) -> None:
    created = await gateway.create(model=MODEL, image=f"data:image/png;base64,{b64encode(PNG).decode()}")
    name = (await gateway.stored(created["id"])).request.input.first_frame
    assert name.startswith("file_")
    assert (await gateway.client.get(FILES)).json()["data"] == []
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        check_error(await gateway.client.request(method, f"{FILES}/{name}{path}"), 404, "not_found", "id")
    response = await gateway.client.get(link(gateway, name), headers={"authorization": ""})
    assert (response.status_code, response.content) == (200, PNG), "providers may get a URL of it"


async def test_the_files_and_bytes_of_a_key_are_limited(start: Any, check_error: Any) -> None:
    gateway = await start("files.max_per_key = 2\nfiles.max_bytes_per_key = 1048576")
    large = PNG + bytes(600_000)
    first = await uploaded(gateway, large)
    check_error(
        await gateway.client.post(FILES, **{**GOOD, "files": {"file": ("a", large)}}), 400, "file_limit_reached", "file"
    )
    await uploaded(gateway)
    another = {**GOOD, "files": {"file": ("a.png", picture(width=401))}}
    message = check_error(await gateway.client.post(FILES, **another), 400, "file_limit_reached")
    assert "2 files" in message
    assert len(blobs(gateway)) == 2, "a file over the limit is never written to the disk"
    await uploaded(gateway, client=gateway.other)
    await gateway.client.delete(f"{FILES}/{first['id']}")
    await uploaded(gateway, large)


async def test_a_signed_url_needs_no_key(gateway: Any, check_error: Any) -> None:
    file, other = await uploaded(gateway), await uploaded(gateway)
    stranger = gateway.client_of(None)
    url = link(gateway, file["id"])
    for method in ("GET", "HEAD"):
        response = await stranger.request(method, url)
        assert (response.status_code, response.content) == (200, PNG if method == "GET" else b"")
    token = urlsplit(url).query
    check_error(await stranger.get(f"{FILES}/{other['id']}/content?{token}"), 401, "invalid_token")
    check_error(await stranger.get(link(gateway, file["id"], owner="key_x")), 401, "invalid_token")
    message = check_error(await stranger.get(f"{FILES}/{file['id']}/content?token=x"), 401, "invalid_token")
    assert "Authorization: Bearer" in message
    check_error(await stranger.get(f"{FILES}/{file['id']}/content"), 401, "invalid_api_key")
    check_error(await stranger.get(f"{FILES}/{file['id']}?{token}"), 401, "invalid_api_key")
    assert (await gateway.client.get(f"{FILES}/{file['id']}/content?token=x")).status_code == 200, (
        "with a good key the token does not matter"
    )
    await gateway.clock.advance(61)
    check_error(await stranger.get(url), 401, "invalid_token")
    await stranger.aclose()


async def test_a_signed_url_works_under_any_name_and_is_not_logged(gateway: Any) -> None:
    file = await uploaded(gateway)
    url = link(gateway, file["id"])
    async with gateway.client_of(None, "http://any.example") as anybody:
        with structlog.testing.capture_logs() as logged:
            answer = await anybody.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    [line] = [line for line in logged if line["event"] == "request_finished"]
    assert line["path"] == "/v1/files/{file_id}/content"
    assert urlsplit(url).query.partition("=")[2] not in str(logged)


async def test_lost_bytes_are_reported(gateway: Any, check_error: Any) -> None:
    file = await uploaded(gateway)
    for blob in blobs(gateway):
        blob.unlink()
    with structlog.testing.capture_logs() as logged:
        response = await gateway.client.get(f"{FILES}/{file['id']}/content")
    assert "upload it again" in check_error(response, 410, "artifact_missing", "id")
    assert {"event": "file_missing", "log_level": "error", "file": file["id"]} in logged


async def test_a_large_form_is_parsed_in_a_thread(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read, threads = multipart.parse_form, []

    def noted(*given: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return read(*given)

    monkeypatch.setattr(multipart, "parse_form", noted)
    large = PNG + bytes(3 * multipart.PIECE)
    file = await uploaded(gateway, large)
    await uploaded(gateway)
    response = await gateway.client.post(
        VIDEOS,
        data={"model": "foxapi/kling-v3-image-to-video", "prompt": "A beach."},
        files={"image": ("a.png", large, "image/png")},
    )
    assert response.status_code == 200, response.text
    assert threads == [False, True, False]
    assert (await gateway.client.get(f"{FILES}/{file['id']}/content")).content == large


async def test_downloads_are_bounded(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_downloads = 1")
    file = await uploaded(gateway)
    with gateway.application.litestar.state.context.downloads.place("another"):
        check_error(await gateway.client.get(f"{FILES}/{file['id']}/content"), 503, "overloaded")
    assert (await gateway.client.get(f"{FILES}/{file['id']}/content")).content == PNG


async def test_a_link_takes_from_the_share_of_its_owner(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_downloads = 3")
    context = gateway.application.litestar.state.context
    file = await uploaded(gateway)
    stored = next(iter(await context.files._library.holders(file["id"])))
    link = file_link("", context.signer, stored.key, stored.id, context.clock.now() + timedelta(hours=1))
    stranger = {"authorization": ""}
    with ExitStack() as held:
        others = [held.enter_context(context.downloads.place("another", lambda: None)) for _ in range(2)]
        held.enter_context(context.downloads.place(stored.key, lambda: None, part="another link"))
        check_error(await gateway.client.get(link, headers=stranger), 503, "overloaded")
        context.downloads.leave(others[0])
        assert (await gateway.client.get(link, headers=stranger)).content == PNG


async def test_the_same_bytes_twice_are_two_files_and_one_blob(gateway: Any) -> None:
    first, second = await uploaded(gateway), await uploaded(gateway)
    assert first["id"] != second["id"]
    assert len(blobs(gateway)) == 1
    await gateway.client.delete(f"{FILES}/{first['id']}")
    response: httpx.Response = await gateway.client.get(f"{FILES}/{second['id']}/content")
    assert response.content == PNG


async def test_an_upload_is_checked_to_its_end_and_by_its_content(gateway: Any, check_error: Any) -> None:
    whole = {"purpose": (None, "vision")}
    for part in ((None, PNG), ("", PNG), ("a.bin", PNG, "application/octet-stream")):
        answer = await gateway.client.post(FILES, files={**whole, "file": part})
        assert (answer.status_code, answer.json()["content_type"]) == (200, "image/png")
    cut = await gateway.client.post(FILES, files={**whole, "file": ("a.png", PNG[:-1])})
    assert "`file`: The PNG image is cut off: its chunk IEND" in check_error(cut, 400, "invalid_image", "file")
    heic = await gateway.client.post(FILES, files={**whole, "file": ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")})
    message = check_error(heic, 400, "invalid_image", "file")
    assert "is a HEIC image" in message
    assert "Send JPEG, PNG, WebP, GIF or BMP." in message
