"""The fields that FoxAPI's clients send beside ours: options of its models, at the top of the body.

Source: FoxAPI's pages of its Kling models. Its clients have our path for a create (`POST /v1/videos/generations`), so
the fields are read there too, as options in `provider_options.foxapi`.
"""

from collections.abc import Mapping
from typing import Any

from gateway.api.generations.create_request import OPTIONS as PATH
from gateway.api.generations.create_request import Given

PROVIDER = "foxapi"
# Name → its schema. The shapes in the adapter of FoxAPI check the values; what they mean is on FoxAPI's pages.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "voice_ids": {"type": ["array", "null"], "items": {"type": "string"}},
    "multi_prompt": {"type": ["array", "null"], "items": {"type": "object"}},
    "shot_type": {"type": ["string", "null"]},
    "elements": {"type": ["array", "null"], "items": {"type": "object"}},
    "character_orientation": {"type": ["string", "null"]},
    "keep_original_sound": {"type": ["string", "boolean", "null"]},
    "keep_audio": {"type": ["boolean", "null"]},
    "video_url": {"type": ["string", "null"]},
}


def option_schemas() -> dict[str, Any]:
    """The schemas of the options as fields of the JSON body of a create, for the OpenAPI document."""
    return {
        name: {**schema, "description": f"For clients of FoxAPI: the same as `{PATH}{PROVIDER}.{name}`."}
        for name, schema in OPTIONS.items()
    }


def with_options(body: Mapping[str, object]) -> Mapping[str, object] | list[Given]:
    """Return the fields of a body in which FoxAPI's options may be fields of their own.

    `null`, an empty list and empty text ask for nothing: FoxAPI's pages show its options so. A form writes them with
    brackets, as it writes those in `provider_options`: see `form.py`.
    """
    if body.keys().isdisjoint(OPTIONS):
        return body
    fields: list[Given] = []
    for name, value in body.items():
        if name not in OPTIONS:
            fields.append(Given(name, value))
        elif value not in (None, "", []):
            fields.append(Given(name, value, f"{PATH}{PROVIDER}.{name}"))
    return fields
