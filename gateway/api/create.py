"""From the body of a create request to the one value it means, whichever names and spellings it came in."""

import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from gateway.api.body import join
from gateway.domain.errors import InvalidImage, InvalidParameter, UnknownParameter
from gateway.domain.generation import GenerationRequest
from gateway.domain.request import ImageToVideo, Input, ReferencesToVideo, Settings, TextToVideo
from gateway.services.generations import InlineFile
from gateway.services.images import from_text, inspect, url_fault

RESOLUTIONS = {"720p": 720, "1080p": 1080, "4k": 2160}  # the shorter side in pixels
_RATIOS = ((16, 9), (9, 16), (1, 1), (4, 3), (3, 4), (21, 9))
SIZES = {  # WIDTHxHEIGHT → resolution and aspect ratio, where the ratio is met to the pixel
    f"{short * width // min(width, height)}x{short * height // min(width, height)}": (resolution, f"{width}:{height}")
    for resolution, short in RESOLUTIONS.items()
    for width, height in _RATIOS
    if short * max(width, height) % min(width, height) == 0
}
PROMPT_MAX = 20_000
OPTIONS_MAX = 16 * 1024  # bytes, encoded
WEBHOOK_URL_MAX = 2048

ALIASES = {
    "image_url": "image",
    "input_reference": "image",
    "image_tail_url": "last_image",
    "image_tail": "last_image",
    "end_image_url": "last_image",
    "image_urls": "reference_images",
    "seconds": "duration",
    "aspect_resolution": "resolution",
    "generate_count": "n",
    "fallbacks": "fallback",
    "callback_url": "webhook_url",
}  # beside them, `width` and `height` together are `size`


