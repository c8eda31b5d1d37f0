"""Translates statements of `gateway/store/sql` to PostgreSQL; `database.py` there says what they may contain.

A statement is cut into tokens, and each rule replaces a few of them. Texts in quotes are never looked into.

SQLite carries out `exists` and `in (select … limit ?)` as they are written, row by row along an index. PostgreSQL may
make a join of them that reads a whole table, above all in a plan for values that it does not know. Two rules prevent
that.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct

_STATEMENTS_MAX = 2048  # different texts that are remembered; filters of lists are combined to some hundred texts
_TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*) | '(?:[^']|'')*' | "(?:[^"]|"")*" | \?\d* | [A-Za-z_]\w* | \d+(?:\.\d+)?
    | \|\||<>|<=|>=|!= | .
    """,
    re.VERBOSE | re.DOTALL,
)
_PLACEHOLDER = re.compile(r"\$(\d+)")
_WORD = re.compile(r"[A-Za-z_]\w*")
# A `+` after one of these has only one operand.
_BEFORE_OPERAND = frozenset(
    ("where", "and", "or", "not", "on", "by", "select", "(", ",", "=", "<", ">", "<>", "!=", "<=", ">=")
)
_KEYWORDS = frozenset(
    ("in", "and", "or", "not", "from", "where", "values", "as", "exists", "on", "select", "by", "union", "join", "over")
)
# What ends the table after `cross join`, if no `on` came before.
_AFTER_TABLE = frozenset(
    ("where", "join", "left", "cross", "group", "order", "having", "limit", "union", "window", "on", ",", ")", ";")
)
_TYPES = {"integer": "bigint", "real": "double precision", "blob": "bytea"}


class Statement(Struct, frozen=True):
    """A statement of PostgreSQL."""

    sql: str
    order: tuple[int, ...] | None  # which of the given values each placeholder takes; None: all in their order

    def values(self, given: Sequence[Any]) -> Sequence[Any]:
        """The values for the placeholders, in the order of their numbers."""
        return given if self.order is None else [given[place] for place in self.order]


@lru_cache(_STATEMENTS_MAX)
def translate(sql: str) -> Statement:
    """The statement of PostgreSQL that means the same. Raises `ValueError` if its brackets do not match."""
    tokens = [match[0] for match in _TOKEN.finditer(sql) if match.lastgroup != "space"]
    tokens, order = _numbered(tokens)
    for rule in (_without_hints, _joined, _cast, _grouped, _deleted):
        tokens = rule(tokens)
    for name, change in _FUNCTIONS.items():
        tokens = _with_calls(tokens, name, change)
    is_plain = order == list(range(len(order)))
    return Statement(_text(tokens), None if is_plain else tuple(order))


@lru_cache(_STATEMENTS_MAX)
def together(texts: tuple[str, ...]) -> str:
    """One statement that carries out several changes, and whose row has the number of rows of each.

    It takes the values of their statements, one after another.
    """
    parts, before = [], 0
    for number, text in enumerate(texts):
        sql = translate(text).sql
        places = [int(place) for place in _PLACEHOLDER.findall(sql)]
        moved = _PLACEHOLDER.sub(lambda place, before=before: f"${int(place[1]) + before}", sql)  # type: ignore[misc]
        parts.append(f"change_{number} as ({moved} returning 1)")
        before += max(places, default=0)
    counts = ", ".join(f"(select count(*) from change_{number})" for number in range(len(texts)))
    return f"with {', '.join(parts)} select {counts}"


def _numbered(tokens: list[str]) -> tuple[list[str], list[int]]:
    """`?` and `?N` as `$1`, `$2`, … without gaps, and the place of the given value that each of these takes.

    As in SQLite, `?` has the number after the largest one so far.
    """
    numbers: dict[int, int] = {}
    largest = 0
    numbered = []
    for item in tokens:
        if item.startswith("?"):
            number = int(item[1:] or largest + 1)
            largest = max(largest, number)
            item = f"${numbers.setdefault(number, len(numbers) + 1)}"  # noqa: PLW2901
        numbered.append(item)
    return numbered, [number - 1 for number in numbers]


def _without_hints(tokens: list[str]) -> list[str]:
    """Without `indexed by NAME` and without a `+` that has one operand."""
    left: list[str] = []
    rest = iter(zip(tokens, [*tokens[1:], ""], strict=True))
    for item, following in rest:
        if item == "indexed" and following == "by":
            next(rest)
            next(rest)
        elif item != "+" or (left and left[-1] not in _BEFORE_OPERAND):
            left.append(item)
    return left


