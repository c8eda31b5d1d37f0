"""Reads the text that a client sent for an image: a URL, the id of a file, a data URL or base64."""

import re

from gateway.domain.adapter.options import URL_MAX
from gateway.domain.errors import InvalidImage
from gateway.fetch.urls import url_fault
from gateway.media.base64_text import NotBase64, TooLong, decode_base64
from gateway.media.image_formats import INSTEAD, TAKEN, name_of, not_an_image, type_of
from gateway.media.image_header import IMAGE_MAX, too_large

_ACCEPTED = "an http(s) URL, a data: URL with base64, the base64 text of an image, or the id of a file (`file_…`)"
_SVG_REFUSED = f"is an SVG image, which is not accepted. {INSTEAD}"


def from_text(value: str, param: str) -> str | bytes:
    """A URL or the id of a file unchanged; the bytes of a data URL or of base64 text. Raises `InvalidImage`.

    The bytes are at most `IMAGE_MAX`. Those of a data URL may be of any kind: the caller checks them with `inspect`.
    """
    start = value[:8].lower()
    if start.startswith(("http://", "https://")):
        fault = url_fault(value, URL_MAX)
        if fault is not None:
            raise InvalidImage(f"`{param}` {fault}.", param=param)
        return value
    if start.startswith("file_"):
        if _FILE_ID.fullmatch(value) is None:
            raise InvalidImage(f"`{param}` is not the id of a file; it must be {_ACCEPTED}.", param=param)
        return value
    if start.startswith("data:"):
        return _from_data_url(value, param)
    if _SVG.match(value):
        raise InvalidImage(f"`{param}` {_SVG_REFUSED}", param=param)
    try:
        data = decode_base64(value, IMAGE_MAX)
    except TooLong as error:
        raise too_large(param) from error
    except NotBase64 as error:
        if len(value) > _SURELY_BASE64 * 4 // 3 or value.startswith(_IMAGES_IN_BASE64):
            raise InvalidImage(f"`{param}` is base64 text that cannot be read: it {error}.", param=param) from error
        raise InvalidImage(f"`{param}` must be {_ACCEPTED}. Read as base64 text, it {error}.", param=param) from error
    if type_of(data) is None:
        raise _not_an_image(data, param)
    return data


def _not_an_image(data: bytes, param: str) -> InvalidImage:
    """The refusal of base64 text: it says what the text decodes to, so that the client can see what it sent.

    Many words and paths are valid base64 by chance. So a short text of unknown content also gets the list of what the
    parameter accepts.
    """
    decoded = f"`{param}`: the base64 text decodes to {not_an_image(data)}"
    if not data:
        return InvalidImage(f"`{param}` is empty; it must be {_ACCEPTED}.", param=param)
    if name_of(data) is not None:
        return InvalidImage(f"{decoded}, which is not accepted. {INSTEAD}", param=param)
    if len(data) >= _SURELY_BASE64:
        return InvalidImage(f"{decoded}. Send {TAKEN}.", param=param)
    return InvalidImage(f"{decoded}. `{param}` must be {_ACCEPTED}.", param=param)


_SVG = re.compile(r"\s*<(?:\?xml|svg)", re.IGNORECASE)
_IMAGES_IN_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")  # how JPEG, PNG, GIF and WebP begin
_SURELY_BASE64 = 96  # bytes: a word is never, and a path rarely, this long with the characters of base64 alone
_FILE_ID = re.compile(r"file_[A-Za-z0-9_-]{1,128}")
_DATA_URL = re.compile(r"data:[^,]{0,1024}?;\s*base64\s*(?:;[^,]{0,256})?,", re.IGNORECASE)


def _from_data_url(value: str, param: str) -> bytes:
    header = _DATA_URL.match(value)
    if header is None:
        media_type = value[5:133].partition(",")[0].partition(";")[0].strip().lower()
        what = f" of {media_type}" if re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", media_type) else ""
        instead = _SVG_REFUSED if "svg" in media_type else "has no base64; send `data:image/png;base64,…`."
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
