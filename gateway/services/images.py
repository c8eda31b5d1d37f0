"""Input images: what a client's string means, and what an image is by its own bytes. Nothing is decoded."""

import asyncio
import re
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.domain.errors import InvalidImage
from gateway.domain.pictures import ImageFacts
from gateway.services.base64_text import NotBase64, TooLong, decode_base64
from gateway.services.image_formats import CONVERTED, INSTEAD, name_of, type_of, unusable
from gateway.services.image_structure import DamagedImage, avif_size, check_whole, tiff_size

IMAGE_MAX = 20 * 1024 * 1024  # bytes; the most that any provider takes
URL_MAX = 8192
LARGE = 2**20  # bytes of an image, from which on looking at it would hold up other requests
# A few kilobytes can declare billions of pixels, and whoever decodes them pays in memory: 100 megapixels are 400 MB.
# No camera's picture that fits in 20 MB is larger, and no provider makes use of a tenth of it.
PIXELS_MAX = 100_000_000
SIDE_MAX = 65_535  # what JPEG can say; beyond it are only forged headers
_SEGMENTS_MAX = 4096  # of a JPEG before its frame header; a large colour profile takes 255
_TAKEN = "an http(s) URL, a data: URL with base64, the base64 text of an image, or the id of a file (`file_…`)"


def inspect(data: bytes) -> ImageFacts:
    """The real type and the dimensions of an image that is whole; `InvalidImage` where there is no usable image.

    It takes about a millisecond for each megabyte: `inspect_large` does it beside the event loop.
    """
    if not data:
        raise InvalidImage("The image is empty.")
    if len(data) > IMAGE_MAX:
        raise _too_large()
    content_type = type_of(data)
    if content_type is None:
        raise InvalidImage(f"The content {unusable(data)}")
    try:
        width, height = _size(content_type, data)
        check_whole(content_type, data)
    except DamagedImage as error:
        if content_type in CONVERTED:
            raise DamagedImage(f"{error.detail} {INSTEAD}") from error
        raise
    return ImageFacts(content_type=content_type, bytes=len(data), width=width, height=height)


async def inspect_large(data: bytes) -> ImageFacts:
    """As `inspect`; in a thread where that takes long."""
    return inspect(data) if len(data) <= LARGE else await asyncio.to_thread(inspect, data)


def _size(content_type: str, data: bytes) -> tuple[int, int]:
    """Width and height, from the header."""
    try:
        width, height = _READERS[content_type](data)
    except struct.error as error:
        raise DamagedImage("The image is cut off within its header.") from error
    if width <= 0 or height <= 0:
        raise InvalidImage(f"The image declares a size of {width}x{height}.")
    if width > SIDE_MAX or height > SIDE_MAX or width * height > PIXELS_MAX:
        raise InvalidImage(
            f"The image declares a size of {width}x{height}; at most {PIXELS_MAX // 1_000_000} megapixels "
            f"and {SIDE_MAX} pixels a side are taken."
        )
    return width, height


def from_text(value: str, param: str) -> str | bytes:
    """A URL or the id of a file as it is, a data URL or base64 text as its bytes; else `InvalidImage`.

    The bytes are not more than `IMAGE_MAX`. Those of a data URL are whatever it held: `inspect` has the last word.
    """
    start = value[:8].lower()
    if start.startswith(("http://", "https://")):
        fault = url_fault(value, URL_MAX)
        if fault is not None:
            raise InvalidImage(f"`{param}` {fault}.", param=param)
        return value
    if start.startswith("file_"):
        if _FILE_ID.fullmatch(value) is None:
            raise InvalidImage(f"`{param}` is not the id of a file; it must be {_TAKEN}.", param=param)
        return value
    if start.startswith("data:"):
        return _from_data_url(value, param)
    if _SVG.match(value):
        raise InvalidImage(f"`{param}` {unusable(b'<svg>')}", param=param)
    try:
        data = decode_base64(value, IMAGE_MAX)
    except TooLong as error:
        raise _too_large(param) from error
    except NotBase64 as error:
        if len(value) > _SURELY_BASE64 * 4 // 3 or value.startswith(_IMAGES_IN_BASE64):
            raise InvalidImage(f"`{param}` is base64 text that cannot be read: it {error}.", param=param) from error
        raise InvalidImage(f"`{param}` must be {_TAKEN}. Read as base64 text, it {error}.", param=param) from error
    # Many a word and many a path are valid base64: only what begins like an image was meant as one.
    if type_of(data) is None:
        if data and (name_of(data) is not None or len(data) >= _SURELY_BASE64):
            raise InvalidImage(f"`{param}`, decoded from base64, {unusable(data)}", param=param)
        raise InvalidImage(
            f"`{param}` must be {_TAKEN}. Read as base64 text, it is {len(data)} bytes that are not an image.",
            param=param,
        )
    return data


_SVG = re.compile(r"\s*<(?:\?xml|svg)", re.IGNORECASE)
_IMAGES_IN_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")
_SURELY_BASE64 = 96  # bytes; no word and hardly a path is as long without a character that base64 does not have
_FILE_ID = re.compile(r"file_[A-Za-z0-9_-]{1,128}")
_NETLOC = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]@<>\"{}|^`%:]+)(?::[0-9]*)?")


def url_fault(value: str, limit: int) -> str | None:
    """What is wrong with an http(s) URL, to stand behind its name; `None` for a URL that is sound."""
    if len(value) > limit:
        return f"is a URL of {len(value)} characters; at most {limit} are taken"
    if " " in value or "\\" in value or not value.isprintable():
        return "is a URL with a space, a backslash or a control character in it"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.scheme.lower() not in {"http", "https"}:
        return "is not an http(s) URL"
    if "@" in parts.netloc:
        return "is a URL with credentials in it"
    if not (parts.hostname or "").strip(".") or _NETLOC.fullmatch(parts.netloc) is None:
        return "is a URL without a valid host"
    return "is a URL with port 0" if port == 0 else None


_DATA_URL = re.compile(r"data:[^,]{0,1024}?;\s*base64\s*(?:;[^,]{0,256})?,", re.IGNORECASE)


def _from_data_url(value: str, param: str) -> bytes:
    header = _DATA_URL.match(value)
    if header is None:
        media_type = value[5:133].partition(",")[0].partition(";")[0].strip().lower()
        what = f" of {media_type}" if re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", media_type) else ""
        instead = unusable(b"<svg>") if "svg" in media_type else "is without base64; send `data:image/png;base64,…`."
        raise InvalidImage(f"`{param}` is a data: URL{what}: it {instead}", param=param)
    try:
        data = decode_base64(value, IMAGE_MAX, header.end())
    except TooLong as error:
        raise _too_large(param) from error
    except NotBase64 as error:
        raise InvalidImage(f"`{param}` is a data: URL whose base64 cannot be read: it {error}.", param=param) from error
    if not data:
        raise InvalidImage(f"`{param}` is a data: URL without data.", param=param)
    return data


def _too_large(param: str | None = None) -> InvalidImage:
    name = f"`{param}`" if param else "The image"
    return InvalidImage(f"{name} is over the limit of {IMAGE_MAX // 2**20} MB.", param=param)


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
    return width, abs(height)  # a negative height tells that the rows are stored from the top


_MARKER = re.compile(rb"\xff{1,4096}([\x01-\xfe])", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # tables and extensions have numbers among the frames'
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
