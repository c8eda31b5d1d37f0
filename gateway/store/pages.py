"""Cuts the page of a list out of what was read for it."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def cut(rows: Sequence[T], limit: int, *, backwards: bool = False) -> tuple[Sequence[T], bool]:
    """The page in the order that the client wants, and whether more follow.

    A caller reads at least `limit` + 1 items, if there are so many. `backwards` says that they begin with the last one
    of the page.
    """
    page = rows[:limit]
    return page[::-1] if backwards else page, len(rows) > limit
