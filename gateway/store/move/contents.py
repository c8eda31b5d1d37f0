"""What a move carries from one database to the other, and the sum by which both sides are compared. Pure."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

Row = Sequence[Any]
_HASH_BYTES = 16
_encode = msgspec.msgpack.Encoder().encode
_NUL, _INSTEAD = "\0", "\ufffd"


class Table(Struct, frozen=True):
    """A table that both databases have under the same name, with the same names of columns."""

    name: str
    columns: tuple[str, ...]


class Seal:
    """The number of rows, and a sum over all their values that does not depend on the order of the rows."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Row) -> None:
        """Add a row: texts, whole numbers, floats, bytes and nulls. A whole number and an equal float differ."""
        self.rows += 1
        digest = blake2b(_encode(tuple(row)), digest_size=_HASH_BYTES).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % 2 ** (8 * _HASH_BYTES)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same rows."""
        return isinstance(other, Seal) and (self.rows, self._sum) == (other.rows, other._sum)

    __hash__ = None  # type: ignore[assignment]  # it changes with each row


def storable(row: Row) -> Row:
    """The row as PostgreSQL can store it: U+FFFD is in place of U+0000, which a text cannot have there.

    It is the same object if nothing is replaced. JSON has its U+0000 as an escape, which stays.
    """
    if any(isinstance(value, str) and _NUL in value for value in row):
        return tuple(value.replace(_NUL, _INSTEAD) if isinstance(value, str) else value for value in row)
    return row
