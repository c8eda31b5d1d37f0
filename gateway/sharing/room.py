"""A room: a limited number of places that clients hold for as long as a connection lasts, shared fairly among them.

A client is a key. One client may fill the room while no other needs a place. When the room is full
and another client asks, the client that holds the most gives up its newest place. So nobody can shut others out by
holding connections open, and no place stays empty for a client that may never come.

A client may have parts: its key, and each of its public links. They share what the client gets by the same rule. A link
is not a client of its own, because a client can make as many links as it wants, and each would get a share.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.domain.errors import Overloaded

FULL_SECONDS = 5.0  # `Retry-After` of a room that is full


SHARE_OF_FREE = 9  # a client may hold so many times what is free


def has_share_left(own: int, taken: int, capacity: int) -> bool:
    """Whether a client with `own` of the `taken` places may take another one, where no place can be taken away again.

    One client alone gets nine tenths of the places, and what is free becomes less slowly: the next one gets nine tenths
    of that. It is the rule of dynamic thresholds, by which switches share their buffers.
    """
    return own < SHARE_OF_FREE * (capacity - taken)


class Place:
    """What one connection holds in a room: `size` units of it."""

    __slots__ = ("client", "is_lost", "part", "size", "when_lost")

    def __init__(self, client: str, when_lost: Callable[[], None] | None, part: str = "") -> None:
        """`when_lost` is called when the room needs the place for another client. `None`: it is never taken away."""
        self.client = client
        self.part = part  # of the client
        self.size = 0
        self.is_lost = False
        self.when_lost = when_lost


class _Held:
    """What one part of a client holds."""

    __slots__ = ("places", "size")

    def __init__(self) -> None:
        # In the order of their coming. A dictionary without values, because it finds its newest member.
        self.places: dict[Place, None] = {}
        self.size = 0


class Room:
    """Counts places, and decides which client gives one up. Everything happens on the event loop."""

    def __init__(self, capacity: int, problem: str) -> None:
        """`capacity`: units of all places together. `problem`: what is true of a full room, as the error says it."""
        self.taken = 0
        self._capacity = capacity
        self._problem = problem
        self._held: dict[str, dict[str, _Held]] = {}  # by client and part

    @property
    def capacity(self) -> int:
        """Units of all places together, at most."""
        return self._capacity

    @contextmanager
    def place(
        self, client: str, when_lost: Callable[[], None] | None = None, size: int = 1, part: str = ""
    ) -> Iterator[Place]:
        """A place for the length of the `with` block. Raises `Overloaded` if this client gets no place."""
        place = Place(client, when_lost, part)
        self.grow(place, size)
        try:
            yield place
        finally:
            self.leave(place)

    def grow(self, place: Place, by: int) -> None:
        """Add `by` units to a place, the first of which make it part of the room.

        Raises `Overloaded` if the room is full and neither another client nor another part of this one holds more than
        this one would have, and for a place that was lost.
        """
        while not place.is_lost and self.taken + by > self._capacity:
            given_up = self._to_give_up(place, by)
            if given_up is None:
                raise self.full()
            given_up.is_lost = True
            self.leave(given_up)
            if given_up.when_lost is not None:
                given_up.when_lost()
        if place.is_lost:
            raise self.full()
        if by:
            held = self._held.setdefault(place.client, {}).setdefault(place.part, _Held())
            held.places[place] = None
            held.size += by
            place.size += by
            self.taken += by

    def leave(self, place: Place) -> None:
        """Free the units of a place. To leave twice changes nothing."""
        parts = self._held.get(place.client, {})
        held = parts.get(place.part)
        if held is None or place not in held.places:
            return
        del held.places[place]
        held.size -= place.size
        self.taken -= place.size
        place.size = 0
        if not held.places:
            del parts[place.part]
        if not parts:
            del self._held[place.client]

    def full(self) -> Overloaded:
        """The error for a client that gets no place, or that lost the one it had."""
        return Overloaded(self._problem, retry_after=FULL_SECONDS)

    def _size(self, client: str) -> int:
        return sum(held.size for held in self._held.get(client, {}).values())

    def _to_give_up(self, place: Place, by: int) -> Place | None:
        """The place that is taken away so that `place` can grow; None if it has no right to more."""
        wanted = self._size(place.client) + by
        for size, client in sorted(((self._size(client), client) for client in self._held), reverse=True):
            if size <= wanted:
                break
            if (newest := self._newest(client, 0)) is not None:
                return newest
        own = self._held.get(place.client, {}).get(place.part)
        return self._newest(place.client, by + (0 if own is None else own.size))

    def _newest(self, client: str, least: int) -> Place | None:
        """The newest place that may be taken away from the largest part of a client with more than `least` units."""
        for held in sorted(self._held.get(client, {}).values(), key=lambda held: -held.size):
            if held.size <= least:
                break
            for place in reversed(held.places):
                if place.when_lost is not None:
                    return place
        return None
