"""Turns the body of a create request into a `GenerationRequest`.

Bodies that mean the same give equal requests, whatever names and spellings they use: equality decides whether a request
repeats an earlier one, so a difference would buy a second video.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from gateway.api.generations.parameters import BY_NAME, PARAMETERS, Holder, read_field
from gateway.api.generations.quote import left_out_view
from gateway.api.generations.unknown_field import unknown_field
from gateway.api.generations.webhook_url import check_webhook_url
from gateway.domain.adapter.request import FramesInput, Input, ReferencesInput, Settings, TextInput
from gateway.domain.errors import GatewayError, InvalidImage, InvalidParameter
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.parameters.dimensions import SIDE_MAX, SIDE_MIN, ratio_name, resolution_name
from gateway.domain.parameters.spellings import Size, size_of
from gateway.domain.public_addresses import Network
from gateway.generations.no_route import NoSuitableRoute
from gateway.generations.service import InlineFile
from gateway.media.image_header import inspect

_OF_SIZE = ("resolution", "aspect_ratio")
# Field of the body → field of the value. A field that is not asked for keeps the default of the value.
_SETTINGS = {row.name: row.target.field for row in PARAMETERS if row.target.holder is Holder.SETTINGS}
_REQUEST = {row.name: row.target.field for row in PARAMETERS if row.target.holder is Holder.REQUEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A request, and the images that came with it as bytes, by the `file_…` names that `request` has for them."""

    request: GenerationRequest
    files: Mapping[str, InlineFile]
    names: Mapping[str, str] = field(default_factory=dict, compare=False)  # field → the client's name of it
    size: Size | None = field(default=None, compare=False)  # what resolution and ratio were read from

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add to an error what only the body knows: the client's own name of the field, and how its size was read."""
        try:
            yield
        except NoSuitableRoute as error:
            of_size = any(reason.param in _OF_SIZE for route in error.left_out for reason in route.reasons)
            if self.size is not None and of_size:
                error.detail += f" The size {self.size.width}x{self.size.height} was read as {_meaning(self.size)}."
            self._rename(error)
            error.members = {"routes": [left_out_view(route, self.names) for route in error.left_out]}
            raise
        except (InvalidImage, InvalidParameter) as error:
            self._rename(error)
            raise

    def _rename(self, error: GatewayError) -> None:
        """Name the fields as the client did: an error about a name that the client has never sent does not help."""
        error.param = self.names.get(error.param or "", error.param)
        for own_name, name in self.names.items():
            error.detail = error.detail.replace(f"`{own_name}`", f"`{name}`")


class Given(NamedTuple):
    """A field of a body in the words of a dialect."""

    name: str  # as the client wrote it, for errors: `image_tail`, `frame_images[1].image_url`
    value: object
    field: str | None = None  # our name of the field, if `name` is not a name of ours


def normalise(
    body: Mapping[str, object] | Sequence[Given], name_file: Callable[[bytes], str], fetch_allow: Sequence[Network] = ()
) -> Normalised:
    """Return what a decoded body asks for; raise a 400 that names the field at fault.

    `body` has our names of the fields, or is a list of the fields that a dialect has read from its own body.
    `name_file` gives the `file_…` name of an image's bytes, the same for equal bytes. `fetch_allow` are the networks
    that a webhook may be in besides the public ones. Whether a model and a named file exist is checked later.
    """
    fields = [Given(name, value) for name, value in body.items()] if isinstance(body, Mapping) else body
    values, names = _read(fields)
    if "model" not in values:
        raise InvalidParameter("`model` is required: the name of the model to use.", param="model")
    if "webhook_url" in values:
        check_webhook_url(values["webhook_url"], names["webhook_url"], fetch_allow)
    size = _expand_size(values, names)
    files: dict[str, InlineFile] = {}
    request = GenerationRequest(
        input=_input(values, names, _Files(files, name_file)),
        settings=Settings(**{_SETTINGS[key]: value for key, value in values.items() if key in _SETTINGS}),
        **{_REQUEST[key]: value for key, value in values.items() if key in _REQUEST},
    )
    return Normalised(request=request, files=files, names=names, size=size)


