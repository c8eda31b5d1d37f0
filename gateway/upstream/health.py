"""How every provider has been lately: circuits, concurrency, repeats, completion times. Kept by this process alone."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import inf
from statistics import quantiles

from msgspec import Struct

from gateway.clock import Clock
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed
from gateway.domain.health.circuit import (
    VERDICT,
    Circuit,
    CircuitState,
    Verdict,
    next_chance,
    probed,
    released,
    state_of,
    submitted,
    task_ended,
)
from gateway.domain.health.limits import Budget, earned, refunded, retry_at, spent, unearned
from gateway.domain.health.route_health import Completion, RouteHealth
from gateway.telemetry import CircuitClosed, CircuitOpened, Observer
from gateway.upstream.limiter import Lane
from gateway.upstream.provider import Provider

TIMES_MAX = 100  # completion times that are remembered of a route
TIMES_SECONDS = 6 * 3600.0  # and for how long: a route that was slow once is asked again some day
ASK_AGAIN_SECONDS = 600.0  # a route whose speed is not known is tried once in so long
_ACCOUNT = ""  # in place of a model: the circuit of the whole account


class CompletionTimes(Struct, frozen=True, kw_only=True):
    """How long a route has taken of late, in seconds."""

    samples: int
    median: float
    p90: float


class Health:
    """What the rules ask of it is a value of one moment; what happened is told to it by the engine."""

    def __init__(self, providers: Mapping[str, Provider], clock: Clock, observer: Observer) -> None:
        now = clock.now()
        self._observer = observer
        self._clock = clock
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._budgets = {name: Budget(at=now) for name in providers}
        self._asked_at: dict[tuple[str, str], datetime] = {}  # routes whose speed somebody is finding out
        self._times: dict[tuple[str, str], deque[Completion]] = {}
        self._summaries: dict[tuple[str, str], CompletionTimes] = {}  # of those, until one comes or goes
        self.submits = {name: Lane(provider.concurrency, clock) for name, provider in providers.items()}
        # A submit is rare and costs money, a reading is frequent and free: the limit of one must not slow the other.
        self.reads = {name: Lane(provider.read_concurrency, clock) for name, provider in providers.items()}

    def of(self, provider: str, model: str) -> RouteHealth:
        """Implements `HealthOf`."""
        if provider not in self._budgets:  # no longer configured: what is planned on it is to come to its end
            return RouteHealth()
        now = self._clock.now()
        chances = (next_chance(circuit, now) for circuit in self._both(provider, model))
        allowed_at = max(retry_at(self._budgets[provider], now), *chances)
        times = self.completion_times(provider, model)
        return RouteHealth(
            circuit=self.circuit(provider, model),
            retry_at=allowed_at if allowed_at > now else None,
            seconds=times.median if times is not None else self._unknown_seconds(provider, model, now),
        )

    def _unknown_seconds(self, provider: str, model: str, now: datetime) -> float | None:
        """Of a route without a time: `None` makes it the next to be tried, endless seconds while one attempt is."""
        since = self._asked_at.get((provider, model))
        is_asked = since is not None and now < since + timedelta(seconds=ASK_AGAIN_SECONDS)
        return inf if is_asked else None

    def circuit(self, provider: str, model: str) -> CircuitState:
        """The worse of the account's state and the model's."""
        now = self._clock.now()
        states = {state_of(circuit, now) for circuit in self._both(provider, model)}
        return next(
            state for state in (CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED) if state in states
        )

    def reason(self, provider: str, model: str) -> FailureKind | None:
        """What opened the circuit that is not closed now."""
        found = (one.reason for one in self._both(provider, model) if one.opened_at is not None)
        return next(found, None)

    def completion_times(self, provider: str, model: str) -> CompletionTimes | None:
        """How long the route has taken of late; `None` when it has brought nothing."""
        known = self._times.get((provider, model))
        if known is None:
            return None
        since = self._clock.now() - timedelta(seconds=TIMES_SECONDS)
        while known and known[0].ended_at < since:
            known.popleft()
            self._summaries.pop((provider, model), None)
        if not known:
            return None
        summary = self._summaries.get((provider, model))
        if summary is None:
            summary = self._summaries[provider, model] = _summary([one.seconds for one in known])
        return summary

    def attempt_reserved(self, provider: str, model: str, attempt_id: str, *, retry: bool) -> None:
        """An attempt was reserved: it may be a circuit's probe, and it earns or costs a repeat."""
        if provider not in self._budgets:
            return
        now = self._clock.now()
        for key in self._keys(provider, model):
            circuit = self._circuits.get(key)
            if circuit is not None:
                self._circuits[key] = probed(circuit, attempt_id, now)
        if self.completion_times(provider, model) is None and self._unknown_seconds(provider, model, now) is None:
            self._asked_at[provider, model] = now
        change = spent if retry else earned
        self._budgets[provider] = change(self._budgets[provider], now)

    def attempt_discarded(self, provider: str, model: str, attempt_id: str, *, retry: bool) -> None:
        """An attempt that `began` could not be stored."""
        if provider in self._budgets:
            now = self._clock.now()
            self._budgets[provider] = (refunded if retry else unearned)(self._budgets[provider], now)
        self.release_probe(provider, model, attempt_id)

    def is_probe(self, provider: str, model: str, attempt_id: str) -> bool:
        """Whether the attempt is to find out whether a circuit may close."""
        probes = (circuit.probe for circuit in self._both(provider, model))
        return any(probe is not None and probe.attempt_id == attempt_id for probe in probes)

    def release_probe(self, provider: str, model: str, attempt_id: str) -> None:
        """An attempt will not be sent: another may be the probe."""
        for key in self._keys(provider, model):
            circuit = self._circuits.get(key)
            if circuit is not None:
                self._circuits[key] = released(circuit, attempt_id)

    def submitted(self, provider: str, model: str, attempt_id: str, failure: Failed | None) -> None:
        """A submit has ended; `None` is an accepted task."""
        if provider not in self._budgets:
            return
        kind = None if failure is None else failure.kind
        if kind is FailureKind.RATE_LIMITED:
            self.submits[provider].record_429()
        elif kind is None:
            self.submits[provider].record_success()
        now = self._clock.now()
        concerned = self._keys(provider, model) if failure is None else [self._concerned(provider, model, failure)]
        for key in concerned:
            self._put(key, submitted(self._circuits.get(key, Circuit()), attempt_id, kind, now))
        if failure is None:
            self._budgets[provider] = refunded(self._budgets[provider], now)
        else:
            self.release_probe(provider, model, attempt_id)  # as the probe of the other circuit it has found nothing out

    def task_ended(self, provider: str, model: str, attempt_id: str, *, failure: Failed | None, seconds: float) -> None:
        """All tasks of an attempt are at their end, so long after it was accepted."""
        if provider not in self._budgets:
            return
        now = self._clock.now()
        if failure is None:
            self.learn([Completion(provider=provider, model=model, ended_at=now, seconds=seconds)])
        kind = None if failure is None else failure.kind
        for key in self._keys(provider, model) if failure is None else [self._concerned(provider, model, failure)]:
            known = self._circuits.get(key, _NEW)
            self._put(key, task_ended(known, attempt_id, kind, now, now - timedelta(seconds=seconds)))
        self.release_probe(provider, model, attempt_id)

    def learn(self, completions: Iterable[Completion]) -> None:
        """Completion times, oldest first: at the start those that the ledger knows."""
        for one in completions:
            self._times.setdefault((one.provider, one.model), deque(maxlen=TIMES_MAX)).append(one)
            self._summaries.pop((one.provider, one.model), None)

    def _both(self, provider: str, model: str) -> list[Circuit]:
        return [self._circuits.get(key, _NEW) for key in self._keys(provider, model)]

    @staticmethod
    def _keys(provider: str, model: str) -> list[tuple[str, str]]:
        return [(provider, _ACCOUNT), (provider, model)]

    @staticmethod
    def _concerned(provider: str, model: str, failure: Failed) -> tuple[str, str]:
        return provider, model if failure.of_model else _ACCOUNT

    def _put(self, key: tuple[str, str], circuit: Circuit) -> None:
        before = self._circuits.get(key, _NEW)
        self._circuits[key] = circuit
        if circuit.opened_at is not None and circuit.opened_at != before.opened_at:
            self._observer.observe(
                CircuitOpened(
                    provider=key[0],
                    model=key[1] or None,
                    kind=circuit.reason,
                    seconds=circuit.open_seconds,
                    needs_operator=circuit.reason is not None and VERDICT[circuit.reason] is Verdict.BROKEN,
                )
            )
        elif circuit.opened_at is None and before.opened_at is not None:
            self._observer.observe(CircuitClosed(provider=key[0], model=key[1] or None))


def _summary(seconds: list[float]) -> CompletionTimes:
    seconds.sort()
    tenths = quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else seconds * 9
    return CompletionTimes(samples=len(seconds), median=round(tenths[4], 3), p90=round(tenths[8], 3))


_NEW = Circuit()
