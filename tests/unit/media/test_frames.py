"""The first frame of a result, drawn by a process that may fail at it."""

import asyncio
import io
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from gateway.media.first_frame import BYTES_MAX, draw
from gateway.media.frames import Frames, first_frame
from gateway.sandbox.media import Spec, render

RED = (220, 20, 20)


@cache
def clip(width: int = 1280, height: int = 720, *, left_only: bool = False) -> bytes:
    """A red picture, or one whose right half is black."""
    picture = Image.new("RGB", (width, height), RED)
    if left_only:
        picture.paste("black", (width // 2, 0, width, height))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return render(Spec(prompt="red", width=width, height=height, seconds=1, image=out.getvalue()))


async def frame_of(folder: Path, content: bytes, **options: Any) -> Image.Image | None:
    video, to = folder / "video", folder / "picture"
    video.write_bytes(content)
    if not await first_frame(video, to, **options):
        assert not to.exists()
        return None
    assert to.stat().st_size <= BYTES_MAX
    return Image.open(io.BytesIO(to.read_bytes()))


def is_red(picture: Image.Image, x: float = 0.5, y: float = 0.5) -> bool:
    """At this share of its width and height."""
    pixel: Any = picture.convert("RGB").getpixel((int(picture.width * x), int(picture.height * y)))
    return all(abs(one - other) < 40 for one, other in zip(pixel, RED, strict=True))


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


async def test_a_picture_that_was_filmed_on_its_side_is_put_upright(tmp_path: Path) -> None:
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
async def test_what_is_no_video_has_no_first_frame(tmp_path: Path, content: bytes) -> None:
    good = tmp_path / "good.mp4"
    good.write_bytes(clip(96, 64))
    assert await frame_of(tmp_path, content.replace(b"{good}", bytes(good))) is None


def test_a_codec_that_no_provider_uses_is_left_alone(tmp_path: Path) -> None:
    opened: Any = av.open(str(tmp_path / "odd.mov"), "w")
    with opened as container:
        stream = container.add_stream("rawvideo", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (8, 8)))))
    with pytest.raises(ValueError, match="a codec that no provider uses"):
        draw(tmp_path / "odd.mov", tmp_path / "picture")


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    video = tmp_path / "video"
    os.mkfifo(video)  # opening it waits for somebody who writes
    assert not await first_frame(video, tmp_path / "picture", seconds=0.2)


async def test_a_process_is_ended_with_the_task_that_waits_for_it(tmp_path: Path) -> None:
    video = tmp_path / "video"
    os.mkfifo(video)
    waiting = asyncio.create_task(first_frame(video, tmp_path / "picture"))
    writing = await asyncio.to_thread(os.open, video, os.O_WRONLY)  # returns once the process reads
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
    waiting = asyncio.create_task(first_frame(video, tmp_path / "picture"))
    writing = await asyncio.to_thread(os.open, video, os.O_WRONLY)
    assert [environment.count(b"a-key") for environment in environments_of_children()] == [0]
    os.close(writing)
    assert not await waiting


async def test_a_module_that_lies_about_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert await frame_of(tmp_path, clip(96, 64)) is not None


async def test_without_the_extra_there_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    video = tmp_path / "video"
    video.write_bytes(clip(96, 64))
    assert not await Frames().draw(video, tmp_path / "picture")


def test_the_process_is_bound_to_its_limits(tmp_path: Path) -> None:
    tries = (
        "import pathlib, sys\n"
        "from gateway.media.first_frame import confine\n"
        "confine()\n"
        "try: bytearray(2 << 30)\n"
        "except MemoryError: print('memory')\n"
        "try: pathlib.Path(sys.argv[1]).write_bytes(bytes(2 << 20))\n"
        "except OSError: print('disk')\n"
    )
    done = subprocess.run([sys.executable, "-c", tries, tmp_path / "large"], capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout == "memory\ndisk\n"
