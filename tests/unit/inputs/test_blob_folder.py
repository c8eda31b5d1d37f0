"""Blobs: each is there completely or not at all."""

import asyncio
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.clock import Timer
from gateway.domain.errors import InsufficientStorage, StoreUnavailable
from gateway.inputs.blob_folder import BlobFolder
from gateway.inputs.disk_room import room_left
from gateway.live import Live

CONTENT = b"\x89PNG" * 1000
DIGEST = sha256(CONTENT).hexdigest()
FOLDER = DIGEST[:2]
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class StillClock:
    """A clock that a test sets. It has no timers."""

    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("blobs use no timers")


CLOCK = StillClock()


def blobs_in(folder: Path, clock: StillClock = CLOCK, min_free_bytes: int = 0) -> BlobFolder:
    return BlobFolder(folder, clock, min_free_bytes=Live(min_free_bytes))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_bytes_are_kept_under_their_digest(tmp_path: Path) -> None:
    blobs = blobs_in(tmp_path / "made" / "when needed")

    assert await blobs.put(CONTENT) == DIGEST

    assert await blobs.get(DIGEST) == CONTENT
    assert await blobs.get(sha256(b"other").hexdigest()) is None
    assert await blobs_in(tmp_path / "made" / "when needed").get(DIGEST) == CONTENT


async def test_empty_content_is_stored_too(tmp_path: Path) -> None:
    blobs = blobs_in(tmp_path)

    assert await blobs.get(await blobs.put(b"")) == b""


async def test_the_same_content_is_written_once_and_has_the_time_of_the_last_put(tmp_path: Path) -> None:
    clock = StillClock()
    blobs = blobs_in(tmp_path, clock)
    await blobs.put(CONTENT)
    (written,) = files(tmp_path)
    before = written.stat()
    clock.moment += SECOND

    await asyncio.gather(*(blobs.put(CONTENT) for _ in range(5)))

    assert files(tmp_path) == [written]
    assert (written.stat().st_ino, before.st_mtime) == (before.st_ino, NOW.timestamp())
    assert written.stat().st_mtime == clock.moment.timestamp()


async def test_putting_the_same_content_at_the_same_time_leaves_one_complete_file(tmp_path: Path) -> None:
    blobs = blobs_in(tmp_path)

    assert set(await asyncio.gather(*(blobs.put(CONTENT) for _ in range(10)))) == {DIGEST}

    assert len(files(tmp_path)) == 1
    assert await blobs.get(DIGEST) == CONTENT


