"""The fields of a create request for a video: one table. Those for an image are in `image_parameters.py`.

Everything that has to know the fields is computed from the two tables: how a JSON body and a form are read, the other
names of a field, the hint for an unknown name, the OpenAPI schema of both kinds of body, and how a generation shows its
request and the settings of its attempts. A new field is one row here, and its reader if no reader fits; a test checks
that each of these places has it. Most rows of images are rows of this table.
"""

from functools import partial
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.api.generations.image_values import Images, OneImage, read_image, read_images
from gateway.api.generations.parameter import (
    FormStyle,
    Holder,
    Parameter,
    Parameters,
    Shown,
    Target,
    setting,
)
from gateway.api.generations.readers import (
    PROMPT_MAX,
    SIZE_EXAMPLES,
    read_aspect_ratio,
    read_boolean,
    read_choice,
    read_duration,
    read_fallback,
    read_integer,
    read_max_cost,
    read_metadata,
    read_mode,
    read_model,
    read_negative_prompt,
    read_number,
    read_provider_options,
    read_resolution,
    read_response_format,
    read_size,
    read_stream,
    read_text,
)
from gateway.api.generations.webhook_url import WEBHOOK_URL_MAX, read_webhook_url
from gateway.domain.parameters import spellings

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]

_request = partial(Target, Holder.REQUEST)
_input = partial(Target, Holder.INPUT)
_SIZE, _NOTHING = Target(Holder.SIZE), Target(Holder.NOTHING)
_SIDE = Annotated[int, Meta(ge=1, le=99_999)] | str  # pixels
NEAREST = 'What a route does not take is refused, unless `"adapt": "nearest"` allows the nearest value.'

