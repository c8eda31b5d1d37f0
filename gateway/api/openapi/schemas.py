"""The component schemas of the document: made by msgspec, described, and in words that client generators understand."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from itertools import chain
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.dialects.keevx import KeevxCreateImage, KeevxCreateVideo
from gateway.api.dialects.kling.paths import KlingCreate
from gateway.api.dialects.openai_videos import OpenAIVideoCreate
from gateway.api.dialects.openrouter import OpenRouterCreate
from gateway.api.dialects.xai import XaiCreate, XaiCreateImages
from gateway.api.generations.foxapi_fields import option_schemas
from gateway.api.generations.image_parameters import IMAGE_PARAMETERS, PARAMETERS_OF, CreateImage
from gateway.api.generations.parameter import Parameters
from gateway.api.generations.parameters import VIDEO_PARAMETERS, CreateVideo
from gateway.api.generations.request_echo import SettingsView
from gateway.api.openapi.comments import field_comments
from gateway.api.openapi.create import create_body, create_form, options_by_provider
from gateway.api.web.operation import REF
from gateway.upstream.registry import load_adapters

# The name of a form is that of its body and `Form`.
_CREATES: Mapping[type[Struct], Parameters] = {CreateVideo: VIDEO_PARAMETERS, CreateImage: IMAGE_PARAMETERS}

# The bodies of the dialects. Those of their fields that are ours have our limits, because we read them.
_CREATES_OF_OTHERS: Mapping[type[Struct], type[Struct]] = {
    OpenAIVideoCreate: CreateVideo,
    OpenRouterCreate: CreateVideo,
    XaiCreate: CreateVideo,
    XaiCreateImages: CreateImage,
    KlingCreate: CreateVideo,
    KeevxCreateVideo: CreateVideo,
    KeevxCreateImage: CreateImage,
}


def component_schemas(structures: Iterable[Any]) -> dict[str, Any]:
    """Return name → schema of these wire structures, of all structures inside them, and of the bodies of creates.

    Raises `LookupError` if two of the structures have the same name.
    """
    kinds = [*structures, *_CREATES]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=REF)
    for structure in _structures(msgspec.inspect.multi_type_info(kinds)):
        if structure.__name__ not in schemas:
            raise LookupError(f"Two wire structures are named {structure.__name__}: each needs a name of its own.")
        properties = schemas[structure.__name__].get("properties", {})
        for name, text in field_comments(structure).items():
            if name in properties:
                properties[name] = {"description": _sentence(text), **properties[name]}
    _describe_settings(schemas[SettingsView.__name__]["properties"])
    for body, table in _CREATES.items():
        schemas[body.__name__] = create_body(schemas[body.__name__], table)
        schemas[body.__name__]["properties"]["provider_options"]["properties"] = options_by_provider(load_adapters())
    for other, body in _CREATES_OF_OTHERS.items():
        if other.__name__ in schemas:
            _limit(schemas[other.__name__], schemas[body.__name__]["properties"])
    for schema in schemas.values():  # Python before 3.13 keeps the indentation of a docstring
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    for body, table in _CREATES.items():
        form = f"{body.__name__}Form"
        schemas[form] = create_form(schemas[body.__name__], table, form)
    schemas[CreateVideo.__name__]["properties"] |= option_schemas()
    return {name: _plain(schema) for name, schema in schemas.items()}


_LIMITS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern")


def _limit(body: dict[str, Any], ours: Mapping[str, Any]) -> None:
    """Give the fields of a body the limits that our own fields of the same name have for values of the same type.

    A field is read as ours is, whatever the dialect calls a number or a boolean. So it may come as text as well, which
    may be blank where the field may be absent.
    """
    for name, schema in body["properties"].items():
        of_type = {member.get("type"): member for member in _members(ours.get(name, {}))}
        if "number" in of_type:
            of_type.setdefault("integer", of_type["number"])
        members = _members(schema)
        types = {member.get("type") for member in members}
        if "boolean" in types and "integer" in of_type:
            members += [{"type": "integer"}]
        if types & {"boolean", "integer", "number"} and "string" in of_type and "string" not in types:
            members += [{"type": "string"}]
        for member in members:
            limits = of_type.get(member.get("type"), {})
            member |= {word: limits[word] for word in _LIMITS if word in limits}
            if "null" in types:
                member.pop("minLength", None)


def _members(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of a field's types."""
    members: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return members


def _describe_settings(properties: dict[str, Any]) -> None:
    """Describe the settings of an attempt, whose fields follow from the tables of create requests."""
    for parameter in chain.from_iterable(table.rows for table in PARAMETERS_OF.values()):
        if parameter.name in properties:
            text = f"`{parameter.name}` as the provider was sent it."
            properties[parameter.name] = {"description": text, **properties[parameter.name]}


def _sentence(text: str) -> str:
    """Return a comment as the reference shows it: with a capital and a full stop."""
    start = text[0].upper() + text[1:] if text[0].isalpha() and not text.startswith("null") else text
    return start if start.endswith((".", "`", ":")) else f"{start}."


def _structures(info: Any) -> Iterator[type[Struct]]:
    """Return each structure inside these types once. `info` is what `msgspec.inspect` says about them."""
    waiting: list[Any] = [info]
    seen: set[type[Struct]] = set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            waiting += value
            continue
        if not isinstance(value, Struct):
            continue
        if isinstance(value, msgspec.inspect.StructType):
            if value.cls in seen:
                continue
            seen.add(value.cls)
            yield value.cls
        waiting += [getattr(value, name) for name in value.__struct_fields__]


def _plain(value: Any) -> Any:
    """Return a schema without the words that client generators break on.

    A tuple of two numbers is a list of numbers with both bounds: `prefixItems` with `"items": false` stops orval,
    openapi-python-client and OpenAPI Generator. `"type": "null"` alone stops OpenAPI Generator for Python, and an
    `enum` with null alone that for TypeScript. An `enum` of booleans stops openapi-python-client. The
    description of such a field says what it always is.
    """
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if not isinstance(value, Mapping):
        return value
    schema = {key: _plain(member) for key, member in value.items()}
    if isinstance(properties := schema.get("properties"), dict):
        schema["properties"] = {name: _nullable(inner) for name, inner in properties.items()}
    if isinstance(prefix := schema.pop("prefixItems", None), list):
        distinct = [member for at, member in enumerate(prefix) if member not in prefix[:at]]
        schema["items"] = distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
    if schema.get("enum") and all(isinstance(member, bool) for member in schema["enum"]):
        del schema["enum"]
        schema["type"] = "boolean"
    return schema


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field. One that is always null is shown as a text or null; its description says which."""
    if schema.get("type") != "null":
        return schema
    plain = {key: value for key, value in schema.items() if key not in {"type", "default"}}
    return {**plain, "anyOf": [{"type": "string"}, {"type": "null"}]}
