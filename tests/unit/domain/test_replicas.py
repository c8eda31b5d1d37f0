"""The rules of replicas: nobody buys who may be dead, and generations rest where shares are even."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.replicas import (
    BEAT_SECONDS,
    DEAD_SECONDS,
    HAND_OVER_MAX,
    JOB_SIZE,
    SURE_SECONDS,
    Load,
    Sight,
    is_sure,
    lost_commits,
)

from ...cases import every

COUNTS = st.lists(st.integers(0, 30_000), min_size=1, max_size=8)


def load_of(counts: list[int], number: int, waiting: int) -> Load:
    return Load(own=counts[number], others=[*counts[:number], *counts[number + 1 :]], waiting=waiting)


@given(COUNTS, st.integers(1, 30_000))
def test_somebody_takes_what_waits(counts: list[int], waiting: int) -> None:
    size = min(waiting, JOB_SIZE)
    assert any(load_of(counts, number, waiting).has_room(size) for number in range(len(counts)))


@given(COUNTS, st.integers(0, 30_000))
def test_a_replica_hands_over_only_what_is_above_its_share(counts: list[int], waiting: int) -> None:
    for number in range(len(counts)):
        load = load_of(counts, number, waiting)
        assert 0 <= load.surplus <= HAND_OVER_MAX
        assert load.own - load.surplus >= min(load.own, load.share)
        assert not (load.surplus and load.has_room(1))
    assert Load(own=30_000).surplus == 0, "alone it drives all"


@given(COUNTS, st.data())
def test_it_rests_in_the_end_and_then_nobody_has_too_much(counts: list[int], data: st.DataObject) -> None:
    counts = [count % 2000 for count in counts]
    total, waiting = sum(counts), 0
    for _ in range(200):
        for number in range(len(counts)):
            surplus = load_of(counts, number, waiting).surplus
            counts[number] -= surplus
            waiting += surplus
        moved = waiting
        while waiting:
            size = min(waiting, JOB_SIZE)
            with_room = [i for i in range(len(counts)) if load_of(counts, i, waiting).has_room(size)]
            number = data.draw(st.sampled_from(with_room)) if moved < 100 else with_room[moved % len(with_room)]
            counts[number] += size
            waiting -= size
        if not moved:
            break
    else:
        raise AssertionError(f"they hand generations over without an end: {counts}")
    assert sum(counts) == total
    assert all(count <= load_of(counts, number, 0).most for number, count in enumerate(counts))


@given(st.floats(0, 1e9), st.floats(-100, 100))
def test_who_is_not_sure_to_live_is_so_before_the_database_says_dead(sent_at: float, passed: float) -> None:
    assert not is_sure(None, sent_at)
    now = sent_at + passed
    if is_sure(sent_at, now):
        assert 0 <= now - sent_at < SURE_SECONDS
    assert BEAT_SECONDS < SURE_SECONDS < DEAD_SECONDS
    assert is_sure(sent_at, sent_at)
    assert not is_sure(sent_at, sent_at + SURE_SECONDS + 1)


SEEN = Sight(lineage="a", newest=37)


@every(
    "now, reason",
    [
        (SEEN, None),
        (replace(SEEN, newest=41), None),
        (replace(SEEN, lineage="b", newest=90), "was restored from an older state"),
        (replace(SEEN, newest=36), "the newest event is 36, and this gateway has seen event 37"),
    ],
)
def test_a_ledger_that_goes_back_has_lost_commits(now: Sight, reason: str | None) -> None:
    lost = lost_commits(SEEN, now)
    assert lost is None if reason is None else reason in str(lost)
