"""How many open generations are at which place. Drivers keep the counts, so that nothing is scanned to read them."""

from collections.abc import Mapping

from gateway.domain.generation.model import Generation
from gateway.domain.generation.open_state import OpenPlace, open_place


class Count:
    """The generations at one place. A driver holds the count that its generation is part of."""

    __slots__ = ("generations",)

    def __init__(self) -> None:
        self.generations = 0


class OpenCounts:
    """Counts of the open generations that have a driver. There are as many counts as places, however many are open."""

    def __init__(self) -> None:
        self._counts: dict[OpenPlace, Count] = {}

    def move(self, before: Count | None, generation: Generation | None) -> Count | None:
        """Count a generation where it is now, no longer in `before`. Returns the new `before`.

        None and an ended generation are counted nowhere.
        """
        place = None if generation is None else open_place(generation)
        after = None if place is None else self._counts.get(place)
        if after is None and place is not None:
            after = self._counts[place] = Count()
        if before is not after:
            if before is not None:
                before.generations -= 1
            if after is not None:
                after.generations += 1
        return after

    def read(self) -> Mapping[OpenPlace, int]:
        """How many generations are at each place where one has been since the start."""
        return {place: count.generations for place, count in self._counts.items()}
