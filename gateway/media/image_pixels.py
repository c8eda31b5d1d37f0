"""Finds an image whose end marker is there while pixels before it are missing. Decoders fill those, without an error.

`gateway.media.image_decode` calls it in its own process, whose limits bound the time and the memory. libwebp and the
decoders of the other formats refuse such an image themselves.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping

from gateway.media.image_structure import DamagedImage

_PIECE = 2**20  # bytes that are unpacked at once


# --- PNG (ISO/IEC 15948) ----------------------------------------------------------------------------------------------

_SAMPLES: Mapping[int, int] = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # type of colour → numbers of a pixel
# Adam7: the first column and row of each pass, and the distances to the next ones.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def check_png_pixels(data: bytes) -> None:
    """Raise `DamagedImage` unless the image data of a PNG unpacks to all rows that its header declares.

    The PNG has passed `gateway.media.image_structure.check_whole`. Raises `zlib.error` for data that does not unpack.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colour not in _SAMPLES:
        raise DamagedImage(f"The PNG image is damaged: it declares the type of colour {colour}, which does not exist.")
    bits = depth * _SAMPLES[colour]
    missing = _unpacked_size(width, height, bits, _PASSES if interlaced else ((0, 0, 1, 1),))
    unpacker = zlib.decompressobj()
    for packed in _packed(data):
        rest = packed
        while missing > 0 and rest:
            missing -= len(unpacker.decompress(rest, _PIECE))
            rest = unpacker.unconsumed_tail
    if missing > 0:
        missing -= len(unpacker.flush())
    if missing > 0:
        raise DamagedImage(f"The PNG image is cut off: {missing:,} bytes of its unpacked pixels are missing.")


def _unpacked_size(width: int, height: int, bits: int, passes: tuple[tuple[int, int, int, int], ...]) -> int:
    size = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * bits + 7) // 8)  # a row begins with the number of its filter
    return size


def _packed(data: bytes) -> Iterator[bytes]:
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            yield data[position + 8 : position + 8 + length]
        position += 12 + length


# --- JPEG (ITU-T T.81) ------------------------------------------------------------------------------------------------

# Bytes that a decoder takes for image data when it misses some. None is FF, which would begin a marker.
_FILLING = bytes.fromhex("a53c96e10f7b5ad2c4381d69b2e7408f5bd1263ea97c14f08d52c3701eb6499ad8056f23bc91474e")
_MARKER = re.compile(rb"\xff{1,4096}([\x01-\xfe])", re.DOTALL)
# Each run of fill bytes is searched once: a run of some megabytes without a marker after it would else take hours.
_IN_SCAN = re.compile(rb"(?<!\xff)\xff++([\x01-\xfe])")
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_RESTARTS = range(0xD0, 0xD8)
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD


class _Frame:
    """The header of a JPEG's frame: its size, and how finely it samples each component."""

    def __init__(self, data: bytes, position: int) -> None:
        self._height, self._width = (int.from_bytes(data[position + at : position + at + 2]) for at in (3, 5))
        count = data[position + 7]
        self._sampling: dict[int, tuple[int, int]] = {}  # component → horizontally, vertically
        for at in range(position + 8, position + 8 + 3 * count, 3):
            self._sampling[data[at]] = (data[at + 1] >> 4, data[at + 1] & 15)

    def units(self, data: bytes, position: int) -> int:
        """How many units (MCU) the scan has whose header is at this position."""
        count = data[position + 2]
        most_across = max(across for across, _ in self._sampling.values())
        most_down = max(down for _, down in self._sampling.values())
        width, height = self._width, self._height
        if count == 1:  # its units are the blocks of the one component, without those that only fill up the others
            across, down = self._sampling[data[position + 3]]
            columns, rows = -(-(width * across) // most_across), -(-(height * down) // most_down)
            return -(-columns // 8) * -(-rows // 8)
        return -(-width // (8 * most_across)) * -(-height // (8 * most_down))


def filled_jpeg(data: bytes) -> bytes | None:
    """The JPEG with meaningless bytes where each run of image data ends; None where that would prove nothing.

    A decoder that has all the data it needs ignores these bytes, so both files decode to the same pixels. If data is
    missing, it takes them for pixels, where it would else fill in grey: the pixels differ.

    The JPEG has passed `gateway.media.image_structure.check_whole`. Raises `DamagedImage` if restart markers are
    missing: a decoder fills the part between two of them with grey in either case. Raises `IndexError`, `KeyError`,
    `ValueError`, `struct.error` or `ZeroDivisionError` for a header that contradicts itself.
    """
    pieces: list[bytes] = []
    frame, copied, interval, position = None, 0, 0, 2
    while (marker := _MARKER.match(data, position)) is not None:
        code, position = marker[1][0], marker.end()
        if code == _END_OF_IMAGE:
            return b"".join([*pieces, data[copied:position]])
        if code in _OTHER_FRAMES:
            return None  # arithmetic coding may leave out its last bytes
        if code in _BARE:
            continue
        if code in _HUFFMAN_FRAMES:
            frame = _Frame(data, position)
        elif code == _RESTART_INTERVAL:
            (interval,) = struct.unpack_from(">H", data, position + 2)
        start = position
        position += int.from_bytes(data[position : position + 2])
        if code == _START_OF_SCAN and frame is not None:
            units = frame.units(data, start)
            restarts = -(-units // interval) - 1 if interval else 0
            for end in _ends(data, position, restarts):
                pieces += [data[copied:end], _FILLING]
                copied = position = end
    return None


def _ends(data: bytes, position: int, restarts: int) -> Iterator[int]:
    """Where each run of image data of a scan ends: before each restart marker, and before what follows the scan."""
    passed = 0
    for marker in _IN_SCAN.finditer(data, position):
        yield marker.start()
        if marker[1][0] not in _RESTARTS:
            break
        if marker[1][0] != _RESTARTS[passed % 8]:
            raise DamagedImage(f"The JPEG image is damaged: a restart marker before byte {marker.end():,} is missing.")
        passed += 1
        if passed > restarts:
            return  # viewers show such an image: they read nothing after its last pixel
    if passed < restarts:
        raise DamagedImage(f"The JPEG image is cut off: {restarts - passed:,} of its restart markers are missing.")
