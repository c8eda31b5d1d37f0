"""Reads what a result is from its own header: MP4 and QuickTime (ISO/IEC 14496-12), WebM and Matroska.

Only headers are read, by seeking. Nothing is decoded, and no size that the file declares decides how much is read.
"""

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from msgspec import Struct
from msgspec.structs import replace

BOXES_MAX = 10_000  # of one file that are read; a film in fragments of two seconds has as many
SECONDS_MAX = 86_400 * 7  # a header with a longer duration is forged
SIDE_MAX = 65_535  # pixels; a header with a longer side is forged


class Media(Struct, frozen=True, kw_only=True):
    """A video. What its header does not say is `None`. Width and height are in pixels of the picture as it is shown.

    `whole` is true if the structure declares where the file ends, and all of it is there. In other files a missing end
    cannot be noticed.
    """

    content_type: str
    whole: bool = False
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None


class _NotVideo(Exception):
    """The reason, which continues a sentence that begins with "The file"."""


def read_media(path: Path) -> Media | str:
    """What the file is, or the reason why it is not a video. It reads from the disk, so call it in a thread.

    The reason continues a sentence that begins with "The file". Raises `OSError`.
    """
    with path.open("rb") as file:
        view = _View(file, os.fstat(file.fileno()).st_size)
        head = view.at(0, 8)
        try:
            if not head:
                return "is empty"
            if head.startswith(_EBML):
                return _matroska(view)
            if head[4:8] in _FIRST_BOXES:
                return _mp4(view)
        except _NotVideo as reason:
            return str(reason)
        except struct.error:
            return "has a malformed header"
    return "is neither MP4 nor WebM"


def begins_video(head: bytes) -> bool:
    """True if a file with these first bytes, at least eight, may be a video."""
    return head.startswith(_EBML) or head[4:8] in _FIRST_BOXES


class _View:
    """A file of which at most `BOXES_MAX` parts are read."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size
        self._left = BOXES_MAX

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes from this position on, or fewer at the end of the file."""
        if position >= self.size:
            return b""
        self._file.seek(position)
        return self._file.read(count)

    def count(self) -> None:
        """Count one more part. Raises `_NotVideo` when there are too many."""
        self._left -= 1
        if self._left < 0:
            raise _NotVideo("has too many parts in its header")


# --- MP4 and QuickTime: boxes -----------------------------------------------------------------------------------------

_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_FRAGMENTED = b"moof"


class _Box(Struct, frozen=True):
    kind: bytes
    start: int  # of the content
    stop: int
    is_sized: bool = True  # it declares where it ends


def _boxes(view: _View, start: int, stop: int) -> Iterator[_Box]:
    """The boxes from `start` to `stop`. The last may reach beyond `stop`."""
    while start + 8 <= stop:
        view.count()
        size, kind = struct.unpack(">I4s", view.at(start, 8))
        header = 8
        is_sized = size > 0
        if size == 1:
            (size,) = struct.unpack(">Q", view.at(start + 8, 8))
            header = 16
        elif not is_sized:
            size = stop - start
        if size < header:
            raise _NotVideo("has a malformed header")
        yield _Box(kind, start + header, start + size, is_sized)
        start += size


def _mp4(view: _View) -> Media:
    content_type = "video/quicktime"  # early QuickTime files have no box `ftyp`
    moov: _Box | None = None
    data, is_sized, end = False, True, 0
    for box in _boxes(view, 0, view.size):
        if box.stop > view.size:
            if moov is not None and data and box.kind not in {b"mdat", _FRAGMENTED}:
                break  # appended to a complete file
            raise _NotVideo("is cut short")
        if box.kind == b"ftyp":
            content_type = "video/quicktime" if view.at(box.start, 4) == b"qt  " else "video/mp4"
        elif box.kind == b"moov":
            moov = moov or box
        elif box.kind == b"mdat":
            data = data or box.start < box.stop
        is_sized = is_sized and box.is_sized and box.kind != _FRAGMENTED  # no header declares the number of fragments
        end = box.stop
    if moov is None or not data:
        raise _NotVideo("is cut short: it has no " + ("index" if moov is None else "media data"))
    return replace(_movie(view, moov, content_type), whole=is_sized and end == view.size)