async def test_a_blob_is_synchronised_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, rename = os.fsync, Path.rename

    def flushed(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        flush(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)

    await blobs_in(tmp_path).put(CONTENT)

    assert done == ["file", "rename", "folder", "folder"]


@pytest.mark.parametrize("where", ["fsync", "rename"])
async def test_a_failed_write_leaves_nothing_and_the_next_try_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    blobs = blobs_in(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os if where == "fsync" else Path, where, full)
        with pytest.raises(StoreUnavailable, match="No space left on device") as refused:
            await blobs.put(CONTENT)

    assert refused.value.retry_after == 5
    assert files(tmp_path) == []
    assert await blobs.get(DIGEST) is None
    assert await blobs.get(await blobs.put(CONTENT)) == CONTENT


async def test_a_file_in_the_place_of_the_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    blobs = blobs_in(tmp_path / "file")

    with pytest.raises(StoreUnavailable, match="cannot be stored"):
        await blobs.put(CONTENT)
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await blobs.get(DIGEST)


async def test_blobs_that_were_not_put_since_are_old(tmp_path: Path) -> None:
    clock = StillClock()
    blobs = blobs_in(tmp_path, clock)
    assert await blobs.folders() == []
    await blobs.put(CONTENT)
    other = await blobs.put(b"other")

    assert await blobs.folders() == sorted({FOLDER, other[:2]})
    assert await blobs.old(FOLDER, NOW) == []
    assert await blobs.old(FOLDER, NOW + SECOND) == [DIGEST]
    clock.moment += SECOND
    await blobs.put(CONTENT)
    assert await blobs.old(FOLDER, NOW + SECOND) == []


async def test_temporary_files_of_broken_writes_are_old_too_and_foreign_files_are_not(tmp_path: Path) -> None:
    blobs = blobs_in(tmp_path)
    await blobs.put(CONTENT)
    temporary = f".{DIGEST}.0123abcd"
    for name in (temporary, "README", f"{DIGEST}.bak", ".hidden"):
        (tmp_path / FOLDER / name).write_bytes(b"")
        os.utime(tmp_path / FOLDER / name, (0, 0))
    (tmp_path / "lost+found").mkdir()

    assert await blobs.folders() == [FOLDER]
    assert await blobs.old(FOLDER, NOW) == [temporary]


async def test_only_blobs_that_are_still_old_are_removed(tmp_path: Path) -> None:
    """A blob may be put again between the listing and the removal."""
    clock = StillClock()
    blobs = blobs_in(tmp_path, clock)
    await blobs.put(CONTENT)
    old = await blobs.old(FOLDER, NOW + SECOND)
    clock.moment += SECOND
    await blobs.put(CONTENT)

    assert await blobs.remove(FOLDER, old, NOW + SECOND) == 0
    assert await blobs.get(DIGEST) == CONTENT

    assert await blobs.remove(FOLDER, [*old, sha256(b"gone").hexdigest()], NOW + 2 * SECOND) == 1
    assert files(tmp_path) == []
    assert await blobs.put(CONTENT) == DIGEST
    assert await blobs.get(DIGEST) == CONTENT


async def test_a_put_during_a_removal_always_leaves_the_blob(tmp_path: Path) -> None:
    """In either order, the blob that was put is there afterwards."""
    clock = StillClock()
    blobs = blobs_in(tmp_path, clock)
    for _ in range(200):
        clock.moment = NOW
        await blobs.put(CONTENT)
        clock.moment = NOW + 2 * SECOND
        await asyncio.gather(blobs.remove(FOLDER, [DIGEST], NOW + SECOND), blobs.put(CONTENT))
        assert await blobs.get(DIGEST) == CONTENT


async def test_a_blob_that_is_removed_while_a_put_sets_its_time_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system finds the file by its name, and only then sets its time: the name may belong to nothing by then."""
    blobs = blobs_in(tmp_path)
    await blobs.put(CONTENT)
    set_time = os.utime

    def interrupted(place: Path | int, times: tuple[float, float]) -> None:
        if isinstance(place, int):
            set_time(place, times)
            return
        with place.open("rb") as file:
            blobs._remove(FOLDER, [DIGEST], times[0])
            set_time(file.fileno(), times)

    monkeypatch.setattr(os, "utime", interrupted)
    blobs._put(CONTENT, (NOW + SECOND).timestamp())

    assert await blobs.get(DIGEST) == CONTENT


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_blob_that_another_gateway_puts_during_a_removal_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Several gateways may have the folder: one looks at the time of the file, another one puts it again then."""
    blobs = blobs_in(tmp_path)
    await blobs.put(CONTENT)
    later = (NOW + 2 * SECOND).timestamp()
    rename = Path.rename

    def meanwhile(path: Path, target: Path) -> Path:
        is_taken_away = path.name == DIGEST
        if is_taken_away and moment == "before":
            blobs._put(CONTENT, later)
        renamed = rename(path, target)
        if is_taken_away and moment == "after":
            blobs._put(CONTENT, later)
        return renamed

    monkeypatch.setattr(Path, "rename", meanwhile)
    assert await blobs.remove(FOLDER, [DIGEST], NOW + SECOND) == (moment == "after")

    assert await blobs.get(DIGEST) == CONTENT
    assert [path.name for path in files(tmp_path)] == [DIGEST]
    assert await blobs.old(FOLDER, NOW + SECOND) == [], "it has the time of the second put"


async def test_the_file_of_an_unfinished_write_stays_for_a_day(tmp_path: Path) -> None:
    """Another gateway may be writing it."""
    blobs = blobs_in(tmp_path)
    await blobs.put(CONTENT)
    for number, hours in enumerate((23, 25)):
        name = f".{DIGEST}.0000000{number}"
        (tmp_path / FOLDER / name).write_bytes(b"half")
        os.utime(tmp_path / FOLDER / name, ((NOW - timedelta(hours=hours)).timestamp(),) * 2)
    assert await blobs.old(FOLDER, NOW) == [f".{DIGEST}.00000001"]
    assert await blobs.remove(FOLDER, [f".{DIGEST}.00000001"], NOW) == 1


@pytest.mark.parametrize("call", ["folders", "old", "remove"])
async def test_a_disk_that_fails_makes_the_calls_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    blobs = blobs_in(tmp_path)
    await blobs.put(CONTENT)

    def broken(*arguments: object, **named: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(
        *{"folders": (Path, "iterdir"), "old": (os, "scandir"), "remove": (Path, "unlink")}[call], broken
    )
    arguments = {"folders": (), "old": (FOLDER, NOW + SECOND), "remove": (FOLDER, [DIGEST], NOW + SECOND)}[call]
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await getattr(blobs, call)(*arguments)


async def test_a_disk_that_is_nearly_full_takes_no_new_blob_but_one_that_is_there_already(tmp_path: Path) -> None:
    assert await blobs_in(tmp_path).put(CONTENT) == DIGEST
    nearly_full = blobs_in(tmp_path, min_free_bytes=2**50)

    with pytest.raises(InsufficientStorage, match="nearly full") as refused:
        await nearly_full.put(b"other")

    assert refused.value.retry_after
    assert len(files(tmp_path)) == 1
    assert await nearly_full.put(CONTENT) == DIGEST


@pytest.mark.parametrize(
    ("free", "total", "min_free", "left"),
    [
        (3 * 10**9, 10**12, None, 2 * 10**9),  # 1 GB stays free
        (10**9, 10**10, None, 5 * 10**8),  # 5 % of a small disk
        (10**8, 10**10, None, -4 * 10**8),
        (10**8, 10**12, 0, 10**8),
    ],
)
def test_one_gigabyte_stays_free_or_a_twentieth_of_a_small_disk(
    free: int, total: int, min_free: int | None, left: int
) -> None:
    assert room_left(free, total, min_free) == left
