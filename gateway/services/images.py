"""Input images: what a client's string means, and what an image is by its own first bytes. Nothing is decoded."""

import binascii
import re
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.domain.errors import InvalidImage
from gateway.domain.pictures import ImageFacts

IMAGE_MAX = 20 * 1024 * 1024  # bytes; the most that any provider takes
URL_MAX = 8192
# A few kilobytes can declare billions of pixels, and whoever decodes them pays in memory: 100 megapixels are 400 MB.
# No camera's picture that fits in 20 MB is larger, and no provider makes use of a tenth of it.
PIXELS_MAX = 100_000_000
SIDE_MAX = 65_535  # what JPEG can say; beyond it are only forged headers
_SEGMENTS_MAX = 4096  # of a JPEG before its frame header; a large colour profile takes 255
_TAKEN = "an http(s) URL, a data: URL with base64, base64 text, or the id of an uploaded file (`file_…`)"


def inspect(data: bytes) -> ImageFacts:
    """The real type and the dimensions, from the header; `InvalidImage` where there is no usable image."""
    if not data:
        raise InvalidImage("The image is empty.")
    if len(data) > IMAGE_MAX:
        raise _too_large()
    content_type = _type_of(data)
    if content_type is None:
        raise InvalidImage("The content is not a JPEG, PNG, WebP, GIF or BMP image.")
    try:
        width, height = _READERS[content_type](data)
    except struct.error as error:
        raise InvalidImage("The image is cut off within its header.") from error
    if width <= 0 or height <= 0:
        raise InvalidImage(f"The image declares a size of {width}x{height}.")
    if width > SIDE_MAX or height > SIDE_MAX or width * height > PIXELS_MAX:
        raise InvalidImage(
            f"The image declares a size of {width}x{height}; at most {PIXELS_MAX // 1_000_000} megapixels "
            f"and {SIDE_MAX} pixels a side are taken."
        )
    return ImageFacts(content_type=content_type, bytes=len(data), width=width, height=height)


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
    data = _from_base64(value, param)
    # Many a word and many a path are valid base64: only what begins like an image was meant as one.
    if data is None or _type_of(data) is None:
        raise InvalidImage(f"`{param}` must be {_TAKEN}.", param=param)
    return data


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


def _from_data_url(value: str, param: str) -> bytes:
    comma = value.find(",", 0, 1024)
    header = value[5:comma].lower() if comma > 0 else ""
    if not header.replace(" ", "").endswith(";base64"):
        raise InvalidImage(f"`{param}` is a data: URL without base64; send `data:image/png;base64,…`.", param=param)
    payload = value[comma + 1 :]
    if "%" in payload:
        for escape, character in _ESCAPES.items():
            payload = payload.replace(escape, character)
    data = _from_base64(payload, param)
    if data is None:
        raise InvalidImage(f"`{param}` is a data: URL whose base64 cannot be read.", param=param)
    if not data:
        raise InvalidImage(f"`{param}` is a data: URL without data.", param=param)
    return data


# Only what an encoder has a reason to escape in base64. Unescaping all there is could be made to take gigabytes.
_ESCAPES = {
    escape: character
    for code, character in {
        "2B": "+",
        "2F": "/",
        "3D": "=",
        "2D": "-",
        "5F": "_",
        "0D": "\r",
        "0A": "\n",
        "09": "\t",
        "20": " ",
    }.items()
    for escape in {f"%{code}", f"%{code.lower()}"}
}


def _from_base64(value: str, param: str) -> bytes | None:
    """The bytes of base64 text in either alphabet, padded or not; `None` for any other text."""
    if not value.isascii():
        return None
    text = value.encode()
    if any(space in text for space in _SPACES):
        text = text.translate(None, _SPACES)
    if b"-" in text or b"_" in text:
        text = text.translate(_STANDARD)
    padding = len(text) - len(text.rstrip(b"="))
    if padding and (padding > 2 or len(text) % 4):
        return None
    if (len(text) - padding) * 3 // 4 > IMAGE_MAX:
        raise _too_large(param)
    if not padding:
        text += b"=" * (-len(text) % 4)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None


_SPACES = b" \n\r\t\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")


def _too_large(param: str | None = None) -> InvalidImage:
    name = f"`{param}`" if param else "The image"
    return InvalidImage(f"{name} is over the limit of {IMAGE_MAX // 2**20} MB.", param=param)


def _type_of(data: bytes) -> str | None:
    """The media type by the signature alone."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    # Two letters are a weak signature; the size of the second header makes it a sure one.
    if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return "image/bmp"
    return None


_BMP_HEADERS = frozenset(struct.pack("<I", size) for size in (12, 16, 40, 52, 56, 64, 108, 124))


def _png(data: bytes) -> tuple[int, int]:
    length, name, width, height, _, _, _, _, _ = struct.unpack_from(">I4sIIBBBBB", data, 8)
    if name != b"IHDR" or length != 13:
        raise InvalidImage("The PNG image has no header.")
    return width, height


def _gif(data: bytes) -> tuple[int, int]:
    width, height, _, _, _ = struct.unpack_from("<HHBBB", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height, _, _ = struct.unpack_from("<HHHH" if size == 12 else "<iiHH", data, 18)
    return width, abs(height)  # a negative height tells that the rows are stored from the top


_MARKER = re.compile(rb"\xff+([\x01-\xfe])", re.DOTALL)
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
    raise InvalidImage("The JPEG image has no frame header, or is cut off before it.")


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
    raise InvalidImage("The WebP image has no frame header.")


_READERS: dict[str, Callable[[bytes], tuple[int, int]]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/bmp": _bmp,
}