def _movie(view: _View, moov: _Box, content_type: str) -> Media:
    duration: float | None = None
    timescale = 0
    fragments = 0
    sizes = []
    for box in _within(view, moov):
        if box.kind == b"mvhd":
            timescale, length = _times(view, box)
            duration = _seconds(length, timescale)
        elif box.kind == b"trak" and (size := _video_track(view, box)) is not None:
            sizes.append(size)
        elif box.kind == b"mvex":
            fragments = max((_fragments(view, inner) for inner in _within(view, box)), default=0)
    if not sizes:
        raise _NotVideo("has no video track")
    width, height = max(sizes, key=math.prod)
    return Media(
        content_type=content_type,
        duration_seconds=_seconds(fragments, timescale) or duration,
        width=width or None,
        height=height or None,
    )


def _within(view: _View, outer: _Box) -> Iterator[_Box]:
    for box in _boxes(view, outer.start, outer.stop):
        if box.stop > outer.stop:
            raise _NotVideo("has a malformed header")
        yield box


def _times(view: _View, mvhd: _Box) -> tuple[int, int]:
    """The units of time a second, and the duration in these units."""
    head = view.at(mvhd.start, 32)
    long = head[:1] == b"\1"
    timescale, length = struct.unpack_from(">IQ" if long else ">II", head, 20 if long else 12)
    unknown = length in {0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF}
    return timescale, 0 if unknown else length


def _fragments(view: _View, box: _Box) -> int:
    """The duration of a fragmented file in units of time, if this box has it, else 0."""
    if box.kind != b"mehd":
        return 0
    head = view.at(box.start, 12)
    (length,) = struct.unpack_from(">Q" if head[:1] == b"\1" else ">I", head, 4)
    return int(length)


def _seconds(length: int, timescale: int) -> float | None:
    if not length or not timescale or length / timescale > SECONDS_MAX:
        return None
    return round(length / timescale, 3)


def _video_track(view: _View, trak: _Box) -> tuple[int, int] | None:
    """Width and height of a track, 0 where the header does not say; `None` if the track is not a video."""
    size = (0, 0)
    is_video = False
    for box in _within(view, trak):
        if box.kind == b"tkhd":
            size = _shown(view.at(box.start, 96))
        elif box.kind == b"mdia":
            for inner in _within(view, box):
                if inner.kind == b"hdlr":
                    is_video = view.at(inner.start + 8, 4) == b"vide"
    return size if is_video else None


def _shown(tkhd: bytes) -> tuple[int, int]:
    """Width and height as shown: a rotation by 90 degrees in the matrix exchanges them."""
    a, b, _, c, d, _, _, _, _, width, height = struct.unpack_from(">9i2I", tkhd, 52 if tkhd[:1] == b"\1" else 40)
    sides = (round(width / 65_536), round(height / 65_536))
    return sides[::-1] if (a, d) == (0, 0) and b and c else sides


# --- WebM and Matroska: elements --------------------------------------------------------------------------------------

_EBML = b"\x1a\x45\xdf\xa3"
_DOC_TYPE, _SEGMENT, _CLUSTER = 0x4282, 0x18538067, 0x1F43B675
_INFO, _SCALE, _DURATION = 0x1549A966, 0x2AD7B1, 0x4489
_TRACKS, _TRACK, _TRACK_TYPE, _VIDEO = 0x1654AE6B, 0xAE, 0x83, 0xE0
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xB0, 0xBA
_CONTENT_TYPES = {b"webm": "video/webm", b"matroska": "video/x-matroska"}


