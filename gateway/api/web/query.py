"""Reads what the URL of a request says: path parameters, and query parameters that are typed, bounded and known."""

import difflib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeVar

from litestar import Request
from litestar.datastructures import MultiDict
from msgspec import Struct

from gateway.api.web.headers import only_header
from gateway.api.web.moments import LATEST_MOMENT
from gateway.domain.adapter.task import Status
from gateway.domain.errors import InvalidParameter, UnknownParameter

T = TypeVar("T", bound=str)
NAME_SHOWN = 64  # characters of an unknown name that an error repeats
_NO_QUERY = MultiDict[str]()
_METADATA = re.compile(r"metadata\[(.{1,64})\]", re.DOTALL)


class Paging(Struct, frozen=True, kw_only=True):
    """Which page of a list a client wants; at most one of `after` and `before` is set."""

    limit: int
    order: Literal["asc", "desc"]
    after: str | None
    before: str | None


_SENT_IDS = "sent_ids"  # of the scope's state: id as it is stored → as the client has sent it


def show_as_sent(request: Request[Any, Any, Any], stored: str, sent: str) -> None:
    """Let errors of this request name an object by the id that the client has sent, and not by the stored one."""
    request.scope["state"].setdefault(_SENT_IDS, {})[stored] = sent


def with_sent_ids(request: Request[Any, Any, Any], text: str) -> str:
    """Return a message with the ids that the client has sent in place of stored ones."""
    for stored, sent in request.scope["state"].get(_SENT_IDS, {}).items():
        text = text.replace(stored, sent)
    return text


def path_id(request: Request[Any, Any, Any], name: str) -> str:
    """The part of the path that the route calls `name`."""
    value: str = request.path_params[name]
    return value


class Params:
    """The query of one request. A handler reads what it knows, then calls `done`, which refuses all other names."""

    def __init__(self, query: MultiDict[str]) -> None:
        self._query = query
        self._read: set[str] = set()

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Self:
        """The query parameters of a request. Most requests have none, and then nothing is parsed."""
        return cls(request.query_params if request.scope["query_string"] else _NO_QUERY)

    def text(self, name: str, *, longest: int = 256) -> str | None:
        """The value of a parameter, None without one; `InvalidParameter` if it is given twice, or too long."""
        self._read.add(name)
        values = self._query.getall(name, [])
        if len(values) > 1:
            raise InvalidParameter(f"`{name}` is given {len(values)} times; give it once.", param=name)
        if not values:
            return None
        if len(values[0]) > longest or "\x00" in values[0]:
            raise InvalidParameter(f"`{name}` must be at most {longest} characters without NUL.", param=name)
        return values[0]

    def cursor(self, name: str, is_id: Callable[[str], bool], of: str) -> str | None:
        """An id to continue a list from. What it names may have been deleted meanwhile: its position is still valid.

        Any other text would silently start at one end of the list, so it is refused. `of` says what has such ids.
        """
        value = self.text(name)
        if value is not None and not is_id(value):
            raise InvalidParameter(f"`{name}` must be the id of {of}.", param=name)
        return value

    def limit(self, default: int = 20, *, most: int = 100) -> int:
        """The parameter `limit`: the objects of a page, at most `most`; `default` when it is absent."""
        return self.whole("limit", 1, most) or default

    def paging(self, is_id: Callable[[str], bool], of: str) -> Paging:
        """`limit`, `order`, `after` and `before` of a list whose ids `is_id` recognises; `of` says what has them."""
        paging = Paging(
            limit=self.limit(),
            order=self.order(),
            after=self.cursor("after", is_id, of),
            before=self.cursor("before", is_id, of),
        )
        if paging.after is not None and paging.before is not None:
            raise InvalidParameter("`after` and `before` exclude each other; give one.", param="before")
        return paging

    def whole(self, name: str, low: int, high: int, meaning: str = "a whole number") -> int | None:
        """A whole number from `low` to `high`. The message of a fault says what it means."""
        value = self.text(name)
        if value is None:
            return None
        if not re.fullmatch(r"-?\d{1,15}", value, re.ASCII) or not low <= int(value) <= high:
            raise InvalidParameter(f"`{name}` must be {meaning} from {low} to {high}.", param=name)
        return int(value)

    def moment(self, name: str) -> datetime | None:
        """A moment that is given in Unix seconds."""
        value = self.whole(name, 0, LATEST_MOMENT, "a time in whole Unix seconds,")
        return None if value is None else datetime.fromtimestamp(value, UTC)

    def choice(self, name: str, choices: tuple[T, ...]) -> T | None:
        """One of these words."""
        value = self.text(name)
        if value is None:
            return None
        for choice in choices:
            if value == choice:
                return choice
        raise InvalidParameter(f"`{name}` must be one of {', '.join(choices)}.", param=name)

    def order(self) -> Literal["asc", "desc"]:
        """The parameter `order`: `asc` or `desc`; `desc` (newest first) when it is absent."""
        return "asc" if self.choice("order", ("asc", "desc")) == "asc" else "desc"

    def status(self) -> str | None:
        """The parameter `status`: a public status of generations."""
        return self.choice("status", tuple(Status))

    def metadata(self) -> Mapping[str, str]:
        """All parameters of the form `metadata[key]=value`, by their keys."""
        pairs: dict[str, str] = {}
        for name in set(self._query):
            match = _METADATA.fullmatch(name)
            value = self.text(name, longest=512) if match else None
            if match and value is not None:
                pairs[match[1]] = value
        return pairs

    def last_event_id(self, request: Request[Any, Any, Any]) -> int | None:
        """The number of the last event that a client of a stream has received, None if it has received none.

        The header counts before the query parameter: browsers update the header on each reconnect, but not the URL.
        """
        in_query = self.text("last_event_id")
        value = only_header(request, "last-event-id") or in_query
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            raise InvalidParameter("`last_event_id` must be the `id` of an event, or absent.", param="last_event_id")
        return int(value)

    def done(self) -> None:
        """Refuse parameters that the handler has not read; the message has the nearest name, or all of them."""
        for name in self._query:
            if name not in self._read:
                shown = name[:NAME_SHOWN]
                raise UnknownParameter(
                    f"`{shown}` is not a query parameter of this path. {self._hint(shown)}", param=shown
                )

    def _hint(self, name: str) -> str:
        near = difflib.get_close_matches(name[:NAME_SHOWN], self._read, n=1)
        if near:
            return f"Did you mean `{near[0]}`?"
        return f"The parameters are: {', '.join(sorted(self._read))}." if self._read else "It has none."