class ImageObject(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An image by one of two names."""

    image_url: str | None = None
    file_id: str | None = None


Image = str | ImageObject


class CreateVideo(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of a create request under its own names, as it is documented; `null` is the same as absent."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    prompt: Annotated[str, Meta(max_length=PROMPT_MAX)] | None = None
    image: Annotated[Image | None, Meta(description="First frame: URL, data URL, base64 or `file_…`.")] = None
    last_image: Annotated[Image | None, Meta(description="Last frame: URL, data URL, base64 or `file_…`.")] = None
    reference_images: Annotated[list[Image], Meta(max_length=16)] | None = None
    duration: Annotated[int, Meta(ge=1, le=3600, description="Seconds.")] | None = None
    resolution: Literal["720p", "1080p", "4k"] | None = None
    aspect_ratio: Annotated[str, Meta(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")] | None = None
    size: Annotated[str, Meta(description="WIDTHxHEIGHT: resolution and aspect ratio in one.")] | None = None
    n: Annotated[int, Meta(ge=1, le=4, description="Outputs.")] | None = None
    generate_audio: bool | None = None
    negative_prompt: Annotated[str, Meta(max_length=PROMPT_MAX)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    fps: Annotated[int, Meta(ge=1, le=120)] | None = None
    cfg_scale: float | None = None
    mode: Annotated[str, Meta(min_length=1, max_length=32)] | None = None
    provider_options: dict[str, dict[str, Any]] | None = None
    adapt: Literal["none", "nearest"] | None = None
    fallback: bool | Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=16)] | None = (
        None
    )
    deadline_seconds: Annotated[int, Meta(ge=60, le=86400)] | None = None
    max_cost: Annotated[float, Meta(gt=0, description="USD.")] | None = None
    webhook_url: Annotated[str, Meta(max_length=WEBHOOK_URL_MAX)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16),
        ]
        | None
    ) = None
    user: Annotated[str, Meta(max_length=256)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """What was asked, and the images that came with it by the names that `request` has for them."""

    request: GenerationRequest
    files: Mapping[str, InlineFile]


def normalise(body: Mapping[str, object], name_file: Callable[[bytes], str]) -> Normalised:
    """The meaning of a body that `parse_json` let through; a 400 that names the field where it has none.

    Two bodies that mean the same give equal values. `name_file` gives the `file_…` name of an image's bytes, the same
    for equal bytes. Whether a file exists, a model is known and a webhook may be called is not asked here.
    """
    asked, names = _read(body)
    if "model" not in asked:
        raise InvalidParameter("`model` is required: the name of the model to use.", param="model")
    _expand_size(asked, names)
    files: dict[str, InlineFile] = {}
    request = GenerationRequest(
        input=_input(asked, names, _Files(files, name_file)),
        settings=Settings(**{_SETTINGS[key]: value for key, value in asked.items() if key in _SETTINGS}),
        **{_REQUEST[key]: value for key, value in asked.items() if key in _REQUEST},
    )
    return Normalised(request=request, files=files)


# Field of the body → field of the value. What was not asked for takes the default that the value has for it.
_SETTINGS = {
    "duration": "duration_seconds",
    "resolution": "resolution",
    "aspect_ratio": "aspect_ratio",
    "generate_audio": "generate_audio",
    "negative_prompt": "negative_prompt",
    "seed": "seed",
    "fps": "fps",
    "cfg_scale": "cfg_scale",
    "mode": "mode",
}
_REQUEST = {
    "model": "model",
    "prompt": "prompt",
    "n": "count",
    "provider_options": "provider_options",
    "adapt": "adapt",
    "fallback": "fallback",
    "deadline_seconds": "deadline_seconds",
    "max_cost": "max_cost",
    "webhook_url": "webhook_url",
    "metadata": "metadata",
    "user": "user",
}


def _read(body: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that were asked for, and the name that the client used for each."""
    asked: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in body.items():
        key = ALIASES.get(name, name)
        reader = _READERS.get(key)
        if reader is None:
            raise _unknown(name)
        if value is None or (read := reader(value, name)) is None:
            continue
        if key in asked and asked[key] != read:
            first = names[key]
            raise InvalidParameter(f"`{first}` and `{name}` are one field and have different values.", param=name)
        asked[key] = read
        names.setdefault(key, name)
    return asked, names


def _expand_size(asked: dict[str, Any], names: dict[str, str]) -> None:
    """Put resolution and aspect ratio in the place of `size`, or of `width` and `height`."""
    width, height = asked.pop("width", None), asked.pop("height", None)
    size = asked.pop("size", None)
    name = "size"
    if width is not None or height is not None:
        if width is None or height is None:
            missing, given = ("width", "height") if width is None else ("height", "width")
            raise InvalidParameter(f"`{given}` needs `{missing}` beside it.", param=missing)
        both = f"{width}x{height}"
        if size is None:
            name = "width"
        elif size != both:
            raise InvalidParameter(f"`size` is {size}, `width` and `height` say {both}.", param="size")
        size = both
    if size is None:
        return
    if size not in SIZES:
        label = "`size`" if name == "size" else "`width` and `height`"
        raise InvalidParameter(f"{label} must be one of {', '.join(SIZES)}, not {size}.", param=name)
    label = "`size`" if name == "size" else "`width` and `height`:"
    for key, meant in zip(("resolution", "aspect_ratio"), SIZES[size], strict=True):
        given = asked.setdefault(key, meant)
        if given != meant:
            other = names[key]
            raise InvalidParameter(f"{label} {size} means `{other}` {meant}, but `{other}` is {given}.", param=other)


class _Files:
    """The images that came as bytes, each content once."""

    def __init__(self, files: dict[str, InlineFile], name_file: Callable[[bytes], str]) -> None:
        self._files = files
        self._name_file = name_file

    def name(self, image: str | bytes, param: str) -> str:
        """The image as the request has it: a URL or a name."""
        if isinstance(image, str):
            return image
        name = self._name_file(image)
        if name not in self._files:
            try:
                facts = inspect(image)
            except InvalidImage as error:
                raise InvalidImage(f"`{param}`: {error.detail}", param=param) from error
            self._files[name] = InlineFile(content=image, facts=facts)
        return name


def _input(asked: Mapping[str, Any], names: Mapping[str, str], files: _Files) -> Input:
    def frame(key: str) -> str | None:
        return files.name(asked[key], names[key]) if key in asked else None

    first, last = frame("image"), frame("last_image")
    if "reference_images" in asked:
        param = names["reference_images"]
        references = tuple(
            files.name(image, f"{param}[{index}]") for index, image in enumerate(asked["reference_images"])
        )
        return ReferencesToVideo(references=references, first_frame=first, last_frame=last)
    if first is not None:
        return ImageToVideo(first_frame=first, last_frame=last)
    if last is not None:
        param = names["last_image"]
        raise InvalidParameter(f"`{param}` is a last frame: it needs `image`, the first one, beside it.", param=param)
    return TextToVideo()


# Readers: a value as it came and the name it came under → the value that it means, or None for "not asked".


def _text(value: object, name: str, *, most: int, least: int = 0) -> str:
    length = "" if least == 0 else "non-empty "
    if not isinstance(value, str) or not least <= len(value) <= most:
        _refuse(name, f"a {length}string of at most {most:,} characters", value)
    return value


def _model(value: object, name: str) -> str:
    model = _text(value, name, least=1, most=256)
    if not model.strip():
        _refuse(name, "the name of a model", value)
    return model


def _negative_prompt(value: object, name: str) -> str | None:
    return _text(value, name, most=PROMPT_MAX) or None


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        _refuse(name, "true or false", value)
    return value


def _whole(value: object, name: str, *, low: int, high: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        _refuse(name, f"a whole number from {low} to {high}", value)
    return value


def _duration(value: object, name: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,3}", value):
        value = int(value)
    return _whole(value, name, low=1, high=3600)


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        _refuse(name, "a number", value)
    return float(value)


def _cost(value: object, name: str) -> float:
    cost = _number(value, name)
    if cost <= 0:
        _refuse(name, "a number over 0, in USD", value)
    return cost


def _choice(value: object, name: str, *, choices: tuple[str, ...]) -> str:
    found = value.lower() if isinstance(value, str) else None
    if found not in choices:
        _refuse(name, f"one of {', '.join(choices)}", value)
    return found


def _ratio(value: object, name: str) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[1-9][0-9]?:[1-9][0-9]?", value) is None:
        _refuse(name, "two whole numbers from 1 to 99 such as 16:9", value)
    return value


def _size(value: object, name: str) -> str:
    sides = re.fullmatch(r"([0-9]{1,5})[xX×]([0-9]{1,5})", value) if isinstance(value, str) else None
    size = None if sides is None else f"{int(sides[1])}x{int(sides[2])}"
    if size not in SIZES:
        _refuse(name, f"one of {', '.join(SIZES)}", value)
    return size


def _image(value: object, name: str) -> str | bytes:
    if isinstance(value, str):
        return from_text(value, name)
    if not isinstance(value, Mapping):
        raise InvalidImage(
            f"`{name}` must be a string, or an object with `image_url` or `file_id`, not {_told(value)}.", param=name
        )
    given = {key: one for key, one in value.items() if one is not None}
    for key in given:
        if key not in {"image_url", "file_id"}:
            raise UnknownParameter(
                f"`{join(name, key)}` is not known; `{name}` has `image_url` or `file_id`.", param=join(name, key)
            )
    if len(given) != 1:
        raise InvalidImage(f"`{name}` must have exactly one of `image_url` and `file_id`.", param=name)
    ((key, text),) = given.items()
    below = join(name, key)
    if not isinstance(text, str):
        raise InvalidImage(f"`{below}` must be a string, not {_told(text)}.", param=below)
    if key == "file_id" and not text.startswith("file_"):
        raise InvalidImage(f"`{below}` must be the id of an uploaded file (`file_…`).", param=below)
    return from_text(text, below)


def _images(value: object, name: str) -> list[str | bytes] | None:
    if not isinstance(value, list) or len(value) > 16:
        _refuse(name, "a list of at most 16 images", value)
    return [_image(image, f"{name}[{index}]") for index, image in enumerate(value)] or None


def _fallback(value: object, name: str) -> bool | tuple[str, ...]:
    """A list keeps each model once; an empty one leaves nothing to fall back to."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, list) or len(value) > 16:
        _refuse(name, "true, false or a list of at most 16 models", value)
    models = dict.fromkeys(_model(model, f"{name}[{index}]") for index, model in enumerate(value))
    return tuple(models) or False


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        _refuse(name, "an object", value)
    return {key: one for key, one in value.items() if one is not None}


def _provider_options(value: object, name: str) -> dict[str, Mapping[str, object]]:
    providers = {provider: _object(one, join(name, provider)) for provider, one in _object(value, name).items()}
    options = {provider: one for provider, one in providers.items() if one}
    if (size := len(msgspec.json.encode(options))) > OPTIONS_MAX:
        message = f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON, not {size:,} bytes."
        raise InvalidParameter(message, param=name)
    return options


def _metadata(value: object, name: str) -> dict[str, str]:
    pairs = _object(value, name)
    if len(pairs) > 16:
        _refuse(name, "an object with at most 16 pairs", value)
    for key in pairs:
        if not 1 <= len(key) <= 64:
            raise InvalidParameter(f"A key of `{name}` must have 1 to 64 characters, not {len(key)}.", param=name)
    return {key: _text(one, join(name, key), most=512) for key, one in pairs.items()}


def _webhook_url(value: object, name: str) -> str:
    """An https URL, or http to a host that `fetch.allow` can name: which networks that opens is asked later."""
    if not isinstance(value, str):
        _refuse(name, "an https URL", value)
    fault = url_fault(value, WEBHOOK_URL_MAX)
    if fault is not None:
        raise InvalidParameter(f"`{name}` {fault}; it must be an https URL.", param=name)
    parts = urlsplit(value)
    if parts.scheme.lower() == "http" and not _is_address(parts.hostname or ""):
        raise InvalidParameter(
            f"`{name}` must be an https URL; http is for addresses that the operator has allowed.", param=name
        )
    return value


def _is_address(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_READERS: dict[str, Callable[[object, str], Any]] = {
    "model": _model,
    "prompt": partial(_text, most=PROMPT_MAX),
    "image": _image,
    "last_image": _image,
    "reference_images": _images,
    "duration": _duration,
    "resolution": partial(_choice, choices=tuple(RESOLUTIONS)),
    "aspect_ratio": _ratio,
    "size": _size,
    "width": partial(_whole, low=1, high=99_999),
    "height": partial(_whole, low=1, high=99_999),
    "n": partial(_whole, low=1, high=4),
    "generate_audio": _boolean,
    "negative_prompt": _negative_prompt,
    "seed": partial(_whole, low=0, high=2**63 - 1),
    "fps": partial(_whole, low=1, high=120),
    "cfg_scale": _number,
    "mode": partial(_text, least=1, most=32),
    "provider_options": _provider_options,
    "adapt": partial(_choice, choices=("none", "nearest")),
    "fallback": _fallback,
    "deadline_seconds": partial(_whole, low=60, high=86400),
    "max_cost": _cost,
    "webhook_url": _webhook_url,
    "metadata": _metadata,
    "user": partial(_text, most=256),
}


def _refuse(name: str, accepted: str, value: object) -> NoReturn:
    raise InvalidParameter(f"`{name}` must be {accepted}, not {_told(value)}.", param=name)


def _told(value: object) -> str:
    """A value fit for a message: itself when it is short, else what it is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if len(value) <= 40 and value.isprintable():
            return f'"{value}"'
        case str():
            return f"a string of {len(value):,} characters"
        case Mapping():
            return "an object"
        case list():
            return f"a list of {len(value):,}"
        case _:
            return f"a {type(value).__name__}"


# Words of other APIs that no likeness of letters leads from.
_OTHER_WORDS = {
    "audio": "generate_audio",
    "callback": "webhook_url",
    "count": "n",
    "end_frame": "last_image",
    "external_task_id": "metadata",
    "first_frame": "image",
    "first_frame_image": "image",
    "guidance_scale": "cfg_scale",
    "last_frame": "last_image",
    "last_frame_image": "last_image",
    "length": "duration",
    "model_name": "model",
    "num_outputs": "n",
    "num_videos": "n",
    "quality": "resolution",
    "ratio": "aspect_ratio",
    "sound": "generate_audio",
    "start_frame": "image",
    "start_image_url": "image",
    "text": "prompt",
    "timeout": "deadline_seconds",
}


def _unknown(name: str) -> UnknownParameter:
    shown = join("", name)
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]", "_", name[:64]).lower()
    known = [*_READERS, *ALIASES]
    nearest = [_OTHER_WORDS[plain]] if plain in _OTHER_WORDS else difflib.get_close_matches(plain, known, 1, 0.5)
    hint = f"Did you mean `{nearest[0]}`?" if nearest else f"The fields are: {', '.join(_READERS)}."
    return UnknownParameter(
        f"`{shown}` is not a field of this request. {hint} A provider's own options go into `provider_options`.",
        param=shown,
    )
