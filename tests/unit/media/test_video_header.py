"""Reading the header of a video: files of a real encoder, and files that are cut, rotated, forged or mutated."""

import io
import math
import random
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image

from gateway.media.video_header import BOXES_MAX, Media, begins_video, read_media


@cache
def clip(kind: str = "mp4", codec: str = "libx264", **options: str) -> bytes:
    """A video of one second with 96 by 64 pixels."""
    with tempfile.NamedTemporaryFile() as file:  # only in a real file can the encoder move the index to the front
        opened: Any = av.open(file.name, "w", format=kind, options=options)
        with opened as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            for shade in range(10):
                container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (96, 64), (shade * 20, 0, 0)))))
            container.mux(stream.encode())
        return Path(file.name).read_bytes()


@cache
def sound(kind: str = "mp4", codec: str = "aac") -> bytes:
    out = io.BytesIO()
    opened: Any = av.open(out, "w", format=kind)
    with opened as container:
        stream = container.add_stream(codec, rate=48_000)
        frame = av.AudioFrame(format="fltp", layout="stereo", samples=1024)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return out.getvalue()


def box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


FTYP = box(b"ftyp", b"isom", bytes(4), b"isom")
MDAT = box(b"mdat", b"pictures")
TURNED, STRAIGHT = (0, 65_536, 0, -65_536, 0, 0, 0, 0, 1 << 30), (65_536, 0, 0, 0, 65_536, 0, 0, 0, 1 << 30)


def mvhd(timescale: int, length: int, *, long: bool = False) -> bytes:
    times = struct.pack(">B3xQQIQ", 1, 0, 0, timescale, length) if long else struct.pack(">4x8xII", timescale, length)
    return box(b"mvhd", times, bytes(80))


def track(
    width: float, height: float, handler: bytes = b"vide", *, long: bool = False, matrix: Any = STRAIGHT
) -> bytes:
    head = b"\1" + bytes(51) if long else bytes(40)
    sides = struct.pack(">9i2I", *matrix, round(width * 65_536), round(height * 65_536))
    return box(b"trak", box(b"tkhd", head, sides), box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13))))


def movie(*content: bytes, brand: bytes = FTYP) -> bytes:
    return brand + box(b"moov", *content) + MDAT


@pytest.fixture
def reading(tmp_path: Path) -> Callable[[bytes], Media | str]:
    path = tmp_path / "file"

    def of(content: bytes) -> Media | str:
        path.write_bytes(content)
        result = read_media(path)
        return result if isinstance(result, str) else replace(result, whole=False)  # `whole` has tests of its own

    return of


def media(
    content_type: str = "video/mp4", seconds: float | None = 1.0, width: int | None = 96, height: int | None = 64
) -> Media:
    return Media(content_type=content_type, duration_seconds=seconds, width=width, height=height)


