"""The shape of lists: a page of objects, and the ids from which a client reads the pages around it."""

from collections.abc import Iterable
from typing import Generic, Literal, Protocol, Self, TypeVar

from msgspec import Struct


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


class Listed(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list; `last_id` is the `after` of the next page."""

    object: Literal["list"] = "list"  # the kind of this object
    data: tuple[T, ...]  # the objects of this page
    first_id: str | None  # the `before` of the page before; null for an empty page
    last_id: str | None  # the `after` of the next page; null for an empty page
    has_more: bool  # whether there are objects after this page

    @classmethod
    def of(cls, views: Iterable[T], *, has_more: bool) -> Self:
        """A page of these objects, in their order."""
        data = tuple(views)
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)
