"""The readers of images in a create request: text, the bytes of a file, or an object in one of the usual shapes."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from gateway.api.generations.refusals import refuse
from gateway.api.web.json_body import join
from gateway.domain.adapter.shown_value import shown
from gateway.domain.errors import InvalidImage, UnknownParameter
from gateway.domain.parameters.spellings import is_blank, is_empty, trim
from gateway.media.base64_text import NotBase64, TooLong, decode_base64
from gateway.media.image_formats import INSTEAD, TAKEN, name_of, not_an_image, type_of
from gateway.media.image_header import IMAGE_MAX, too_large
from gateway.media.image_text import from_text

REFERENCES_MAX = 16
_SOURCES = ("url", "image_url", "file_id", "b64_json", "base64", "data")
_SOURCE_NAMES = ", ".join(f"`{source}`" for source in _SOURCES)
_NESTED = frozenset({"url", "image_url"})  # `{"image_url": {"url": …}}`
_BASE64 = frozenset({"b64_json", "base64"})
_NOT_BASE64 = ("http://", "https://", "data:", "file_")
# Members that clients send beside an image. They are ignored, because the image itself says the same reliably.
_IGNORED = frozenset(
    {"type", "detail", "media_type", "mime_type", "mimeType", "mediaType", "content_type", "filename", "name"}
)
_DEPTH_MAX = 3  # an object within an object within a list of one


class ImageUrl(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The URL of an image, nested in an object as chat clients do it."""

    url: str | None = None  # a URL or a data URL
    detail: Any = None  # accepted and ignored


class ImageObject(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An image by exactly one of these names; `type` and `detail` may be beside it."""

    url: str | ImageUrl | None = None  # a URL or a data URL, as text or in an object
    image_url: str | ImageUrl | None = None  # the same as `url`, as text or in an object
    file_id: str | None = None  # the id of an uploaded file
    b64_json: str | None = None  # the bytes in base64
    base64: str | None = None  # the same as `b64_json`
    data: str | None = None  # a data URL or base64
    type: Any = None  # accepted and ignored
    detail: Any = None  # accepted and ignored


Image = str | ImageObject
Images = Annotated[list[Image | None], Meta(max_length=REFERENCES_MAX)]  # null, "" and {} count as absent
OneImage = Image | Annotated[list[Image | None], Meta(max_length=1)]


def read_image(value: object, name: str) -> str | bytes | None:
    """Return the URL, the `file_…` id or the bytes of one image; None for an empty value.

    A list of one image is accepted as that image, because forms and some client libraries send it so. Raises
    `InvalidImage` or `UnknownParameter`.
    """
    if not isinstance(value, list):
        return _image(value, name, _DEPTH_MAX)
    if len(value) > 1:
        message = f"`{name}` takes one image, not a list of several; those go into `reference_images`."
        raise InvalidImage(message, param=name)
    return _image(value[0], name, _DEPTH_MAX) if value else None


def read_images(value: object, name: str) -> list[str | bytes] | None:
    """Return the images of a list without the empty ones; None if no image is left."""
    if not isinstance(value, list) or len(value) > REFERENCES_MAX:
        refuse(name, f"a list of at most {REFERENCES_MAX} images", value)
    images = (_image(image, f"{name}[{index}]", _DEPTH_MAX) for index, image in enumerate(value))
    return [image for image in images if image is not None] or None


def read_references(value: object, name: str) -> list[str | bytes] | None:
    """Return the images of a list, or one image that came without a list, as OpenAI's `image` does."""
    if isinstance(value, list):
        return read_images(value, name)
    image = _image(value, name, _DEPTH_MAX)
    return None if image is None else [image]


def _image(value: object, name: str, depth: int) -> str | bytes | None:
    if isinstance(value, bytes):  # a file of a form
        return value
    if isinstance(value, str):
        text = trim(value)
        return from_text(text, name) if text else None
    if value is None:
        return None
    if not isinstance(value, Mapping) or depth == 0:
        raise InvalidImage(
            f"`{name}` must be a string, or an object with `url`, `image_url` or `file_id`, not {shown(value)}.",
            param=name,
        )
    return _object(value, name, depth)


def _object(value: Mapping[str, object], name: str, depth: int) -> str | bytes | None:
    for key, member in value.items():
        if key not in _SOURCES and key not in _IGNORED and member is not None:
            path = join(name, key)
            message = f"`{path}` is not a member of an image; an image as an object has one of {_SOURCE_NAMES}."
            raise UnknownParameter(message, param=path)
    given = {key: value[key] for key in _SOURCES if not is_blank(value.get(key))}
    if not given and all(map(is_empty, value.values())):
        return None
    images = {key: _member(key, member, join(name, key), depth) for key, member in given.items()}
    if len(set(images.values())) != 1:
        raise InvalidImage(f"`{name}` must have exactly one of {_SOURCE_NAMES}.", param=name)
    return next(iter(images.values()))


def _member(key: str, value: object, name: str, depth: int) -> str | bytes | None:
    if isinstance(value, Mapping) and value and key in _NESTED:
        return _image(value, name, depth - 1)
    if not isinstance(value, str):
        raise InvalidImage(f"`{name}` must be a string, not {shown(value)}.", param=name)
    text = trim(value)
    if key == "file_id" and not text.startswith("file_"):
        raise InvalidImage(f"`{name}` must be the id of an uploaded file (`file_…`), not {shown(text)}.", param=name)
    if key in _BASE64 and not text[:8].lower().startswith(_NOT_BASE64):
        return _from_base64(text, name)
    return from_text(text, name)


def _from_base64(text: str, name: str) -> bytes:
    """Decode text that the client itself calls base64, so a refusal need not explain which other texts are accepted."""
    try:
        data = decode_base64(text, IMAGE_MAX)
    except TooLong as error:
        raise too_large(name) from error
    except NotBase64 as error:
        raise InvalidImage(f"`{name}` must be the base64 text of an image, but it {error}.", param=name) from error
    if type_of(data) is None:
        refused = f", which is not accepted. {INSTEAD}" if name_of(data) is not None else f". Send {TAKEN}."
        raise InvalidImage(f"`{name}` decodes to {not_an_image(data)}{refused}", param=name)
    return data
