"""The rows of one page of a list."""

from gateway.store.sql.database import Row


def cut(rows: list[Row], limit: int, *, backwards: bool = False) -> tuple[list[Row], bool]:
    """The rows of a page in the order that the client wants, and whether more follow."""
    page = rows[:limit]
    if backwards:
        page.reverse()
    return page, len(rows) > limit
