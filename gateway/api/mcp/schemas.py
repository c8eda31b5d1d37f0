"""The JSON schemas of the tools: arguments from the table of create fields, answers from the wire structures."""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct

from gateway.api.generations.creating import IDEMPOTENCY_KEY_MAX
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.parameter import Holder, Parameters
from gateway.domain.adapter.request import Kind

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
NOTE: Schema = {"type": "string", "description": "What the caller should know about this answer, or do next."}


def arguments(properties: Mapping[str, Schema], *required: str) -> Schema:
    """The schema of a tool's arguments."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def create_arguments(further: Mapping[str, Schema]) -> Schema:
    """The schema of a create: the fields of both tables under their own names, `kind`, and the `further` ones."""
    of_kind = {kind: _fields_of(table) for kind, table in PARAMETERS_OF.items()}
    properties: dict[str, Schema] = {}
    definitions: dict[str, Schema] = {}
    for kind, schema in of_kind.items():
        definitions |= schema["$defs"]
        for name, field in schema["properties"].items():
            if name in properties:
                continue
            fields = {of: other["properties"][name] for of, other in of_kind.items() if name in other["properties"]}
            if len(fields) == 1:
                properties[name] = _begun(field, _ONLY[kind])
            elif all(other == field for other in fields.values()):
                properties[name] = field
            else:
                properties[name] = {"anyOf": [_begun(other, _FOR[of]) for of, other in fields.items()]}
    # What one kind requires is required of every call, because a caller should choose it.
    required = set.union(*(set(schema["required"]) for schema in of_kind.values()))
    return {**arguments({"kind": KIND, **properties, **further}, *sorted(required)), "$defs": definitions}


def _fields_of(table: Parameters) -> Schema:
    """The schema of the fields of one kind.

    A field that has one possible value, or that only shapes the answer of an HTTP call, says nothing to a model: it is
    left out here, although the first is accepted.
    """
    rows = [row for row in table.rows if row.target.holder not in {Holder.NOTHING, Holder.ANSWER}]
    structure = defstruct(
        "Arguments",
        [
            (row.name, row.json_type) if row.required else (row.name, row.json_type | UnsetType, UNSET)  # null: absent
            for row in rows
        ],
        kw_only=True,
    )
    schema = _schema_of(structure)
    properties = {row.name: {**schema["properties"][row.name], **row.schema} for row in rows}
    return {**schema, "properties": properties}


def _begun(field: Schema, words: str) -> Schema:
    """The schema of a field whose description begins with these words."""
    return {**field, "description": (words + field.get("description", "")).strip()}


def answer(structure: type[Struct], further: Mapping[str, Schema]) -> Schema:
    """The schema of an answer with this wire structure, and with the `further` fields, which may be absent."""
    schema = _schema_of(structure)
    return {**schema, "properties": {**schema["properties"], **further}}


def _schema_of(structure: type[Struct]) -> Schema:
    """The schema of a structure as an object with its own `$defs`, as tools need it."""
    (_, schemas) = msgspec.json.schema_components([structure], ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    own: Schema = schemas.pop(structure.__name__)
    plain: Schema = msgspec.json.decode(msgspec.json.encode({**own, "$defs": schemas}))
    return plain
