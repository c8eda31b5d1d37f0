"""What the OpenAPI document tells of the body of a create request, as JSON and as a form."""

from collections.abc import Mapping
from typing import Any

from gateway.api.create import ALIASES
from gateway.api.fields import SIZES
from gateway.api.openapi.operation import BINARY
from gateway.domain.generation import GenerationRequest
from gateway.domain.request import TextToVideo

CREATE_FORM = "CreateVideoForm"
_IMAGE: Mapping[str, Any] = {"anyOf": [{"type": "string"}, BINARY]}
_MEMBERS = {"image_url": "a URL, a data URL or base64", "file_id": "the id of an uploaded file"}
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
    properties["size"] = {
        "description": "WIDTHxHEIGHT: resolution and aspect ratio in one.",
        "anyOf": [{"type": "string", "enum": list(SIZES)}, {"type": "null"}],
        "default": None,
    }
    digits = {"description": "The same as digits.", "type": "string", "pattern": "^[1-9][0-9]{0,3}$"}
    properties["duration"] = {**properties["duration"], "anyOf": [*properties["duration"]["anyOf"], digits]}
    for alias, name in ALIASES.items():
        properties[alias] = {**properties[name], "description": f"Another name of `{name}`."}
    side = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 99_999}, {"type": "null"}], "default": None}
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
