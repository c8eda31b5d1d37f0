"""Prints the shape of everything that the program stores in columns, as JSON schemas: a name for each column.

It is run by the last release and by this version, so it imports only what both have.
"""

import json
import sys
from enum import Enum
from importlib import import_module
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

MODULES = ("rows", "clients", "holds", "purchases", "usage", "webhooks")


def shapes() -> dict[str, Any]:
    """By `Struct.field`, the schema of what is stored; the schemas of structs by their names under `$defs`."""
    from gateway.store.signals import Message  # noqa: PLC0415  # of the program that runs this
    from gateway.store.sql.columns import Columns  # noqa: PLC0415

    names, types = ["Message"], [Message]
    for module in MODULES:
        for columns in vars(import_module(f"gateway.store.sql.{module}")).values():
            if isinstance(columns, Columns):
                hints = get_type_hints(columns._kind)
                names += [f"{columns._kind.__name__}.{field}" for field in columns._fields]
                types += [_without_members(hints[field]) for field in columns._fields]
    schemas, definitions = msgspec.json.schema_components(types)
    return dict(zip(names, schemas, strict=True)) | {"$defs": definitions}


def _without_members(hint: Any) -> Any:
    """The type with the values of members of an enum in place of them, which no schema can name."""
    if get_origin(hint) is Literal and isinstance(get_args(hint)[0], Enum):
        return Literal[*(member.value for member in get_args(hint))]
    if get_origin(hint) in {Union, UnionType}:
        return Union[*(_without_members(part) for part in get_args(hint))]
    return hint


if __name__ == "__main__":
    sys.stdout.write(json.dumps(shapes()))
