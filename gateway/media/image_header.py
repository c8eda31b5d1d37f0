"""Reads the type and the dimensions of an image from its own bytes. Nothing is decoded."""

import asyncio
import re
import struct
from collections.abc import Callable

from gateway.domain.errors import InvalidImage
from gateway.domain.routing.image_limits import ImageFacts
from gateway.media.image_formats import CONVERTED, INSTEAD, TAKEN, name_of, not_an_image, type_of
from gateway.media.image_structure import DamagedImage, avif_size, check_whole, tiff_size

IMAGE_MAX = 20 * 1024 * 1024  # bytes; the most that any provider takes
LARGE = 2**16  # bytes: a larger image may have so many parts that to inspect it would delay other requests
# A few kilobytes can declare billions of pixels, and decoding them costs memory: 100 megapixels take 400 MB. No camera
# makes a larger image that fits in 20 MB, and no provider uses a tenth of the pixels.
PIXELS_MAX = 100_000_000
SIDE_MAX = 65_535  # pixels; the most that JPEG can declare, so a larger side is forged
_SEGMENTS_MAX = 4096  # of a JPEG before its frame header; a large colour profile takes 255


def inspect(data: bytes, *, max_bytes: int = IMAGE_MAX, max_pixels: int = PIXELS_MAX) -> ImageFacts:
    """The real type, the size in bytes and the dimensions of a whole image. Raises `InvalidImage`, without a parameter.

    It takes about a millisecond for each megabyte: use `inspect_large` in the event loop.
    """
    if not data:
        raise InvalidImage("The image is empty.")
    if len(data) > max_bytes:
        raise too_large(max_bytes=max_bytes)
    content_type = type_of(data)
    if content_type is None:
        remedy = f". Send {TAKEN}." if name_of(data) is None else f", which is not accepted. {INSTEAD}"
        raise InvalidImage(f"The content is {not_an_image(data)}{remedy}")
    try:
        width, height = _size(content_type, data, max_pixels)
        check_whole(content_type, data)
    except DamagedImage as error:
        if content_type in CONVERTED:
            raise DamagedImage(f"{error.detail} {INSTEAD}") from error
        raise
    return ImageFacts(content_type=content_type, bytes=len(data), width=width, height=height)


async def inspect_large(data: bytes) -> ImageFacts:
    """The same as `inspect`, in a thread where the image is large."""
    return inspect(data) if len(data) <= LARGE else await asyncio.to_thread(inspect, data)


def _size(content_type: str, data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height in pixels, from the header."""
    try:
        width, height = _READERS[content_type](data)
    except struct.error as error:
        raise DamagedImage("The image is cut off within its header.") from error
    if width <= 0 or height <= 0:
        raise InvalidImage(f"The image declares a size of {width}x{height}.")
    if width > SIDE_MAX or height > SIDE_MAX or width * height > max_pixels:
        raise InvalidImage(
            f"The image declares a size of {width}x{height}; at most {max_pixels // 1_000_000} megapixels "
            f"and {SIDE_MAX} pixels a side are taken."
        )
    return width, height


def too_large(param: str | None = None, *, max_bytes: int = IMAGE_MAX) -> InvalidImage:
    """The refusal of an image that has more than `max_bytes`."""
    name = f"`{param}`" if param else "The image"
    return InvalidImage(f"{name} is over the limit of {max_bytes // 2**20} MB.", param=param)


def _png(data: bytes) -> tuple[int, int]:
    length, name, width, height, _, _, _, _, _ = struct.unpack_from(">I4sIIBBBBB", data, 8)
    if name != b"IHDR" or length != 13:
        raise DamagedImage("The PNG image has no header.")
    return width, height


def _gif(data: bytes) -> tuple[int, int]:
    width, height, _, _, _ = struct.unpack_from("<HHBBB", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height, _, _ = struct.unpack_from("<HHHH" if size == 12 else "<iiHH", data, 18)
    return width, abs(height)  # a negative height means that the rows are stored from the top down


_MARKER = re.compile(rb"\xff{1,4096}([\x01-\xfe])", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # these three are tables and extensions
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a segment
_PIXELS = frozenset({0xD9, 0xDA})  # end of image, start of scan


def _jpeg(data: bytes) -> tuple[int, int]:
    position = 2
    for _ in range(_SEGMENTS_MAX):
        marker = _MARKER.match(data, position)
        if marker is None:
            break
        code, position = marker.group(1)[0], marker.end()
        if code in _FRAMES:
            _, _, height, width, _ = struct.unpack_from(">HBHHB", data, position)
            return width, height
        if code in _PIXELS:
            break
        if code not in _BARE:
            (length,) = struct.unpack_from(">H", data, position)
            position += length
    raise DamagedImage("The JPEG image has no frame header, or is cut off before it.")


def _webp(data: bytes) -> tuple[int, int]:
    (form,) = struct.unpack_from("4s", data, 12)
    if form == b"VP8X":
        width, height_low, height_high = struct.unpack_from("<IHB", data[24:27] + b"\0" + data[27:30])
        return width + 1, height_low + (height_high << 16) + 1
    if form == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        if signature == 0x2F:
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        frame, start, width, height = struct.unpack_from("<B2x3sHH", data, 20)
        if start == b"\x9d\x01\x2a" and not frame & 1:
            return width & 0x3FFF, height & 0x3FFF
    raise DamagedImage("The WebP image has no frame header.")


_READERS: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/bmp": _bmp,
    "image/avif": avif_size,
    "image/tiff": tiff_size,
}
