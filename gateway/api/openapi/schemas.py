"""The component schemas of the document: made by msgspec, described, and in words that client generators understand."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct

from gateway.api.generations.parameters import PARAMETERS
from gateway.api.generations.request_echo import SettingsView
from gateway.api.openapi.comments import field_comments
from gateway.api.openapi.create import CREATE_FORM, create_body, create_form
from gateway.api.web.operation import REF


def component_schemas(structures: Iterable[Any]) -> dict[str, Any]:
    """Return name → schema of these wire structures, of all structures inside them, and of the form of a create."""
    kinds = list(structures)
    _, schemas = msgspec.json.schema_components(kinds, ref_template=REF)
    for structure in _structures(msgspec.inspect.multi_type_info(kinds)):
        properties = schemas[structure.__name__].get("properties", {})
        for name, text in field_comments(structure).items():
            if name in properties:
                properties[name] = {"description": _sentence(text), **properties[name]}
    _describe_settings(schemas[SettingsView.__name__]["properties"])
    schemas["CreateVideo"] = create_body(schemas["CreateVideo"])
    for schema in schemas.values():  # Python before 3.13 keeps the indentation of a docstring
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    schemas[CREATE_FORM] = create_form(schemas["CreateVideo"])
    return {name: _plain(schema) for name, schema in schemas.items()}


def _describe_settings(properties: dict[str, Any]) -> None:
    """Describe the settings of an attempt, whose fields follow from the table of a create request."""
    for parameter in PARAMETERS:
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
    openapi-python-client and OpenAPI Generator.
    """
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    if not isinstance(value, Mapping):
        return value
    schema = {key: _plain(member) for key, member in value.items()}
    if isinstance(prefix := schema.pop("prefixItems", None), list):
        distinct = [member for at, member in enumerate(prefix) if member not in prefix[:at]]
        schema["items"] = distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
    return schema
