"""Lists as clients see them: what they hold, and from where to page on."""

from collections.abc import Iterable
from typing import Generic, Literal, Protocol, Self, TypeVar

from msgspec import Struct


class _Named(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Named)


class Listed(Struct, Generic[T], frozen=True, kw_only=True):
    """A page of a list; `last_id` is the `after` of the next."""

    object: Literal["list"] = "list"
    data: tuple[T, ...]
    first_id: str | None
    last_id: str | None
    has_more: bool

    @classmethod
    def of(cls, found: Iterable[T], *, has_more: bool) -> Self:
        """The page with these."""
        data = tuple(found)
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)
