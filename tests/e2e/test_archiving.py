"""Results are archived: fetched once, checked, available after the provider's link has ended, removed when deleted."""

import errno
import os
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.archiving import MAX_SECONDS
from gateway.domain.generation.model import Generation
from gateway.domain.generation.transitions import SaveArchivedFile, Write
from gateway.engine.sweeper import INTERVAL_SECONDS
from gateway.fetch import download

from .conftest import Gateway, sandboxed

KEEVX, FOX, RELAY = "keevx/V", "foxapi/kling-v3-text-to-video", "kling_relay/kling-v1"
IMAGE = {"image": "https://example.com/first.jpg"}
DAY = 86400.0


@pytest.fixture
async def archiving(tmp_path: Path, sandbox_options: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway that may fetch results of the sandbox. It draws no thumbnails."""
    async with sandboxed(tmp_path, plain_results=True, **sandbox_options) as gateway:
        gateway.fetch_allow = (ip_network("127.0.0.0/8"),)
        yield await gateway.start()


def files(gateway: Gateway) -> list[Path]:
    """The files in the artifact store, unfinished ones included."""
    walked = os.walk(gateway.folder / "artifacts" / "results")  # a file that is removed during the walk is not an error
    return sorted(Path(folder, name) for folder, _, names in walked for name in names)


async def content(gateway: Gateway, made: dict[str, Any]) -> bytes:
    answer = await gateway.client.get(made["data"][0]["url"])
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize(("model", "given"), [(KEEVX, IMAGE), (RELAY, {}), (FOX, {})])
async def test_result_is_there_when_the_providers_link_has_ended(archiving: Gateway, model: str, given: dict[str, str]):
    made = await archiving.make(model=model, **given)

    [output] = made["data"]
    assert made["status"] == "completed"
    assert {warning["type"] for warning in made["warnings"]} <= {"defaulted"}
    assert (output["content_type"], output["duration"]) == ("video/mp4", {KEEVX: 4.0}.get(model, 5.0))
    assert min(output["width"], output["height"]) > 0
    assert output["url"].startswith("https://gw.example/v1/videos/generations/")
    first = await content(archiving, made)
    assert (len(first), sha256(first).hexdigest()) == (output["bytes"], output["sha256"])

    archiving.clock.move_on(8 * DAY)
    assert (await archiving.client.get(output["provider_url"], follow_redirects=True)).status_code >= 400
    assert await content(archiving, made) == first
    [task] = archiving.sandbox.state.tasks.values()
    assert task.downloads == (2 if model == KEEVX else 1)  # the second download is the thumbnail


async def test_thumbnail_of_a_provider_is_archived_with_the_video(archiving: Gateway):
    made = await archiving.make(model=KEEVX, **IMAGE)
    picture = await archiving.client.get(made["data"][0]["thumbnail_url"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/webp")
    assert picture.content[8:12] == b"WEBP"
    assert {path.suffix for path in files(archiving)} == {".mp4", ".webp"}


async def test_thumbnail_is_drawn_where_a_provider_has_none(archiving: Gateway):
    """It is drawn after the generation has ended: no client waits for it."""
    archiving.thumbnails = True
    await archiving.restart()
    made = await archiving.make(model=FOX)
    assert made["status"] == "completed"
    pictured = await archiving.get(made["id"])
    picture = await archiving.client.get(pictured["data"][0]["thumbnail_url"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert picture.content[:3] == b"\xff\xd8\xff"
    assert {path.suffix for path in files(archiving)} == {".mp4", ".jpg"}

    assert (await archiving.client.delete(f"/v1/videos/generations/{made['id']}")).status_code == 200
    await archiving.until(
        lambda: not archiving.app.store._reader.connection.execute("select * from artifacts").fetchall()
    )
    assert files(archiving) == []


async def test_thumbnail_that_is_drawn_while_the_driver_works_is_not_lost(archiving: Gateway):
    """The driver holds the version before the thumbnail, so its next write is refused and repeated."""
    archiving.thumbnails = True
    await archiving.restart()
    make = archiving.app.store.archived_files.set_thumbnail
    added: list[bool] = []

    async def noting(*args: Any, **named: Any) -> bool:
        made = await archiving.app.store.get(args[0])
        assert made is not None
        added.append(not made.status.terminal)
        return await make(*args, **named)

    archiving.replace_in_store("set_thumbnail", lambda _: noting, archiving.app.store.archived_files)
    archiving.sandbox.fault("foxapi", "result", "502_html", times=1)  # one of the files comes later than the other
    made = await archiving.make(model=FOX, n=2)
    assert (made["status"], len(made["attempts"])) == ("completed", 2)
    assert added == [True, False]
    for output in (await archiving.get(made["id"]))["data"]:
        picture = await archiving.client.get(output["thumbnail_url"])
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")


@pytest.mark.parametrize("fault", ["html_200", "empty", "garbage"])
async def test_file_that_is_not_a_video_is_a_missing_result(archiving: Gateway, fault: str):
    """It was paid for, and the next route is tried."""
    archiving.route(KEEVX, FOX.replace("text", "image"))
    await archiving.restart()
    archiving.sandbox.fault("keevx", "result", fault, times=None)
    made = await archiving.make(model="m", **IMAGE)
    assert [(attempt["provider"], attempt["failure"], attempt["billed"]) for attempt in made["attempts"]] == [
        ("keevx", "result_missing", "yes"),
        ("foxapi", None, "yes"),
    ]
    assert (made["status"], made["provider"]) == ("completed", "foxapi")
    assert len(files(archiving)) == 1


@pytest.mark.parametrize("fault", ["502_html", "close", "404", "html_200", "truncated_json"])
async def test_bad_moment_of_the_providers_files_is_waited_out(archiving: Gateway, fault: str):
    archiving.sandbox.fault("foxapi", "result", fault, times=2)
    made = await archiving.make(model=FOX)
    assert (made["status"], len(made["attempts"]), made["warnings"]) == ("completed", 1, [])
    assert made["completed_at"] - made["created_at"] < 60
    assert len(files(archiving)) == 1


async def test_files_that_cannot_be_fetched_for_long_leave_the_link_and_are_archived_later(archiving: Gateway):
    archiving.sandbox.fault("foxapi", "result", "502_html", times=None)
    made = await archiving.make(model=FOX)
    [output] = made["data"]
    assert made["status"] == "completed"
    assert (output["url"], output["sha256"]) == (output["provider_url"], None)
    assert [warning["type"] for warning in made["warnings"]] == ["not_kept"]

    archiving.sandbox.state.faults.clear()
    await archiving.clock.run_for(3600)
    later = await archiving.get(made["id"])
    assert (later["status"], later["warnings"]) == ("completed", [])
    assert later["data"][0]["sha256"] == sha256(await content(archiving, later)).hexdigest()


async def test_link_that_never_works_is_a_missing_result(archiving: Gateway):
    archiving.sandbox.fault("foxapi", "result", "404", times=None)
    made = await archiving.make(model=FOX)
    assert (made["status"], made["error"]["code"]) == ("failed", "result_missing")


ENCODINGS: dict[str, dict[str, str]] = {
    **{name or "empty": {"header": name} for name in ("utf-8", "binary", "aws-chunked", "none", "gzip", "br")},
    "packed": {"header": "gzip", "pack": "gzip"},
    "packed, unsaid": {"header": "", "pack": "gzip"},
    "packed twice": {"header": "deflate, gzip", "pack": "deflate+gzip"},
    "raw deflate": {"header": "deflate", "pack": "raw"},
}


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}])
@pytest.mark.parametrize(
    ("model", "case"), [*((FOX, case) for case in ENCODINGS), (RELAY, "utf-8"), (RELAY, "packed, unsaid")]
)
async def test_odd_encoding_of_a_file_costs_nothing(archiving: Gateway, model: str, case: str):
    archiving.sandbox.fault("any", "result", "encoded", times=None, **ENCODINGS[case])
    made = await archiving.make(model=model)
    assert (made["status"], [warning["type"] for warning in made["warnings"] if warning["type"] != "defaulted"]) == (
        "completed",
        [],
    )
    assert (await content(archiving, made))[4:8] == b"ftyp"


async def test_compression_that_cannot_be_undone_is_logged(archiving: Gateway, events: list[Any]):
    reply = {"text": "\x0b\x02\x80 packed by brotli", "headers": {"content-encoding": "br"}}
    archiving.sandbox.fault("foxapi", "result", "reply", times=None, **reply)
    made = await archiving.make(model=FOX)
    assert [warning["type"] for warning in made["warnings"]] == ["not_kept"]
    failures = [event for event in events if event["event"] == "result_not_archived"]
    assert "is compressed with br, which is not supported" in failures[0]["error"]


@pytest.mark.parametrize("sandbox_options", [{"files_for_browsers": True}])
async def test_host_that_serves_only_browsers_serves_the_gateway(archiving: Gateway):
    made = await archiving.make(model=FOX)
    assert (made["status"], made["warnings"]) == ("completed", [])
    assert made["data"][0]["sha256"] is not None


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}])
@pytest.mark.parametrize("model", [FOX, RELAY])
async def test_broken_transfer_is_continued(archiving: Gateway, monkeypatch: pytest.MonkeyPatch, model: str):
    monkeypatch.setattr(download, "RESUME_BYTES", 100)
    provider = model.partition("/")[0]
    archiving.sandbox.fault(provider, "result", "half_reply", times=3)
    made = await archiving.make(model=model)
    assert (made["status"], len(made["attempts"])) == ("completed", 1)
    assert made["data"][0]["sha256"] == sha256(await content(archiving, made)).hexdigest()
    assert archiving.received(provider, "result") == 4


async def test_complete_file_with_a_wrong_declared_length_is_archived(archiving: Gateway):
    archiving.sandbox.fault("foxapi", "result", "length_too_long", times=None)
    made = await archiving.make(model=FOX)
    assert (made["status"], made["warnings"]) == ("completed", [])
    assert archiving.received("foxapi", "result") <= 2


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}])
async def test_file_that_only_the_gateway_can_fetch_is_waited_for(archiving: Gateway):
    """The client could not use the link: only the gateway has the key for it."""
    archiving.sandbox.fault("kling_relay", "result", "half_reply", times=None)
    made = await archiving.post(model=RELAY)
    await archiving.until_found(made["id"])
    await archiving.clock.run_for(900)
    waiting = await archiving.get(made["id"])
    assert (waiting["status"], waiting["data"][0]["url"]) == ("in_progress", None)

    archiving.sandbox.state.faults.clear()
    ended = await archiving.finish(made["id"])
    assert (ended["status"], len(ended["attempts"])) == ("completed", 1)
    assert ended["data"][0]["sha256"] == sha256(await content(archiving, ended)).hexdigest()


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}])
async def test_redirect_to_the_file_does_not_get_the_key(archiving: Gateway):
    made = await archiving.post(model=FOX)
    await archiving.finish(made["id"])
    [task] = archiving.sandbox.state.tasks.values()
    location = f"{task.result_url.replace('http:', 'HTTP:')}#t=0"
    archiving.sandbox.fault("kling_relay", "result", "redirect", times=None, location=location)
    relayed = await archiving.make(model=RELAY)
    assert (relayed["status"], relayed["data"][0]["sha256"]) == (
        "completed",
        (await archiving.get(made["id"]))["data"][0]["sha256"],
    )


async def test_retry_after_of_a_host_is_obeyed(archiving: Gateway):
    archiving.sandbox.fault("foxapi", "result", "503_retry_after", times=1, retry_after=300)
    made = await archiving.make(model=FOX)
    assert [warning["type"] for warning in made["warnings"]] == ["not_kept"]
    requests = archiving.received("foxapi", "result")
    await archiving.clock.run_for(250)
    assert archiving.received("foxapi", "result") == requests == 1
    await archiving.clock.run_for(100)
    assert (await archiving.get(made["id"]))["data"][0]["sha256"] is not None


async def test_file_is_fetched_again_after_a_crash(archiving: Gateway):
    archiving.sandbox.fault("foxapi", "result", "502_html", times=None)
    made = await archiving.post(model=FOX)
    await archiving.until_found(made["id"])
    await archiving.crash()
    archiving.sandbox.state.faults.clear()
    await archiving.start()
    ended = await archiving.finish(made["id"])
    assert (ended["status"], len(ended["attempts"]), ended["warnings"]) == ("completed", 1, [])
    assert archiving.paid == {"foxapi": 1}


async def test_address_that_may_not_be_fetched_is_not_waited_for(tmp_path: Path):
    async with sandboxed(tmp_path) as gateway:
        await gateway.start()
        made = await gateway.make(model=FOX)
        assert made["status"] == "completed"
        assert made["data"][0]["url"] == made["data"][0]["provider_url"]
        [warning] = made["warnings"]
        assert warning["type"] == "not_kept"
        assert gateway.received("foxapi", "result") == 0
        assert files(gateway) == []


async def test_delete_of_a_generation_removes_its_files(archiving: Gateway):
    made = await archiving.make(model=KEEVX, **IMAGE)
    assert len(files(archiving)) == 2
    assert (await archiving.client.delete(f"/v1/videos/generations/{made['id']}")).status_code == 200
    await archiving.until(
        lambda: not archiving.app.store._reader.connection.execute("select * from artifacts").fetchall()
    )
    assert files(archiving) == []


async def test_delete_while_a_file_is_recorded_leaves_no_file(archiving: Gateway, monkeypatch: pytest.MonkeyPatch):
    """The local copy for the thumbnail goes as well: it would hold the deleted video until the gateway stops."""
    archiving.thumbnails = True
    await archiving.restart()
    put, write = archiving.app.artifact_store.put, archiving.app.store.write
    deleted: list[int] = []

    async def put_later(*args: Any) -> None:
        if not (await archiving.stored(ids[0])).status.terminal:
            raise StoreUnavailable("The disk is full.")
        await put(*args)

    async def delete_and_write(before: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        if any(isinstance(item, SaveArchivedFile) for item in writes):
            deleted.append((await archiving.client.delete(f"/v1/videos/generations/{before.id}")).status_code)
        return await write(before, writes, now)

    monkeypatch.setattr(archiving.app.artifact_store, "put", put_later)
    monkeypatch.setattr(archiving.app.store, "write", delete_and_write)
    ids = [(await archiving.post(model=FOX))["id"]]
    assert (await archiving.finish(ids[0]))["status"] == "completed"
    await archiving.clock.run_for(3600)
    assert deleted == [200]
    assert not any((archiving.folder / "artifacts" / "results" / ".partial").iterdir())


async def test_file_system_without_hard_links_costs_only_the_thumbnail(
    archiving: Gateway, monkeypatch: pytest.MonkeyPatch
):
    def link(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    archiving.thumbnails = True
    await archiving.restart()
    monkeypatch.setattr(os, "link", link)
    made = await archiving.make(model=FOX)
    [output] = (await archiving.get(made["id"]))["data"]
    assert (made["warnings"], output["thumbnail_url"]) == ([], None)
    assert [path.suffix for path in files(archiving)] == [".mp4"]


async def test_files_go_when_their_time_is_over(archiving: Gateway):
    made = await archiving.make(model=KEEVX, **IMAGE)
    [output] = made["data"]
    assert output["expires_at"] == pytest.approx(made["completed_at"] + 30 * DAY, abs=60)
    archiving.clock.move_on(30 * DAY + INTERVAL_SECONDS)
    await archiving.until(lambda: not files(archiving))
    gone = await archiving.client.get(f"/v1/videos/generations/{made['id']}/content")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "artifact_expired")


async def test_cancel_during_a_download_leaves_no_file(archiving: Gateway):
    archiving.sandbox.fault("foxapi", "result", "502_html", times=None)
    made = await archiving.post(model=FOX)
    await archiving.until_found(made["id"])
    cancelled = await archiving.client.post(f"/v1/videos/generations/{made['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["data"][0]["url"]) == (200, None)
    archiving.sandbox.state.faults.clear()
    await archiving.clock.run_for(3600)
    assert files(archiving) == []


async def test_disk_without_room_loses_nothing(archiving: Gateway, monkeypatch: pytest.MonkeyPatch):
    """The archiving waits for room. The client waits for a while, then gets the provider's link."""

    async def put(*_: object) -> None:
        raise StoreUnavailable("The disk is full.")

    with monkeypatch.context() as full:
        full.setattr(archiving.app.artifact_store, "put", put)
        made = await archiving.make(model=FOX)
        assert made["status"] == "completed"
        assert [warning["type"] for warning in made["warnings"]] == ["not_kept"]
        assert files(archiving) == []
    await archiving.clock.run_for(3600)
    assert (await archiving.get(made["id"]))["data"][0]["sha256"] is not None


@pytest.mark.parametrize("sandbox_options", [{"relay_query": "proxy_url"}])
@pytest.mark.parametrize("packed", [False, True])
async def test_disk_without_room_passes_through_what_only_the_gateway_can_fetch(
    archiving: Gateway, monkeypatch: pytest.MonkeyPatch, packed: bool
):
    """The client gets the file itself, decoded, although the gateway cannot store it."""

    async def put(*_: object) -> None:
        raise StoreUnavailable("The disk is full.")

    encoding = {"header": "utf-8", "pack": "gzip"} if packed else {"header": "utf-8"}
    archiving.sandbox.fault("kling_relay", "result", "encoded", times=None, **encoding)
    with monkeypatch.context() as full:
        full.setattr(archiving.app.artifact_store, "put", put)
        made = await archiving.make(model=RELAY)
        assert (made["status"], [warning["type"] for warning in made["warnings"]]) == ("completed", ["not_kept"])
        answer = await archiving.client.get(made["data"][0]["url"])
    assert (answer.status_code, answer.content[4:8]) == (200, b"ftyp")
    assert "content-encoding" not in answer.headers
    assert ("content-length" in answer.headers) is not packed
    assert files(archiving) == []
    await archiving.clock.run_for(3600)
    output = (await archiving.get(made["id"]))["data"][0]
    assert output["sha256"] == sha256(answer.content).hexdigest()


@pytest.mark.parametrize("wait", ["9" * 40, "-1", "soon", "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"])
async def test_senseless_wait_of_a_host_changes_nothing(archiving: Gateway, wait: str):
    archiving.sandbox.fault("foxapi", "result", "503", times=1, retry_after=wait)
    made = await archiving.make(model=FOX)
    await archiving.clock.run_for(MAX_SECONDS)
    assert (await archiving.get(made["id"]))["data"][0]["sha256"] is not None
