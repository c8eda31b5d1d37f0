"""How `size`, or `width` and `height`, is read as the settings that routes have.

For a video these are `resolution`, by the shorter side, and `aspect_ratio`; for an image `quality`, by the number of
pixels, and `aspect_ratio`. A size that contradicts such a setting beside it is refused: either reading would be paid
for.
"""

from fractions import Fraction
from typing import Any, NamedTuple

from gateway.domain.adapter.request import Kind
from gateway.domain.errors import InvalidParameter
from gateway.domain.parameters.dimensions import (
    PLAIN_QUALITIES,
    SIDE_MAX,
    SIDE_MIN,
    quality_of,
    ratio_name,
    resolution_name,
)
from gateway.domain.parameters.spellings import Size, size_of

_SCALE = {"video": "resolution", "image": "quality"}  # the setting that a size says besides the ratio


def of_size(kind: Kind) -> tuple[str, str]:
    """Return the fields that a size is another form of."""
    return _SCALE[kind], "aspect_ratio"


def meaning(size: Size, kind: Kind) -> dict[str, str]:
    """Return the settings that a size means."""
    scale = resolution_name(min(size)) if kind == "video" else quality_of(size.width * size.height)
    return {_SCALE[kind]: scale, "aspect_ratio": ratio_name(Fraction(*size))}


def meaning_text(size: Size, kind: Kind) -> str:
    """Return what a size means, for an error message."""
    return " and ".join(f"`{field}` {value}" for field, value in meaning(size, kind).items())


class Asked(NamedTuple):
    """What the client asked for, where a model can be asked only for what comes near to it."""

    size: Size | None
    plain_quality: str | None = None  # OpenAI's word beside a size, which already says the number of pixels


def expand_size(values: dict[str, Any], names: dict[str, str], kind: Kind) -> Asked:
    """Replace `size`, or `width` and `height`, by what they mean; return what was asked for.

    `values` has the value of each field that is asked for, and `names` the client's name of it; both are changed.
    Raises `InvalidParameter` for a contradiction.
    """
    size, name = _given(values, names)
    _resolve_frame(values, names, size)
    word: str | None = None
    if values.get("quality") in PLAIN_QUALITIES:
        word = values.pop("quality")
        if size is None:
            values["quality"] = PLAIN_QUALITIES[word]
    if size is None:
        return Asked(None)
    label = f"`{name}`" if name != "width" else "`width` and `height`:"
    for field, means in meaning(size, kind).items():
        value = values.setdefault(field, means)
        if value != means:
            other, pixels = names[field], f"{size.width}x{size.height}"
            detail = f"{label} {pixels} means `{other}` {means}, but `{other}` is {value}."
            raise InvalidParameter(detail, param=other)
        names.setdefault(field, name)
    return Asked(size, word)


def _given(values: dict[str, Any], names: dict[str, str]) -> tuple[Size | None, str]:
    """Remove the fields that say a size; return the size, and the client's name of the field that said it."""
    width, height = values.pop("width", None), values.pop("height", None)
    size: Size | None = values.pop("size", None)
    name = names.get("size", "size")
    if width is None and height is None:
        return size, name
    if width is None or height is None:
        missing, present = ("width", "height") if width is None else ("height", "width")
        raise InvalidParameter(f"`{present}` needs `{missing}` beside it.", param=missing)
    if size is not None:
        if size != Size(width, height):
            detail = f"`{name}` is {size.width}x{size.height}, `width` and `height` say {width}x{height}."
            raise InvalidParameter(detail, param=name)
        return size, name
    frame = size_of(width, height)
    if frame is None:
        bounds = f"from {SIDE_MIN} to {SIDE_MAX:,} pixels each, one at most 100 times the other"
        raise InvalidParameter(f"`width` and `height` must be {bounds}, not {width}x{height}.", param="width")
    return frame, "width"


def _resolve_frame(values: dict[str, Any], names: dict[str, str], size: Size | None) -> None:
    """Replace a frame that the client gave as its `resolution`, such as `1920x1080`, by the name of the resolution."""
    frame = values.get("resolution")
    if not isinstance(frame, Size):
        return
    values["resolution"] = resolution_name(min(frame))
    # The ratio of the frame counts only where nothing else says a ratio.
    if size is None and not {"aspect_ratio", "image"} & values.keys():
        values["aspect_ratio"] = ratio_name(Fraction(*frame))
        names["aspect_ratio"] = names["resolution"]
