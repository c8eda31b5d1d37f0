"""What a client asked for, normalised: equal requests are equal values, whatever API and alias they were written in."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct


class TextToVideo(Struct, tag="text_to_video", frozen=True):
    """A video from the prompt alone."""


class ImageToVideo(Struct, tag="image_to_video", frozen=True, kw_only=True):
    """A video from a first frame, and to a last frame if there is one.

    An image is a string: a URL, `file_…` for bytes that the gateway has, or, in an `UpstreamRequest`, the form that the
    provider accepts (URL or base64).
    """

    first_frame: str
    last_frame: str | None = None


class ReferencesToVideo(Struct, tag="references_to_video", frozen=True, kw_only=True):
    """A video from reference images, and from frames too if the model accepts both."""

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
    """The kind of an input, by its tag."""
    return InputKind(value.__struct_config__.tag)  # type: ignore[arg-type]  # every member has a string tag


def images_of(value: Input) -> tuple[str, ...]:
    """Every image of an input, in this order: first frame, last frame, references."""
    match value:
        case TextToVideo():
            return ()
        case ImageToVideo(first_frame=first, last_frame=last):
            return tuple(image for image in (first, last) if image is not None)
        case ReferencesToVideo(references=references, first_frame=first, last_frame=last):
            return (*(image for image in (first, last) if image is not None), *references)


def with_images(value: Input, replaced: Mapping[str, str]) -> Input:
    """The same input with other images. `replaced` has a new string for every image of `images_of(value)`."""

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
    """What a client may ask of the result. None: the client did not ask, so the default of the route applies."""

    duration_seconds: int | float | None = None  # a fraction only if the client gave one
    resolution: str | None = None  # 720p, 1080p, 4k, or any number of lines in the notation of `dimensions`
    aspect_ratio: str | None = None  # 16:9, 9:16, 1:1, or any other in the notation of `dimensions`
    generate_audio: bool | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    fps: int | None = None
    cfg_scale: float | None = None
    mode: str | None = None  # the provider's own quality mode: std, pro


class UpstreamRequest(Struct, frozen=True, kw_only=True):
    """One submit, ready to translate: its images have the form that the provider accepts."""

    attempt_id: str
    model: str  # the provider's own name of the model, as it is sent
    capability_name: str  # the model whose entry in the adapter's tables applies; mostly the same as `model`
    prompt: str  # "" if the client gave none
    input: Input
    settings: Settings  # from the client, or from `Capability.defaults`
    count: int = 1  # outputs of this submit; at most `Capability.count_max`
    options: Mapping[str, Any] = {}  # the client's `provider_options`; only names of `Capability.options`
    variant: str = ""  # one of `Adapter.variants`; "" is the first
    callback_url: str | None = None  # None: the provider cannot call back
