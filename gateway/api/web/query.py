"""Reading query parameters: typed, bounded, and none that the path does not have."""

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar

from litestar import Request
from litestar.datastructures import MultiDict

from gateway.api.web.headers import only_header
from gateway.domain.adapter.task import Status
from gateway.domain.errors import InvalidParameter, UnknownParameter

T = TypeVar("T", bound=str)
_NONE = MultiDict[str]()
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)


class Params:
    """The query of one request. `done` refuses what nobody asked for."""

    def __init__(self, query: MultiDict[str]) -> None:
        self._query = query
        self._known: set[str] = set()

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Self:
        """The parameters that came with a request; most come without any."""
        return cls(request.query_params if request.scope["query_string"] else _NONE)

    def text(self, name: str, *, longest: int = 256) -> str | None:
        """The value, `None` when it is absent; once at most."""
        self._known.add(name)
        values = self._query.getall(name, [])
        if len(values) > 1:
            raise InvalidParameter(f"`{name}` is given {len(values)} times; give it once.", param=name)
        if not values:
            return None
        if len(values[0]) > longest or "\x00" in values[0]:
            raise InvalidParameter(f"`{name}` must be at most {longest} characters without NUL.", param=name)
        return values[0]

    def cursor(self, name: str, is_id: Callable[[str], bool], of: str) -> str | None:
        """An id to page from. What it names may be gone, but any other text would silently begin at an end."""
        value = self.text(name)
        if value is not None and not is_id(value):
            raise InvalidParameter(f"`{name}` must be the id of {of}.", param=name)
        return value

    def not_both(self, name: str, other: str) -> None:
        """Refuse two that exclude each other."""
        if name in self._query and other in self._query:
            raise InvalidParameter(f"`{name}` and `{other}` exclude each other; give one.", param=other)

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number within bounds."""
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?\d{1,15}", value, re.ASCII) or not low <= int(value) <= high:
            raise InvalidParameter(f"`{name}` must be a whole number from {low} to {high}.", param=name)
        return int(value)

    def moment(self, name: str) -> datetime | None:
        """Unix seconds as a moment."""
        value = self.whole(name, 0, 253402300799)
        return None if value is None else datetime.fromtimestamp(value, UTC)

    def choice(self, name: str, choices: tuple[T, ...]) -> T | None:
        """One of some words."""
        value = self.text(name)
        if value is None:
            return None
        for choice in choices:
            if value == choice:
                return choice
        raise InvalidParameter(f"`{name}` must be one of {', '.join(choices)}.", param=name)

    def order(self) -> Literal["asc", "desc"]:
        """`asc` or `desc`, the latter when it is absent."""
        return "asc" if self.choice("order", ("asc", "desc")) == "asc" else "desc"

    def status(self) -> str | None:
        """A status word."""
        return self.choice("status", tuple(Status))

    def metadata(self) -> Mapping[str, str]:
        """Every `metadata[key]=value`."""
        found: dict[str, str] = {}
        for name in set(self._query):
            match = _METADATA.fullmatch(name)
            value = self.text(name, longest=512) if match else None
            if match and value is not None:
                found[match[1]] = value
        return found

    def last_event_id(self, request: Request[Any, Any, Any]) -> int | None:
        """The number of the last event that a client of a stream knows: by its header, which is the newer, else here.

        `None` when it knows none.
        """
        asked = self.text("last_event_id")
        value = only_header(request, "last-event-id") or asked
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            raise InvalidParameter("`last_event_id` must be the `id` of an event, or absent.", param="last_event_id")
        return int(value)

    def done(self) -> None:
        """Refuse parameters that were not read."""
        for name in self._query:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, n=1)
                hint = (
                    f"Did you mean `{near[0]}`?" if near else f"Known are {', '.join(sorted(self._known)) or 'none'}."
                )
                raise UnknownParameter(f"There is no query parameter `{name[:64]}`. {hint}", param=name[:64])
