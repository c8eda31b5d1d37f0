"""The number of attempts, and so of events, of a generation is limited, whatever the providers answer."""

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.generation import next_attempt
from gateway.domain.generation.facts_and_effects import Submit
from gateway.domain.generation.model import AttemptState

from ...builders import World, generation

ROUTES = ["keevx/V", "kling_relay/kling-v1", "foxapi/kling-v3", "foxapi/kling-o3"]
REPEATS = 6  # instead of the real limit, which takes long to reach
FORMS = 2  # forms of one submit: the usual one, and the one for a second try
STATES = [AttemptState.REFUSED, AttemptState.NOT_SENT]
ENDS = st.tuples(
    st.sampled_from([FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE, *FailureKind]),
    st.sampled_from(STATES),
    st.booleans(),
    st.sampled_from([None, 0.0, 5.0]),
)


@settings(max_examples=150)
@given(
    routes=st.lists(st.sampled_from(ROUTES), min_size=1, unique=True),
    count=st.integers(1, 4),
    ends=st.lists(ENDS, min_size=1, max_size=20),
    amends=st.booleans(),
)
def test_attempts_are_bounded(
    routes: list[str], count: int, ends: list[tuple[FailureKind, AttemptState, bool, float | None]], amends: bool
) -> None:
    with mock.patch.object(next_attempt, "REPEATS_MAX", REPEATS):
        _run(routes, count, ends, amends=amends)


def _run(
    routes: list[str], count: int, ends: list[tuple[FailureKind, AttemptState, bool, float | None]], *, amends: bool
) -> None:
    world = World(generation(*routes, count=count, deadline_seconds=86_400), variant="number")
    bound = count * len(routes) * (REPEATS + FORMS)
    for turn in range(10 * bound):
        if world.generation.status.terminal:
            break
        waiting = [attempt for attempt in world.generation.attempts if attempt.state is AttemptState.RESERVED]
        if not waiting:
            world.now = max(world.now, world.last.wake_at)
            world.step()
            continue
        kind, state, elsewhere, wait = ends[turn % len(ends)]
        assert Submit(waiting[0].id) in world.busy
        world.end(
            waiting[0].number,
            kind,
            state=state,
            elsewhere=elsewhere,
            retry_after=wait,
            amend="string" if amends else None,
        )
    assert world.generation.status.terminal
    assert len(world.generation.attempts) <= bound
