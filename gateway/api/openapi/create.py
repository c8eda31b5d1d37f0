"""The OpenAPI schemas of the body of a create request, as JSON and as a form, from the table of its fields."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.api.generations.image_values import REFERENCES_MAX
from gateway.api.generations.parameter import FormStyle, Holder, Parameters
from gateway.api.web.operation import BINARY
from gateway.domain.adapter.contract import Adapter, Capability
from gateway.domain.adapter.options import schema_of
from gateway.domain.adapter.request import TextInput
from gateway.domain.generation.model import GenerationRequest

_AS_TEXT = "The bytes of a file; or, as text, a URL, a data URL, base64 or `file_…`."


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
    example = {name: properties[name]["examples"][0] for name in ("model", "prompt")}
    return {**schema, "properties": properties, "examples": [example]}


def create_form(body: Mapping[str, Any], table: Parameters, title: str) -> dict[str, Any]:
    """Return the schema of a create request as a form.

    `body` is the schema of the same request as JSON, whose fields are those of `table`. Each field has one name here.
    The names with brackets that some clients send are accepted too, but a generated client has no use for them: two
    names of one field make generators leave the form out.
    """
    properties: dict[str, Any] = {}
    for name, schema in body["properties"].items():
        given = _without_null(schema)
        match table.by_name[name].form:
            case FormStyle.IMAGE:
                properties[name] = {**BINARY, "description": f"{given['description']} {_AS_TEXT}"}
            case FormStyle.IMAGES:
                properties[name] = {
                    "type": "array",
                    "items": {**BINARY, "description": _AS_TEXT},
                    "maxItems": REFERENCES_MAX,
                    "description": given["description"],
                }
            case FormStyle.WORDS:
                words = next(member for member in given["anyOf"] if member["type"] == "array")
                properties[name] = {**words, "description": given["description"]}
            case FormStyle.PAIRS:
                text = f"{given['description']} One part with a JSON object, or a part `{name}[key]` for each pair."
                properties[name] = {**given, "description": text}
            case _:
                properties[name] = given
    return {
        **body,
        "title": title,
        "description": "A create request as a form: the fields of the JSON body as text, images as files or text,"
        " objects as JSON. Leave out a field that you do not want to give: no text means `null`.",
        "properties": properties,
    }


def options_by_provider(adapters: Mapping[str, Adapter]) -> dict[str, Any]:
    """Return the schemas of `provider_options`, by the name of the provider that has options."""
    providers: dict[str, Any] = {}
    for provider, adapter in adapters.items():
        tables = (adapter.capabilities, adapter.configurable)
        rows = [row for table in tables for model in table.values() for row in model]
        names = sorted({name for row in rows for name in row.options})
        if names:
            providers[provider] = {"type": "object", "properties": {name: _shape(name, rows) for name in names}}
    return providers


def _shape(name: str, rows: Iterable[Capability]) -> dict[str, Any]:
    """Return the schema of an option; several as `anyOf`, if models differ."""
    schemas: list[dict[str, Any]] = []
    for row in rows:
        if name in row.options and (schema := schema_of(row.options[name])) not in schemas:
            schemas.append(schema)
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a field without the null that an absent field may have in JSON."""
    members = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    types = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    if len(types) == 1:
        return {**types[0], **members}
    return {**members, "anyOf": types} if types else members
