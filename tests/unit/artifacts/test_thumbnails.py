"""Thumbnails: the first frame that a process of its own draws, and the background task that adds it to an output."""

import asyncio
import io
import os
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
from msgspec.structs import replace
from PIL import Image

from gateway.artifacts import thumbnails as thumbnails_module
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.thumbnails import PENDING_MAX, PROCESSES_MAX, QUEUE_MAX, Thumbnails, draw_first_frame
from gateway.domain.adapter.task import Artifact, Status
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.model import ArchivedFile, Generation
from gateway.domain.generation.transitions import SaveArchivedFile
from gateway.live import Live
from gateway.media.first_frame import BYTES_MAX
from gateway.sandbox.media import Spec, render
from gateway.store.sqlite.open import open_sqlite
from gateway.telemetry import Event, ThumbnailDropped

from ..builders import generation

RED = (220, 20, 20)


@cache
def clip(width: int = 1280, height: int = 720, *, left_only: bool = False) -> bytes:
    """A short red video; with `left_only` its right half is black."""
    picture = Image.new("RGB", (width, height), RED)
    if left_only:
        picture.paste("black", (width // 2, 0, width, height))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return render(Spec(prompt="red", width=width, height=height, seconds=1, image=out.getvalue()))


async def frame_of(folder: Path, content: bytes, **options: Any) -> Image.Image | None:
    video, to = folder / "video", folder / "picture"
    video.write_bytes(content)
    if not await draw_first_frame(video, to, **options):
        assert not to.exists()
        return None
    assert to.stat().st_size <= BYTES_MAX
    return Image.open(io.BytesIO(to.read_bytes()))


def is_red(picture: Image.Image, x: float = 0.5, y: float = 0.5) -> bool:
    """True if the pixel at these shares of its width and height is red."""
    pixel: Any = picture.convert("RGB").getpixel((int(picture.width * x), int(picture.height * y)))
    return all(abs(value - red) < 40 for value, red in zip(pixel, RED, strict=True))


@pytest.mark.parametrize(
    ("size", "expected"), [((1280, 720), (640, 360)), ((720, 1280), (360, 640)), ((96, 64), (96, 64))]
)
async def test_the_first_frame_is_a_small_jpeg(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    picture = await frame_of(tmp_path, clip(*size))
    assert picture is not None
    assert (picture.format, picture.size) == ("JPEG", expected)
    assert is_red(picture)


async def test_the_frame_of_a_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    content = bytearray(clip(96, 64, left_only=True))
    matrix = content.index(b"tkhd") + 4 + 40
    quarter = (0, 65_536, 0, -65_536, 0, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = b"".join(number.to_bytes(4, signed=True) for number in quarter)
    picture = await frame_of(tmp_path, bytes(content))
    assert picture is not None
    assert picture.size == (64, 96)
    assert is_red(picture, y=0.25)
    assert not is_red(picture, y=0.75)


def other_container() -> bytes:
    out = io.BytesIO()
    opened: Any = av.open(out, "w", format="avi")
    with opened as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (96, 64)))))
        container.mux(stream.encode())
    return out.getvalue()


