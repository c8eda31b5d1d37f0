"""Pages of lists: the conditions of a query as SQL, and the rows of one page."""

from typing import Any

from gateway.store.port import Query
from gateway.store.sqlite.columns import Row, seconds

EXTERNAL_TASK_ID = "external_task_id"  # the key of `metadata` that has an index


def statement(columns: str, query: Query) -> tuple[str, tuple[Any, ...]]:
    """The statement that reads a page of generations, and its values; `columns` is its `select … from …`.

    It reads one row more than the page has, so that `cut` sees whether more follow. With `before` it reads backwards
    from the cursor.
    """
    where, values = _conditions(query)
    ascending = (query.order == "asc") != (query.before is not None)
    direction = "asc" if ascending else "desc"
    return f"{columns} where {where} order by id {direction} limit ? offset ?", (*values, query.limit + 1, query.offset)


def cut(rows: list[Row], limit: int, *, backwards: bool = False) -> tuple[list[Row], bool]:
    """The rows of a page in the order that the client wants, and whether more follow."""
    page = rows[:limit]
    if backwards:
        page.reverse()
    return page, len(rows) > limit


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
    if query.inputs:
        where.append(f"json_extract(request, '$.input.type') in ({', '.join('?' * len(query.inputs))})")
        values += query.inputs
    for name, wanted in query.metadata.items():
        if name == EXTERNAL_TASK_ID:
            where.append("json_extract(request, '$.metadata.external_task_id') = ?")  # as the index has it
            values.append(wanted)
            continue
        where.append("exists (select 1 from json_each(request, '$.metadata') as m where m.key = ? and m.value = ?)")
        values += [name, wanted]
    return " and ".join(where), values