@pytest.mark.parametrize(
    ("content", "whole"),
    [
        (clip(), True),
        (clip(movflags="+faststart"), True),
        (clip("webm", "libvpx"), True),
        (clip() + box(b"free", bytes(100)), True),
        (clip() + box(b"free", bytes(100))[:-1], False),  # incomplete, although nothing that matters is missing
        (clip() + bytes(3), False),
        (FTYP + box(b"moov", mvhd(600, 600), track(96, 64)) + bytes(4) + b"mdat" + bytes(50), False),  # to the end
        (clip(movflags="frag_keyframe+empty_moov"), False),  # no header declares the number of fragments
    ],
)
def test_a_file_is_whole_if_it_declares_its_end(tmp_path: Path, content: bytes, whole: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    result = read_media(tmp_path / "file")
    assert isinstance(result, Media)
    assert result.whole is whole


@pytest.mark.parametrize("head", [clip()[:12], clip("webm", "libvpx")[:12], b"\0\0\0\x08moov\0\0\0\0"])
def test_a_video_is_recognised_by_its_first_bytes(head: bytes) -> None:
    assert begins_video(head)
    assert not begins_video(b"<html>" + head)


# --- real files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (clip(), media()),
        (clip(movflags="+faststart"), media()),
        (clip(codec="mpeg4"), media()),
        (clip("mov"), media("video/quicktime")),
        (clip(movflags="frag_keyframe+empty_moov"), media(seconds=None)),
        (clip("webm", "libvpx"), media("video/webm")),
        (clip("matroska"), media("video/x-matroska")),
        (clip() + b"something that was appended", media()),
        (clip() + bytes(3), media()),
        (clip() + bytes(100), media()),
    ],
)
def test_a_video_has_its_type_duration_and_size(
    reading: Callable[[bytes], Media | str], content: bytes, expected: Media
) -> None:
    assert reading(content) == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\0", "is neither MP4 nor WebM"),
        (b'{"error": "expired"}', "is neither MP4 nor WebM"),
        (b"<!doctype html><title>Not Found</title>", "is neither MP4 nor WebM"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "is neither MP4 nor WebM"),
        (b"\x1a\x45\xdf\xa3\x80", "is neither MP4 nor WebM"),
        (sound(), "has no video track"),
        (sound("webm", "libopus"), "has no video track"),
    ],
)
def test_a_file_that_is_not_a_video_has_a_reason(
    reading: Callable[[bytes], Media | str], content: bytes, why: str
) -> None:
    assert reading(content) == why


