"""Finds the ids of a page of generations: along one index, or by steps between the indexes of several filters.

Each filter has an index that ends with the id, so the ids that fulfil it can be read in their order from any place.
With several filters, the search goes round between their indexes: each is asked for its next id from the place that
the one before has reached. An id that all of them name fulfils all filters. So the number of steps is at most that of
the ids of the rarest filter, times the number of filters, whatever the length of the history. `STEPS_MAX` bounds it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, get_args

import msgspec
from msgspec import Struct

from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status
from gateway.domain.errors import SearchTooLong
from gateway.ids import ULID_MAX, number_of, text_of, ulid
from gateway.store.port import Query

STEPS_MAX = 50_000  # reads of an index for one page with several filters: about 0.15 seconds when they are in memory
OFFSET_SHORT = 500  # entries that may be passed over on the event loop, which takes about 0.1 milliseconds
_PREFIX = "gen_"
_FIRST, _LAST = _PREFIX + "0" * 26, _PREFIX + "Z" * 26
_NO_RANDOM, _MOST_RANDOM = bytes(10), b"\xff" * 10
_ids = msgspec.json.Decoder(list[str])


class _Entries(Struct, frozen=True):
    """Entries of an index in the order of their ids: those of one filter, or those without a filter."""

    source: str  # the table, and the index of it
    id: str  # the column
    conditions: tuple[str, ...] = ()  # the equalities of the index, with `{}` for each value
    values: tuple[str, ...] = ()
    of_key: bool = True  # whether the index begins with the key

    def rows(self, values: "_Values", condition: str) -> str:
        """The select of the ids; `condition` limits them further."""
        own = " and ".join(self.conditions).format(*map(values.add, self.values))
        where = " and ".join(
            filter(None, (f"key = {values.key}" if self.of_key else "", own, condition.format(id=self.id)))
        )
        return f"select {self.id} as id from {self.source} where {where}"


class _Values:
    """The values of a statement, each with a numbered placeholder, because some are used more than once."""

    def __init__(self, low: str, high: str, key: str | None) -> None:
        """`low` and `high` are `?1` and `?2`; `key` is a value only if there is one."""
        self.all: list[Any] = [low, high]
        self.key = "" if key is None else self.add(key)

    def add(self, value: object) -> str:
        """Add a value, and return its placeholder."""
        self.all.append(value)
        return f"?{len(self.all)}"


class Found(Struct, frozen=True):
    """The ids of a page in the order of the query, and whether more follow."""

    ids: tuple[str, ...]
    has_more: bool


class Search:
    """The statement that finds the ids of one page, and what its only row means.

    `is_short` says that it takes less than a millisecond in a history of any length; any other is of unknown length.
    """

    def __init__(self, query: Query) -> None:
        self._query = query
        self._ascending = (query.order == "asc") != (query.before is not None)
        self._low, self._high = _bounds(query)
        self._filters = _filters(query)
        self.is_short = len(self._filters) < 2 and query.offset <= OFFSET_SHORT

    def statement(self) -> tuple[str, tuple[Any, ...]]:
        """The statement and its values. It reads one id more than the page has, to see whether more follow."""
        values = _Values(self._low, self._high, self._query.key)
        sql = self._along_one(values) if len(self._filters) < 2 else self._between_several(values)
        return sql, tuple(values.all)

    def result(self, text: str, last: str | None, steps: int) -> Found:
        """The page, from the row of the statement; `SearchTooLong` if it ended at `STEPS_MAX` before it found an id.

        A page that it ended before it was full is shorter than the limit, and more may follow.
        """
        ids = _ids.decode(text)
        was_cut = steps >= STEPS_MAX and last is not None
        if was_cut and not ids:
            raise self._too_long(last or "")
        page = ids[: self._query.limit]
        if self._query.before is not None:
            page.reverse()
        return Found(tuple(page), has_more=was_cut or len(ids) > self._query.limit)

    def _too_long(self, last: str) -> SearchTooLong:
        """The error that names the cursor with which the search goes on: all ids before it do not match."""
        number = number_of(last.removeprefix(_PREFIX)) + (-1 if self._ascending else 1)
        cursor = _PREFIX + text_of(min(max(number, 0), ULID_MAX))
        name = "before" if self._query.before is not None else "after"
        return SearchTooLong(
            f"The search has made {STEPS_MAX:,} steps without finding a generation that all filters match."
            f" Send the same request with `{name}={cursor}` to search on from there, or give fewer filters.",
            param=name,
        )

    def _along_one(self, values: _Values) -> str:
        """Read one index. Filters that accept several values read as many parts of it and merge them.

        Each part has an end of its own, because PostgreSQL may read the parts whole to sort them together.
        """
        parts = self._filters[0] if self._filters else _all_of(self._query)
        order = f"order by id {'asc' if self._ascending else 'desc'}"
        each = [part.rows(values, "{id} > ?1 and {id} < ?2") for part in parts]
        limit, offset = values.add(self._query.limit + 1), values.add(self._query.offset)
        if len(each) > 1:
            end = values.add(self._query.limit + 1 + self._query.offset)
            each = [f"select id from ({rows} {order} limit {end}) as part_{n}" for n, rows in enumerate(each)]
        return (
            f"select json_group_array(id {order}), null, 0"
            f" from ({' union all '.join(each)} {order} limit {limit} offset {offset}) as ids"
        )

    def _between_several(self, values: _Values) -> str:
        """Step between the indexes, in one recursive statement: so no step waits for the interpreter's lock.

        A row is one step: `found` is the next id of the filter number `turn`, `previous` the id of the step before, or
        in the first row `found` as well, and `equal` how many steps before this one have found `previous` without a
        break. If all filters have found the same id, it is a hit, and the next step looks after it.
        """
        count = len(self._filters)
        is_same = "found is not distinct from previous"
        is_hit = f"({is_same} and equal = {count - 1})"
        hits = f"hits + case when {is_hit} then 1 else 0 end"
        # A space sorts before all characters of ids: an id with one at its end comes directly after that id.
        from_found, behind_found = ("found", "found || ' '") if self._ascending else ("found || ' '", "found")
        place = f"case when {is_hit} then {behind_found} else {from_found} end"
        first = self._next_id(values, self._filters[0], "?1 || ' '" if self._ascending else "?2")
        nexts = " ".join(
            f"when {turn} then {self._next_id(values, parts, place)}" for turn, parts in enumerate(self._filters)
        )
        passed_over = self._query.offset
        limit = values.add(self._query.limit + 1 + passed_over)
        steps = values.add(STEPS_MAX)
        return (
            "with recursive walk (found, previous, equal, turn, step, hits) as ("
            f"select found, found, 0, 0, 1, 0 from (select {first} as found) as first union all"
            f" select case (turn + 1) % {count} {nexts} end, found, case when {is_same} then equal + 1 else 1 end,"
            f" (turn + 1) % {count}, step + 1, {hits}"
            f" from walk where found is not null and step < {steps} and {hits} < {limit})"
            f" select json_group_array(found order by step)"
            f" filter (where {is_hit} and hits >= {values.add(passed_over)}),"
            f" max(case when step = {steps} then found end), max(step) from walk"
        )

    def _next_id(self, values: _Values, parts: Sequence[_Entries], place: str) -> str:
        """The expression for the next id of a filter from a place on; null if no id is left within the bounds."""
        if self._ascending:
            nearest, condition, end = "min", f"{{id}} >= {place} and {{id}} < ?2", "order by id limit 1"
        else:
            nearest, condition, end = "max", f"{{id}} < {place} and {{id}} > ?1", "order by id desc limit 1"
        each = [f"({part.rows(values, condition)} {end})" for part in parts]
        if len(each) == 1:
            return each[0]
        return f"(select {nearest}(id) from ({' union all '.join(f'select {row} as id' for row in each)}) as next_ids)"


def _bounds(query: Query) -> tuple[str, str]:
    """The ids between which the page is; both are outside of it.

    The moment of the creation, in milliseconds, is the first part of an id.
    """
    lows, highs = [_FIRST], [_LAST]
    if query.created_after is not None:
        lows.append(_edge(query.created_after, _MOST_RANDOM))
    if query.created_before is not None:
        highs.append(_edge(query.created_before, _NO_RANDOM))
    for cursor, is_low in ((query.after, query.order == "asc"), (query.before, query.order == "desc")):
        if cursor is not None:
            (lows if is_low else highs).append(cursor)
    return max(lows), min(highs)


def _edge(moment: datetime, random: bytes) -> str:
    return _PREFIX + ulid(moment, random)


def _filters(query: Query) -> list[tuple[_Entries, ...]]:
    """The filters of a query. A filter that accepts several values, or both kinds, has an entry for each of them."""
    of_key = query.key is not None
    prefix = "generations_of_key_by" if of_key else "generations_of_all_by"
    indexes = {name: f"{prefix}_{name}" for name in ("status", "model", "provider")}
    if of_key:
        indexes |= {"model": "generations_by_model", "provider": "generations_by_provider"}
    filters = [
        _of_kinds(query, index, (f"{name} = {{}}", value), of_key=of_key)
        for name, index in indexes.items()
        if (value := getattr(query, name)) is not None
    ]
    if query.inputs:
        by_input = [("json_extract(request, '$.input.type') = {}", kind) for kind in query.inputs]
        filters.append(_of_kinds(query, "generations_by_input", *by_input, of_key=True))
    for name, value in query.metadata.items():
        conditions, values = ("kind = {}", "name = {}", "value = {}"), (str(query.kind), name, value)
        filters.append((_Entries("generation_metadata", "generation_id", conditions, values),))
    is_limited_to_key = bool(filters)
    # Operators ask these filters of few generations, so that they have no second index for each client.
    if query.failures:
        by_failure = [("json_extract(failure, '$.kind') = {}", kind) for kind in query.failures]
        filters.append(_of_kinds(query, "generations_by_failure", *by_failure, of_key=False))
    filters += [
        _of_kinds(query, f"generations_{name}", (f"{name} = 1", None), of_key=False)
        for name in ("fell_back", "maybe_billed")
        if getattr(query, name)
    ]
    if of_key and filters and not is_limited_to_key:
        filters.append(_all_of(query))
    return filters


def _all_of(query: Query) -> tuple[_Entries, ...]:
    """The entries of a list without a filter."""
    if query.key is not None:
        return _of_kinds(query, "generations_of_key", ("", None), of_key=True)
    if query.kind is None:
        return (_Entries("generations", "id", of_key=False),)
    by_status = [("status = {}", status) for status in Status]
    return _of_kinds(query, "generations_of_all_by_status", *by_status, of_key=False)


def _of_kinds(query: Query, index: str, *alternatives: tuple[str, str | None], of_key: bool) -> tuple[_Entries, ...]:
    """The entries of an index that begins with the kind, for each wanted kind and each alternative.

    An alternative is a condition with its value, None for a condition without one.
    """
    return tuple(
        _Entries(
            f"generations indexed by {index}",
            "id",
            ("kind = {}", *filter(None, [condition])),
            (kind, *filter(None, [value])),
            of_key=of_key,
        )
        for kind in (get_args(Kind) if query.kind is None else (query.kind,))
        for condition, value in alternatives
    )
