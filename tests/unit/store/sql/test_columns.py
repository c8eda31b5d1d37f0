"""A struct in the columns of a row: each type of field as its own kind of column, and the same struct again."""

import sqlite3
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

import pytest
from msgspec import Struct, field

from gateway.store.sql.columns import Columns, assignments, insert


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(Struct, frozen=True, omit_defaults=True):
    name: str
    size: int = 1


class Item(Struct, frozen=True, kw_only=True):
    id: str
    index: int
    weight: float | None
    is_new: bool
    colour: Colour
    shade: Literal[Colour.RED] | None
    kind: Literal["a", "b"]
    made_at: datetime
    gone_at: datetime | None
    part: Part | None
    parts: tuple[Part, ...]
    form: str = field(default="", name="shape")
    owner: str = ""


AT = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
FULL = Item(
    id="x",
    index=2,
    weight=0.5,
    is_new=True,
    colour=Colour.BLUE,
    shade=Colour.RED,
    kind="b",
    made_at=AT,
    gone_at=AT,
    part=Part("p", 2),
    parts=(Part("q"),),
    form="round",
    owner="me",
)
EMPTY = Item(
    id="",
    index=0,
    weight=None,
    is_new=False,
    colour=Colour.RED,
    shade=None,
    kind="a",
    made_at=AT,
    gone_at=None,
    part=None,
    parts=(),
    owner="me",
)
COLUMNS = Columns(Item, without=("owner",), renamed={"index": "number"})


@pytest.mark.parametrize("item", [FULL, EMPTY])
def test_a_struct_survives_the_way_into_a_table_and_back(item: Item) -> None:
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"create table items ({COLUMNS}, extra)")
        connection.execute(insert("items", COLUMNS, "extra"), (*COLUMNS.values(item), 7))
        row = connection.execute("select * from items").fetchone()
    connection.close()
    back = COLUMNS.of(row, owner="me")
    assert back == item
    assert type(back.colour) is Colour


def test_each_type_has_its_own_kind_of_column() -> None:
    values: dict[str, Any] = dict(zip(COLUMNS.names, COLUMNS.values(FULL), strict=True))
    assert values == {
        "id": "x",
        "number": 2,
        "weight": 0.5,
        "is_new": 1,
        "colour": "blue",
        "shade": "red",
        "kind": "b",
        "made_at": AT.timestamp(),
        "gone_at": AT.timestamp(),
        "part": '{"name":"p","size":2}',
        "parts": '[{"name":"q"}]',
        "shape": "round",
    }
    assert type(values["is_new"]) is int
    assert type(values["colour"]) is str


def test_statements_name_their_columns() -> None:
    part = Columns(Part)
    assert insert("parts", "owner", part) == "insert into parts (owner, name, size) values (?, ?, ?)"
    assert assignments(part, "owner") == "name = ?, size = ?, owner = ?"


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    day: float | None = None


class Strict(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A body of a request that is stored as it came."""

    inner: Inner = Inner()
    names: tuple[str, ...] = ()


class Holder(Struct, frozen=True):
    strict: Strict | None


def test_fields_that_a_newer_program_has_stored_are_ignored() -> None:
    columns = Columns(Holder)
    read = columns.of(('{"inner":{"day":1.5,"week":2},"names":["a"],"newer":{"x":1}}',))
    assert read == Holder(Strict(Inner(1.5), ("a",)))
    assert columns.of(columns.values(read)) == read