def _joined(tokens: list[str]) -> list[str]:
    """`join … on` instead of `cross join … on`, which PostgreSQL does not have."""
    return [
        item
        for place, item in enumerate(tokens)
        if not (item == "cross" and tokens[place + 1] == "join" and _is_followed_by_on(tokens, place + 2))
    ]


def _deleted(tokens: list[str]) -> list[str]:
    """Deletes the rows that a select finds at their places: `delete … where id in (select id from …)`.

    The same statement finds and deletes them, and no other transaction writes meanwhile, so that no row has moved.
    """
    match tokens:
        case ["delete", "from", table, "where", *rest] if "in" in rest:
            begin = rest.index("in")
            names = [name for name in rest[:begin] if name not in {"(", ")"}]
            if rest[begin + 1 : begin + 3] == ["(", "select"] and _closing(rest, begin + 1) == len(rest) - 1:
                selected = rest[begin + 3 :]
                if selected[: len(names) + 2] == [*names, "from", table]:
                    place = ["where", "ctid", "=", "any", "(", "array", "(", "select", "ctid"]
                    return [*tokens[:3], *place, *selected[len(names) :], ")"]
    return tokens


def _is_followed_by_on(tokens: list[str], place: int) -> bool:
    while place < len(tokens):
        if tokens[place] == "(":
            place = _closing(tokens, place)
        elif tokens[place] in _AFTER_TABLE:
            return tokens[place] == "on"
        place += 1
    return False


def _cast(tokens: list[str]) -> list[str]:
    """Casts to PostgreSQL's types. A cast of a quotient to a whole number does not round."""

    def change(inner: list[str]) -> list[str]:
        *value, _, kind = inner
        if kind == "integer" and "/" in value:
            value = ["floor", "(", *value, ")"]
        return ["cast", "(", *value, "as", _TYPES.get(kind, kind), ")"]

    return _with_calls(tokens, "cast", change)


def _with_calls(tokens: list[str], name: str, change: Callable[[list[str]], list[str]]) -> list[str]:
    """The tokens with another text for each call of a function; `change` gets what is between its brackets."""
    if name not in tokens:
        return tokens
    changed: list[str] = []
    place = 0
    while place < len(tokens):
        if tokens[place] == name and tokens[place + 1 : place + 2] == ["("]:
            end = _closing(tokens, place + 1)
            changed += change(_with_calls(tokens[place + 2 : end], name, change))
            place = end
        else:
            changed.append(tokens[place])
        place += 1
    return changed


def _closing(tokens: list[str], place: int) -> int:
    """The place of the bracket that closes the one at `place`."""
    depth = 0
    for end in range(place, len(tokens)):
        depth += (tokens[end] == "(") - (tokens[end] == ")")
        if depth == 0:
            return end
    raise ValueError("a bracket is not closed")


def _grouped(tokens: list[str]) -> list[str]:
    """`json_group_array(…)`, with the `filter` that may follow, as a text; without a row it is `[]`."""
    grouped: list[str] = []
    place = 0
    while place < len(tokens):
        if tokens[place] == "json_group_array":
            end = _closing(tokens, place + 1)
            if tokens[end + 1 : end + 2] == ["filter"]:
                end = _closing(tokens, end + 2)
            inner = _grouped(tokens[place + 1 : end + 1])
            grouped += ["cast", "(", "coalesce", "(", "json_agg", *inner, ",", "'[]'", ")", "as", "text", ")"]
            place = end
        else:
            grouped.append(tokens[place])
        place += 1
    return grouped


def _text(tokens: list[str]) -> str:
    """The tokens as one line."""
    text = ""
    for before, item in zip(["(", *tokens], tokens, strict=False):
        is_call = item == "(" and before not in _KEYWORDS and _WORD.fullmatch(before)
        text += item if before in {"(", "."} or item in {")", ",", "."} or is_call else f" {item}"
    return text


# What is said instead of a call, by the name of the function.
_FUNCTIONS: dict[str, Callable[[list[str]], list[str]]] = {
    "json_each": lambda inner: ["json_elements", "(", *inner, ")"],
    "json_array": lambda inner: ["json_build_array", "(", *inner, ")"],
    "exists": lambda inner: ["exists", "(", *inner, *(["offset", "0"] if inner[0] == "select" else []), ")"],
    "json": lambda inner: ["cast", "(", *inner, "as", "json", ")"],
}
