"""Pages of a list of generations: the conditions of a query as SQL."""

from typing import Any

from gateway.store.port import Query
from gateway.store.sqlite.rows import seconds


def statement(columns: str, query: Query) -> tuple[str, tuple[Any, ...]]:
    """The statement that reads one row more than the page has, and its values; with `before` from its end backwards."""
    where, values = _conditions(query)
    ascending = (query.order == "asc") != (query.before is not None)
    direction = "asc" if ascending else "desc"
    return f"{columns} where {where} order by id {direction} limit ?", (*values, query.limit + 1)


def _conditions(query: Query) -> tuple[str, list[Any]]:
    where = ["key = ?", "kind = ?"]
    values: list[Any] = [query.key, query.kind]

    def add(condition: str, value: object) -> None:
        if value is not None:
            where.append(condition)
            values.append(value)

    add("status = ?", query.status)
    add("model = ?", query.model)
    add("provider = ?", query.provider)
    add("created_at > ?", seconds(query.created_after))
    add("created_at < ?", seconds(query.created_before))
    add("id > ?" if query.order == "asc" else "id < ?", query.after)
    add("id < ?" if query.order == "asc" else "id > ?", query.before)
    for name, wanted in query.metadata.items():
        where.append("exists (select 1 from json_each(request, '$.metadata') as m where m.key = ? and m.value = ?)")
        values += [name, wanted]
    return " and ".join(where), values
