"""Which purchases were not needed: handmade journals with everything that the gateway could know at the time."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from .ledger import Attempt, Generation
from .purchases import not_needed

ATTEMPT_SECONDS = 20.0
PROMPT = "Beach"
# A task is started at 1 and stored at 2, so its attempt times out at 22. Its file exists from 11 on.
ATTEMPT = Attempt(
    id="a1",
    number=1,
    provider="keevx",
    model="V",
    slots=frozenset({0}),
    state="abandoned",
    sent=True,
    tasks={"t1": 0},
    accepted_at=2.0,
)
GENERATION = Generation(
    id="gen_1",
    prompt=PROMPT,
    outputs=1,
    status="completed",
    deadline_at=100,
    completed_at=50,
    attempts=(ATTEMPT,),
    events=(),
)
Line = Mapping[str, Any]


def submit(at: float, count: int = 1) -> Line:
    return {"event": "submit", "provider": "foxapi", "prompt": PROMPT, "count": count, "created_at": at}


def start(done_at: float | None = 11.0, name: str = "t1") -> Line:
    return {"event": "start", "provider": "keevx", "prompt": PROMPT, "done_at": {name: done_at}, "created_at": 1.0}


def read(at: float, says: str, seconds: float | None = 0.0, name: str = "t1") -> Line:
    answered_at = None if seconds is None else at + seconds
    return {"event": "read", "provider": "keevx", "task": name, "at": at, "says": says, "answered_at": answered_at}


def callback(at: float, outcome: int | str = 200, name: str = "t1") -> Line:
    return {"event": "callback", "task": name, "at": at, "outcome": outcome}


def needless(*lines: Line, generation: Generation = GENERATION) -> list[str]:
    return [*not_needed(lines, [generation], attempt_seconds=ATTEMPT_SECONDS)]


UNSTORED = replace(GENERATION, attempts=())
NOT_NEEDED: Mapping[str, tuple[Line, ...]] = {
    "a stop was longer than the time-out, and nothing was read after it": (read(5, "running"), submit(40)),
    "the only reading was made before the time-out and answered after it": (read(20, "running", 3), submit(24)),
    "the reading after the time-out was answered after the purchase": (read(22.1, "running", 3), submit(24)),
    "the time-out passed without any reading": (submit(22.1),),
    "one reading after the time-out failed": (read(22.1, "nothing", None), submit(22.5)),
    "the result was read, and another one was bought nevertheless": (read(12, "done"), submit(14)),
    "it was given up by a reading, and is read as done since": (
        read(22.1, "running"),
        read(24, "done"),
        submit(26),
    ),
    "it was given up by a reading that is long past": (read(22.1, "running"), submit(40)),
    "the task is said not to exist only twice": (read(12, "not_found"), read(13, "not_found"), submit(14)),
    "a purchase that was refused is one, too": (submit(22.1),),
}


@pytest.mark.parametrize("case", NOT_NEEDED)
def test_a_purchase_beside_a_result_is_seen(case: str) -> None:
    [sentence] = needless(start(), *NOT_NEEDED[case])

    assert sentence.startswith("bought: foxapi received a submit of 'Beach' for 1 beside t1")


NEEDED: Mapping[str, tuple[Line, ...]] = {
    "it is the purchase of the task itself": (submit(1), start()),
    "the task has no file yet": (start(), submit(10.9)),
    "the task never has a file": (start(None), submit(60)),
    "a reading after the time-out says that it is not done": (start(22.3), read(22.2, "running"), submit(22.5)),
    "that reading was on its way for long": (start(22.3), read(22.2, "running", 2), submit(24.5)),
    "a done word came without a file": (start(22.3), read(22.2, "done_without_file"), submit(22.5)),
    "three readings after the time-out have failed": (
        start(),
        *(read(at, "nothing", None) for at in (22.1, 23, 25)),
        submit(26),
    ),
    "three readings say that the task does not exist": (
        start(),
        *(read(at, "not_found") for at in (12, 13, 14)),
        submit(15),
    ),
    "a reading says that it failed": (start(), read(12, "failed"), submit(13)),
    "the result was read while the submit was on its way": (start(22.3), read(22.2, "running"), submit(24)),
}


@pytest.mark.parametrize("case", NEEDED)
def test_a_purchase_that_readings_allow_is_none(case: str) -> None:
    assert needless(*NEEDED[case]) == []


def test_a_task_that_was_never_named_allows_the_next_route() -> None:
    assert needless(start(), submit(40), generation=UNSTORED) == []
    assert needless(start(), callback(12, 503), callback(13, "ConnectError"), submit(40), generation=UNSTORED) == []


def test_a_task_that_an_acknowledged_callback_named_is_known() -> None:
    assert len(needless(start(), callback(12), submit(15), generation=UNSTORED)) == 1
    assert needless(start(), submit(11.5), callback(11.6), generation=UNSTORED) == []
    assert needless(start(), callback(12), submit(13), generation=UNSTORED) == []  # the submit was already running


def test_a_task_that_was_read_is_known_even_if_the_ledger_has_lost_it() -> None:
    assert len(needless(start(), read(5, "running"), submit(12), generation=UNSTORED)) == 1


def test_a_task_that_a_callback_gave_to_an_attempt_is_known_from_that_callback_on() -> None:
    late = replace(GENERATION, attempts=(replace(ATTEMPT, adopted=True),))

    assert needless(start(), submit(12), callback(11.9), generation=late) == []
    assert len(needless(start(), callback(11.9), submit(15), generation=late)) == 1


TWO = replace(
    GENERATION,
    outputs=2,
    attempts=(replace(ATTEMPT, slots=frozenset({0, 1}), tasks={"t1": 0, "t2": 1, "t3": 2}),),
)


@pytest.mark.parametrize(
    ("done", "count", "seen"),
    [
        ({"t1": 11.0, "t2": None}, 1, 0),  # the other output is still needed
        ({"t1": 11.0, "t2": None}, 2, 1),  # but not both
        ({"t1": 11.0, "t2": 11.0}, 1, 1),
        ({"t1": 11.0, "t3": 11.0}, 1, 1),  # a task beyond the requested number fills any output
        ({"t1": 11.0, "t4": 11.0}, 1, 0),  # it is not in the ledger and was never named
    ],
)
def test_only_outputs_without_a_result_may_be_bought(done: Mapping[str, float | None], count: int, seen: int) -> None:
    starts = [start(done_at, name) for name, done_at in done.items()]

    assert len(needless(*starts, submit(40, count), generation=TWO)) == seen


def test_a_task_that_the_ledger_does_not_have_covers_any_output() -> None:
    lines = [start(11.0, name) for name in ("t1", "t4")]

    assert len(needless(*lines, callback(12, name="t4"), submit(40), generation=TWO)) == 1


def test_a_task_that_was_stored_late_was_not_known_before() -> None:
    """A gateway read the reply, and was cut off from its database until another one had bought from the next route."""
    lines = [
        {"event": "start", "prompt": PROMPT, "provider": "keevx", "tasks": ["t1"], "done_at": {"t1": 5.0}},
        {"event": "submit", "prompt": PROMPT, "provider": "foxapi", "count": 1, "created_at": 21.5},
    ]

    def sentences(stored_at: float) -> list[str]:
        late = replace(GENERATION, attempts=(replace(ATTEMPT, stored_at=stored_at),))
        return list(not_needed(lines, [late], attempt_seconds=ATTEMPT_SECONDS))

    assert sentences(2.1)
    assert not sentences(30.0)
