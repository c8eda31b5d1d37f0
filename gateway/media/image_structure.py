"""Checks that an image is complete, by following its structure from the header to the end. Nothing is decoded.

Providers start to work on an image whose header is complete, and charge for it, although the rest was lost on the way.
So an image that is cut off, or whose checksums are wrong, is refused before anything is bought. Bytes after the end of
an image are allowed: cameras and editors append data of their own.

The work grows linearly with the bytes, the number of parts is limited, and the image is not copied.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator

from gateway.domain.errors import InvalidImage

SEGMENTS_MAX = 8192  # of a JPEG; a large colour profile takes 255, a progressive image some 20
CHUNKS_MAX = 65_536  # of a PNG or WebP; an encoder with the smallest usual chunks needs 10,000 for 20 MB
SUB_BLOCKS_MAX = 250_000  # of a GIF, its blocks included; 20 MB in sub-blocks of full size are 82,000
BOXES_MAX = 1000  # of an AVIF
STRIPS_MAX = 262_144  # of a TIFF
TAGS_MAX = 1000  # of the first directory of a TIFF


class DamagedImage(InvalidImage):
    """An image that is cut off or damaged."""


def check_whole(content_type: str, data: bytes) -> None:
    """Raise `DamagedImage` unless the image of this type is complete. The message names the part that is at fault."""
    try:
        _CHECKS[content_type](data)
    except (struct.error, IndexError) as error:
        name = content_type.removeprefix("image/").upper()
        raise DamagedImage(f"The {name} image is cut off within its header.") from error


def _cut(name: str, where: str) -> DamagedImage:
    return DamagedImage(f"The {name} image is cut off: {where}. Send the whole file.")


def _damaged(name: str, where: str) -> DamagedImage:
    return DamagedImage(f"The {name} image is damaged: {where}.")


# --- JPEG (ITU-T T.81, Annex B) ---------------------------------------------------------------------------------------

_MARKER = re.compile(rb"\xff{1,4096}([\x01-\xfe])", re.DOTALL)
# The first marker after coded data: within it a byte FF is followed by 00, or by the number of a restart marker.
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_PIECE = 2**20  # bytes that are searched in one call, during which no other thread runs
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA


def _jpeg(data: bytes) -> None:
    position, scans, coded = 2, 0, 0
    for _ in range(SEGMENTS_MAX):
        marker = _MARKER.match(data, position)
        if marker is None:
            if len(data) - position < 2:
                raise _cut("JPEG", f"it ends at byte {len(data):,}, before its end marker (EOI)")
            raise _damaged("JPEG", f"a segment must begin at byte {position:,}, but no marker is there")
        code, start, position = marker[1][0], marker.start(), marker.end()
        if code == _END_OF_IMAGE:
            if coded == 0:
                raise _damaged("JPEG", "it has no image data")
            return
        if code in _BARE:
            continue
        length = int.from_bytes(data[position : position + 2]) if position + 2 <= len(data) else 0
        if position + max(length, 2) > len(data):
            raise _cut("JPEG", f"its segment FF{code:02X} at byte {start:,} is not all there")
        if length < 2:
            raise _damaged("JPEG", f"its segment FF{code:02X} at byte {start:,} has no length")
        position += length
        if code == _START_OF_SCAN:
            scans += 1
            following = _marker_after_scan(data, position)
            if following is None:
                raise _cut("JPEG", f"its image data (scan {scans}, from byte {start:,}) has no end marker (EOI)")
            coded += following - position
            position = following
    raise _damaged("JPEG", f"it has more than {SEGMENTS_MAX:,} segments")


def _marker_after_scan(data: bytes, position: int) -> int | None:
    for start in range(position, len(data), _PIECE):
        if marker := _AFTER_SCAN.search(data, start, start + _PIECE + 1):
            return marker.start()
    return None


# --- PNG (ISO/IEC 15948) ----------------------------------------------------------------------------------------------


def _png(data: bytes) -> None:
    view = memoryview(data)
    position, pixels = 8, 0
    for _ in range(CHUNKS_MAX):
        if position + 8 > len(data):
            raise _cut("PNG", f"it ends at byte {len(data):,}, before its last chunk (IEND)")
        length, kind = struct.unpack_from(">I4s", data, position)
        if not (kind.isascii() and kind.isalpha()):
            raise _damaged("PNG", f"a chunk must begin at byte {position:,}, but none is there")
        name, end = kind.decode(), position + 12 + length
        if end > len(data):
            raise _cut("PNG", f"its chunk {name} at byte {position:,} is not all there")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise _damaged("PNG", f"the checksum of its chunk {name} at byte {position:,} is wrong")
        if kind == b"IDAT":
            pixels += length
        elif kind == b"IEND":
            if pixels == 0:
                raise _damaged("PNG", "it has no image data (IDAT)")
            return
        position = end
    raise _damaged("PNG", f"it has more than {CHUNKS_MAX:,} chunks")


# --- WebP (RFC 9649) --------------------------------------------------------------------------------------------------


def _webp(data: bytes) -> None:
    (size,) = struct.unpack_from("<I", data, 4)
    end = 8 + size
    if end > len(data):
        raise _cut("WebP", f"its RIFF header promises {end:,} bytes, {len(data):,} are there")
    position, pictures = 12, 0
    for _ in range(CHUNKS_MAX):
        if position + 8 > end:
            if pictures == 0:
                raise _damaged("WebP", "it has no image data (VP8, VP8L or ANMF)")
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > end:
            name = kind.decode("ascii", "backslashreplace").strip()
            raise _damaged("WebP", f"its chunk {name} at byte {position:,} is larger than the file")
        pictures += kind in _WEBP_PICTURES and length > 0
        position += 8 + length + length % 2
    raise _damaged("WebP", f"it has more than {CHUNKS_MAX:,} chunks")


_WEBP_PICTURES = frozenset({b"VP8 ", b"VP8L", b"ANMF"})


# --- GIF (GIF89a) -----------------------------------------------------------------------------------------------------

_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B


def _gif(data: bytes) -> None:
    """The trailer may be missing after a complete picture: nothing of the picture is lost, and viewers show it."""
    position = 13 + _colours(data[10])
    pictures = 0
    left = SUB_BLOCKS_MAX
    while position < len(data):
        kind, start = data[position], position
        left -= 1
        if kind == _EXTENSION:
            position += 2
        elif kind == _PICTURE and position + 11 <= len(data):
            position += 11 + _colours(data[position + 9])
        elif kind == _PICTURE:
            break
        elif pictures:
            return  # the trailer, or appended data
        else:
            what = "no picture before its trailer" if kind == _TRAILER else "no block"
            raise _damaged("GIF", f"there is {what} at byte {position:,}")
        filled = False
        while position < len(data) and (length := data[position]):
            position += 1 + length
            filled, left = True, left - 1
            if left < 0:
                break
        if left < 0:
            raise _damaged("GIF", f"it has more than {SUB_BLOCKS_MAX:,} blocks")
        position += 1
        if position > len(data):
            what = "image data" if kind == _PICTURE else "extension"
            raise _cut("GIF", f"its {what} from byte {start:,} on is not all there")
        if kind == _PICTURE:
            if not filled:
                raise _damaged("GIF", f"its picture at byte {start:,} has no data")
            pictures += 1
    if pictures == 0 or position > len(data) or (position < len(data) and data[position] == _PICTURE):
        raise _cut("GIF", f"it ends at byte {len(data):,}, before the end of a picture")


def _colours(flags: int) -> int:
    """The size in bytes of the colour table that these flags declare."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


