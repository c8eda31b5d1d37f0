"""The circuit breaker of a provider's account, or of one of its models. Pure.

An open circuit never forbids a route: it puts the route last in the order, because it may be the only one left.

Closed: the route has its normal position. Open: the route is last, for a time that doubles with every failed probe.
Half-open: that time is over, and one attempt, the probe, gets the normal position to find out whether the route works
again. While the probe runs, the circuit is open for all other attempts.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind

WINDOW = 20  # the number of outcomes that are remembered
WINDOW_SECONDS = 300.0  # how long an outcome is remembered
FAILURES_MIN = 5  # so many failures, if they are at least half of the outcomes, open the circuit
OPEN_SECONDS, OPEN_MAX_SECONDS = 30.0, 600.0  # the first and the longest time that a circuit stays open
PROBE_SECONDS = 180.0  # a probe that has not ended by then is no longer waited for
PROBE_WAIT_SECONDS = 5.0  # how long an attempt waits before it checks again whether the probe has ended


class CircuitState(StrEnum):
    """The state of a circuit."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Verdict(StrEnum):
    """What a failure says about the provider."""

    BROKEN = "broken"  # nothing will work with this account: the circuit opens at once
    FAULT = "fault"  # the failure counts against the provider
    NOTHING = "nothing"  # the request or the moment is the cause, not the provider


VERDICT: Mapping[FailureKind, Verdict] = {
    FailureKind.INVALID_REQUEST: Verdict.NOTHING,
    FailureKind.CONTENT_POLICY: Verdict.NOTHING,
    FailureKind.CREDENTIAL_REFUSED: Verdict.BROKEN,
    FailureKind.OUT_OF_CREDIT: Verdict.BROKEN,
    FailureKind.RATE_LIMITED: Verdict.NOTHING,  # it lowers the concurrency instead (`limits.py`)
    FailureKind.UNAVAILABLE: Verdict.FAULT,
    FailureKind.AMBIGUOUS: Verdict.FAULT,
    FailureKind.TASK_FAILED: Verdict.FAULT,
    FailureKind.TASK_LOST: Verdict.FAULT,
    FailureKind.TIMED_OUT: Verdict.FAULT,
    FailureKind.RESULT_MISSING: Verdict.FAULT,
    FailureKind.ADAPTER_FAILED: Verdict.NOTHING,  # a fault of ours says nothing about the provider
}
OF_TASKS = frozenset(  # failures of tasks, which come long after an accepted submit
    {FailureKind.TASK_FAILED, FailureKind.TASK_LOST, FailureKind.TIMED_OUT, FailureKind.RESULT_MISSING}
)


class Outcome(Struct, frozen=True):
    """The end of one submit or task."""

    at: datetime
    failed: bool


class Probe(Struct, frozen=True):
    """The attempt that finds out whether the route works again."""

    attempt_id: str
    at: datetime


class Circuit(Struct, frozen=True, kw_only=True):
    """A circuit with the outcomes that it depends on. A new one is closed."""

    recent: tuple[Outcome, ...] = ()  # oldest first
    opened_at: datetime | None = None
    open_seconds: float = OPEN_SECONDS
    reason: FailureKind | None = None  # the failure that opened it
    probe: Probe | None = None

    def open_until(self) -> datetime | None:
        """When the open time ends, which may be in the past; `None` if the circuit is closed."""
        return None if self.opened_at is None else self.opened_at + timedelta(seconds=self.open_seconds)


def state_of(circuit: Circuit, now: datetime) -> CircuitState:
    """The state of the circuit now."""
    until = circuit.open_until()
    if until is None:
        return CircuitState.CLOSED
    return CircuitState.OPEN if now < until or _is_probing(circuit, now) else CircuitState.HALF_OPEN


def next_chance(circuit: Circuit, now: datetime) -> datetime:
    """When an attempt may try the route again: `now` unless the circuit is open."""
    until = circuit.open_until()
    if until is None or state_of(circuit, now) is not CircuitState.OPEN:
        return now
    return max(until, now + timedelta(seconds=PROBE_WAIT_SECONDS)) if _is_probing(circuit, now) else until


def on_probe(circuit: Circuit, attempt_id: str, now: datetime) -> Circuit:
    """After the start of an attempt: if the circuit is half-open, this attempt is the probe."""
    if state_of(circuit, now) is not CircuitState.HALF_OPEN:
        return circuit
    return replace(circuit, probe=Probe(attempt_id, now))


def on_release(circuit: Circuit, attempt_id: str) -> Circuit:
    """After an attempt that proved nothing: if it was the probe, the next attempt becomes the probe."""
    is_probe = circuit.probe is not None and circuit.probe.attempt_id == attempt_id
    return replace(circuit, probe=None) if is_probe else circuit


def on_submit(circuit: Circuit, attempt_id: str, failure: FailureKind | None, now: datetime) -> Circuit:
    """After the end of a submit; `failure` is `None` if the provider accepted it.

    An accepted probe closes the circuit, unless failed tasks opened it: then the task of the probe must succeed first.
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
        return replace(circuit, probe=None)  # the probe proved nothing: another attempt may be the next one
    longer = min(circuit.open_seconds * 2, OPEN_MAX_SECONDS)
    # If failed tasks opened the circuit, only a successful task closes it, also after a fault of the probe's submit.
    keeps_reason = circuit.reason in OF_TASKS and failure not in OF_TASKS and verdict is Verdict.FAULT
    reason = circuit.reason if keeps_reason else failure
    return Circuit(opened_at=now, open_seconds=longer, reason=reason)


def on_task_ended(
    circuit: Circuit, attempt_id: str, failure: FailureKind | None, now: datetime, accepted_at: datetime
) -> Circuit:
    """After the end of an attempt's tasks, long after its submit. While the circuit is open, only the probe counts.

    One exception: if failed tasks opened the circuit, a success of any task that was accepted since closes it.
    """
    if circuit.opened_at is None:
        return _counted(circuit, failure, now)
    if failure is None and circuit.reason in OF_TASKS and accepted_at > circuit.opened_at:
        return Circuit()  # a task may run longer than a probe is waited for, so it need not be the probe's
    if circuit.probe is None or circuit.probe.attempt_id != attempt_id:
        return circuit
    return Circuit() if failure is None else on_submit(circuit, attempt_id, failure, now)


def _counted(circuit: Circuit, failure: FailureKind | None, now: datetime) -> Circuit:
    verdict = None if failure is None else VERDICT[failure]
    if verdict is Verdict.NOTHING:
        return circuit
    if verdict is Verdict.BROKEN:
        return _opened(circuit, failure, now)
    since = now - timedelta(seconds=WINDOW_SECONDS)
    newer = [outcome for outcome in circuit.recent if outcome.at > since]
    recent = (*newer[1 - WINDOW :], Outcome(now, failure is not None))
    failures = sum(outcome.failed for outcome in recent)
    if failure is not None and failures >= FAILURES_MIN and failures * 2 >= len(recent):
        return _opened(circuit, failure, now)
    return replace(circuit, recent=recent)


def _opened(circuit: Circuit, failure: FailureKind | None, now: datetime) -> Circuit:
    return Circuit(opened_at=now, open_seconds=circuit.open_seconds, reason=failure)


def _is_probing(circuit: Circuit, now: datetime) -> bool:
    return circuit.probe is not None and now < circuit.probe.at + timedelta(seconds=PROBE_SECONDS)