HOSTILE = {
    "nothing": b"",
    "noise": os.urandom(5000),
    "a playlist": b"#EXTM3U\n#EXTINF:1,\nfile://{good}\n#EXT-X-ENDLIST\n",
    "a list of files": b"ffconcat version 1.0\nfile '{good}'\n",
    "another kind of file": other_container(),
    "a page": b"<!doctype html><title>Not Found</title>",
    "a header alone": clip(96, 64)[:700],
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
async def test_a_file_that_is_not_a_video_has_no_first_frame(tmp_path: Path, content: bytes) -> None:
    good = tmp_path / "good.mp4"
    good.write_bytes(clip(96, 64))
    assert await frame_of(tmp_path, content.replace(b"{good}", bytes(good))) is None


async def test_a_process_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    video = tmp_path / "video"
    os.mkfifo(video)  # to open it for reading waits for a writer
    assert not await draw_first_frame(video, tmp_path / "picture", seconds=0.2)


async def test_a_process_is_killed_when_the_task_that_waits_for_it_is_cancelled(tmp_path: Path) -> None:
    video = tmp_path / "video"
    os.mkfifo(video)
    waiting = asyncio.create_task(draw_first_frame(video, tmp_path / "picture"))
    writing = await asyncio.to_thread(os.open, video, os.O_WRONLY)  # returns when the process has opened it
    try:
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(BrokenPipeError):
            os.write(writing, b"x")
    finally:
        os.close(writing)


def environments_of_children() -> list[bytes]:
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return [Path(f"/proc/{child}/environ").read_bytes() for child in children]


async def test_nothing_of_our_environment_reaches_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    video = tmp_path / "video"
    os.mkfifo(video)
    waiting = asyncio.create_task(draw_first_frame(video, tmp_path / "picture"))
    writing = await asyncio.to_thread(os.open, video, os.O_WRONLY)
    assert [environment.count(b"a-key") for environment in environments_of_children()] == [0]
    os.close(writing)
    assert not await waiting


async def test_a_module_in_the_working_folder_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert await frame_of(tmp_path, clip(96, 64)) is not None


# The background task

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ID = "gen_01KDVDNA00F3K8W5N2T7Q4V9MB"
VIDEO = f"{ID}/0-1.mp4"
THUMBNAIL = f"{ID}/0-1.jpg"
KEPT = ArchivedFile(
    name=VIDEO, bytes=5, sha256="0" * 64, content_type="video/mp4", kept_until=NOW + timedelta(days=30)
)  # the archived file


class ImmediateClock:
    """A clock whose timers are due at once."""

    def now(self) -> datetime:
        return NOW

    def call_later(self, seconds: float, callback: Any) -> asyncio.Handle:
        return asyncio.get_running_loop().call_soon(callback)


class Drawings:
    """Replaces the process that decodes: each drawing ends when the test allows it."""

    def __init__(self) -> None:
        self.started: list[Path] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def draw(self, video: Path, to: Path) -> bool:
        self.started.append(video)
        await self.may_end.wait()
        await asyncio.to_thread(to.write_bytes, b"\xff\xd8\xff")
        return True


class World:
    """A ledger with one completed output, an artifact folder, and the thumbnails under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_sqlite(folder / "ledger.db", NOW)
        self.artifacts = ArtifactFolder(folder / "artifacts")
        self.changed: list[str] = []
        self.dropped: list[ThumbnailDropped] = []
        self.drawings = Drawings()
        self.thumbnails = Thumbnails(
            store=self.store,
            artifacts=self.artifacts,
            clock=ImmediateClock(),
            enabled=Live(current=True),
            on_change=self.changed.append,
            observer=self,
        )

    def observe(self, event: Event) -> None:
        assert isinstance(event, ThumbnailDropped)
        self.dropped.append(event)

    async def archive(self) -> Generation:
        """Create the generation and let the ledger have the archived file of its output."""
        plain = generation("acme/one")
        artifact = Artifact(url="https://cdn.example/a.mp4")
        outputs = tuple(replace(output, status=Status.COMPLETED, artifact=artifact) for output in plain.outputs)
        made = await self.store.create(replace(plain, id=ID, status=Status.COMPLETED, outputs=outputs))
        assert await self.store.archived_files.announce(made.id, [VIDEO], NOW + timedelta(days=1))
        assert await self.store.write(made, [SaveArchivedFile(0, KEPT)], NOW) == 2
        return await self.read(made.id)

    async def read(self, generation_id: str) -> Generation:
        generation = await self.store.get(generation_id)
        assert generation is not None
        return generation

    async def prepare(self, name: str = VIDEO) -> Path:
        """Hand a local file of the video over."""
        path = self.artifacts.partial()
        path.write_bytes(b"video")
        await self.thumbnails.prepare(ID, 0, name, path)
        return path

    async def finish(self) -> None:
        """Wait for the drawings under way."""
        while self.thumbnails._tasks:
            await asyncio.gather(*self.thumbnails._tasks)

    def spare(self) -> list[Path]:
        """The local files that are left."""
        return list((self.folder / "artifacts" / "results" / ".partial").iterdir())


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    world = World(tmp_path)
    monkeypatch.setattr(thumbnails_module, "draw_first_frame", world.drawings.draw)
    yield world
    await world.thumbnails.close()
    await world.store.close()


async def test_a_thumbnail_is_added_after_the_ledger_has_the_file(world: World) -> None:
    """It expires with the video, wakes the clients that wait, appends no event, and leaves no local file."""
    before = await world.archive()
    await world.prepare()
    events = await world.store.events(before.id)
    await world.finish()
    assert world.drawings.started == []

    world.thumbnails.begin(VIDEO)
    await world.finish()
    after = await world.read(before.id)
    assert after.outputs[0].kept == replace(KEPT, thumbnail=THUMBNAIL, thumbnail_type="image/jpeg")
    assert (after.version, world.changed) == (before.version + 1, [before.id])
    assert await world.store.events(before.id) == events
    assert await world.artifacts.size(THUMBNAIL) == 3
    assert await world.store.archived_files.expired(KEPT.kept_until - timedelta(seconds=1), 10) == []
    assert sorted(await world.store.archived_files.expired(KEPT.kept_until, 10)) == [THUMBNAIL, VIDEO]
    assert world.spare() == []


async def test_a_video_that_was_not_prepared_has_no_drawing(world: World) -> None:
    world.thumbnails.begin(VIDEO)
    await world.finish()
    assert world.drawings.started == []


async def test_a_generation_that_was_deleted_meanwhile_gets_no_thumbnail(world: World) -> None:
    made = await world.archive()
    await world.prepare()
    world.drawings.may_end.clear()
    world.thumbnails.begin(VIDEO)
    assert await world.store.delete(made.id, made.owner, NOW)
    world.drawings.may_end.set()
    await world.finish()
    assert (world.changed, await world.artifacts.size(THUMBNAIL), world.spare()) == ([], None, [])


async def test_a_ledger_that_is_not_available_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await world.archive()
    await world.prepare()
    set_thumbnail, calls = world.store.archived_files.set_thumbnail, []

    async def unavailable_twice(*args: Any, **named: Any) -> bool:
        calls.append(args)
        if len(calls) < 3:
            raise StoreUnavailable
        return await set_thumbnail(*args, **named)

    monkeypatch.setattr(world.store.archived_files, "set_thumbnail", unavailable_twice)
    world.thumbnails.begin(VIDEO)
    await world.finish()
    assert (len(calls), world.changed) == (3, [made.id])


async def test_an_artifact_store_that_fails_leaves_the_video_without_thumbnail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await world.archive()
    await world.prepare()

    async def refuse(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(world.artifacts, "put", refuse)
    world.thumbnails.begin(VIDEO)
    await world.finish()
    assert (await world.read(made.id), world.changed, world.spare()) == (made, [], [])


async def test_only_a_few_are_drawn_at_the_same_time(world: World) -> None:
    world.drawings.may_end.clear()
    for number in range(PROCESSES_MAX + 2):
        await world.prepare(f"{ID}/{number}.mp4")
        world.thumbnails.begin(f"{ID}/{number}.mp4")
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(world.drawings.started) == PROCESSES_MAX
    world.drawings.may_end.set()
    await world.finish()
    assert len(world.drawings.started) == PROCESSES_MAX + 2
    assert world.spare() == []


async def test_the_videos_that_wait_for_their_record_are_bounded(world: World) -> None:
    oldest = await world.prepare(f"{ID}/oldest.mp4")
    paths = [await world.prepare(f"{ID}/{number}.mp4") for number in range(PENDING_MAX)]
    await world.finish()
    assert not oldest.exists()
    assert world.dropped == [ThumbnailDropped(generation=ID, index=0, count=1)]
    assert all(path.exists() for path in paths)


async def test_the_results_that_wait_for_their_drawing_are_bounded_and_the_oldest_is_dropped(world: World) -> None:
    world.drawings.may_end.clear()
    paths = []
    for number in range(PROCESSES_MAX + QUEUE_MAX + 3):
        paths.append(await world.prepare(f"{ID}/{number}.mp4"))
        world.thumbnails.begin(f"{ID}/{number}.mp4")
    world.drawings.may_end.set()
    await world.finish()
    assert world.drawings.started == paths[:PROCESSES_MAX] + paths[PROCESSES_MAX + 3 :]
    assert [event.count for event in world.dropped] == [1, 2, 3]
    assert world.spare() == []


async def test_close_ends_the_drawings_and_removes_the_local_files(world: World) -> None:
    world.drawings.may_end.clear()
    await world.prepare()
    world.thumbnails.begin(VIDEO)
    await world.prepare(f"{ID}/1-1.mp4")
    await asyncio.sleep(0)
    await world.thumbnails.close()
    assert (world.spare(), world.changed) == ([], [])


async def test_without_the_extra_nothing_is_drawn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    await world.prepare()
    world.thumbnails.begin(VIDEO)
    await world.finish()
    assert (world.drawings.started, world.spare()) == ([], [])
