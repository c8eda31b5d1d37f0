"""From the body of a create request to the one value it means, whichever names and spellings it came in."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.api.body import join
from gateway.api.fields import PROMPT_MAX, READERS, SIZES, WEBHOOK_URL_MAX, check_webhook_url
from gateway.domain.addresses import Network
from gateway.domain.errors import InvalidImage, InvalidParameter, UnknownParameter
from gateway.domain.generation import GenerationRequest
from gateway.domain.request import ImageToVideo, Input, ReferencesToVideo, Settings, TextToVideo
from gateway.services.generations import InlineFile
from gateway.services.images import inspect

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
    names: Mapping[str, str] = field(default_factory=dict, compare=False)  # field → the client's name of it

    @contextmanager
    def named(self) -> Iterator[None]:
        """What is wrong with an image is told by the name that the client used for its field."""
        try:
            yield
        except InvalidImage as error:
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
    _expand_size(asked, names)
    files: dict[str, InlineFile] = {}
    request = GenerationRequest(
        input=_input(asked, names, _Files(files, name_file)),
        settings=Settings(**{_SETTINGS[key]: value for key, value in asked.items() if key in _SETTINGS}),
        **{_REQUEST[key]: value for key, value in asked.items() if key in _REQUEST},
    )
    return Normalised(request=request, files=files, names=names)


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
        reader = READERS.get(key)
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