@pytest.mark.parametrize(
    "content", [clip(), clip(movflags="+faststart"), clip("mov"), clip("webm", "libvpx"), clip("matroska")]
)
def test_a_file_that_is_cut_short_is_not_a_video(reading: Callable[[bytes], Media | str], content: bytes) -> None:
    for length in {1, 7, 8, 31, 32, 40, *range(50, len(content), max(len(content) // 60, 1)), len(content) - 1}:
        assert isinstance(reading(content[:length]), str), length


# --- forged headers ---------------------------------------------------------------------------------------------------


def test_long_and_short_headers_say_the_same(reading: Callable[[bytes], Media | str]) -> None:
    for long in (False, True):
        assert reading(movie(mvhd(600, 3030, long=long), track(1280, 720, long=long))) == media(
            seconds=5.05, width=1280, height=720
        )


def test_the_size_is_that_of_the_picture_as_shown(reading: Callable[[bytes], Media | str]) -> None:
    for long in (False, True):
        result = reading(movie(mvhd(600, 600), track(1280, 720, long=long, matrix=TURNED)))
        assert result == media(width=720, height=1280)


def test_the_largest_video_track_counts(reading: Callable[[bytes], Media | str]) -> None:
    tracks = (track(0, 0, b"soun"), track(90, 160), track(720, 1280), track(9999, 9999, b"text"))
    assert reading(movie(mvhd(600, 600), *tracks)) == media(width=720, height=1280)


def test_a_fragmented_file_has_its_duration_in_another_box(reading: Callable[[bytes], Media | str]) -> None:
    for length in (struct.pack(">4xI", 2000), struct.pack(">B3xQ", 1, 2000)):
        extends = box(b"mvex", box(b"mehd", length), box(b"trex", bytes(24)))
        for content in ((mvhd(1000, 0), track(8, 8), extends), (extends, track(8, 8), mvhd(1000, 1))):
            assert reading(movie(*content)) == media(seconds=2.0, width=8, height=8)


def test_boxes_may_have_long_sizes_or_no_size(reading: Callable[[bytes], Media | str]) -> None:
    moov = mvhd(600, 600) + track(96, 64)
    long = struct.pack(">I4sQ", 1, b"moov", 16 + len(moov)) + moov
    for last in (struct.pack(">I4s", 0, b"mdat") + b"to the end", struct.pack(">I4sQ", 1, b"mdat", 24) + bytes(8)):
        assert reading(FTYP + long + last) == media()


def test_quicktime_is_recognised_without_a_type_box(reading: Callable[[bytes], Media | str]) -> None:
    for first in (b"", box(b"wide"), box(b"free", bytes(20)), box(b"ftyp", b"qt  ", bytes(4))):
        assert reading(movie(mvhd(600, 600), track(96, 64), brand=first)) == media("video/quicktime")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (FTYP, "is cut short: it has no index"),
        (FTYP + MDAT, "is cut short: it has no index"),
        (FTYP + box(b"moov", mvhd(1, 1), track(8, 8)), "is cut short: it has no media data"),
        (FTYP + box(b"moov", mvhd(1, 1), track(8, 8)) + box(b"mdat"), "is cut short: it has no media data"),
        (FTYP + struct.pack(">I4s", 4, b"moov"), "has a malformed header"),
        (FTYP + struct.pack(">I4sQ", 1, b"moov", 8), "has a malformed header"),
        (FTYP + struct.pack(">I4s", 1, b"moov"), "has a malformed header"),
        (FTYP + struct.pack(">I4sQ", 1, b"moov", 2**64 - 1) + MDAT, "is cut short"),
        (movie(struct.pack(">I4s", 99, b"trak")), "has a malformed header"),
        (movie(mvhd(1, 1), box(b"trak", box(b"tkhd", bytes(20)))), "has a malformed header"),
        (movie(mvhd(1, 1)), "has no video track"),
        (FTYP + box(b"free") * BOXES_MAX + MDAT, "has too many parts in its header"),
        (movie(mvhd(1, 1), box(b"free") * BOXES_MAX, track(8, 8)), "has too many parts in its header"),
    ],
)
def test_a_senseless_header_is_refused(reading: Callable[[bytes], Media | str], content: bytes, why: str) -> None:
    assert reading(content) == why


@pytest.mark.parametrize(
    ("timescale", "length"),
    [(0, 5), (600, 0), (600, 0xFFFFFFFF), (1, 86_400 * 8)],
    ids=["unit", "none", "open", "long"],
)
def test_an_unknown_duration_is_none(reading: Callable[[bytes], Media | str], timescale: int, length: int) -> None:
    assert reading(movie(mvhd(timescale, length), track(0, 0))) == media(seconds=None, width=None, height=None)


# --- any bytes --------------------------------------------------------------------------------------------------------

SEEDS = [
    clip(),
    clip("webm", "libvpx"),
    clip(movflags="frag_keyframe+empty_moov"),
    movie(mvhd(600, 600), track(96, 64)),
]
STARTS = [b"", FTYP, FTYP + MDAT + struct.pack(">I4s", 500, b"moov"), b"\x1a\x45\xdf\xa3", SEEDS[1][:60]]


def is_sensible(result: Media | str) -> bool:
    if isinstance(result, str):
        return bool(result)
    sides = (result.width, result.height)
    seconds = result.duration_seconds
    return all(side is None or 0 < side < 65_537 for side in sides) and (seconds is None or (0 <= seconds < math.inf))


@settings(max_examples=150, deadline=1000)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=600))
def test_any_bytes_have_a_result(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(start + rest)
    assert is_sensible(read_media(path))


@settings(max_examples=150, deadline=1000)
@given(seed=st.sampled_from(SEEDS), number=st.integers(0, 2**32))
def test_a_damaged_video_has_a_result(tmp_path_factory: pytest.TempPathFactory, seed: bytes, number: int) -> None:
    dice = random.Random(number)
    content = bytearray(seed)
    header = max(content.find(b"moov"), 0)
    for _ in range(dice.randint(1, 8)):
        place = dice.choice([dice.randrange(len(content)), min(header + dice.randrange(400), len(content) - 1)])
        match dice.randrange(3):
            case 0:
                content[place] = dice.randrange(256)
            case 1:
                content[place : place + 4] = dice.choice(
                    [b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff"]
                )
            case _:
                del content[place : place + dice.randint(1, 40)]
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    assert is_sensible(read_media(path))
