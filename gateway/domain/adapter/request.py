"""What a client asked for, normalised: equal requests are equal values, whatever API and alias they were written in."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

Kind = Literal["video", "image"]  # what a generation makes


# The tags are stored and are part of the idempotency digest. They are older than image generations, which have the same
# inputs: a prompt alone, or reference images.


class TextInput(Struct, tag="text_to_video", frozen=True, gc=False):
    """The prompt alone."""


class FramesInput(Struct, tag="image_to_video", frozen=True, kw_only=True, gc=False):
    """The first frame of a video, and its last frame if there is one. An image generation never has this input.

    An image is a string: a URL, `file_…` for bytes that the gateway has, or, in an `UpstreamRequest`, the form that the
    provider accepts (URL or base64).
    """

    first_frame: str
    last_frame: str | None = None


class ReferencesInput(Struct, tag="references_to_video", frozen=True, kw_only=True, gc=False):
    """Reference images, and frames of a video too if the model accepts both."""

    references: tuple[str, ...]  # never empty
    first_frame: str | None = None
    last_frame: str | None = None


Input = TextInput | FramesInput | ReferencesInput


class InputKind(StrEnum):
    """The tags of `Input`."""

    TEXT = "text_to_video"
    IMAGE = "image_to_video"
    REFERENCES = "references_to_video"


def input_kind(value: Input) -> InputKind:
    """The kind of an input, by its tag."""
    return InputKind(value.__struct_config__.tag)  # type: ignore[arg-type]  # every member has a string tag


def images_of(value: Input) -> tuple[str, ...]:
    """Every image of an input, in this order: first frame, last frame, references."""
    match value:
        case TextInput():
            return ()
        case FramesInput(first_frame=first, last_frame=last):
            return tuple(image for image in (first, last) if image is not None)
        case ReferencesInput(references=references, first_frame=first, last_frame=last):
            return (*(image for image in (first, last) if image is not None), *references)


def with_images(value: Input, replaced: Mapping[str, str]) -> Input:
    """The same input with other images. `replaced` has a new string for every image of `images_of(value)`."""

    def swap(image: str | None) -> str | None:
        return None if image is None else replaced[image]

    match value:
        case TextInput():
            return value
        case FramesInput(first_frame=first, last_frame=last):
            return FramesInput(first_frame=replaced[first], last_frame=swap(last))
        case ReferencesInput(references=references, first_frame=first, last_frame=last):
            return ReferencesInput(
                references=tuple(replaced[image] for image in references),
                first_frame=swap(first),
                last_frame=swap(last),
            )


class Settings(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a client may ask of the result. None: the client did not ask, so the default of the route applies."""

    duration_seconds: int | float | None = None  # a fraction only if the client gave one
    resolution: str | None = None  # 720p, 1080p, 4k, or any number of lines in the notation of `dimensions`
    quality: str | None = None  # of an image: 1K, 2K, 4K, about the side of a square with as many pixels
    aspect_ratio: str | None = None  # 16:9, 9:16, 1:1, or any other in the notation of `dimensions`
    generate_audio: bool | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    fps: int | None = None
    cfg_scale: float | None = None
    mode: str | None = None  # the provider's own quality mode: std, pro
    output_format: str | None = None  # of an image: png, jpeg, webp


class UpstreamRequest(Struct, frozen=True, kw_only=True):
    """One submit, ready to translate: its images have the form that the provider accepts."""

    attempt_id: str
    model: str  # the provider's own name of the model, as it is sent
    capability_name: str  # the model whose entry in the adapter's tables applies; mostly the same as `model`
    prompt: str  # "" if the client gave none
    input: Input
    settings: Settings  # from the client, or from `Capability.defaults`
    kind: Kind = "video"
    count: int = 1  # outputs of this submit; at most `Capability.count_max`
    options: Mapping[str, Any] = {}  # the client's `provider_options`; only names of `Capability.options`
    client: str = ""  # a short name of the client, the same for all its requests, which does not show its key
    variant: str = ""  # one of `Adapter.variants`; "" means the first
    callback_url: str | None = None  # None: the provider cannot call back
