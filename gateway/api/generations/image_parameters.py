"""The fields of a create request for an image: rows of the table of videos, and those that only images have."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.api.generations.image_values import Image, read_references
from gateway.api.generations.parameter import Holder, Parameter, Parameters, Target, setting
from gateway.api.generations.parameters import NEAREST, VIDEO_PARAMETERS
from gateway.api.generations.readers import (
    read_fixed,
    read_image_format,
    read_image_response_format,
    read_integer,
    read_quality,
    read_stream,
)
from gateway.domain.adapter.request import Kind
from gateway.domain.parameters.dimensions import QUALITIES

IMAGE_SIZE_EXAMPLES = ("1024x1024", "1536x1024", "1024x1536", "2048x2048", "auto")
_FRAME = "An image has no frames: the images to start from go into `reference_images`."
_NO_LENGTH = "An image has no length: POST /v1/videos/generations makes videos."
# Fields of videos that images do not have → why, for the error that refuses them.
_NOT_HERE = {
    **dict.fromkeys(
        ("duration", "seconds", "fps", "frame_rate", "framerate", "frames_per_second", "video_length"), _NO_LENGTH
    ),
    **dict.fromkeys(("duration_seconds", "length"), _NO_LENGTH),
    **dict.fromkeys(("generate_audio", "audio", "sound"), "An image has no sound."),
    **dict.fromkeys(
        ("last_image", "last_frame", "image_tail", "image_tail_url", "end_image_url", "input_reference"), _FRAME
    ),
    **dict.fromkeys(
        ("resolution", "aspect_resolution"), "The size of an image is `quality` (1K, 2K or 4K), or `size` in pixels."
    ),
    "start_image_url": _FRAME,
    "cfg_scale": "No model for images takes it.",
    "style": "No model has styles: describe the style in `prompt`.",
    "mask": "No model can change a part of an image alone: leave the mask out, and say in `prompt` what to change.",
}


def _row(name: str, **changes: Any) -> Parameter:
    """Return the row of videos with this name, in which `changes` are replaced."""
    return replace(VIDEO_PARAMETERS.by_name[name], **changes)


# Fields of OpenAI's API that change nothing here: the values that ask for what happens anyway, and why no other can be.
_FIXED: tuple[tuple[str, tuple[str | int, ...], str], ...] = (
    ("background", ("auto", "opaque"), "no model can make a transparent background"),
    ("moderation", ("auto",), "the provider decides what it refuses"),
    ("output_compression", (100,), "the file is kept as its provider made it"),
    ("partial_images", (0,), "an answer has only whole images"),
    ("input_fidelity", ("low",), "no model lets a client choose how closely it follows an image"),
)


def _fixed(name: str, accepted: tuple[str | int, ...], reason: str) -> Parameter:
    """Return the row of a field that has no other values than those that ask for what happens anyway."""
    only = " or ".join(f"`{value}`" for value in accepted)
    return Parameter(
        name=name,
        read=partial(read_fixed, accepted=accepted, reason=reason),
        json_type=int | str if any(isinstance(value, int) for value in accepted) else str,
        target=Target(Holder.NOTHING),
        schema={"description": f"Only {only}: {reason}."},
    )


IMAGE_PARAMETERS = Parameters(
    "image",
    (
        _row(
            "model",
            required=False,
            schema={
                "description": "The name of a model, or one of its other names; `GET /v1/models` lists them. Without it"
                " `auto`: any model that can do it.",
                "examples": ["keevx/image", "auto"],
            },
        ),
        _row("prompt", schema={"description": "What the image shows.", "examples": ["Waves on the beach"]}),
        _row(
            "reference_images",
            read=read_references,
            json_type=_row("reference_images").json_type | Image,
            aliases=("image_urls", "image", "images"),
            hints=(
                *("file", "files", "image_file", "input_image", "input_images", "img", "photo", "picture"),
                *("image_base64", "image_url", "init_image", "reference_image", "reference_image_urls", "references"),
                "subject_images",
            ),
            schema={
                "description": "Images to start from, each a URL, data URL, base64 or `file_…`; one needs no list."
            },
        ),
        _row(
            "aspect_ratio",
            aliases=("image_ratio",),
            schema={
                "description": f"Width to height, also as `16/9`, `1.78` or `landscape`. {NEAREST}",
                "examples": ["1:1", "16:9", "9:16"],
            },
        ),
        Parameter(
            name="quality",
            read=read_quality,
            json_type=Annotated[str, Meta(max_length=64)],
            target=setting("quality", str),
            aliases=("image_quality",),
            hints=("definition", "image_resolution"),
            schema={
                "description": "`1K`, `2K` or `4K`: about 1024, 2048 or 4096 pixels along the side of a square image,"
                " and as many pixels in any other ratio. OpenAI's words are taken too: `low` and `standard` mean 1K,"
                " `medium` and `hd` 2K, `high` 4K, and `auto` leaves it to the model. Beside `size`, which says the"
                " number of pixels, these words ask for nothing.",
                "examples": [*QUALITIES, "auto"],
            },
        ),
        _row(
            "size",
            hints=("dimensions", "image_size"),
            schema={
                "description": "WIDTHxHEIGHT: the aspect ratio, and the quality whose number of pixels is nearest."
                " `auto` leaves both to the model.",
                "examples": list(IMAGE_SIZE_EXAMPLES),
            },
        ),
        _row("width"),
        _row("height"),
        _row(
            "n",
            read=partial(read_integer, low=1, high=8),
            json_type=Annotated[int, Meta(ge=1, le=8)] | str,
            hints=("batch_size", "count", "num_images", "num_outputs", "number_of_images", "samples"),
            schema={"description": "The number of images."},
        ),
        _row("negative_prompt", schema={"description": "What the image should not show."}),
        _row(
            "seed",
            schema={"description": "The start of the random numbers: the same seed and request give similar images."},
        ),
        _row("mode", aliases=("module",)),
        Parameter(
            name="output_format",
            read=read_image_format,
            json_type=Literal["png", "jpeg", "webp"],
            target=setting("output_format", str),
            hints=("format", "image_format", "file_format"),
            schema={"description": "The format of the file; only models that can choose it take this."},
        ),
        *map(_row, ("provider_options", "adapt", "fallback", "deadline_seconds", "max_cost", "webhook_url")),
        *map(_row, ("metadata", "user")),
        _row(
            "stream",
            read=partial(read_stream, kind="image"),
            schema={"description": "Only `false`: the events of a generation have a path of their own."},
        ),
        Parameter(
            name="response_format",
            read=read_image_response_format,
            json_type=Literal["url", "b64_json"],
            target=Target(Holder.ANSWER, "response_format"),
            schema={
                "description": "How `data` of a call that waits has each image: its `url`, or its bytes as `b64_json`."
                " Without it both are there, because some clients read the one and some the other."
            },
        ),
        *(_fixed(name, accepted, reason) for name, accepted, reason in _FIXED),
    ),
    not_here=_NOT_HERE,
)
CreateImage: type[Struct] = IMAGE_PARAMETERS.body("CreateImage", __name__)
PARAMETERS_OF: Mapping[Kind, Parameters] = {"video": VIDEO_PARAMETERS, "image": IMAGE_PARAMETERS}
