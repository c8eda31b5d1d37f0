"""What operators read of providers: every account of the configuration, and how its routes work at the moment."""

from typing import Literal

from msgspec import Struct

from gateway.api.web.moments import unix
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.health.circuit import Circuit, CircuitState, next_chance, state_of
from gateway.sharing.limiter import FairLimiter
from gateway.upstream.control import ProviderControl
from gateway.upstream.health import ACCOUNT, CompletionTimes


class CircuitView(Struct, frozen=True, kw_only=True):
    """A circuit: the memory of the failures of an account, or of one of its models."""

    state: CircuitState  # `open`: its routes come last; `half_open`: the next attempt is a probe
    since: int | None  # Unix seconds: when it opened; null while it is closed
    reason: FailureKind | None  # the failure that opened it; null while it is closed
    next_probe_at: int | None  # Unix seconds: when an attempt may find out whether it works again; null: now
    probing: str | None  # the id of the attempt that is finding it out


class ProviderModelView(Struct, frozen=True, kw_only=True):
    """A model of a provider."""

    name: str  # the provider's own name
    circuit: CircuitView  # of this model alone
    completion_seconds: CompletionTimes | None  # how long it took recently; null: it delivered nothing


class CallsView(Struct, frozen=True, kw_only=True):
    """Calls to a provider at the same time."""

    limit: int  # how many there may be now; it sinks after a 429, and rises again with successes
    ceiling: int  # how many there may be at most, as configured
    in_use: int  # how many there are now
    waiting: int  # how many wait for a place


class HoldView(Struct, frozen=True, kw_only=True):
    """An operator has taken the provider out of new work."""

    since: int  # Unix seconds
    by: str | None  # who, as the operator has written it
    note: str | None  # why, as the operator has written it


class AdminProvider(Struct, frozen=True, kw_only=True):
    """An account of the configuration."""

    id: str  # its name
    enabled: bool  # the configuration gives it new work
    followed: bool  # it has a key, so that its tasks are polled
    held: HoldView | None  # null: it is not held
    circuit: CircuitView  # of the whole account
    models: tuple[ProviderModelView, ...]  # what it is configured for, and what it was used for
    submits: CallsView | None  # null: it is not followed
    polls: CallsView | None  # null: it is not followed
    unknown_status_words: tuple[str, ...]  # of its tasks, since the start; they count as in progress
    object: Literal["provider"] = "provider"  # the kind of this object


class AdminProviderList(Struct, frozen=True, kw_only=True):
    """All accounts, in the order of the configuration."""

    data: tuple[AdminProvider, ...]  # the accounts
    has_more: bool = False  # always false: the list is whole
    object: Literal["list"] = "list"  # the kind of this object


class ProviderViews:
    """The objects of providers as of one moment."""

    def __init__(self, control: ProviderControl) -> None:
        self._control = control
        self._health = control.health
        self._now = control.now()

    def all(self) -> AdminProviderList:
        """Every account, and what is held although the configuration does not have it any more."""
        names = dict.fromkeys([*self._control.names, *self._health.holds])
        return AdminProviderList(data=tuple(map(self.of, names)))

    def of(self, name: str) -> AdminProvider:
        """One account."""
        provider, hold = self._control.providers.get(name), self._health.holds.get(name)
        circuits = self._health.circuits(name)
        models = [*provider.models, *circuits] if provider is not None else list(circuits)
        submits, polls = self._health.submits.get(name), self._health.reads.get(name)
        return AdminProvider(
            id=name,
            enabled=provider is not None and provider.accepts_work,
            followed=provider is not None,
            held=None if hold is None else HoldView(since=unix(hold.held_at), by=hold.held_by, note=hold.note),
            circuit=self._circuit(circuits.get(ACCOUNT, Circuit())),
            models=tuple(
                ProviderModelView(
                    name=model,
                    circuit=self._circuit(circuits.get(model, Circuit())),
                    completion_seconds=self._health.completion_times(name, model),
                )
                for model in dict.fromkeys(models)
                if model != ACCOUNT
            ),
            submits=None if submits is None else _calls(submits),
            polls=None if polls is None else _calls(polls),
            unknown_status_words=tuple(self._health.unknown_words(name)),
        )

    def _circuit(self, circuit: Circuit) -> CircuitView:
        state, chance = state_of(circuit, self._now), next_chance(circuit, self._now)
        return CircuitView(
            state=state,
            since=unix(circuit.opened_at),
            reason=circuit.reason,
            next_probe_at=unix(chance) if state is CircuitState.OPEN else None,
            probing=None if circuit.probe is None else circuit.probe.attempt_id,
        )


def _calls(limiter: FairLimiter) -> CallsView:
    return CallsView(limit=limiter.limit, ceiling=limiter.ceiling, in_use=limiter.active, waiting=limiter.waiting)
