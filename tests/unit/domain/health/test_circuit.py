"""When a route has its normal position, when it is last, and which attempt is the probe."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.health.circuit import (
    FAILURES_MIN,
    OF_TASKS,
    OPEN_MAX_SECONDS,
    OPEN_SECONDS,
    PROBE_SECONDS,
    PROBE_WAIT_SECONDS,
    VERDICT,
    WINDOW,
    WINDOW_SECONDS,
    Circuit,
    CircuitState,
    Verdict,
    next_chance,
    on_probe,
    on_release,
    on_submit,
    state_of,
)
from gateway.domain.health.circuit import on_task_ended as ended

from ....cases import every

T0 = datetime(2026, 1, 1, tzinfo=UTC)
FAULT = FailureKind.UNAVAILABLE
BROKEN = [FailureKind.CREDENTIAL_REFUSED, FailureKind.OUT_OF_CREDIT]
NOTHING = [
    FailureKind.INVALID_REQUEST,
    FailureKind.CONTENT_POLICY,
    FailureKind.RATE_LIMITED,
    FailureKind.ADAPTER_FAILED,
]
FAULTS = [kind for kind in FailureKind if kind not in {*BROKEN, *NOTHING}]
CLOSED, HALF_OPEN, OPEN = CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN


BEFORE = T0 - timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def task_ended(
    circuit: Circuit, attempt_id: str, failure: FailureKind | None, now: datetime, accepted_at: datetime = BEFORE
) -> Circuit:
    """`task_ended` for a task that was accepted before everything else, unless the test says when."""
    return ended(circuit, attempt_id, failure, now, accepted_at)


def fed(*outcomes: FailureKind | None, circuit: Circuit | None = None, every: float = 1.0) -> Circuit:
    """A circuit after these submits, of which the first was at T0."""
    result = circuit or Circuit()
    for number, outcome in enumerate(outcomes):
        result = on_submit(result, f"att_{number}", outcome, at(number * every))
    return result


def opened(open_seconds: float = OPEN_SECONDS, reason: FailureKind = FAULT) -> Circuit:
    """A circuit that opened at T0."""
    return Circuit(opened_at=T0, open_seconds=open_seconds, reason=reason)


def probing(open_seconds: float = OPEN_SECONDS, reason: FailureKind = FAULT) -> Circuit:
    """A circuit whose open time is over, with the attempt `probe` as its probe."""
    return on_probe(opened(open_seconds, reason), "probe", at(open_seconds))


# What a failure says about the provider


def test_every_kind_has_a_verdict() -> None:
    assert set(VERDICT) == set(FailureKind)
    assert {kind for kind, verdict in VERDICT.items() if verdict is Verdict.BROKEN} == set(BROKEN)
    assert {kind for kind, verdict in VERDICT.items() if verdict is Verdict.NOTHING} == set(NOTHING)


@pytest.mark.parametrize("kind", FAULTS)
def test_five_faults_open_and_four_do_not(kind: FailureKind) -> None:
    assert FAILURES_MIN == 5
    assert state_of(fed(*[kind] * 4), at(4)) is CLOSED
    circuit = fed(*[kind] * 5)
    assert state_of(circuit, at(5)) is OPEN
    assert (circuit.opened_at, circuit.open_seconds, circuit.reason) == (at(4), OPEN_SECONDS, kind)


@pytest.mark.parametrize("kind", NOTHING)
def test_failures_of_the_request_never_open(kind: FailureKind) -> None:
    assert fed(*[kind] * 100) == Circuit()
    circuit = Circuit()
    for number in range(100):
        circuit = task_ended(circuit, "att", kind, at(number))
    assert circuit == Circuit()


@pytest.mark.parametrize("kind", NOTHING)
def test_failures_of_the_request_do_not_dilute_the_faults(kind: FailureKind) -> None:
    assert state_of(fed(*[FAULT, kind, kind, kind] * 4, FAULT), at(20)) is OPEN


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_account_opens_at_once_after_any_successes(kind: FailureKind) -> None:
    circuit = fed(*[None] * 19, kind)
    assert (state_of(circuit, at(19)), circuit.reason) == (OPEN, kind)


@pytest.mark.parametrize("kind", BROKEN)
def test_task_that_failed_for_a_broken_account_opens_at_once(kind: FailureKind) -> None:
    circuit = task_ended(fed(None, None), "att_1", kind, at(5))
    assert (circuit.opened_at, circuit.reason) == (at(5), kind)


def test_tasks_count_like_submits() -> None:
    circuit = Circuit()
    for number in range(5):
        assert state_of(circuit, at(number)) is CLOSED
        circuit = task_ended(circuit, f"att_{number}", FailureKind.TASK_FAILED, at(number))
    assert (circuit.opened_at, circuit.reason) == (at(4), FailureKind.TASK_FAILED)


# The window


@pytest.mark.parametrize(("successes", "state"), [(5, OPEN), (6, CLOSED)])
def test_half_of_all_must_have_failed(successes: int, state: CircuitState) -> None:
    assert state_of(fed(*[None] * successes, *[FAULT] * 5), at(11)) is state


def test_only_the_last_outcomes_are_remembered() -> None:
    circuit = fed(*[None] * 500)
    assert len(circuit.recent) == WINDOW
    for _ in range(10):
        assert circuit.opened_at is None
        circuit = on_submit(circuit, "att", FAULT, at(500))
    assert circuit.opened_at == at(500), "ten of the last twenty"


@pytest.mark.parametrize(("gap", "state"), [(WINDOW_SECONDS - 0.001, OPEN), (WINDOW_SECONDS, CLOSED)])
def test_old_outcomes_are_forgotten(gap: float, state: CircuitState) -> None:
    circuit = fed(*[FAULT] * 4, every=0)
    assert state_of(on_submit(circuit, "att", FAULT, at(gap)), at(gap)) is state


def test_old_successes_do_not_hide_new_faults() -> None:
    circuit = fed(*[None] * 20, every=0)
    for _ in range(5):
        circuit = on_submit(circuit, "att", FAULT, at(WINDOW_SECONDS + 1))
    assert circuit.opened_at == at(WINDOW_SECONDS + 1)


# Open, half-open, the probe


def test_open_becomes_half_open_when_its_time_is_over() -> None:
    assert state_of(opened(), at(OPEN_SECONDS - 0.001)) is OPEN
    assert state_of(opened(), at(OPEN_SECONDS)) is HALF_OPEN
    assert opened().open_until() == at(OPEN_SECONDS)
    assert Circuit().open_until() is None


def test_closed_or_open_circuit_has_no_probe() -> None:
    assert on_probe(Circuit(), "a", T0) == Circuit()
    assert on_probe(opened(), "a", at(1)) == opened()


def test_one_probe_at_a_time() -> None:
    circuit = probing()
    assert circuit.probe is not None
    assert state_of(circuit, at(OPEN_SECONDS)) is OPEN, "for other attempts it is open"
    assert on_probe(circuit, "second", at(OPEN_SECONDS + 1)) == circuit


@pytest.mark.parametrize("reason", [kind for kind in [*FAULTS, *BROKEN] if kind not in OF_TASKS])
def test_probe_that_is_accepted_closes_and_forgets(reason: FailureKind) -> None:
    assert on_submit(probing(240, reason), "probe", None, at(250)) == Circuit()


@pytest.mark.parametrize("reason", [*FAULTS, *BROKEN])
def test_accepted_submit_of_another_closes_nothing(reason: FailureKind) -> None:
    late = at(OPEN_SECONDS + PROBE_SECONDS)
    for circuit, now in (
        (opened(reason=reason), at(1)),
        (opened(reason=reason), at(31)),
        (probing(reason=reason), at(31)),
        (probing(reason=reason), late),
    ):
        assert on_submit(circuit, "another", None, now) == circuit, (
            "it was sent before the circuit opened, or because no other route was left"
        )


def test_released_probe_no_longer_closes_the_circuit() -> None:
    circuit = on_release(probing(), "probe")
    assert circuit == opened()
    assert on_submit(circuit, "probe", None, at(31)) == circuit
    assert on_release(probing(), "another") == probing()


# Opened by failed tasks


def test_what_tasks_end_with() -> None:
    assert {
        FailureKind.TASK_FAILED,
        FailureKind.TASK_LOST,
        FailureKind.TIMED_OUT,
        FailureKind.RESULT_MISSING,
    } == OF_TASKS


@pytest.mark.parametrize("reason", sorted(OF_TASKS))
def test_circuit_that_tasks_opened_waits_for_the_task_of_its_probe(reason: FailureKind) -> None:
    accepted = on_submit(probing(240, reason), "probe", None, at(250))
    assert accepted == probing(240, reason), "an accepted task may still fail"
    assert state_of(accepted, at(250)) is OPEN
    assert task_ended(accepted, "probe", None, at(300)) == Circuit()


@pytest.mark.parametrize("kind", sorted(OF_TASKS))
def test_task_of_the_probe_that_fails_doubles_the_time(kind: FailureKind) -> None:
    accepted = on_submit(probing(60, FailureKind.TASK_FAILED), "probe", None, at(61))
    assert task_ended(accepted, "probe", kind, at(90)) == Circuit(opened_at=at(90), open_seconds=120, reason=kind)


@pytest.mark.parametrize("kind", NOTHING)
def test_task_of_the_probe_that_proves_nothing_lets_the_next_one_try(kind: FailureKind) -> None:
    accepted = on_submit(probing(60, FailureKind.TASK_FAILED), "probe", None, at(61))
    assert task_ended(accepted, "probe", kind, at(90)) == opened(60, FailureKind.TASK_FAILED)


def test_tasks_of_other_attempts_do_not_close_a_circuit_that_tasks_opened() -> None:
    circuit = on_submit(probing(reason=FailureKind.TASK_FAILED), "probe", None, at(31))
    for kind in (None, *FailureKind):
        assert task_ended(circuit, "another", kind, at(40)) == circuit


def test_submit_of_the_probe_that_is_refused_counts_before_any_task() -> None:
    circuit = on_submit(probing(60, FailureKind.TASK_FAILED), "probe", FAULT, at(61))
    assert circuit == Circuit(opened_at=at(61), open_seconds=120, reason=FailureKind.TASK_FAILED)
    assert on_submit(on_probe(circuit, "next", at(181)), "next", None, at(182)).opened_at == at(61), (
        "a task has to succeed"
    )


def test_task_that_was_accepted_since_closes_a_circuit_that_tasks_opened_however_long_it_ran() -> None:
    circuit = on_submit(probing(reason=FailureKind.TASK_FAILED), "probe", None, at(31))
    later = on_probe(circuit, "next", at(31 + PROBE_SECONDS))
    assert task_ended(later, "probe", None, at(400), accepted_at=at(31)) == Circuit()
    assert task_ended(later, "probe", None, at(400), accepted_at=T0) == later
    assert task_ended(opened(), "another", None, at(40), accepted_at=at(31)) == opened(), "failed submits opened it"


def test_task_that_ends_after_its_probe_closed_the_circuit_counts_like_any_other() -> None:
    closed = on_submit(probing(), "probe", None, at(31))
    later = task_ended(closed, "probe", FailureKind.TASK_FAILED, at(90))
    assert state_of(later, at(90)) is CLOSED
    assert [outcome.failed for outcome in later.recent] == [True]


# Failures while it is open


@pytest.mark.parametrize("kind", [*FAULTS, *BROKEN])
def test_probe_that_fails_doubles_the_time_up_to_the_maximum(kind: FailureKind) -> None:
    circuit, now, times = opened(), T0, []
    for number in range(7):
        times.append(circuit.open_seconds)
        now += timedelta(seconds=circuit.open_seconds)
        circuit = on_submit(on_probe(circuit, f"att_{number}", now), f"att_{number}", kind, now)
        assert (circuit.opened_at, circuit.reason, circuit.probe) == (now, kind, None)
    assert times == [30, 60, 120, 240, 480, 600, 600]
    assert OPEN_MAX_SECONDS == 600


@pytest.mark.parametrize("kind", NOTHING)
def test_probe_that_proved_nothing_lets_the_next_one_try(kind: FailureKind) -> None:
    circuit = on_submit(probing(60), "probe", kind, at(61))
    assert (state_of(circuit, at(61)), circuit.open_seconds, circuit.opened_at) == (HALF_OPEN, 60, T0)
    assert on_probe(circuit, "next", at(61)).probe is not None


def test_probe_that_does_not_end_is_not_waited_for() -> None:
    circuit = probing()
    late = OPEN_SECONDS + PROBE_SECONDS
    assert state_of(circuit, at(late - 0.001)) is OPEN
    assert state_of(circuit, at(late)) is HALF_OPEN
    following = on_probe(circuit, "next", at(late))
    assert following.probe is not None
    assert following.probe.attempt_id == "next"
    assert on_submit(following, "probe", FAULT, at(late + 1)) == following, "the old probe no longer counts"


@every("kind", FailureKind)
def test_failures_of_others_change_nothing_while_it_is_open(kind: FailureKind) -> None:
    for circuit in (opened(), probing()):
        assert on_submit(circuit, "another", kind, at(31)) == circuit


@every("kind", [None, *FailureKind])
def test_late_tasks_change_nothing_while_it_is_open(kind: FailureKind | None) -> None:
    for circuit, now in ((opened(), at(1)), (opened(), at(31)), (probing(), at(31))):
        assert task_ended(circuit, "another", kind, now) == circuit


def test_circuit_that_closed_opens_for_the_shortest_time_again() -> None:
    circuit = on_submit(probing(OPEN_MAX_SECONDS), "probe", None, at(601))
    for number in range(5):
        circuit = on_submit(circuit, "att", FAULT, at(602 + number))
    assert circuit.open_seconds == OPEN_SECONDS


def test_next_chance() -> None:
    assert next_chance(Circuit(), at(7)) == at(7)
    assert next_chance(opened(), at(7)) == at(OPEN_SECONDS)
    assert next_chance(opened(), at(OPEN_SECONDS + 9)) == at(OPEN_SECONDS + 9)
    assert next_chance(probing(), at(OPEN_SECONDS + 9)) == at(OPEN_SECONDS + 9 + PROBE_WAIT_SECONDS)


# Any order of events


ATTEMPTS = st.integers(0, 5).map("att_{}".format)
KINDS = st.none() | st.sampled_from(FailureKind)


class Storm(RuleBasedStateMachine):
    """Attempts that begin and end in any order while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.now = T0
        self.probes: dict[str, datetime] = {}  # the probe whose end is still unknown, and when it began

    @rule(seconds=st.sampled_from([0.0, 0.1, 5.0, 29.9, 30.0, 179.9, 180.0, 300.0, 600.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(attempt=ATTEMPTS)
    def begins(self, attempt: str) -> None:
        before = state_of(self.circuit, self.now)
        running = [probe for probe, since in self.probes.items() if self.now < since + timedelta(seconds=PROBE_SECONDS)]
        self.circuit = on_probe(self.circuit, attempt, self.now)
        if before is HALF_OPEN:
            assert running == [], "a second probe"
            assert state_of(self.circuit, self.now) is OPEN
            self.probes = {attempt: self.now}
        else:
            assert state_of(self.circuit, self.now) is before

    @rule(attempt=ATTEMPTS, kind=KINDS)
    def is_answered(self, attempt: str, kind: FailureKind | None) -> None:
        before = self.circuit
        self.circuit = on_submit(before, attempt, kind, self.now)
        if self.circuit.probe is None:
            self.probes = {}
        self._only_the_probe_moves(before, attempt)
        if kind is None and before.opened_at is not None and self._is_probe(before, attempt):
            assert (self.circuit.opened_at is None) == (before.reason not in OF_TASKS)

    @rule(attempt=ATTEMPTS, kind=KINDS)
    def task_ends(self, attempt: str, kind: FailureKind | None) -> None:
        before = self.circuit
        self.circuit = task_ended(before, attempt, kind, self.now)
        if self.circuit.probe is None:
            self.probes = {}
        self._only_the_probe_moves(before, attempt)
        if kind is None:
            assert self._is_probe(before, attempt) <= (self.circuit.opened_at is None)

    @rule(attempt=ATTEMPTS)
    def is_let_go(self, attempt: str) -> None:
        before = self.circuit
        self.circuit = on_release(before, attempt)
        if self.circuit.probe is None:
            self.probes = {}
        assert self.circuit == before or (self._is_probe(before, attempt) and self.circuit.probe is None)
        assert self.circuit.opened_at == before.opened_at

    def _only_the_probe_moves(self, before: Circuit, attempt: str) -> None:
        if before.opened_at is None:
            return
        assert self.circuit == before or self._is_probe(before, attempt)
        if self.circuit.opened_at not in {None, before.opened_at}:
            assert self.circuit.open_seconds == min(before.open_seconds * 2, OPEN_MAX_SECONDS)

    @staticmethod
    def _is_probe(circuit: Circuit, attempt: str) -> bool:
        return circuit.probe is not None and circuit.probe.attempt_id == attempt

    @invariant()
    def holds(self) -> None:
        circuit = self.circuit
        assert state_of(circuit, self.now) in set(CircuitState)
        assert (state_of(circuit, self.now) is CLOSED) == (circuit.opened_at is None) == (circuit.reason is None)
        assert OPEN_SECONDS <= circuit.open_seconds <= OPEN_MAX_SECONDS
        assert len(circuit.recent) <= WINDOW
        chance = next_chance(circuit, self.now)
        assert (chance > self.now) == (state_of(circuit, self.now) is OPEN), (
            "a waiting attempt would loop, or sleep too long"
        )
        assert chance <= self.now + timedelta(seconds=OPEN_MAX_SECONDS)


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=80, stateful_step_count=40)
