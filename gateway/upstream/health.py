"""The health of providers: circuits, limits of concurrency, retry budgets, and completion times.

It is kept in the memory of this process, because it only saves work. What decides about money is in the ledger.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
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
    on_probe,
    on_release,
    on_submit,
    on_task_ended,
    state_of,
)
from gateway.domain.health.hold import Hold
from gateway.domain.health.limits import (
    RetryBudget,
    earned,
    refunded,
    retry_at,
    safe_share,
    share,
    spent,
    unearned,
)
from gateway.domain.health.route_health import Completion, RouteHealth
from gateway.sharing.limiter import FairLimiter
from gateway.telemetry import CircuitClosed, CircuitOpened, Observer
from gateway.upstream.provider import Provider, changed_accounts

TIMES_MAX = 100  # completion times that are remembered of a route
TIMES_SECONDS = 6 * 3600.0  # how long they are remembered, so that a route that was slow once gets another chance
WORDS_MAX = 1000  # status words that are remembered
ASK_AGAIN_SECONDS = 600.0  # a route of unknown speed is measured by one attempt in this time
ACCOUNT = ""  # instead of a model: the circuit of the whole account


class CompletionTimes(Struct, frozen=True, kw_only=True):
    """How long a route has taken recently, in seconds from acceptance to the result."""

    samples: int  # how many results the figures come from
    median: float  # seconds: half of the results came sooner
    p90: float  # seconds: nine of ten results came sooner


class Health:
    """The engine reports what happened; the rules read the state of a route as a value of one moment."""

    def __init__(self, providers: Mapping[str, Provider], clock: Clock, observer: Observer) -> None:
        self._observer = observer
        self._clock = clock
        self._providers = providers
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._measured_since: dict[tuple[str, str], datetime] = {}  # routes whose speed an attempt is measuring
        self._times: dict[tuple[str, str], deque[Completion]] = {}
        self._summaries: dict[tuple[str, str], CompletionTimes] = {}  # computed from the times, until they change
        self._holds: dict[str, Hold] = {}  # as the ledger has them, which alone refuses submits
        self._unknown_words: set[tuple[str, str]] = set()  # provider and status word
        self.submits: dict[str, FairLimiter] = {}
        # Submits are rare and cost money, polls are frequent and free: the limit of one must not delay the other.
        self.reads: dict[str, FairLimiter] = {}
        self._processes = 1
        self.reconfigure({}, providers)

    def reconfigure(self, before: Mapping[str, Provider], after: Mapping[str, Provider]) -> None:
        """Follow a change of the configuration. What was learnt of accounts that stay the same is kept.

        Another key, address or header makes another account: its circuits are closed, its limits are whole again.
        """
        now, changed = self._clock.now(), changed_accounts(before, after)
        for name, provider in after.items():
            is_fresh = name in changed
            if is_fresh:
                for key in [key for key in self._circuits if key[0] == name]:
                    self._put(key, Circuit())
            if is_fresh or name not in self._budgets:
                self._budgets[name] = RetryBudget(at=now)
            for limiters, ceiling in self._limits(provider):
                if name in limiters:
                    limiters[name].resize(ceiling, fresh=is_fresh)
                else:
                    limiters[name] = FairLimiter(ceiling, self._clock)

    def share_with(self, processes: int) -> None:
        """Use a share of the limits of each account, because so many processes submit and poll, this one included.

        The ledger counts the submits of all of them, so that those shares may be rounded up.
        """
        if processes != self._processes:
            self._processes = processes
            for provider in self._providers.values():
                for limiters, ceiling in self._limits(provider):
                    limiters[provider.name].take_share(ceiling)

    def _limits(self, provider: Provider) -> Iterator[tuple[dict[str, FairLimiter], int]]:
        yield self.submits, share(provider.concurrency, self._processes)
        yield self.reads, safe_share(provider.read_concurrency, self._processes)

    def of(self, provider: str, model: str) -> RouteHealth:
        """The health of a route now. Implements `HealthOf`."""
        held, budget = provider in self._holds, self._budgets.get(provider)
        if budget is None:  # no longer configured: generations that are planned on it must still end
            return RouteHealth(held=held)
        now, circuits = self._clock.now(), self._both(provider, model)
        allowed_at = max([retry_at(budget, now), *(next_chance(circuit, now) for circuit in circuits)])
        times = self.completion_times(provider, model)
        return RouteHealth(
            circuit=_worst(circuits, now),
            held=held,
            retry_at=allowed_at if allowed_at > now else None,
            seconds=times.median if times is not None else self._unknown_seconds(provider, model, now),
        )

    def _unknown_seconds(self, provider: str, model: str, now: datetime) -> float | None:
        """The speed used for ordering when nothing was measured.

        None ranks the route first, so that it gets measured; infinity while an attempt is already measuring it.
        """
        since = self._measured_since.get((provider, model))
        is_being_measured = since is not None and now < since + timedelta(seconds=ASK_AGAIN_SECONDS)
        return inf if is_being_measured else None

    def circuit(self, provider: str, model: str) -> CircuitState:
        """The worse of two circuit states: that of the account and that of the model."""
        return _worst(self._both(provider, model), self._clock.now())

    def circuit_states(self) -> Iterator[tuple[str, str | None, CircuitState, FailureKind | None]]:
        """Every circuit that has seen an outcome, and those of all accounts: provider, model, state, and its reason.

        Without a model it is that of the account. The reason is the failure that opened it; `None` while it is closed.
        """
        now = self._clock.now()
        for key in dict.fromkeys([*((name, ACCOUNT) for name in self._budgets), *self._circuits]):
            circuit = self._circuits.get(key, _NEW)
            reason = None if circuit.opened_at is None else circuit.reason
            yield key[0], key[1] or None, state_of(circuit, now), reason

    def reason(self, provider: str, model: str) -> FailureKind | None:
        """The failure that opened the circuit; `None` while it is closed."""
        reasons = (circuit.reason for circuit in self._both(provider, model) if circuit.opened_at is not None)
        return next(reasons, None)

    def circuits(self, provider: str) -> Mapping[str, Circuit]:
        """The circuits of a provider that have counted anything, by model; `ACCOUNT` is that of the whole account."""
        return {model: circuit for (name, model), circuit in self._circuits.items() if name == provider}

    def reset(self, provider: str, model: str | None = None) -> None:
        """Close the circuits of a provider, or only that of one model, and forget the failures that they counted."""
        for key in [key for key in self._circuits if key[0] == provider and model in {None, key[1]}]:
            self._put(key, _NEW)

    @property
    def holds(self) -> Mapping[str, Hold]:
        """The held providers, by name."""
        return self._holds

    def set_holds(self, holds: Iterable[Hold]) -> None:
        """Take the holds of the ledger over."""
        self._holds = {hold.provider: hold for hold in holds}

    def note_hold(self, provider: str) -> None:
        """The ledger has refused a submit because the provider is held, and this process did not know it."""
        self._holds.setdefault(provider, Hold(provider=provider, held_at=self._clock.now()))

    def unknown_words(self, provider: str) -> list[str]:
        """The status words of a provider that no table has, since the start of the process."""
        return sorted(word for name, word in self._unknown_words if name == provider)

    def note_unknown_word(self, provider: str, word: str) -> bool:
        """A provider has used a status word that no table has. True if it was not noted before."""
        if (provider, word) in self._unknown_words or len(self._unknown_words) >= WORDS_MAX:
            return False
        self._unknown_words.add((provider, word))
        return True

    def completion_times(self, provider: str, model: str) -> CompletionTimes | None:
        """How long the route has taken recently; `None` if it has delivered nothing in `TIMES_SECONDS`."""
        completions = self._times.get((provider, model))
        if completions is None:
            return None
        since = self._clock.now() - timedelta(seconds=TIMES_SECONDS)
        while completions and completions[0].ended_at < since:
            completions.popleft()
            self._summaries.pop((provider, model), None)
        if not completions:
            return None
        summary = self._summaries.get((provider, model))
        if summary is None:
            summary = self._summaries[provider, model] = _summary([completion.seconds for completion in completions])
        return summary

    def attempt_reserved(self, provider: str, model: str, attempt_id: str, *, retry: bool) -> None:
        """An attempt was reserved. It may be the probe of a circuit, and it adds to the retry budget or uses it."""
        if provider not in self._budgets:
            return
        now = self._clock.now()
        for key in self._keys(provider, model):
            circuit = self._circuits.get(key)
            if circuit is not None:
                self._circuits[key] = on_probe(circuit, attempt_id, now)
        if self.completion_times(provider, model) is None and self._unknown_seconds(provider, model, now) is None:
            self._measured_since[provider, model] = now
        change = spent if retry else earned
        self._budgets[provider] = change(self._budgets[provider], now)

    def attempt_discarded(self, provider: str, model: str, attempt_id: str, *, retry: bool) -> None:
        """Undo `attempt_reserved`: the attempt could not be stored, so nothing was sent."""
        if provider in self._budgets:
            now = self._clock.now()
            self._budgets[provider] = (refunded if retry else unearned)(self._budgets[provider], now)
        self.release_probe(provider, model, attempt_id)

    def is_probe(self, provider: str, model: str, attempt_id: str) -> bool:
        """Whether the attempt is the probe that decides whether a circuit closes."""
        probes = (circuit.probe for circuit in self._both(provider, model))
        return any(probe is not None and probe.attempt_id == attempt_id for probe in probes)

    def release_probe(self, provider: str, model: str, attempt_id: str) -> None:
        """The attempt will not be sent. If it was a probe, another attempt may become the probe."""
        for key in self._keys(provider, model):
            circuit = self._circuits.get(key)
            if circuit is not None:
                self._circuits[key] = on_release(circuit, attempt_id)

    def on_submit(
        self, provider: str, model: str, attempt_id: str, failure: Failed | None, *, account: Provider | None = None
    ) -> None:
        """A submit has ended. Without a `failure` the provider accepted it.

        If it was sent with the key of an `account` that a reload has replaced meanwhile, it says nothing about the new
        one: a refused key must not open the circuit of the key that was set instead.
        """
        if provider not in self._budgets:
            return
        current = self._providers.get(provider)
        if account is not None and current is not None and not current.is_same_account(account):
            self.release_probe(provider, model, attempt_id)
            return
        kind = None if failure is None else failure.kind
        if kind is FailureKind.RATE_LIMITED:
            self.submits[provider].record_429()
        elif kind is None:
            self.submits[provider].record_success()
        now = self._clock.now()
        for key in self._concerned(provider, model, failure):
            self._put(key, on_submit(self._circuits.get(key, Circuit()), attempt_id, kind, now))
        if failure is None:
            self._budgets[provider] = refunded(self._budgets[provider], now)
        else:
            # The attempt may also be the probe of the other circuit, about which its failure says nothing.
            self.release_probe(provider, model, attempt_id)

    def on_task_ended(
        self, provider: str, model: str, attempt_id: str, *, failure: Failed | None, seconds: float
    ) -> None:
        """All tasks of an attempt have ended, `seconds` after its submit was accepted."""
        if provider not in self._budgets:
            return
        now = self._clock.now()
        if failure is None:
            self.learn([Completion(provider=provider, model=model, ended_at=now, seconds=seconds)])
        kind = None if failure is None else failure.kind
        for key in self._concerned(provider, model, failure):
            circuit = self._circuits.get(key, _NEW)
            self._put(key, on_task_ended(circuit, attempt_id, kind, now, now - timedelta(seconds=seconds)))
        self.release_probe(provider, model, attempt_id)

    def learn(self, completions: Iterable[Completion]) -> None:
        """Add completion times, the oldest first. At the start they are read from the ledger."""
        for completion in completions:
            route = completion.provider, completion.model
            self._times.setdefault(route, deque(maxlen=TIMES_MAX)).append(completion)
            self._summaries.pop(route, None)

    def _both(self, provider: str, model: str) -> list[Circuit]:
        """The circuits of the account and of the model, without those that have counted nothing."""
        return [self._circuits[key] for key in self._keys(provider, model) if key in self._circuits]

    @staticmethod
    def _keys(provider: str, model: str) -> list[tuple[str, str]]:
        return [(provider, ACCOUNT), (provider, model)]

    def _concerned(self, provider: str, model: str, failure: Failed | None) -> list[tuple[str, str]]:
        """The keys of the circuits that an outcome is about: a success is about both, a failure about one."""
        if failure is None:
            return self._keys(provider, model)
        return [(provider, model if failure.of_model else ACCOUNT)]

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


def _worst(circuits: Iterable[Circuit], now: datetime) -> CircuitState:
    states = {state_of(circuit, now) for circuit in circuits}
    return next(
        (state for state in (CircuitState.OPEN, CircuitState.HALF_OPEN) if state in states), CircuitState.CLOSED
    )


def _summary(seconds: list[float]) -> CompletionTimes:
    seconds.sort()
    tenths = quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else seconds * 9
    return CompletionTimes(samples=len(seconds), median=round(tenths[4], 3), p90=round(tenths[8], 3))


_NEW = Circuit()
