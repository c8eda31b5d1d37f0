"""From the body of a create request to the one value it means, whichever names and spellings it came in."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.api.generations.fields import PROMPT_MAX, READERS, WEBHOOK_URL_MAX, check_webhook_url, read_field
from gateway.api.generations.image_values import REFERENCES_MAX
from gateway.api.web.json_body import join
from gateway.domain.adapter.request import ImageToVideo, Input, ReferencesToVideo, Settings, TextToVideo
from gateway.domain.errors import InvalidImage, InvalidParameter, UnknownParameter, UnsupportedParameter
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.parameters.dimensions import SIDE_MAX, SIDE_MIN, ratio_name, resolution_name
from gateway.domain.parameters.spellings import Size, size_of
from gateway.domain.public_addresses import Network
from gateway.generations.service import InlineFile
from gateway.media.image_header import inspect

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


class ImageUrl(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The URL of an image, as chat clients nest it."""

    url: str
    detail: str | None = None


class ImageObject(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An image by exactly one of these names; `type` and `detail` may be beside it."""

    url: str | None = None
    image_url: str | ImageUrl | None = None
    file_id: str | None = None
    b64_json: str | None = None
    base64: str | None = None
    data: str | None = None
    type: str | None = None
    detail: str | None = None


Image = str | ImageObject
OneImage = Image | Annotated[list[Image], Meta(max_length=1)]


class CreateVideo(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of a create request under its own names.

    A field that is `null` or blank is the same as one that is absent. Numbers and booleans may come as text.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    prompt: Annotated[str, Meta(max_length=PROMPT_MAX)] | None = None
    image: Annotated[OneImage | None, Meta(description="First frame: URL, data URL, base64 or `file_…`.")] = None
    last_image: Annotated[OneImage | None, Meta(description="Last frame: URL, data URL, base64 or `file_…`.")] = None
    reference_images: Annotated[list[Image], Meta(max_length=REFERENCES_MAX)] | None = None
    duration: Annotated[float, Meta(ge=1, le=3600)] | str | None = None
    resolution: str | int | None = None
    aspect_ratio: str | float | None = None
    size: str | None = None
    n: Annotated[int, Meta(ge=1, le=4)] | str | None = None
    generate_audio: bool | int | str | None = None
    negative_prompt: Annotated[str, Meta(max_length=PROMPT_MAX)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | str | None = None
    fps: Annotated[int, Meta(ge=1, le=120)] | str | None = None
    cfg_scale: float | str | None = None
    mode: Annotated[str, Meta(max_length=32)] | None = None
    provider_options: dict[str, dict[str, Any]] | None = None
    adapt: Literal["none", "nearest"] | None = None
    fallback: bool | Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=16)] | None = (
        None
    )
    deadline_seconds: Annotated[int, Meta(ge=60, le=86400)] | str | None = None
    max_cost: Annotated[float, Meta(gt=0)] | str | None = None
    webhook_url: Annotated[str, Meta(max_length=WEBHOOK_URL_MAX)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16),
        ]
        | None
    ) = None
    user: Annotated[str, Meta(max_length=256)] | None = None
    stream: bool | None = None
    response_format: Literal["url"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """What was asked, and the images that came with it by the names that `request` has for them."""

    request: GenerationRequest
    files: Mapping[str, InlineFile]
    names: Mapping[str, str] = field(default_factory=dict, compare=False)  # field → the client's name of it
    size: Size | None = field(default=None, compare=False)  # what resolution and ratio were read from

    @contextmanager
    def named(self) -> Iterator[None]:
        """An error about a field names it as the client did, and explains what its size was read as."""
        try:
            yield
        except (InvalidImage, UnsupportedParameter) as error:
            of_size = self.size is not None and any(f"`{name}`" in error.detail for name in _OF_SIZE)
            if isinstance(error, UnsupportedParameter) and self.size is not None and of_size:
                error.detail += f" The size {self.size.width}x{self.size.height} was read as {_read_as(self.size)}."
            error.param = self.names.get(error.param or "", error.param)
            raise


def normalise(
    body: Mapping[str, object], name_file: Callable[[bytes], str], fetch_allow: Sequence[Network] = ()
) -> Normalised:
    """The meaning of a body that `parse_json` let through; a 400 that names the field where it has none.

    Two bodies that mean the same give equal values. `name_file` gives the `file_…` name of an image's bytes, the same
    for equal bytes; `fetch_allow` are the networks besides the public ones that a webhook may be in. Whether a file
    exists and a model is known is not asked here.
    """
    asked, names = _read(body)
    if "model" not in asked:
        raise InvalidParameter("`model` is required: the name of the model to use.", param="model")
    if "webhook_url" in asked:
        check_webhook_url(asked["webhook_url"], names["webhook_url"], fetch_allow)
    size = _expand_size(asked, names)
    files: dict[str, InlineFile] = {}
    request = GenerationRequest(
        input=_input(asked, names, _Files(files, name_file)),
        settings=Settings(**{_SETTINGS[key]: value for key, value in asked.items() if key in _SETTINGS}),
        **{_REQUEST[key]: value for key, value in asked.items() if key in _REQUEST},
    )
    return Normalised(request=request, files=files, names=names, size=size)


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


_OF_SIZE = ("resolution", "aspect_ratio")


def _read(body: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, str]]:
    """The values that were asked for, and the name that the client used for each."""
    asked: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in body.items():
        key = ALIASES.get(name, name)
        if key not in READERS:
            if value is None:
                continue
            raise _unknown(name)
        read = read_field(key, value, name)
        if read is None:
            continue
        if key in asked and asked[key] != read:
            first = names[key]
            raise InvalidParameter(f"`{first}` and `{name}` are one field and have different values.", param=name)
        asked[key] = read
        names.setdefault(key, name)
    return asked, names


def _expand_size(asked: dict[str, Any], names: dict[str, str]) -> Size | None:
    """Put resolution and aspect ratio in the place of `size`, or of `width` and `height`; the size that was asked."""
    width, height = asked.pop("width", None), asked.pop("height", None)
    size: Size | None = asked.pop("size", None)
    name = names.get("size", "size")
    if width is not None or height is not None:
        if width is None or height is None:
            missing, given = ("width", "height") if width is None else ("height", "width")
            raise InvalidParameter(f"`{given}` needs `{missing}` beside it.", param=missing)
        if size is not None and size != (width, height):
            detail = f"`{name}` is {size.width}x{size.height}, `width` and `height` say {width}x{height}."
            raise InvalidParameter(detail, param=name)
        if size is None:
            size, name = size_of(width, height), "width"
        if size is None:
            bounds = f"from {SIDE_MIN} to {SIDE_MAX:,} pixels each, one at most 100 times the other"
            raise InvalidParameter(f"`width` and `height` must be {bounds}, not {width}x{height}.", param=name)
    frame = asked.get("resolution")
    if isinstance(frame, Size):  # `1920x1080` where a resolution is asked for
        asked["resolution"] = resolution_name(min(frame))
        if size is None and not {"aspect_ratio", "image"} & asked.keys():  # these know the shape better
            asked["aspect_ratio"] = ratio_name(Fraction(*frame))
            names["aspect_ratio"] = names["resolution"]
    if size is None:
        return None
    label = f"`{name}`" if name != "width" else "`width` and `height`:"
    for key, meant in zip(_OF_SIZE, (resolution_name(min(size)), ratio_name(Fraction(*size))), strict=True):
        given = asked.setdefault(key, meant)
        if given != meant:
            other, pixels = names[key], f"{size.width}x{size.height}"
            detail = f"{label} {pixels} means `{other}` {meant}, but `{other}` is {given}."
            raise InvalidParameter(detail, param=other)
        names.setdefault(key, name)
    return size


def _read_as(size: Size) -> str:
    resolution, ratio = resolution_name(min(size)), ratio_name(Fraction(*size))
    return f"`resolution` {resolution} and `aspect_ratio` {ratio}"


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
    known = [*READERS, *ALIASES]
    nearest = [_OTHER_WORDS[plain]] if plain in _OTHER_WORDS else difflib.get_close_matches(plain, known, 1, 0.5)
    hint = f"Did you mean `{nearest[0]}`?" if nearest else f"The fields are: {', '.join(READERS)}."
    return UnknownParameter(
        f"`{shown}` is not a field of this request. {hint} A provider's own options go into `provider_options`.",
        param=shown,
    )
