"""A room: a limited number of places that clients hold for as long as a connection lasts, shared fairly among them.

A client is a key, or a public link. One client may fill the room while no other needs a place. When the room is full
and another client asks, the client that holds the most gives up its newest place. So nobody can shut others out by
holding connections open, and no place stays empty for a client that may never come.
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

    __slots__ = ("client", "is_lost", "size", "when_lost")

    def __init__(self, client: str, when_lost: Callable[[], None] | None) -> None:
        """`when_lost` is called when the room needs the place for another client. `None`: it is never taken away."""
        self.client = client
        self.size = 0
        self.is_lost = False
        self.when_lost = when_lost


class Room:
    """Counts places, and decides which client gives one up. Everything happens on the event loop."""

    def __init__(self, capacity: int, problem: str) -> None:
        """`capacity`: units of all places together. `problem`: what is true of a full room, as the error says it."""
        self.taken = 0
        self._capacity = capacity
        self._problem = problem
        # By client, in the order of their coming. A dictionary without values, because it finds its newest member.
        self._places: dict[str, dict[Place, None]] = {}
        self._sizes: dict[str, int] = {}

    @contextmanager
    def place(self, client: str, when_lost: Callable[[], None] | None = None, size: int = 1) -> Iterator[Place]:
        """A place for the length of the `with` block. Raises `Overloaded` if this client gets no place."""
        place = Place(client, when_lost)
        self.grow(place, size)
        try:
            yield place
        finally:
            self.leave(place)

    def grow(self, place: Place, by: int) -> None:
        """Add `by` units to a place, the first of which make it part of the room.

        Raises `Overloaded` if the room is full and no other client holds more than this one would have, and for a place
        that was lost.
        """
        held = self._sizes.get(place.client, 0) + by
        while not place.is_lost and self.taken + by > self._capacity:
            given_up = self._of_largest(held)
            if given_up is None:
                raise self.full()
            given_up.is_lost = True
            self.leave(given_up)
            if given_up.when_lost is not None:
                given_up.when_lost()
        if place.is_lost:
            raise self.full()
        if by:
            self.taken += by
            self._sizes[place.client] = held
            place.size += by
            self._places.setdefault(place.client, {})[place] = None

    def leave(self, place: Place) -> None:
        """Free the units of a place. To leave twice changes nothing."""
        places = self._places.get(place.client)
        if places is None or place not in places:
            return
        del places[place]
        self.taken -= place.size
        self._sizes[place.client] -= place.size
        place.size = 0
        if not places:
            del self._places[place.client], self._sizes[place.client]

    def full(self) -> Overloaded:
        """The error for a client that gets no place, or that lost the one it had."""
        return Overloaded(self._problem, retry_after=FULL_SECONDS)

    def _of_largest(self, held: int) -> Place | None:
        """The newest place that may be taken away from the client with the most units, if these are over `held`."""
        for client, size in sorted(self._sizes.items(), key=lambda entry: -entry[1]):
            if size <= held:
                break
            for place in reversed(self._places[client]):
                if place.when_lost is not None:
                    return place
        return None