_ROWS = (
    Parameter(
        name="model",
        read=read_model,
        json_type=ModelName,
        target=_request("model", Shown.NEVER),
        hints=("model_id", "model_name"),
        required=True,
        schema={
            "description": "The name of a model, one of its other names, or `auto`; `GET /v1/models` lists them.",
            "examples": ["auto"],
        },
    ),
    Parameter(
        name="prompt",
        read=partial(read_text, most=PROMPT_MAX),
        json_type=Annotated[str, Meta(max_length=PROMPT_MAX)],
        target=_request("prompt", Shown.ALWAYS),
        hints=("text", "text_prompt"),
        trims=False,
        schema={"description": "What the video shows.", "examples": ["Waves on the beach"]},
    ),
    Parameter(
        name="image",
        read=read_image,
        json_type=OneImage,
        target=_input("first_frame"),
        aliases=("image_url", "input_reference", "start_image_url"),
        hints=(
            *("file", "files", "image_file", "input_image", "img", "photo", "picture", "image_base64"),
            *("init_image", "first_frame", "first_frame_image", "first_image", "start_frame", "start_image"),
            *("first_frame_url", "first_frame_image_url", "image_start"),
        ),
        form=FormStyle.IMAGE,
        schema={"description": "First frame: URL, data URL, base64 or `file_…`."},
    ),
    Parameter(
        name="last_image",
        read=read_image,
        json_type=OneImage,
        target=_input("last_frame"),
        aliases=("image_tail_url", "image_tail", "end_image_url", "last_frame"),
        hints=("end_frame", "end_image", "image_end", "last_frame_image", "last_frame_url", "last_image_url"),
        form=FormStyle.IMAGE,
        schema={"description": "Last frame: URL, data URL, base64 or `file_…`."},
    ),
    Parameter(
        name="reference_images",
        read=read_images,
        json_type=Images,
        target=_input("references"),
        aliases=("image_urls",),
        hints=("images", "input_images", "reference_image_urls", "references", "subject_images"),
        form=FormStyle.IMAGES,
        schema={
            "description": "Images whose subjects or style the video takes over: URLs, data URLs, base64 or `file_…`."
        },
    ),
    Parameter(
        name="duration",
        read=read_duration,
        json_type=Annotated[float, Meta(ge=1, le=3600)] | str,
        target=setting("duration_seconds", int),
        aliases=("seconds",),
        hints=("duration_seconds", "length", "video_length"),
        schema={"description": f"Seconds, also as `5s`. {NEAREST}", "examples": [5, "5"]},
    ),
    Parameter(
        name="resolution",
        read=read_resolution,
        json_type=str | int,
        target=setting("resolution", str),
        aliases=("aspect_resolution", "quality"),
        schema={
            "description": f"A number of lines, or a name of it: `hd`, `full hd`, `2k` (1440p), `4K`. {NEAREST}",
            "examples": ["720p", "1080p", "4k"],
        },
    ),
    Parameter(
        name="aspect_ratio",
        read=read_aspect_ratio,
        json_type=str | float,
        target=setting("aspect_ratio", str),
        hints=("aspect", "orientation", "ratio"),
        schema={
            "description": f"Width to height, also as `16/9`, `1280x720`, `1.78` or `landscape`. {NEAREST} With an"
            " image some models use the ratio of the image. They refuse another ratio, or ignore it with `nearest`.",
            "examples": ["16:9", "9:16", "1:1"],
        },
    ),
    Parameter(
        name="size",
        read=read_size,
        json_type=str,
        target=_SIZE,
        hints=("dimensions", "video_size"),
        schema={
            "description": f"WIDTHxHEIGHT: resolution (the shorter side) and aspect ratio in one. {NEAREST}",
            "examples": list(SIZE_EXAMPLES),
        },
    ),
    Parameter(
        name="width",
        read=partial(read_integer, low=1, high=99_999, units=spellings.PIXELS),
        json_type=_SIDE,
        target=_SIZE,
        schema={"description": "Together with `height`: another form of `size`."},
    ),
    Parameter(
        name="height",
        read=partial(read_integer, low=1, high=99_999, units=spellings.PIXELS),
        json_type=_SIDE,
        target=_SIZE,
        schema={"description": "Together with `width`: another form of `size`."},
    ),
    Parameter(
        name="n",
        read=partial(read_integer, low=1, high=4),
        json_type=Annotated[int, Meta(ge=1, le=4)] | str,
        target=_request("count", Shown.ALWAYS),
        aliases=("generate_count",),
        hints=("batch_size", "count", "num_outputs", "num_videos", "number_of_videos", "samples"),
        schema={"description": "The number of outputs."},
    ),
    Parameter(
        name="generate_audio",
        read=read_boolean,
        json_type=bool | int | str,
        target=setting("generate_audio", bool),
        hints=("audio", "enable_audio", "sound", "with_audio"),
        schema={"description": "Also as `0` and `1`, or as text: `true`, `false`, `yes`, `no`, `on`, `off`."},
    ),
    Parameter(
        name="negative_prompt",
        read=read_negative_prompt,
        json_type=Annotated[str, Meta(max_length=PROMPT_MAX)],
        target=setting("negative_prompt", str),
        trims=False,
        schema={"description": "What the video should not show."},
    ),
    Parameter(
        name="seed",
        read=partial(read_integer, low=0, high=2**63 - 1),
        json_type=Annotated[int, Meta(ge=0, le=2**63 - 1)] | str,
        target=setting("seed", int),
        schema={"description": "The start of the random numbers: the same seed and request give similar videos."},
    ),
    Parameter(
        name="fps",
        read=partial(read_integer, low=1, high=120, units=frozenset({"fps"})),
        json_type=Annotated[int, Meta(ge=1, le=120)] | str,
        target=setting("fps", int),
        hints=("frame_rate", "framerate", "frames_per_second"),
        schema={"description": "Frames in a second."},
    ),
    Parameter(
        name="cfg_scale",
        read=read_number,
        json_type=float | str,
        target=setting("cfg_scale", float),
        hints=("cfg", "guidance", "guidance_scale"),
        schema={"description": "How closely the video follows the prompt; the range is that of the model."},
    ),
    Parameter(
        name="mode",
        read=read_mode,
        json_type=Annotated[str, Meta(max_length=32)],
        target=setting("mode", str),
        schema={"description": "A provider's own quality mode: `std`, `pro`."},
    ),
    Parameter(
        name="provider_options",
        read=read_provider_options,
        json_type=dict[str, dict[str, Any]],
        target=_request("provider_options"),
        form=FormStyle.JSON,
        schema={
            "description": "Options of one provider, by its name: they are sent only to it. Each has a strict shape."
        },
    ),
    Parameter(
        name="adapt",
        read=partial(read_choice, choices=("none", "nearest")),
        json_type=Literal["none", "nearest"],
        target=_request("adapt"),
        schema={"description": "If it is absent, the configuration of the model decides; its default is `none`."},
    ),
    Parameter(
        name="fallback",
        read=read_fallback,
        json_type=bool | Annotated[list[ModelName], Meta(max_length=16)],
        target=_request("fallback"),
        aliases=("fallbacks",),
        form=FormStyle.WORDS,
        schema={
            "description": "`false`: only the first route is tried. A list: these models are tried after the first one."
        },
    ),
    Parameter(
        name="deadline_seconds",
        read=partial(read_integer, low=60, high=86400, units=spellings.UNITS_OF_TIME),
        json_type=Annotated[int, Meta(ge=60, le=86400)] | str,
        target=_request("deadline_seconds", Shown.NEVER),
        hints=("deadline", "timeout", "timeout_seconds"),
        schema={"description": "Without a result after so many seconds, the generation ends as `expired`."},
    ),
    Parameter(
        name="max_cost",
        read=read_max_cost,
        json_type=Annotated[float, Meta(gt=0)] | str,
        target=_request("max_cost"),
        schema={"description": "USD."},
    ),
    Parameter(
        name="webhook_url",
        read=read_webhook_url,
        json_type=Annotated[str, Meta(max_length=WEBHOOK_URL_MAX)],
        target=_request("webhook_url"),
        aliases=("callback_url",),
        hints=("callback", "hook_url", "notify_url", "webhook"),
        schema={"description": "The URL that gets the event of the end."},
    ),
    Parameter(
        name="metadata",
        read=read_metadata,
        json_type=Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=16),
        ],
        target=_request("metadata", Shown.NEVER),
        hints=("external_task_id",),
        form=FormStyle.PAIRS,
        schema={"description": "Pairs of your own, which every answer and event repeats."},
    ),
    Parameter(
        name="user",
        read=partial(read_text, most=256),
        json_type=Annotated[str, Meta(max_length=256)],
        target=_request("user", Shown.NEVER),
        schema={"description": "Your own name of the end user; it is stored, and not sent to a provider."},
    ),
    Parameter(
        name="stream",
        read=read_stream,
        json_type=bool,
        target=_NOTHING,
        schema={"description": "Only `false`: events are streamed by a call of their own."},
    ),
    Parameter(
        name="response_format",
        read=read_response_format,
        json_type=Literal["url"],
        target=_NOTHING,
        schema={"description": "Only `url`: the answer always gives the URL of a result."},
    ),
)
VIDEO_PARAMETERS = Parameters(
    "video",
    _ROWS,
    not_here={"output_format": "A video has the format in which its provider makes it."},
)
CreateVideo: type[Struct] = VIDEO_PARAMETERS.body("CreateVideo", __name__)
