"""What the OpenAPI document tells of the body of a create request, as JSON and as a form."""

from collections.abc import Mapping
from typing import Any

from gateway.api.generations.fields import SIZE_EXAMPLES
from gateway.api.generations.parameters import ALIASES
from gateway.api.web.operation import BINARY
from gateway.domain.adapter.request import TextToVideo
from gateway.domain.generation.model import GenerationRequest

CREATE_FORM = "CreateVideoForm"
_IMAGE: Mapping[str, Any] = {"anyOf": [{"type": "string"}, BINARY]}
_MEMBERS = {"image_url": "a URL, a data URL or base64", "file_id": "the id of an uploaded file"}
_ELSE = 'What a route does not take is refused, unless `"adapt": "nearest"` allows the nearest value.'
_DESCRIBED: Mapping[str, Mapping[str, Any]] = {
    "duration": {"description": f"Seconds, also as `5s`. {_ELSE}", "examples": [5, "5"]},
    "resolution": {
        "description": f"A number of lines, or a name of it: `hd`, `full hd`, `2k` (1440p), `4K`. {_ELSE}",
        "examples": ["720p", "1080p", "4k"],
    },
    "aspect_ratio": {
        "description": f"Width to height, also as `16/9`, `1280x720`, `1.78` or `landscape`. {_ELSE} Beside an image"
        " some models have the ratio of the image: there another one is refused, or with `nearest` left out.",
        "examples": ["16:9", "9:16", "1:1"],
    },
    "size": {
        "description": f"WIDTHxHEIGHT: resolution (the shorter side) and aspect ratio in one. {_ELSE}",
        "examples": list(SIZE_EXAMPLES),
    },
    "n": {"description": "Outputs."},
    "generate_audio": {"description": "Also as `0` and `1`, or as text: `true`, `false`, `yes`, `no`, `on`, `off`."},
    "mode": {"description": "A provider's own quality mode: `std`, `pro`."},
    "max_cost": {"description": "USD."},
    "stream": {"description": "Only `false`: events are streamed by a call of their own."},
    "response_format": {"description": "Only `url`: the answer always names the URL of a result."},
}
_PAIR = r"^metadata\[[\s\S]{1,64}\]$"


def create_body(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a create request with all that is taken besides the names and types it is documented under."""
    properties = dict(schema["properties"])
    defaults = GenerationRequest(model="", input=TextToVideo())
    for name, value in (
        ("n", defaults.count),
        ("fallback", defaults.fallback),
        ("deadline_seconds", defaults.deadline_seconds),
    ):
        properties[name] = {**properties[name], "default": value}
    properties["adapt"] = {**properties["adapt"], "description": "Absent: as the model is configured, else `none`."}
    for name, described in _DESCRIBED.items():
        properties[name] = {**properties[name], **described}
    for alias, name in ALIASES.items():
        properties[alias] = {**properties[name], "description": f"Another name of `{name}`."}
    number = {"type": "integer", "minimum": 1, "maximum": 99_999}
    side = {"anyOf": [number, {"type": "string"}, {"type": "null"}], "default": None}
    properties["width"] = {**side, "description": "Together with `height`: another form of `size`."}
    properties["height"] = {**side, "description": "Together with `width`: another form of `size`."}
    return {**schema, "properties": properties}


def create_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a create request as a form, from that of the same as JSON: every field as text, images as files."""
    properties: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for name, schema in body["properties"].items():
        told = _without_null(schema)
        match ALIASES.get(name, name):
            case "image" | "last_image":
                properties[name] = {**told, **_IMAGE}
                properties[f"{name}[]"] = {"type": "array", "items": _IMAGE, "maxItems": 1}
                for member, text in _MEMBERS.items():
                    properties[f"{name}[{member}]"] = {"type": "string", "description": f"`{name}` as {text}."}
            case "reference_images":
                properties[name] = properties[f"{name}[]"] = {**told, "items": _IMAGE}
            case "fallback":
                properties[name] = properties[f"{name}[]"] = told
            case "provider_options":
                properties[name] = {"type": "string", "contentMediaType": "application/json"}
            case "metadata":
                pairs[_PAIR] = {**told["additionalProperties"], "description": "A pair of `metadata`, of 16 at most."}
            case _:
                properties[name] = told
    return {
        **body,
        "title": CREATE_FORM,
        "description": "A create request as a form: the fields of the JSON body as text, images as files or text. What"
        " is to be absent is left out: no text means `null`.",
        "properties": properties,
        "patternProperties": pairs,
    }


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a field that is given."""
    told = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:
        return {**kinds[0], **told}
    return {**told, "anyOf": kinds} if kinds else told
