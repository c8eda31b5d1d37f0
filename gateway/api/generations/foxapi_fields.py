"""The fields that FoxAPI's clients send beside ours: options of its models, at the top of the body.

Source: FoxAPI's pages of its Kling models. Its clients have our path for a create (`POST /v1/videos/generations`), so
the fields are read there too, as options in `provider_options.foxapi`.
"""

from collections.abc import Mapping
from typing import Any

from gateway.api.generations.create_request import OPTIONS as PATH
from gateway.api.generations.create_request import Given
from gateway.domain.errors import InvalidParameter

PROVIDER = "foxapi"
# Name → its schema. The adapter of FoxAPI checks the values; what they mean is on FoxAPI's pages.
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

    `null`, an empty list and empty text ask for nothing: FoxAPI's pages show its options so. Raises `InvalidParameter`
    for an option of another type, and for one in a form, whose parts do not say what is a list and what is text.
    """
    if body.keys().isdisjoint(OPTIONS):
        return body
    fields: list[Given] = []
    for name, value in body.items():
        if name not in OPTIONS:
            fields.append(Given(name, value))
        elif isinstance(value, bytes):
            raise InvalidParameter(
                f"`{name}` cannot be a field of a form. Send JSON, or put it into `provider_options` as JSON:"
                f' {{"{PROVIDER}": {{"{name}": …}}}}.',
                param=name,
            )
        elif value not in (None, "", []):
            _check_type(name, value)
            fields.append(Given(name, value, f"{PATH}{PROVIDER}.{name}"))
    return fields


_TYPES: Mapping[str, tuple[type, str]] = {
    "array": (list, "a list"),
    "string": (str, "text"),
    "boolean": (bool, "true or false"),
    "object": (dict, "an object"),
}


def _check_type(name: str, value: object) -> None:
    """Refuse a value that is not of a type that FoxAPI's pages give the option.

    Without this a quote would accept it wherever no route of FoxAPI looks at the value.
    """
    schema = OPTIONS[name]
    types = [_TYPES[word] for word in schema["type"] if word != "null"]
    if not any(isinstance(value, kind) for kind, _ in types):
        raise InvalidParameter(f"`{name}` must be {' or '.join(text for _, text in types)}.", param=name)
    if isinstance(value, list):
        kind, text = _TYPES[schema["items"]["type"]]
        if not all(isinstance(member, kind) for member in value):
            raise InvalidParameter(f"Each member of `{name}` must be {text}.", param=name)
