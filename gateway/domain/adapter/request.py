"""What a client asked for, normalised: the same value whatever dialect or alias it came in."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct


class TextToVideo(Struct, tag="text_to_video", frozen=True):
    """From the prompt alone."""


class ImageToVideo(Struct, tag="image_to_video", frozen=True, kw_only=True):
    """From a first frame, towards a last frame where there is one.

    An image is a string: a URL, `file_…` for bytes that the gateway holds, or, in an `UpstreamRequest`, the form that
    the provider takes.
    """

    first_frame: str
    last_frame: str | None = None


class ReferencesToVideo(Struct, tag="references_to_video", frozen=True, kw_only=True):
    """From reference images, with frames beside them where a model takes both."""

    references: tuple[str, ...]  # never empty
    first_frame: str | None = None
    last_frame: str | None = None


Input = TextToVideo | ImageToVideo | ReferencesToVideo


class InputKind(StrEnum):
    """The tags of `Input`."""

    TEXT = "text_to_video"
    IMAGE = "image_to_video"
    REFERENCES = "references_to_video"


def input_kind(value: Input) -> InputKind:
    """The tag of an input."""
    return InputKind(value.__struct_config__.tag)  # type: ignore[arg-type]  # every member has a string tag


def images_of(value: Input) -> tuple[str, ...]:
    """Every image of an input, in the order: first frame, last frame, references."""
    match value:
        case TextToVideo():
            return ()
        case ImageToVideo(first_frame=first, last_frame=last):
            return tuple(image for image in (first, last) if image is not None)
        case ReferencesToVideo(references=references, first_frame=first, last_frame=last):
            return (*(image for image in (first, last) if image is not None), *references)


def with_images(value: Input, replaced: Mapping[str, str]) -> Input:
    """The same input with its images exchanged; `replaced` has every image of `images_of(value)`."""

    def swap(image: str | None) -> str | None:
        return None if image is None else replaced[image]

    match value:
        case TextToVideo():
            return value
        case ImageToVideo(first_frame=first, last_frame=last):
            return ImageToVideo(first_frame=replaced[first], last_frame=swap(last))
        case ReferencesToVideo(references=references, first_frame=first, last_frame=last):
            return ReferencesToVideo(
                references=tuple(replaced[image] for image in references),
                first_frame=swap(first),
                last_frame=swap(last),
            )


class Settings(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client may ask of the result. `None` is "not asked": the route's default serves."""

    duration_seconds: int | float | None = None  # a fraction only where a client asked for one
    resolution: str | None = None  # 720p, 1080p, 4k, or any number of lines as `dimensions` names it
    aspect_ratio: str | None = None  # 16:9, 9:16, 1:1, or any other as `dimensions` names it
    generate_audio: bool | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    fps: int | None = None
    cfg_scale: float | None = None
    mode: str | None = None  # the provider's own quality mode: std, pro


class UpstreamRequest(Struct, frozen=True, kw_only=True):
    """One submit, ready to translate: the images are in the form that the provider takes."""

    attempt_id: str
    model: str  # the upstream's own name, as it is to be sent
    row: str  # the name whose entry in the adapter's tables this model follows; mostly the same as `model`
    prompt: str  # "" when the client gave none
    input: Input
    settings: Settings  # asked for, or filled from the capability's `defaults`
    count: int = 1  # outputs wanted of this one submit; over 1 only where `Capability.count_max` is
    options: Mapping[str, Any] = {}  # the client's `provider_options` for this provider, allow-listed
    form: str = ""  # which of `Adapter.forms` to use; "" is the first
    callback_url: str | None = None  # only where the adapter can be called back
