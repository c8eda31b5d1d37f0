"""Who gets a place in a room, and who gives one up for it."""

from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Overloaded
from gateway.sharing.room import Place, Room, has_share_left


class Crowd:
    """Clients of one room, with a record of the places that were taken away."""

    def __init__(self, capacity: int) -> None:
        self.room = Room(capacity, "It is full.")
        self.lost: list[Place] = []
        self.holding: list[Place] = []
        self._stack = ExitStack()

    def come(self, client: str, size: int = 1, *, part: str = "", fixed: bool = False) -> Place:
        place = Place(client, None, part)
        place.when_lost = None if fixed else lambda: self._give_up(place)
        self.room.grow(place, size)
        self.holding.append(place)
        return place

    def _give_up(self, place: Place) -> None:
        self.lost.append(place)
        self.holding.remove(place)

    def go(self, place: Place) -> None:
        self.room.leave(place)
        self.holding.remove(place)

    @property
    def held(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for place in self.holding:
            held[place.client] += place.size
        return held


def test_one_client_may_fill_the_room_and_is_refused_when_it_is_full() -> None:
    crowd = Crowd(3)
    for _ in range(3):
        crowd.come("a")

    with pytest.raises(Overloaded, match=r"It is full\.") as refused:
        crowd.come("a")

    assert refused.value.retry_after
    assert crowd.lost == []


def test_the_newest_place_of_the_client_with_the_most_goes_to_another_client() -> None:
    crowd = Crowd(4)
    crowd.come("b")
    _, _, newest = crowd.come("a"), crowd.come("a"), crowd.come("a")

    crowd.come("c")

    assert crowd.lost == [newest]
    assert crowd.held == {"a": 2, "b": 1, "c": 1}


def test_clients_with_equal_shares_take_nothing_from_each_other() -> None:
    crowd = Crowd(4)
    for client in "abab":
        crowd.come(client)

    for client in "ab":
        with pytest.raises(Overloaded):
            crowd.come(client)

    assert crowd.lost == []


def test_many_parts_of_one_client_have_one_share_together() -> None:
    crowd = Crowd(4)
    for link in ("1", "2", "3", "4"):
        crowd.come("a", part=link)

    crowd.come("b")
    crowd.come("b")

    assert crowd.held == {"a": 2, "b": 2}
    with pytest.raises(Overloaded):
        crowd.come("b")


def test_one_part_does_not_shut_out_the_others_of_its_client() -> None:
    crowd = Crowd(3)
    crowd.come("b")
    _, newest = crowd.come("a", part="popular"), crowd.come("a", part="popular")

    crowd.come("a")

    assert crowd.lost == [newest]
    with pytest.raises(Overloaded):
        crowd.come("a", part="popular")


def test_a_fixed_place_is_never_taken_away() -> None:
    crowd = Crowd(2)
    crowd.come("a", fixed=True)
    crowd.come("a", fixed=True)

    with pytest.raises(Overloaded):
        crowd.come("b")

    assert crowd.lost == []


def test_a_lost_place_cannot_grow_and_leaves_once() -> None:
    crowd = Crowd(10)
    large = crowd.come("a", 8)
    crowd.come("b", 4)

    assert crowd.lost == [large]
    with pytest.raises(Overloaded):
        crowd.room.grow(large, 1)
    crowd.room.leave(large)
    assert crowd.room.taken == 4


def test_a_place_is_free_again_after_its_block_and_after_an_error() -> None:
    room = Room(1, "It is full.")
    with pytest.raises(ZeroDivisionError), room.place("a"):
        _ = 1 / 0
    with room.place("b"):
        assert room.taken == 1
    assert (room.taken, room._held) == (0, {})


@given(st.integers(1, 12), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 5), st.booleans()), max_size=60))
def test_no_client_is_refused_while_another_holds_more_than_it_would(
    capacity: int, calls: list[tuple[str, int, bool]]
) -> None:
    crowd = Crowd(capacity)
    for client, size, leaves in calls:
        if leaves and crowd.holding:
            crowd.go(crowd.holding[size % len(crowd.holding)])
            continue
        before, gone = crowd.held, len(crowd.lost)
        try:
            crowd.come(client, size)
        except Overloaded:
            others = [held for other, held in crowd.held.items() if other != client]
            assert not others or max(others) <= before[client] + size
        for place in crowd.lost[gone:]:
            assert before[place.client] > before[client] + size
        assert crowd.room.taken == crowd.held.total() <= capacity


@given(st.integers(1000, 3000), st.integers(1, 3))
def test_one_client_gets_nine_tenths_and_several_leave_something_free(capacity: int, clients: int) -> None:
    own = [0] * clients
    while any(grown := [has_share_left(held, sum(own), capacity) for held in own]):
        own[grown.index(True)] += 1

    assert sum(own) < capacity
    assert max(own) <= 9 * capacity / 10 + 1
