"""The content of archived results: access, ranges, conditional requests, and limits."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from email import message_from_bytes
from email.utils import format_datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest
import structlog
from msgspec.structs import replace

from gateway.api.web.streaming import CUT
from gateway.domain.adapter.task import Status
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.model import Generation
from gateway.live import Live
from gateway.tokens import TOKEN_MAX

from ..asgi import scope_of
from .results import ARTIFACT, keep, kept_generation

VIDEOS = "/v1/videos/generations"
FILE = bytes(at * 7 % 251 for at in range(10_000))
PICTURE = b"\xff\xd8\xff a picture"
DIGEST = sha256(FILE).hexdigest()
TAG = f'"{DIGEST}"'


class Result:
    """A completed generation with an archived file."""

    def __init__(self, gateway: Any, generation: Generation) -> None:
        self.gateway = gateway
        self.client: httpx.AsyncClient = gateway.client
        self.id = generation.id
        self.path = f"{VIDEOS}/{generation.id}/content"
        self.ended = generation.completed_at
        self.kept_until: datetime = kept_until(generation)

    async def view(self) -> Any:
        return (await self.client.get(f"{VIDEOS}/{self.id}")).json()

    async def output(self) -> Any:
        return (await self.view())["data"][0]

    async def token(self) -> str:
        return httpx.URL((await self.output())["url"]).params["token"]

    async def get(self, **headers: str) -> httpx.Response:
        """Get the content with the owner's key; the keyword `if_range` sends the header If-Range."""
        return await self.client.get(
            self.path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


def kept_until(generation: Generation) -> datetime:
    archived = generation.outputs[0].kept
    return generation.deadline_at if archived is None else archived.kept_until


async def make(gateway: Any, owner: str, *, thumbnail: bool = False, content: bytes = FILE, **changes: Any) -> Result:
    """A completed generation of this client with an archived file; `changes` as in `kept_generation`."""
    generation = kept_generation(owner, gateway.clock.now(), content, thumbnail=thumbnail, **changes)
    await keep(gateway.application, generation, content, PICTURE)
    return Result(gateway, generation)


async def owner_of(gateway: Any) -> str:
    """The id of the client's key."""
    return (await gateway.stored((await gateway.create())["id"])).owner  # type: ignore[no-any-return]  # it is an attribute of an `Any`


@pytest.fixture
async def result(gateway: Any) -> Result:
    return await make(gateway, await owner_of(gateway), thumbnail=True)


async def test_the_whole_file(result: Result) -> None:
    response = await result.get()
    assert (response.status_code, response.content) == (200, FILE)
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-length"] == str(len(FILE))
    assert response.headers["etag"] == TAG
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["last-modified"] == format_datetime(result.ended, usegmt=True)
    assert response.headers["content-disposition"] == f'inline; filename="{result.id}-0.mp4"'
    assert response.headers["cache-control"] == "private, max-age=86400, immutable"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert "access-control-allow-origin" not in response.headers


async def test_head_has_the_headers_of_the_whole_file(result: Result) -> None:
    whole = await result.get()
    for headers in ({}, {"range": "bytes=0-1"}, {"range": "bytes=99999-"}):
        response = await result.client.head(result.path, headers=headers)
        assert (response.status_code, response.content) == (200, b"")
        answered, wanted = ({**answer.headers, "x-request-id": ""} for answer in (response, whole))
        assert answered == wanted


async def test_a_download_is_saved_under_a_name(result: Result) -> None:
    response = await result.client.get(result.path, params={"download": "1"})
    assert response.headers["content-disposition"] == f'attachment; filename="{result.id}-0.mp4"'


async def test_the_thumbnail_is_another_file(result: Result, check_error: Any) -> None:
    response = await result.client.get(result.path, params={"variant": "thumbnail"})
    assert (response.status_code, response.content) == (200, PICTURE)
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["content-disposition"] == f'inline; filename="{result.id}-0.jpg"'
    assert response.headers["etag"] not in {TAG, ""}
    response = await result.client.get(result.path, params={"variant": "sound"})
    check_error(response, 400, "invalid_parameter", "variant")


async def test_a_thumbnail_that_is_not_kept_is_the_provider_s(gateway: Any, check_error: Any) -> None:
    owner = await owner_of(gateway)
    result = await make(gateway, owner)
    response = await result.client.get(result.path, params={"variant": "thumbnail"})
    assert (response.status_code, response.headers["location"]) == (302, ARTIFACT.thumbnail_url)
    bare = await make(gateway, owner, artifact=replace(ARTIFACT, thumbnail_url=None))
    check_error(await bare.client.get(bare.path, params={"variant": "thumbnail"}), 404, "not_found", "variant")


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("video/webm", "video/webm"),
        ("image/png", "image/png"),
        ("Video/MP4 ; codecs=avc1", "video/mp4"),
        ("text/html", "application/octet-stream"),
        ("video/mp4, text/html", "application/octet-stream"),
        ("video/anything", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("IMAGE/SVG+XML; charset=utf-8", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
async def test_no_file_has_a_type_that_a_browser_would_run(gateway: Any, declared: str, said: str) -> None:
    result = await make(gateway, await owner_of(gateway), content_type=declared)
    whole = await result.get()
    assert whole.headers["content-type"] == said
    assert whole.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert whole.headers["x-content-type-options"] == "nosniff"
    shown = "attachment" if said == "application/octet-stream" else "inline"
    assert whole.headers["content-disposition"].partition(";")[0] == shown
    several = await result.get(range="bytes=0-0,9000-")
    assert several.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert f"Content-Type: {said}\r\n".encode() in several.content


# --- ranges -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requested", "first", "last"),
    [("bytes=0-499", 0, 499), ("bytes=9500-", 9500, 9999), ("bytes=-1", 9999, 9999), ("bytes=0-", 0, 9999)],
)
async def test_a_part(result: Result, requested: str, first: int, last: int) -> None:
    response = await result.get(range=requested)
    assert (response.status_code, response.content) == (206, FILE[first : last + 1])
    assert response.headers["content-range"] == f"bytes {first}-{last}/10000"
    assert response.headers["content-length"] == str(last + 1 - first)
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["etag"] == TAG


async def test_several_parts_come_in_one_body(result: Result) -> None:
    response = await result.get(range="bytes=-10,0-9,5-19,400-409")
    assert response.status_code == 206
    assert response.headers["etag"] == TAG
    assert "content-range" not in response.headers
    assert int(response.headers["content-length"]) == len(response.content)
    head = f"Content-Type: {response.headers['content-type']}\r\n".encode()
    message = message_from_bytes(head + response.content)
    assert message.get_content_type() == "multipart/byteranges"
    parts = [
        (part["content-range"], part.get_content_type(), part.get_payload(decode=True))
        for part in message.get_payload()  # type: ignore[union-attr]  # a list, because the message is multipart
    ]
    assert parts == [
        ("bytes 9990-9999/10000", "video/mp4", FILE[9990:]),
        ("bytes 0-19/10000", "video/mp4", FILE[:20]),
        ("bytes 400-409/10000", "video/mp4", FILE[400:410]),
    ]


@pytest.mark.parametrize("requested", ["bytes=10000-", "bytes=-0", "bytes=99999999999999999999-"])
async def test_a_part_that_is_not_there(result: Result, check_error: Any, requested: str) -> None:
    response = await result.get(range=requested)
    check_error(response, 416, "range_not_satisfiable", "Range")
    assert response.headers["content-range"] == "bytes */10000"


@pytest.mark.parametrize("requested", ["bytes=2-1", "bytes", "items=0-1", "bytes=" + "0-0,900-900," * 20, "bytes=x"])
async def test_a_range_that_does_not_count_gives_the_whole_file(result: Result, requested: str) -> None:
    response = await result.get(range=requested)
    assert (response.status_code, response.content) == (200, FILE)


async def test_two_range_headers_do_not_count(result: Result) -> None:
    response = await result.client.get(result.path, headers=[("range", "bytes=0-1"), ("range", "bytes=3-4")])
    assert response.status_code == 200


async def test_an_empty_file_has_no_parts(gateway: Any) -> None:
    result = await make(gateway, await owner_of(gateway), content=b"")
    for headers in ({}, {"range": "bytes=0-"}, {"range": "bytes=-1"}):
        response = await result.get(**headers)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["content-length"] == "0"


# --- conditions -------------------------------------------------------------------------------------------------------

EARLY, LATE = "Sun, 01 Mar 2026 12:00:00 GMT", "Tue, 03 Mar 2026 12:00:00 GMT"
ENDED = "Mon, 02 Mar 2026 12:00:00 GMT"
YEARLESS = "Mon, 02 Mar 99999999999999999999 12:00:00 GMT"  # no date can have this year
LAST = "Fri, 31 Dec 9999 23:59:59 -2359"  # this moment is after the last one in UTC
CONDITIONS: list[tuple[dict[str, str], int]] = [
    ({"if_none_match": TAG}, 304),
    ({"if_none_match": f"W/{TAG}"}, 304),
    ({"if_none_match": f'"other", {TAG}'}, 304),
    ({"if_none_match": "*"}, 304),
    ({"if_none_match": '"other"'}, 200),
    ({"if_none_match": DIGEST}, 200),
    ({"if_modified_since": ENDED}, 304),
    ({"if_modified_since": LATE}, 304),
    ({"if_modified_since": EARLY}, 200),
    ({"if_modified_since": "Monday, 02-Mar-26 12:00:00 GMT"}, 304),
    ({"if_modified_since": "Mon Mar  2 12:00:00 2026"}, 304),
    ({"if_modified_since": "yesterday"}, 200),
    ({"if_modified_since": "Mon, 32 Mar 2026 12:00:00 GMT"}, 200),
    ({"if_modified_since": YEARLESS}, 200),
    ({"if_modified_since": LAST}, 304),
    ({"if_none_match": '"other"', "if_modified_since": LATE}, 200),
    ({"if_match": TAG}, 200),
    ({"if_match": "*"}, 200),
    ({"if_match": f'"other" , {TAG}'}, 200),
    ({"if_match": f"W/{TAG}"}, 412),
    ({"if_match": '"other"'}, 412),
    ({"if_match": '"other"', "if_none_match": TAG}, 412),
    ({"if_match": TAG, "if_none_match": TAG}, 304),
    ({"if_match": TAG, "if_unmodified_since": EARLY}, 200),
    ({"if_unmodified_since": EARLY}, 412),
    ({"if_unmodified_since": ENDED}, 200),
    ({"if_unmodified_since": "never"}, 200),
    ({"if_unmodified_since": YEARLESS}, 200),
    ({"if_unmodified_since": LAST}, 200),
    ({"range": "bytes=0-1", "if_none_match": TAG}, 304),
    ({"range": "bytes=0-1", "if_match": '"other"'}, 412),
    ({"range": "bytes=0-1", "if_range": TAG}, 206),
    ({"range": "bytes=0-1", "if_range": f"W/{TAG}"}, 200),
    ({"range": "bytes=0-1", "if_range": '"other"'}, 200),
    ({"range": "bytes=0-1", "if_range": ENDED}, 206),
    ({"range": "bytes=0-1", "if_range": EARLY}, 200),
    ({"range": "bytes=0-1", "if_range": LATE}, 200),
    ({"range": "bytes=0-1", "if_range": "?"}, 200),
    ({"range": "bytes=0-1", "if_range": YEARLESS}, 200),
    ({"range": "bytes=99999-", "if_range": '"other"'}, 200),
    ({"range": "bytes=99999-", "if_none_match": TAG}, 304),
    ({"if_range": TAG}, 200),
]


async def test_conditions_are_checked_in_the_order_of_the_rfc(result: Result) -> None:
    for headers, status in CONDITIONS:
        response = await result.get(**headers)
        assert response.status_code == status, headers
        if status == 304:
            assert response.content == b""
            assert response.headers["etag"] == TAG
            assert response.headers["cache-control"].startswith("private, max-age=")
        elif status == 412:
            assert response.json()["error"]["code"] == "precondition_failed"
        else:
            assert response.content == (FILE if status == 200 else FILE[:2])
        if "range" not in headers:
            by_head = await result.client.head(
                result.path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            assert by_head.status_code == status, headers


# --- access -----------------------------------------------------------------------------------------------------------


async def test_a_token_opens_its_file_to_anybody(result: Result) -> None:
    output = await result.output()
    async with result.gateway.client_of(None, "http://another.name") as anybody, result.gateway.client_of("x") as wrong:
        for client in (anybody, wrong):
            for url, content in ((output["url"], FILE), (output["thumbnail_url"], PICTURE)):
                assert (await client.get(httpx.URL(url).raw_path.decode())).content == content


async def test_a_token_opens_only_its_own_file_until_it_expires(result: Result, check_error: Any) -> None:
    other = await make(result.gateway, await owner_of(result.gateway))
    token = await result.token()
    thumbnail = httpx.URL((await result.output())["thumbnail_url"]).params["token"]
    missing = f"{VIDEOS}/gen_01JDKQ00000000000000000000/content"
    refused = [
        (result.path, {"token": token[:-1] + ("A" if token[-1] != "A" else "B")}),
        (result.path, {"token": token, "index": "1"}),
        (result.path, {"token": token, "variant": "thumbnail"}),
        (result.path, {"token": thumbnail}),
        (result.path, {"token": ""}),
        (result.path, {"token": "." + token.partition(".")[2]}),
        (result.path, {"token": str(int(token.partition(".")[0]) + 1) + "." + token.partition(".")[2]}),
        (result.path, {"token": "x" * TOKEN_MAX}),
        (other.path, {"token": token}),
        (missing, {"token": token}),
        (missing, {"token": "x"}),
    ]
    async with result.gateway.client_of(None) as anybody:
        messages = set()
        for path, query in refused:
            response = await anybody.get(path, params=query)
            messages.add(check_error(response, 401, "invalid_token"))
        assert len(messages) == 1
        assert "Authorization: Bearer" in messages.pop()
        response = await anybody.get(result.path, params={"token": "x" * (TOKEN_MAX + 1)})
        check_error(response, 400, "invalid_parameter", "token")
        assert (await anybody.get(result.path, params={"token": token})).status_code == 200
        await result.gateway.clock.advance(30 * 86_400 + 2)
        check_error(await anybody.get(result.path, params={"token": token}), 410, "artifact_expired", "index")
        await result.gateway.clock.advance(30 * 86_400)
        check_error(await anybody.get(result.path, params={"token": token}), 401, "invalid_token")


async def test_a_key_opens_its_own_files_whatever_the_token(result: Result, check_error: Any) -> None:
    assert (await result.client.get(result.path, params={"token": "stale"})).content == FILE
    check_error(await result.gateway.other.get(result.path), 404, "not_found", "id")
    response = await result.gateway.other.get(result.path, params={"token": "stale"})
    check_error(response, 404, "not_found", "id")


async def test_without_keys_no_token_opens_a_file_by_another_name(start: Any, check_error: Any) -> None:
    gateway = await start(keys=False)
    result = await make(gateway, "anonymous")
    async with (
        gateway.client_of(None, "http://localhost") as near,
        gateway.client_of(None, "http://evil.example") as far,
    ):
        token = httpx.URL((await near.get(f"{VIDEOS}/{result.id}")).json()["data"][0]["url"]).params["token"]
        assert (await near.get(result.path)).content == FILE
        assert (await near.get(result.path, params={"token": token})).content == FILE
        check_error(await far.get(result.path), 403, "forbidden_host")
        check_error(await far.get(result.path, params={"token": token}), 403, "forbidden_host")
        check_error(await far.get(result.path, params={"token": token + "x"}), 403, "forbidden_host")


# --- files that are not there -----------------------------------------------------------------------------------------


async def test_an_expired_file_is_gone(result: Result, check_error: Any) -> None:
    await result.gateway.clock.advance(30 * 86_400 + 2)
    for variant in ("video", "thumbnail"):
        response = await result.client.get(result.path, params={"variant": variant})
        message = check_error(response, 410, "artifact_expired", "index")
    assert f"{result.kept_until:%Y-%m-%d %H:%M}" in message


@pytest.mark.parametrize("cut", [True, False])
async def test_a_lost_file_is_reported(gateway: Any, check_error: Any, cut: bool) -> None:
    result = await make(gateway, await owner_of(gateway))
    (path,) = gateway.application.settings.artifacts.path.rglob("0-1.mp4")
    if cut:
        path.write_bytes(FILE[:-1])
    else:
        path.unlink()
    with structlog.testing.capture_logs() as events:
        message = check_error(await result.get(), 410, "artifact_missing", "index")
    assert "provider_url" in message
    (line,) = [event for event in events if event["event"] == "artifact_missing"]
    assert (line["log_level"], line["generation"], line["name"]) == ("error", result.id, f"{result.id}/0-1.mp4")


async def test_a_store_that_does_not_answer_is_a_503_with_retry_after(result: Result, check_error: Any) -> None:
    async def refuse(name: str) -> int:
        raise StoreUnavailable("The result cannot be read: it is away.", retry_after=5, reason="/secret/path")

    result.gateway.application.artifact_store.size = refuse
    response = await result.get()
    check_error(response, 503, "store_unavailable")
    assert response.headers["retry-after"] == "5"
    assert "secret" not in response.text


async def test_an_output_that_is_still_open_has_no_file(gateway: Any, check_error: Any) -> None:
    result = await make(gateway, await owner_of(gateway), status=Status.IN_PROGRESS, kept=None)
    check_error(await result.get(), 404, "not_found", "index")


async def test_what_was_deleted_is_not_found_with_its_token(result: Result, check_error: Any) -> None:
    token = await result.token()
    assert (await result.client.delete(f"{VIDEOS}/{result.id}")).status_code == 200
    async with result.gateway.client_of(None) as anybody:
        check_error(await anybody.get(result.path, params={"token": token}), 404, "not_found", "id")


# --- links of the store -----------------------------------------------------------------------------------------------


async def test_a_client_is_redirected_to_the_store_if_it_is_configured(result: Result) -> None:
    links: list[Any] = []

    async def link(name: str, **options: Any) -> str:
        links.append((name, options))
        return "https://bucket.example/a?signature=x"

    result.gateway.application.artifact_store.link = link
    assert (await result.get()).status_code == 200
    result.gateway.application.litestar.state.context.artifacts._redirect = Live(current=True)
    response = await result.client.get(result.path, params={"download": "1"}, headers={"range": "bytes=0-1"})
    assert (response.status_code, response.headers["location"]) == (302, "https://bucket.example/a?signature=x")
    assert response.headers["cache-control"] == "no-store"
    expected = {"filename": f"{result.id}-0.mp4", "content_type": "video/mp4", "inline": False, "seconds": 3601}
    assert links == [(f"{result.id}/0-1.mp4", expected)]
    assert (await result.client.head(result.path)).status_code == 200  # links are signed for GET only


async def test_without_links_the_gateway_sends_the_file(result: Result) -> None:
    result.gateway.application.litestar.state.context.artifacts._redirect = Live(current=True)
    assert (await result.get()).content == FILE


# --- the output of the generation -------------------------------------------------------------------------------------


async def test_the_output_describes_the_archived_file(result: Result) -> None:
    output = await result.output()
    base = f"http://gateway.test{result.path}?index=0"
    assert output["url"].startswith(f"{base}&token=")
    assert output["thumbnail_url"].startswith(f"{base}&variant=thumbnail&token=")
    fields = ("provider_url", "bytes", "sha256", "content_type", "duration", "width", "height", "expires_at")
    assert [output[name] for name in fields] == [
        ARTIFACT.url,
        len(FILE),
        DIGEST,
        "video/mp4",
        5.0,
        1280,
        720,
        int(result.kept_until.timestamp()),
    ]
    assert (await result.view())["warnings"] == []
    assert (await result.output())["url"] == output["url"]


async def test_an_output_that_is_not_archived_has_the_provider_s_url_and_a_warning(gateway: Any) -> None:
    result = await make(gateway, await owner_of(gateway), kept=None)
    view = await result.view()
    (output,) = view["data"]
    assert [output[name] for name in ("url", "provider_url", "thumbnail_url")] == [
        ARTIFACT.url,
        ARTIFACT.url,
        ARTIFACT.thumbnail_url,
    ]
    assert [output[name] for name in ("bytes", "sha256", "duration")] == [None, None, 4.0]
    (warning,) = view["warnings"]
    assert (warning["type"], warning["param"]) == ("not_kept", "url")
    assert "output 0" in warning["message"]
    response = await result.get()
    assert (response.status_code, response.headers["location"]) == (302, ARTIFACT.url)


async def test_a_file_that_is_still_being_archived_is_not_shown(gateway: Any) -> None:
    result = await make(gateway, await owner_of(gateway), status=Status.IN_PROGRESS, kept=None)
    view = await result.view()
    (output,) = view["data"]
    assert output["status"] == "in_progress"
    assert {output[name] for name in ("url", "provider_url", "thumbnail_url", "duration", "expires_at")} == {None}
    assert view["warnings"] == []


async def test_a_file_that_needs_the_provider_s_key_has_no_url_of_the_provider(gateway: Any) -> None:
    result = await make(gateway, await owner_of(gateway), artifact=replace(ARTIFACT, needs_credential=True))
    output = await result.output()
    assert output["provider_url"] is None
    async with gateway.client_of(None) as anybody:
        assert (await anybody.get(httpx.URL(output["url"]).raw_path.decode())).content == FILE


# --- streams ----------------------------------------------------------------------------------------------------------


class Watched:
    """Replaces the store's `read`; it knows how much was read, and whether the file was closed."""

    def __init__(self, store: Any) -> None:
        self.open = 0
        self.sent = 0
        self._read = store.read
        self._held: list[Any] = []  # keeps generators alive, so that only the gateway closes them
        store.read = self

    def __call__(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        self._held.append(self._chunks(name, start, stop))
        return self._held[-1]  # type: ignore[no-any-return]  # the list has `Any`

    async def _chunks(self, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        self.open += 1
        try:
            async for chunk in self._read(name, start, stop):
                self.sent += len(chunk)
                yield chunk
        finally:
            self.open -= 1


async def test_the_file_is_closed_when_the_client_leaves(served: Any) -> None:
    """Before that, the client does not read on, and the gateway reads no more than a little ahead."""
    content = bytes(24 * 2**20)
    result = await make(served, await owner_of(served), content=content)
    watched = Watched(served.application.artifact_store)
    tracemalloc.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2**16)
        writer.get_extra_info("socket").setsockopt(1, 8, 2**16)  # SO_RCVBUF: how much the system buffers for the client
        request = f"GET {result.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n\r\n"
        writer.write(request.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        before = -1
        async with asyncio.timeout(5):
            while watched.sent != before:  # until the gateway reads no further
                before = watched.sent
                await asyncio.sleep(0.1)
        assert 0 < watched.sent < len(content) / 2
        assert watched.open == 1
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    async with asyncio.timeout(5):
        while watched.open:  # noqa: ASYNC110  # the server does this without an event to wait for
            await asyncio.sleep(0.01)
    assert watched.sent < len(content)


async def test_the_file_is_closed_when_the_client_leaves_during_a_send(result: Result) -> None:
    watched = Watched(result.gateway.application.artifact_store)
    reader = Reader(result.gateway, result.path)
    await reader.stalls()
    reader.gone.set()
    await asyncio.wait_for(reader.task, 5)
    assert (watched.sent, watched.open) == (len(FILE), 0)


class Reader:
    """A client that does not read its answer; first it sends `said` messages of a request body."""

    def __init__(self, gateway: Any, path: str, said: int = 0) -> None:
        self.gone = asyncio.Event()
        self.ready = asyncio.Event()  # set: the client reads everything
        self.status = 0
        self.taken = b""
        self._said = said
        self._waits = asyncio.Event()
        headers = {"host": "x", "authorization": f"Bearer {gateway.key}"}
        scope = scope_of("GET", path, headers, state={CUT: self.gone.set})
        self.task = asyncio.create_task(gateway.application.asgi(scope, self._receive, self._send))

    async def stalls(self) -> None:
        """Return when a message has arrived."""
        await asyncio.wait_for(self._waits.wait(), 5)

    async def _receive(self) -> Any:
        if self._said > 0:
            self._said -= 1
            return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self._waits.set()
        await self.ready.wait()
        self.taken += message["body"]


async def test_a_client_that_reads_nothing_for_a_minute_is_disconnected(result: Result) -> None:
    watched = Watched(result.gateway.application.artifact_store)
    reader = Reader(result.gateway, result.path)
    await reader.stalls()
    await result.gateway.clock.advance(59)
    assert not reader.task.done()
    assert watched.open == 1
    with structlog.testing.capture_logs() as logged:
        await result.gateway.clock.advance(1)
        await asyncio.wait_for(reader.task, 5)
    assert reader.gone.is_set()
    assert watched.open == 0
    assert [line["event"] for line in logged] == ["client_stalled", "request_finished"]


async def test_an_unread_request_body_takes_no_room_and_breaks_nothing(result: Result) -> None:
    reader = Reader(result.gateway, result.path, said=5000)
    await reader.stalls()
    async with asyncio.timeout(5):
        while reader._said:  # noqa: ASYNC110  # the gateway does this without an event to wait for
            await asyncio.sleep(0)
    assert result.gateway.application.asgi._bodies.taken == 0
    reader.ready.set()
    async with asyncio.timeout(5):
        while len(reader.taken) < len(FILE):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.001)
    reader.gone.set()
    await asyncio.wait_for(reader.task, 5)
    assert (reader.status, reader.taken) == (200, FILE)


async def test_downloads_are_bounded_and_one_that_ends_makes_room(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_downloads = 1")
    result = await make(gateway, await owner_of(gateway))
    watched = Watched(gateway.application.artifact_store)
    reader = Reader(gateway, result.path)
    await reader.stalls()

    for headers in ({}, {"range": "bytes=0-1"}, {"range": "bytes=0-1,5-6"}):
        refused = await gateway.client.get(result.path, headers=headers)
        assert "1 downloads are under way already" in check_error(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
    assert (await gateway.client.head(result.path)).status_code == 200
    assert (await gateway.client.get(result.path, headers={"if-none-match": TAG})).status_code == 304

    reader.gone.set()
    await asyncio.wait_for(reader.task, 5)
    assert (await gateway.client.get(result.path)).content == FILE
    assert watched.open == 0


async def test_a_truncated_file_does_not_look_complete_to_the_client(served: Any) -> None:
    result = await make(served, await owner_of(served))

    async def broken(name: str, start: int, stop: int) -> AsyncIterator[bytes]:
        yield FILE[:100]
        raise StoreUnavailable("The result cannot be read.", retry_after=5)

    served.application.artifact_store.read = broken
    request = f"GET {result.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n\r\n"
    (answer,) = await served.raw(request.encode())
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(FILE)))
    assert answer.content == FILE[:100]


async def test_no_token_is_logged(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    from gateway import log  # noqa: PLC0415  # configured only in this test

    token = await result.token()
    log.configure("json", "debug")
    async with result.gateway.client_of(None) as anybody:
        await anybody.get(result.path, params={"token": token})
        await anybody.get(result.path, params={"token": token, "index": "1"})
        await anybody.get(result.path, params={"token": token}, headers={"range": "bytes=99999-"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    lines_of_requests = [(line["path"], line["status"]) for line in lines if line["event"] == "request_finished"]
    assert lines_of_requests == [(VIDEOS + "/{generation_id}/content", status) for status in (200, 401, 416)]
    assert token not in json.dumps(lines)
    assert token.partition(".")[2] not in json.dumps(lines)
