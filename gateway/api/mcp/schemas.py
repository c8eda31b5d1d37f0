"""The JSON schemas of the tools: arguments from the table of create fields, and the main fields of a generation."""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct, defstruct

from gateway.api.generations.creating import IDEMPOTENCY_KEY_MAX
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.parameter import Holder, Parameters
from gateway.api.generations.parameters import NEAREST
from gateway.api.mcp.wording import for_tools
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status

Schema = dict[str, Any]
_REF = "#/$defs/{name}"
_ONLY: Mapping[Kind, str] = {"video": "Only for a video. ", "image": "Only for an image. "}
_FOR: Mapping[Kind, str] = {"video": "For a video. ", "image": "For an image. "}
KIND: Schema = {
    "type": "string",
    "enum": ["video", "image"],
    "default": "video",
    "description": "What is made. The model must be one that makes it.",
}
IDEMPOTENCY_KEY: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": IDEMPOTENCY_KEY_MAX,
    "description": "A text that you choose for this purchase, such as a UUID. A repeated call with the same key and"
    " the same arguments returns the generation of the first one for 24 hours, and buys nothing. Without it every call"
    " buys again.",
}
ID: Schema = {"type": "string", "minLength": 1, "description": "The `id` of the generation: `gen_…`."}


def arguments(properties: Mapping[str, Schema], *required: str) -> Schema:
    """The schema of a tool's arguments."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def create_arguments(further: Mapping[str, Schema]) -> Schema:
    """The schema of a create: the fields of both tables under their own names, `kind`, and the `further` ones.

    A model reads it before every call, so it is short: of several spellings of a value it has the usual one, although
    the others are accepted too.
    """
    of_kind = {kind: _fields_of(table) for kind, table in PARAMETERS_OF.items()}
    properties: dict[str, Schema] = {}
    for name in dict.fromkeys(name for fields in of_kind.values() for name in fields):
        fields = {kind: own[name] for kind, own in of_kind.items() if name in own}
        kind, field = next(iter(fields.items()))
        words = {of: other.get("description", "") for of, other in fields.items()}
        if len(fields) == 1:
            field = {**field, "description": _ONLY[kind] + words[kind]}
        elif len(set(words.values())) > 1:
            field = {**field, "description": " ".join(_FOR[of] + text for of, text in words.items())}
        if "maximum" in field:
            field = {**field, "maximum": max(other["maximum"] for other in fields.values())}
        properties[name] = {**field, "description": for_tools(field.get("description", "")).strip()}
    # What one kind requires is required of every call, because a caller should choose it.
    required = {row.name for table in PARAMETERS_OF.values() for row in table.rows if row.required}
    return arguments({"kind": KIND, **properties, **further}, *sorted(required))


def quote_arguments() -> Schema:
    """The schema of a quote, which takes what a create takes: only the main fields are described a second time."""
    create = create_arguments({})
    main = {name: create["properties"][name] for name in ("kind", "model", "prompt")}
    return {**create, "properties": main, "additionalProperties": True}


def _fields_of(table: Parameters) -> dict[str, Schema]:
    """The schemas of the fields of one kind.

    A field that has one possible value, or that only shapes the answer of an HTTP call, says nothing to a model: it is
    left out here, although the first is accepted.
    """
    rows = [row for row in table.rows if row.target.holder not in {Holder.NOTHING, Holder.ANSWER}]
    structure = defstruct("Arguments", [(row.name, row.json_type) for row in rows], kw_only=True)
    schema = _schema_of(structure)
    fields: dict[str, Schema] = {}
    for row in rows:
        described = {**schema["properties"][row.name], **row.schema}
        field = {**described, **_usual(described)}
        field.pop("anyOf", None)
        if field.get("type") == "string" and "examples" in field:
            field["examples"] = field["examples"][:3]
        else:
            field.pop("examples", None)
        if "description" in field:
            field["description"] = field["description"].replace(f" {NEAREST}", "")
        fields[row.name] = field
    fields["adapt"]["description"] = f"{NEAREST} {fields['adapt']['description']}"
    return fields


def _usual(field: Schema) -> Schema:
    """The usual one of several types: a list before one image, text in place of an object, a number before its text."""
    choices = field.get("anyOf")
    if choices is None:
        items = field.get("items")
        return field if not items else {**field, "items": _usual(items)}
    lists = [choice for choice in choices if choice.get("type") == "array" and choice.get("maxItems") != 1]
    if lists and not any(choice.get("type") == "boolean" for choice in choices):
        return _usual(lists[0])
    if lists:
        return {"type": ["boolean", "array"], **{key: lists[0][key] for key in ("items", "maxItems")}}
    plain: Schema = next(choice for choice in choices if choice.get("type") not in {"array", "object", None})
    return plain


GENERATION: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "status": {"enum": [status.value for status in Status]},
        "progress": {"type": "integer", "description": "Percent."},
        "data": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "status": {"type": "string"},
                    "url": {"type": ["string", "null"], "description": "The file; it needs no key."},
                },
            },
        },
        "error": {
            "type": ["object", "null"],
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        },
        "usage": {"type": "object", "properties": {"cost_usd": {"type": ["number", "null"]}}},
        "note": {"type": "string", "description": "What you should know about this answer, or do next."},
    },
    "required": ["id", "status", "progress", "data", "error", "usage"],
}


def _schema_of(structure: type[Struct]) -> Schema:
    """The schema of a structure as an object with its own `$defs`, as tools need it."""
    (_, schemas) = msgspec.json.schema_components([structure], ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    own: Schema = schemas.pop(structure.__name__)
    plain: Schema = msgspec.json.decode(msgspec.json.encode({**own, "$defs": schemas}))
    return plain