def _read(fields: Iterable[Given]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the value of each field that is asked for, and the name that the client used for it."""
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, given, own_name in fields:
        parameter = BY_NAME.get(name if own_name is None else own_name)
        if parameter is None:
            if given is None:
                continue
            raise unknown_field(name)
        value = read_field(parameter, given, name)
        if value is None:
            continue
        key = parameter.name
        if key in values and values[key] != value:
            first = names[key]
            message = f"`{first}` and `{name}` are two names of one field and have different values."
            raise InvalidParameter(message, param=name)
        values[key] = value
        names.setdefault(key, name)
    return values, names


def _expand_size(values: dict[str, Any], names: dict[str, str]) -> Size | None:
    """Replace `size`, or `width` and `height`, by `resolution` and `aspect_ratio`; return the size that was asked for.

    A size that contradicts a resolution or a ratio beside it is refused: either reading would be paid for.
    """
    width, height = values.pop("width", None), values.pop("height", None)
    size: Size | None = values.pop("size", None)
    name = names.get("size", "size")
    if width is not None or height is not None:
        if width is None or height is None:
            missing, present = ("width", "height") if width is None else ("height", "width")
            raise InvalidParameter(f"`{present}` needs `{missing}` beside it.", param=missing)
        if size is not None and size != (width, height):
            detail = f"`{name}` is {size.width}x{size.height}, `width` and `height` say {width}x{height}."
            raise InvalidParameter(detail, param=name)
        if size is None:
            size, name = size_of(width, height), "width"
        if size is None:
            bounds = f"from {SIDE_MIN} to {SIDE_MAX:,} pixels each, one at most 100 times the other"
            raise InvalidParameter(f"`width` and `height` must be {bounds}, not {width}x{height}.", param=name)
    frame = values.get("resolution")
    if isinstance(frame, Size):  # the client gave a frame such as `1920x1080` as its `resolution`
        values["resolution"] = resolution_name(min(frame))
        # The ratio of the frame counts only where nothing else says a ratio.
        if size is None and not {"aspect_ratio", "image"} & values.keys():
            values["aspect_ratio"] = ratio_name(Fraction(*frame))
            names["aspect_ratio"] = names["resolution"]
    if size is None:
        return None
    label = f"`{name}`" if name != "width" else "`width` and `height`:"
    for key, meaning in zip(_OF_SIZE, (resolution_name(min(size)), ratio_name(Fraction(*size))), strict=True):
        value = values.setdefault(key, meaning)
        if value != meaning:
            other, pixels = names[key], f"{size.width}x{size.height}"
            detail = f"{label} {pixels} means `{other}` {meaning}, but `{other}` is {value}."
            raise InvalidParameter(detail, param=other)
        names.setdefault(key, name)
    return size


def _meaning(size: Size) -> str:
    resolution, ratio = resolution_name(min(size)), ratio_name(Fraction(*size))
    return f"`resolution` {resolution} and `aspect_ratio` {ratio}"


class _Files:
    """Collects the images that came as bytes, each content once."""

    def __init__(self, files: dict[str, InlineFile], name_file: Callable[[bytes], str]) -> None:
        self._files = files
        self._name_file = name_file

    def name(self, image: str | bytes, param: str) -> str:
        """Return an image as the request has it: a URL as it is, bytes as the `file_…` name under which they are kept.

        Raises `InvalidImage` for bytes that are not a usable image.
        """
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


def _input(values: Mapping[str, Any], names: Mapping[str, str], files: _Files) -> Input:
    """Return the kind of input that the given images make."""

    def frame(key: str) -> str | None:
        return files.name(values[key], names[key]) if key in values else None

    first, last = frame("image"), frame("last_image")
    if "reference_images" in values:
        param = names["reference_images"]
        references = tuple(
            files.name(image, f"{param}[{index}]") for index, image in enumerate(values["reference_images"])
        )
        return ReferencesInput(references=references, first_frame=first, last_frame=last)
    if first is not None:
        return FramesInput(first_frame=first, last_frame=last)
    if last is not None:
        param = names["last_image"]
        raise InvalidParameter(f"`{param}` is a last frame: it needs `image`, the first one, beside it.", param=param)
    return TextInput()
