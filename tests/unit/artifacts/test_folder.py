"""The artifact store in a folder. tests/e2e/test_artifact_bucket.py has the contract of all artifact stores."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from gateway.artifacts.bucket import ArtifactBucket
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.opening import open_artifact_store
from gateway.artifacts.store import CHUNK_BYTES
from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.failpoints import VARIABLE
from gateway.settings.load import ArtifactSettings, DatabaseSettings, Settings, load

VIDEO = "gen_01/0-1.mp4"


async def put(artifacts: ArtifactFolder, name: str, content: bytes = b"content") -> None:
    partial = artifacts.partial()
    partial.write_bytes(content)
    await artifacts.put(name, partial, "video/mp4")


async def read(artifacts: ArtifactFolder, name: str, stop: int = 1) -> bytes:
    return b"".join([chunk async for chunk in artifacts.read(name, 0, stop)])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


async def test_no_folder_is_made_before_it_is_needed(tmp_path: Path) -> None:
    artifacts = ArtifactFolder(tmp_path / "made" / "when needed")
    assert await artifacts.size(VIDEO) is None
    await artifacts.remove([VIDEO])
    assert is_empty(tmp_path)
    await put(artifacts, VIDEO)
    assert files(tmp_path) == [f"made/when needed/results/{VIDEO}"]


async def test_partial_paths_differ_and_are_on_the_same_file_system(tmp_path: Path) -> None:
    artifacts = ArtifactFolder(tmp_path)
    first, second = artifacts.partial(), artifacts.partial()
    assert first != second
    assert {first.parent, second.parent} == {tmp_path / "results" / ".partial"}


async def test_an_unfinished_file_of_a_crash_is_removed_at_the_next_start(tmp_path: Path) -> None:
    artifacts = ArtifactFolder(tmp_path)
    await put(artifacts, VIDEO)
    artifacts.partial().write_bytes(b"half")
    ArtifactFolder(tmp_path, alone=True)
    assert files(tmp_path) == [f"results/{VIDEO}"]


@pytest.mark.parametrize("url", ["file:{folder}", "s3://bucket"])
def test_what_another_gateway_writes_is_left_alone_for_a_day(tmp_path: Path, url: str) -> None:
    """Of several gateways on PostgreSQL, one that starts must not remove the download of another."""
    files_of = ArtifactSettings(url=url.format(folder=tmp_path), folder=None if "file" in url else str(tmp_path))
    server = DatabaseSettings(url="postgresql://h/d")
    partial, old = (open_artifact_store(Settings(database=server, artifacts=files_of)).partial() for _ in range(2))
    for path, hours in ((partial, 23), (old, 25)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    open_artifact_store(Settings(database=server, artifacts=files_of))
    assert (partial.exists(), old.exists()) == (True, False)
    open_artifact_store(Settings(artifacts=files_of))
    assert not partial.exists(), "on an SQLite file there is one gateway, and it starts"


@pytest.mark.parametrize(("window", "left"), [("file_written", []), ("renamed", [f"results/{VIDEO}"])])
def test_after_a_crash_a_file_is_there_completely_or_not_at_all(tmp_path: Path, window: str, left: list[str]) -> None:
    keep = (
        "import asyncio, pathlib, sys\n"
        "from gateway.artifacts.folder import ArtifactFolder\n"
        "artifacts = ArtifactFolder(pathlib.Path(sys.argv[1]))\n"
        "partial = artifacts.partial()\n"
        "partial.write_bytes(b'content')\n"
        f"asyncio.run(artifacts.put({VIDEO!r}, partial, 'video/mp4'))\n"
    )
    done = subprocess.run(  # noqa: S603  # our own program and arguments
        [sys.executable, "-c", keep, tmp_path], env={**os.environ, VARIABLE: f"{window}:1"}, check=False
    )
    assert done.returncode == -9
    ArtifactFolder(tmp_path, alone=True)
    assert files(tmp_path) == left


async def test_an_empty_folder_is_removed_with_its_last_file(tmp_path: Path) -> None:
    artifacts = ArtifactFolder(tmp_path)
    for name in ("gen_01/0-1.mp4", "gen_01/0-1.jpg", "gen_02/a/b/0-1.mp4"):
        await put(artifacts, name)
    await artifacts.remove(["gen_01/0-1.mp4"])
    assert (tmp_path / "results/gen_01").is_dir()
    await artifacts.remove(["gen_01/0-1.jpg", "gen_02/a/b/0-1.mp4"])
    assert [path.name for path in (tmp_path / "results").iterdir()] == [".partial"]


async def test_a_folder_is_not_removed_while_a_file_is_put_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = ArtifactFolder(tmp_path)
    await put(artifacts, VIDEO)
    make, removals = Path.mkdir, []

    def make_and_be_overtaken(path: Path, *args: Any, **options: Any) -> None:
        make(path, *args, **options)
        if path.name == "gen_01":
            removals.append(threading.Thread(target=artifacts._remove, args=([VIDEO],)))
            removals[0].start()
            removals[0].join(0.1)

    monkeypatch.setattr(Path, "mkdir", make_and_be_overtaken)
    await put(artifacts, "gen_01/0-2.mp4")
    removals[0].join()
    assert files(tmp_path) == ["results/gen_01/0-2.mp4"]


async def test_a_file_that_is_being_read_may_be_removed(tmp_path: Path) -> None:
    artifacts = ArtifactFolder(tmp_path)
    await put(artifacts, VIDEO, b"x" * CHUNK_BYTES * 3)
    reading = artifacts.read(VIDEO, 0, CHUNK_BYTES * 3)
    sizes = [len(await anext(reading))]
    await artifacts.remove([VIDEO])
    sizes += [len(chunk) async for chunk in reading]
    assert sizes == [CHUNK_BYTES] * 3


@pytest.mark.parametrize("link", ["results/gen_01", "results/gen_01/0-1.mp4"])
async def test_a_symbolic_link_is_a_missing_file(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "0-1.mp4").write_bytes(b"secret")
    place = tmp_path / "artifacts" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside if place.name == "gen_01" else outside / "0-1.mp4")
    artifacts = ArtifactFolder(tmp_path / "artifacts")
    assert await artifacts.size(VIDEO) is None
    with pytest.raises(FileNotFoundError):
        await read(artifacts, VIDEO)
    with pytest.raises(StoreUnavailable):
        await put(artifacts, VIDEO)
    await artifacts.remove([VIDEO])
    assert (outside / "0-1.mp4").read_bytes() == b"secret"


async def test_the_folder_itself_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "artifacts").symlink_to(tmp_path / "large disk")
    artifacts = ArtifactFolder(tmp_path / "artifacts")
    await put(artifacts, VIDEO)
    assert await read(artifacts, VIDEO, 7) == b"content"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_only_regular_files_are_read(tmp_path: Path, make: object) -> None:
    place = tmp_path / "results" / VIDEO
    place.parent.mkdir(parents=True)
    make(place)  # type: ignore[operator]  # either takes a path
    artifacts = ArtifactFolder(tmp_path)
    assert await artifacts.size(VIDEO) is None
    with pytest.raises(FileNotFoundError):
        await read(artifacts, VIDEO)


async def test_an_error_of_the_disk_makes_the_store_unavailable(tmp_path: Path) -> None:
    artifacts = ArtifactFolder(tmp_path)
    partial = artifacts.partial()
    partial.write_bytes(b"content")
    (tmp_path / "results" / "gen_01").write_text("a file is where a folder should be")
    with pytest.raises(StoreUnavailable, match="The result cannot be stored: ") as caught:
        await artifacts.put(VIDEO, partial, "video/mp4")
    assert (caught.value.reason or "").startswith("artifacts.url: ")
    assert str(tmp_path) not in caught.value.detail
    assert partial.read_bytes() == b"content"
    assert await artifacts.size(VIDEO) is None


def test_a_folder_that_cannot_be_made_fails_the_first_write(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file is where the folder should be")
    artifacts = ArtifactFolder(tmp_path / "artifacts")
    with pytest.raises(StoreUnavailable, match="The result cannot be stored: ") as caught:
        artifacts.partial()
    assert str(tmp_path) in (caught.value.reason or "")


# --- the settings of both kinds of store ------------------------------------------------------------------------------


def settings_of(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "video-gateway.toml"
    file.write_text(f"[artifacts]\n{text}\n")
    return load(file, {"S3_KEY": "key", "S3_SECRET": "not-to-be-shown"}, {})


def test_a_bucket_and_its_local_folder(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        "url = 's3://bucket/prefix'\nendpoint = 'http://127.0.0.1:9/'\nredirect = true\nregion = 'eu'\n"
        "access_key_id = 'env:S3_KEY'\nsecret_access_key = 'env:S3_SECRET'\nfolder = 'local'",
    )
    assert (settings.artifacts.path, settings.artifacts.redirect) == (Path("local"), True)
    assert "not-to-be-shown" not in repr(settings)
    assert isinstance(open_artifact_store(settings), ArtifactBucket)


@pytest.mark.parametrize(("text", "path"), [("url = 's3://b'", "artifacts"), ("url = 'file:/srv/a'", "/srv/a")])
def test_inputs_are_always_in_a_local_folder(tmp_path: Path, text: str, path: str) -> None:
    assert settings_of(tmp_path, text).artifacts.path == Path(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redirect = true", r"artifacts\.redirect: only where artifacts\.url is a bucket"),
        ("folder = 'a'", r"artifacts\.folder: only where artifacts\.url is a bucket"),
        ("url = 'gs://b'\nendpoint = 'http://h'", r"artifacts\.endpoint: only where artifacts\.url is s3://…"),
        ("url = 's3://b'\naccess_key_id = 'env:S3_KEY'", r"artifacts\.secret_access_key: missing"),
        ("url = 's3://b'\nsecret_access_key = 'env:S3_KEY'", r"artifacts\.access_key_id: missing"),
        ("url = 's3://b'\nsecret_access_key = 'pasted'", r"artifacts\.secret_access_key: expected env:NAME"),
        ("url = 's3://b'\nendpoint = 'ftp://h'", r"artifacts\.endpoint: expected an http\(s\) URL"),
    ],
)
def test_settings_that_do_not_go_together_stop_the_start(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        settings_of(tmp_path, text)


async def test_a_reader_that_is_cancelled_while_the_file_is_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = ArtifactFolder(tmp_path)
    await put(artifacts, VIDEO)
    is_open, go_on = threading.Event(), threading.Event()
    opened: list[FileIO] = []

    def open_slowly(path: Path) -> FileIO:
        opened.append(FileIO(path))
        is_open.set()
        go_on.wait(10)
        return opened[0]

    monkeypatch.setattr("gateway.artifacts.folder.FileIO", open_slowly)
    reading = asyncio.create_task(read(artifacts, VIDEO))
    await asyncio.to_thread(is_open.wait, 10)
    reading.cancel()
    await asyncio.wait([reading])
    go_on.set()
    opening = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*opening)
    await asyncio.sleep(0)  # the callback of the task runs now
    assert opened[0].closed
