"""The JSON schemas of the tools: arguments from the table of create fields, answers from the wire structures."""

from collections.abc import Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType, defstruct

from gateway.api.generations.creating import IDEMPOTENCY_KEY_MAX
from gateway.api.generations.image_parameters import IMAGE_PARAMETERS
from gateway.api.generations.parameter import Holder, Parameter
from gateway.api.generations.parameters import VIDEO_PARAMETERS

Schema = dict[str, Any]
_REF = "#/$defs/{name}"
# A field that has one possible value says nothing to a model, and an answer always has the shape of this tool.
_HIDDEN = frozenset({Holder.NOTHING, Holder.ANSWER})


def _shown() -> tuple[Parameter, ...]:
    """The fields of both kinds. Of a field that both have, that of videos; but `n` has the wider limit of images."""
    rows = {row.name: row for row in (*IMAGE_PARAMETERS.rows, *VIDEO_PARAMETERS.rows)}
    rows["n"] = IMAGE_PARAMETERS.by_name["n"]
    return tuple(row for row in rows.values() if row.target.holder not in _HIDDEN)


_SHOWN = _shown()
_Arguments = defstruct(
    "Arguments",
    [
        (row.name, row.json_type) if row.required else (row.name, row.json_type | UnsetType, UNSET)  # no null: absent
        for row in _SHOWN
    ],
    kw_only=True,
)
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
    """The schema of a create: the fields of the table under their own names, `kind`, and the `further` ones."""
    schema = _schema_of(_Arguments)
    properties: Schema = schema["properties"]
    for row in _SHOWN:
        properties[row.name] = {**properties[row.name], **row.schema}
    properties = {"kind": KIND, **properties, **further}
    return {**arguments(properties, *schema["required"]), "$defs": schema["$defs"]}


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
