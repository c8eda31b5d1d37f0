"""The circuit of a provider's account, or of one of its models: whether its turn comes at its place or last. Pure.

Closed: at its place. Open: last, for a time that doubles with every probe that fails. Half-open: the time is over, and
one attempt, the probe, is let through at its place to find out; until it has, everybody else finds the circuit open.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind

WINDOW = 20  # outcomes that are remembered
WINDOW_SECONDS = 300.0  # and for how long
FAILURES_MIN = 5  # of them, and at least half of all, open the circuit
OPEN_SECONDS, OPEN_MAX_SECONDS = 30.0, 600.0
PROBE_SECONDS = 180.0  # a probe that has not ended by then is not waited for
PROBE_WAIT_SECONDS = 5.0  # until somebody who waits for a probe looks again


class CircuitState(StrEnum):
    """Where a route stands."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Verdict(StrEnum):
    """What a failure says about the provider."""

    BROKEN = "broken"  # nothing of this account will work: open at once
    FAULT = "fault"  # counts
    NOTHING = "nothing"  # it is of the request, or of the moment


VERDICT: Mapping[FailureKind, Verdict] = {
    FailureKind.INVALID_REQUEST: Verdict.NOTHING,
    FailureKind.CONTENT_POLICY: Verdict.NOTHING,
    FailureKind.CREDENTIAL_REFUSED: Verdict.BROKEN,
    FailureKind.OUT_OF_CREDIT: Verdict.BROKEN,
    FailureKind.RATE_LIMITED: Verdict.NOTHING,  # it lowers the concurrency instead
    FailureKind.UNAVAILABLE: Verdict.FAULT,
    FailureKind.AMBIGUOUS: Verdict.FAULT,
    FailureKind.TASK_FAILED: Verdict.FAULT,
    FailureKind.TASK_LOST: Verdict.FAULT,
    FailureKind.TIMED_OUT: Verdict.FAULT,
    FailureKind.RESULT_MISSING: Verdict.FAULT,
    FailureKind.ADAPTER_FAILED: Verdict.NOTHING,  # a fault of ours says nothing about the provider
}


OF_TASKS = frozenset(
    {FailureKind.TASK_FAILED, FailureKind.TASK_LOST, FailureKind.TIMED_OUT, FailureKind.RESULT_MISSING}
)


class Outcome(Struct, frozen=True):
    """How one thing ended."""

    at: datetime
    failed: bool


class Probe(Struct, frozen=True):
    """The attempt that is to find out."""

    attempt_id: str
    at: datetime


class Circuit(Struct, frozen=True, kw_only=True):
    """What is known; a new one is closed."""

    recent: tuple[Outcome, ...] = ()  # oldest first
    opened_at: datetime | None = None
    open_seconds: float = OPEN_SECONDS
    reason: FailureKind | None = None  # what opened it
    probe: Probe | None = None

    def open_until(self) -> datetime | None:
        """The end of the open time, which may be past; `None` when it is closed."""
        return None if self.opened_at is None else self.opened_at + timedelta(seconds=self.open_seconds)


def state_of(circuit: Circuit, now: datetime) -> CircuitState:
    """Where the circuit stands now."""
    until = circuit.open_until()
    if until is None:
        return CircuitState.CLOSED
    return CircuitState.OPEN if now < until or _is_probing(circuit, now) else CircuitState.HALF_OPEN


def next_chance(circuit: Circuit, now: datetime) -> datetime:
    """When it is worth looking again; `now` unless the circuit is open."""
    until = circuit.open_until()
    if until is None or state_of(circuit, now) is not CircuitState.OPEN:
        return now
    return max(until, now + timedelta(seconds=PROBE_WAIT_SECONDS)) if _is_probing(circuit, now) else until


def probed(circuit: Circuit, attempt_id: str, now: datetime) -> Circuit:
    """An attempt begins: where the circuit is half-open it is the probe."""
    if state_of(circuit, now) is not CircuitState.HALF_OPEN:
        return circuit
    return replace(circuit, probe=Probe(attempt_id, now))


def released(circuit: Circuit, attempt_id: str) -> Circuit:
    """The attempt has found nothing out: where it was the probe, the next one is."""
    is_probe = circuit.probe is not None and circuit.probe.attempt_id == attempt_id
    return replace(circuit, probe=None) if is_probe else circuit


def submitted(circuit: Circuit, attempt_id: str, failure: FailureKind | None, now: datetime) -> Circuit:
    """A submit has ended, `None` with an accepted task: that closes the circuit where it was the probe.

    A circuit that failed tasks have opened waits for the end of the probe's task.
    """
    is_probe = circuit.probe is not None and circuit.probe.attempt_id == attempt_id
    verdict = None if failure is None else VERDICT[failure]
    if circuit.opened_at is None:
        return _counted(circuit, failure, now)
    if not is_probe:
        return circuit
    if verdict is None:
        return circuit if circuit.reason in OF_TASKS else Circuit()
    if verdict is Verdict.NOTHING:
        return replace(circuit, probe=None)  # it has not found out: the next one may
    longer = min(circuit.open_seconds * 2, OPEN_MAX_SECONDS)
    # What failed tasks have opened a working task closes, though the probe's submit has met another failure.
    keeps = circuit.reason in OF_TASKS and failure not in OF_TASKS and verdict is Verdict.FAULT
    reason = circuit.reason if keeps else failure
    return Circuit(opened_at=now, open_seconds=longer, reason=reason)


def task_ended(
    circuit: Circuit, attempt_id: str, failure: FailureKind | None, now: datetime, accepted_at: datetime
) -> Circuit:
    """The tasks of an attempt have ended, long after its submit; while the circuit is open only the probe's count."""
    if circuit.opened_at is None:
        return _counted(circuit, failure, now)
    if failure is None and circuit.reason in OF_TASKS and accepted_at > circuit.opened_at:
        return Circuit()  # a task may run for longer than its probe is waited for: any that began since will do
    if circuit.probe is None or circuit.probe.attempt_id != attempt_id:
        return circuit
    return Circuit() if failure is None else submitted(circuit, attempt_id, failure, now)


def _counted(circuit: Circuit, failure: FailureKind | None, now: datetime) -> Circuit:
    verdict = None if failure is None else VERDICT[failure]
    if verdict is Verdict.NOTHING:
        return circuit
    if verdict is Verdict.BROKEN:
        return _opened(circuit, failure, now)
    since = now - timedelta(seconds=WINDOW_SECONDS)
    kept = [outcome for outcome in circuit.recent if outcome.at > since]
    recent = (*kept[1 - WINDOW :], Outcome(now, failure is not None))
    failures = sum(outcome.failed for outcome in recent)
    if failure is not None and failures >= FAILURES_MIN and failures * 2 >= len(recent):
        return _opened(circuit, failure, now)
    return replace(circuit, recent=recent)


def _opened(circuit: Circuit, failure: FailureKind | None, now: datetime) -> Circuit:
    return Circuit(opened_at=now, open_seconds=circuit.open_seconds, reason=failure)


def _is_probing(circuit: Circuit, now: datetime) -> bool:
    return circuit.probe is not None and now < circuit.probe.at + timedelta(seconds=PROBE_SECONDS)
