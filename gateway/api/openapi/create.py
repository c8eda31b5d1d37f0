"""The OpenAPI schemas of the body of a create request, as JSON and as a form, from the table of its fields."""

from collections.abc import Mapping
from typing import Any

from gateway.api.generations.image_values import REFERENCES_MAX
from gateway.api.generations.parameter import FormStyle, Holder, Parameters
from gateway.api.web.operation import BINARY
from gateway.domain.adapter.request import TextInput
from gateway.domain.generation.model import GenerationRequest

_IMAGE: Mapping[str, Any] = {"anyOf": [{"type": "string"}, BINARY]}
_MEMBERS = {"image_url": "a URL, a data URL or base64", "file_id": "the id of an uploaded file"}


def create_body(schema: Mapping[str, Any], table: Parameters) -> dict[str, Any]:
    """Return the schema of the JSON body; `schema` is the one that msgspec made of the types in the table.

    It adds the descriptions and examples of the table, the defaults of `GenerationRequest`, and the other names.
    """
    properties = dict(schema["properties"])
    defaults = GenerationRequest(model="", input=TextInput())
    for parameter in table.rows:
        name = parameter.name
        default = getattr(defaults, parameter.target.field, None) if parameter.target.holder is Holder.REQUEST else None
        shown_default = {"default": default} if default else {}  # an empty default is the same as an absent field
        properties[name] = {**properties[name], **shown_default, **parameter.schema}
    for alias, name in table.aliases.items():
        properties[alias] = {**properties[name], "description": f"Another name of `{name}`."}
    return {**schema, "properties": properties}


def create_form(body: Mapping[str, Any], table: Parameters, title: str) -> dict[str, Any]:
    """Return the schema of a create request as a form.

    `body` is the schema of the same request as JSON, whose fields are those of `table`.
    """
    properties: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for name, schema in body["properties"].items():
        given = _without_null(schema)
        match table.by_name[name].form:
            case FormStyle.IMAGE:
                properties[name] = {**given, **_IMAGE}
                properties[f"{name}[]"] = {"type": "array", "items": _IMAGE, "maxItems": 1}
                for member, text in _MEMBERS.items():
                    properties[f"{name}[{member}]"] = {"type": "string", "description": f"`{name}` as {text}."}
            case FormStyle.IMAGES:
                properties[name] = properties[f"{name}[]"] = {
                    **{key: value for key, value in given.items() if key != "anyOf"},
                    "type": "array",
                    "items": _IMAGE,
                    "maxItems": REFERENCES_MAX,
                }
            case FormStyle.WORDS:
                properties[name] = properties[f"{name}[]"] = given
            case FormStyle.JSON:
                properties[name] = {"type": "string", "contentMediaType": "application/json"}
            case FormStyle.PAIRS:
                pair = {**given["additionalProperties"], "description": f"One pair of `{name}`; at most 16 are taken."}
                pairs[rf"^{name}\[[\s\S]{{1,64}}\]$"] = pair
            case FormStyle.TEXT:
                properties[name] = given
    return {
        **body,
        "title": title,
        "description": "A create request as a form: the fields of the JSON body as text, images as files or text."
        " Leave out a field that you do not want to give: no text means `null`.",
        "properties": properties,
        "patternProperties": pairs,
    }


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without the null that an absent field may have in JSON."""
    members = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    types = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if len(types) == 1:
        return {**types[0], **members}
    return {**members, "anyOf": types} if types else members
