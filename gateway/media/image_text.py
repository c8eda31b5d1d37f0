"""What a client's text for an image means: a URL, the id of a file, a data URL or base64."""

import re

from gateway.domain.errors import InvalidImage
from gateway.fetch.urls import URL_MAX, url_fault
from gateway.media.base64_text import NotBase64, TooLong, decode_base64
from gateway.media.image_formats import name_of, type_of, unusable
from gateway.media.image_header import IMAGE_MAX, too_large

_TAKEN = "an http(s) URL, a data: URL with base64, the base64 text of an image, or the id of a file (`file_…`)"


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
        raise too_large(param) from error
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
        raise too_large(param) from error
    except NotBase64 as error:
        raise InvalidImage(f"`{param}` is a data: URL whose base64 cannot be read: it {error}.", param=param) from error
    if not data:
        raise InvalidImage(f"`{param}` is a data: URL without data.", param=param)
    return data