# --- BMP --------------------------------------------------------------------------------------------------------------

_RAW = frozenset({0, 3, 6})  # values of the field "compression" without compression: plain, and two with bit masks


def _bmp(data: bytes) -> None:
    size, start, header = struct.unpack_from("<2xI4xII", data)
    compression = stored = 0
    if header == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, depth = struct.unpack_from("<iiHH", data, 18)
        if header >= 40:
            compression, stored = struct.unpack_from("<II", data, 30)
    if compression in _RAW:
        if depth not in {1, 2, 4, 8, 16, 24, 32, 64}:
            raise _damaged("BMP", f"it declares {depth} bits a pixel")
        # The last row counts without its padding, which some programs leave out.
        stored = (width * depth + 31) // 32 * 4 * (abs(height) - 1) + (width * depth + 7) // 8
    elif stored == 0:
        stored = size - start
    end = max(start, 14 + header) + max(stored, 1)
    if end > len(data):
        raise _cut("BMP", f"its pixels reach to byte {end:,}, {len(data):,} bytes are there")


# --- AVIF (ISO/IEC 14496-12, 23008-12) --------------------------------------------------------------------------------


def _boxes(data: bytes, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the content of each box. The last may reach beyond `stop`."""
    for _ in range(BOXES_MAX):
        if start + 8 > stop:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        elif size == 0:
            size = stop - start
        if size < header:
            raise _damaged("AVIF", f"its box at byte {start:,} has no length")
        yield kind, start + header, start + size
        start += size
    raise _damaged("AVIF", f"it has more than {BOXES_MAX:,} boxes")


def avif_size(data: bytes) -> tuple[int, int]:
    """Width and height of the largest picture in the file. The others are its tiles, its transparency or a preview."""
    sizes = [(0, 0)]
    for kind, start, stop in _boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for outer, first, last in _boxes(data, start + 4, min(stop, len(data))):
            if outer != b"iprp":
                continue
            for middle, begin, end in _boxes(data, first, min(last, stop, len(data))):
                if middle == b"ipco":
                    properties = _boxes(data, begin, min(end, last, stop, len(data)))
                    sizes += [struct.unpack_from(">II", data, at + 4) for kind, at, _ in properties if kind == b"ispe"]
        break
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if width == 0:
        raise _damaged("AVIF", "it does not say how large its picture is (boxes meta, ispe)")
    return width, height


def _avif(data: bytes) -> None:
    has_index = has_data = False
    for kind, start, stop in _boxes(data, 0, len(data)):
        if has_index and has_data and kind not in {b"mdat", b"moov", b"meta"}:
            return  # the other boxes are appended, or not needed for the picture
        if stop > len(data):
            name = kind.decode("ascii", "backslashreplace")
            raise _cut("AVIF", f"its box {name} at byte {start - 8:,} is not all there")
        if kind == b"meta":
            has_index = True
            has_data |= any(inner == b"idat" for inner, _, _ in _boxes(data, start + 4, stop))
        elif kind == b"mdat":
            has_data |= stop > start
    if not (has_index and has_data):
        raise _cut("AVIF", "its " + ("image data (box mdat) is" if has_index else "index (box meta) is") + " not there")


# --- TIFF (revision 6.0) ----------------------------------------------------------------------------------------------

_WIDTHS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4)}  # the types of numbers: a letter of `struct`, and bytes
_TIFF_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # type → bytes of a value
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_ORIENTATION, _TIFF_KIND = 256, 257, 274, 254
_TIFF_DATA = ((273, 279), (324, 325))  # the tags with the starts and lengths of strips, and of tiles
_DNG_VERSION = 50_706


class _Directory:
    """The first directory of a TIFF, with its numbers by tag."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:1] == b"I" else ">"
        (start,) = struct.unpack_from(self._order + "I", data, 4)
        if start + 2 > len(data):
            raise _cut("TIFF", f"its directory would be at byte {start:,}, {len(data):,} bytes are there")
        (count,) = struct.unpack_from(self._order + "H", data, start)
        if count == 0 or count > TAGS_MAX:
            raise _damaged("TIFF", f"its directory at byte {start:,} has {count:,} entries")
        if start + 2 + 12 * count + 4 > len(data):  # it ends with the position of the next directory
            raise _cut("TIFF", f"its directory at byte {start:,} is not all there")
        self._entries: dict[int, tuple[int, int, int]] = {}  # tag → type, count, position of the value
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, amount = struct.unpack_from(self._order + "HHI", data, at)
            self._entries.setdefault(tag, (kind, amount, at + 8))

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def numbers(self, tag: int) -> tuple[int, ...]:
        """The numbers of a tag; empty if the directory does not have it."""
        kind, amount, at = self._entries.get(tag, (4, 0, 0))
        if kind not in _WIDTHS or amount > STRIPS_MAX:
            raise _damaged("TIFF", f"its tag {tag} cannot be read")
        letter, width = _WIDTHS[kind]
        if amount * width > 4:
            (at,) = struct.unpack_from(self._order + "I", self._data, at)
        if at + amount * width > len(self._data):
            raise _cut("TIFF", f"the values of its tag {tag} are not all there")
        return struct.unpack_from(f"{self._order}{amount}{letter}", self._data, at)

    def check_values(self) -> None:
        """Raise if the value of a tag is beyond the end of the file."""
        for tag, (kind, amount, at) in self._entries.items():
            size = amount * _TIFF_BYTES.get(kind, 1)
            if size > 4 and struct.unpack_from(self._order + "I", self._data, at)[0] + size > len(self._data):
                raise _cut("TIFF", f"the values of its tag {tag} are not all there")

    def number(self, tag: int) -> int:
        """The first number of a tag, or 0."""
        return next(iter(self.numbers(tag)), 0)


def tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height of the first picture as it is shown, after the rotation that the file declares."""
    directory = _Directory(data)
    if _DNG_VERSION in directory or directory.number(_TIFF_KIND) & 1 or data[8:10] == b"CR":
        raise InvalidImage(
            "The image is a camera's raw file, or has only a preview; it is not accepted. Send JPEG, PNG, WebP, GIF or"
            " BMP: convert it before you send it."
        )
    width, height = directory.number(_TIFF_WIDTH), directory.number(_TIFF_HEIGHT)
    if width == 0 or height == 0:
        raise _damaged("TIFF", "it does not say how large its picture is")
    return (height, width) if directory.number(_TIFF_ORIENTATION) in {5, 6, 7, 8} else (width, height)


def _tiff(data: bytes) -> None:
    directory = _Directory(data)
    directory.check_values()
    for starts, lengths in _TIFF_DATA:
        if starts in directory and lengths in directory:
            ends = map(int.__add__, directory.numbers(starts), directory.numbers(lengths))
            end = max(ends, default=0)
            if end > len(data):
                raise _cut("TIFF", f"its image data reaches to byte {end:,}, {len(data):,} bytes are there")
            return
    raise _damaged("TIFF", "it has no image data (strips or tiles)")


_CHECKS: dict[str, Callable[[bytes], None]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/webp": _webp,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/avif": _avif,
    "image/tiff": _tiff,
}