class _Element(Struct, frozen=True):
    number: int
    start: int
    stop: int
    is_sized: bool = True  # it declares where it ends


def _elements(view: _View, start: int, stop: int) -> Iterator[_Element]:
    while start < stop:
        view.count()
        number, start = _vint(view, start, keep_marker=True)
        size, start = _vint(view, start, keep_marker=False)
        end = stop if size is None else start + size
        yield _Element(number or 0, start, end, size is not None)
        start = end


def _vint(view: _View, position: int, *, keep_marker: bool) -> tuple[int | None, int]:
    """A number of variable length and the position of its end; `None` for the size that means "unknown"."""
    head = view.at(position, 8)
    if not head or not head[0]:
        raise _NotVideo("has a malformed header")
    count = 9 - head[0].bit_length()
    if count > len(head):
        raise _NotVideo("is cut short")
    value = int.from_bytes(head[:count])
    marker = 1 << (7 * count)
    if keep_marker:
        return value, position + count
    return (None if value == 2 * marker - 1 else value - marker), position + count


def _matroska(view: _View) -> Media:
    kind = b""
    for top in _elements(view, 0, view.size):
        if top.number == int.from_bytes(_EBML):
            for inner in _elements(view, top.start, top.stop):
                if inner.number == _DOC_TYPE:
                    kind = view.at(inner.start, min(inner.stop - inner.start, 32)).rstrip(b"\0")
        elif top.number == _SEGMENT:
            if kind not in _CONTENT_TYPES:
                break
            if top.stop > view.size:
                raise _NotVideo("is cut short")
            return replace(_segment(view, top, _CONTENT_TYPES[kind]), whole=top.is_sized)
    raise _NotVideo("is neither MP4 nor WebM")


def _segment(view: _View, segment: _Element, content_type: str) -> Media:
    duration: float | None = None
    sizes = []
    for part in _elements(view, segment.start, segment.stop):
        if part.number == _CLUSTER:  # the pictures: everything about them comes before
            break
        if part.number == _INFO:
            numbers = {inner.number: inner for inner in _elements(view, part.start, part.stop)}
            scale = _number(view, numbers.get(_SCALE)) or 1_000_000
            duration = _float(view, numbers.get(_DURATION), scale / 1e9)
        elif part.number == _TRACKS:
            tracks = (inner for inner in _elements(view, part.start, part.stop) if inner.number == _TRACK)
            sizes += [size for track in tracks if (size := _track_size(view, track)) is not None]
    if not sizes:
        raise _NotVideo("has no video track")
    width, height = max(sizes, key=math.prod)
    return Media(content_type=content_type, duration_seconds=duration, width=width or None, height=height or None)


def _track_size(view: _View, track: _Element) -> tuple[int, int] | None:
    parts = {inner.number: inner for inner in _elements(view, track.start, track.stop)}
    if _number(view, parts.get(_TRACK_TYPE)) != 1:
        return None
    video = parts.get(_VIDEO)
    sizes = {} if video is None else {inner.number: inner for inner in _elements(view, video.start, video.stop)}
    width, height = (min(_number(view, sizes.get(name)), SIDE_MAX) for name in (_PIXEL_WIDTH, _PIXEL_HEIGHT))
    return width, height


def _number(view: _View, element: _Element | None) -> int:
    return 0 if element is None else int.from_bytes(view.at(element.start, min(element.stop - element.start, 8)))


def _float(view: _View, element: _Element | None, unit: float) -> float | None:
    """The duration in seconds of an element with a number of units of `unit` seconds; `None` if it is not sensible."""
    if element is None or element.stop - element.start not in {4, 8}:
        return None
    size = element.stop - element.start
    (value,) = struct.unpack(">f" if size == 4 else ">d", view.at(element.start, size))
    seconds = value * unit
    return round(seconds, 3) if 0 < seconds <= SECONDS_MAX else None
