"""How a struct is stored in the columns of a table: one column for each field, with the field's encoded name.

Text, numbers and bytes are stored as they are, moments as Unix seconds, booleans as 0 or 1, enums by their value, and
everything else as JSON. `None` is stored as null. So a new field needs a migration and nothing else here.

During an upgrade a newer program writes to the same ledger. Fields in JSON that this program does not have are ignored,
also in a struct that refuses unknown fields where it comes from a client.
"""

import sys
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache, partial
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from gateway.store.sql.database import Row

T = TypeVar("T", bound=Struct)
Conversion = Callable[[Any], Any]
_PLAIN = (str, int, float, bytes)
_SHARED_MAX = 256  # different values of one column that are remembered
_encode = msgspec.json.Encoder().encode


def to_json(value: object) -> str | None:
    """JSON text of a value; `None` stays `None`."""
    return None if value is None else _encode(value).decode()


def seconds(moment: datetime | None) -> float | None:
    """Unix seconds of an aware moment; `None` stays `None`."""
    return None if moment is None else moment.timestamp()


def moment(value: float | None) -> datetime | None:
    """The aware moment of Unix seconds; `None` stays `None`."""
    return None if value is None else datetime.fromtimestamp(value, UTC)


class Columns(Generic[T]):
    """The columns of one kind of struct, in the order of its fields."""

    def __init__(
        self,
        kind: type[T],
        *,
        without: Collection[str] = (),
        renamed: Mapping[str, str] | None = None,
        shared: Collection[str] = (),
    ) -> None:
        """`without` are fields that have no column here. `renamed` has columns with another name than their field.

        `shared` are fields in which many rows have equal values: equal ones are one object in memory. They must be
        text or structs that nothing changes.
        """
        types = get_type_hints(kind)
        self._kind = kind
        self._fields = [name for name in kind.__struct_fields__ if name not in without]
        self._conversions = [
            _shared(*_conversions(types[name])) if name in shared else _conversions(types[name])
            for name in self._fields
        ]
        encoded = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
        self.names = [(renamed or {}).get(name, encoded[name]) for name in self._fields]

    def __str__(self) -> str:
        """The names, as a statement lists them."""
        return ", ".join(self.names)

    def of(self, row: Row, **others: Any) -> T:
        """The struct in a row that begins with these columns; `others` are the fields without one."""
        for name, value, (read, _) in zip(self._fields, row, self._conversions, strict=False):
            others[name] = value if value is None or read is None else read(value)
        return self._kind(**others)

    def values(self, item: T) -> tuple[Any, ...]:
        """The values to store for a struct."""
        return tuple(
            value if value is None or write is None else write(value)
            for value, (_, write) in zip((getattr(item, name) for name in self._fields), self._conversions, strict=True)
        )


def insert(table: str, *columns: object) -> str:
    """A statement that inserts one row; each of `columns` is a name or a `Columns`."""
    names = ", ".join(map(str, columns))
    return f"insert into {table} ({names}) values ({', '.join('?' * (names.count(',') + 1))})"


def insert_all(count: int, table: str, *columns: object) -> str:
    """A statement that inserts so many rows, in their order."""
    one_row = insert(table, *columns)
    row = one_row[one_row.rindex("(") :]
    return ", ".join([one_row, *[row] * (count - 1)])


def only_if(inserting: str, condition: str) -> str:
    """The statement of `insert`, which inserts nothing unless a condition holds. The values come before its own."""
    head, _, values = inserting.partition(" values (")
    return f"{head} select {values.removesuffix(')')} where {condition}"


def assignments(*columns: object) -> str:
    """The part of an update between `set` and `where`, for names and `Columns`."""
    return ", ".join(f"{name} = ?" for name in ", ".join(map(str, columns)).split(", "))


def _shared(read: Conversion | None, write: Conversion | None) -> tuple[Conversion, Conversion | None]:
    """The same conversions, except that equal values of the column are read as one object."""
    return (sys.intern if read is None else lru_cache(_SHARED_MAX)(read)), write


def _conversions(annotation: Any) -> tuple[Conversion | None, Conversion | None]:
    """How a value of this type is read from a column and written to it; `None` where it is stored as it is."""
    if get_origin(annotation) in {Union, UnionType}:
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    kind = type(get_args(annotation)[0]) if get_origin(annotation) is Literal else annotation
    if kind is datetime:
        return moment, datetime.timestamp
    if kind is bool:
        return bool, int
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind, lambda value: value.value
    if kind in _PLAIN:
        return None, None
    if isinstance(kind, type) and issubclass(kind, Struct) and kind.__struct_config__.forbid_unknown_fields:
        return partial(_read_leniently, kind), to_json
    return msgspec.json.Decoder(annotation).decode, to_json


def _read_leniently(kind: type[Struct], text: str) -> Struct:
    return msgspec.convert(_own_fields(kind, msgspec.json.decode(text)), kind)


def _own_fields(kind: Any, value: Any) -> Any:
    """The value without what no field of the struct has, also in structs that are fields of it."""
    if not isinstance(value, dict) or not isinstance(kind, type) or not issubclass(kind, Struct):
        return value
    types = get_type_hints(kind)
    fields = dict(zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True))
    return {name: _own_fields(types[fields[name]], item) for name, item in value.items() if name in fields}
