"""The first attempts of a generation are reserved before it is created, by the rules of every other step."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.domain.generation.model import AttemptState
from gateway.domain.generation.task_polling import RouteProfile
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth
from gateway.engine.first_attempts import FirstAttempts
from gateway.telemetry import AttemptReserved

from ..builders import POLLING, T0, generation


class Recorded:
    """A health that writes down its calls, and the observer and the clock of the same test."""

    def __init__(self, *held: str) -> None:
        self.held = held
        self.calls: list[tuple[str, str]] = []
        self.events: list[Any] = []

    def now(self) -> Any:
        return T0

    def observe(self, event: Any) -> None:
        self.events.append(event)

    def of(self, provider: str, model: str) -> RouteHealth:  # the interface
        return RouteHealth(circuit=CircuitState.CLOSED, held=provider in self.held)

    def attempt_reserved(self, provider: str, model: str, attempt_id: str, *, retry: bool) -> None:  # it
        self.calls.append(("reserved", attempt_id))

    def attempt_discarded(self, provider: str, model: str, attempt_id: str, *, retry: bool) -> None:  # it
        self.calls.append(("discarded", attempt_id))


def first_attempts(recorded: Recorded) -> FirstAttempts:
    part = cast(Any, recorded)
    profiles = cast(Any, SimpleNamespace(of=lambda _: RouteProfile(polling=POLLING)))
    return FirstAttempts(profiles=profiles, health=part, clock=part, observer=part)


@pytest.mark.parametrize(("count", "seen"), [(1, 1), (3, 3)])
def test_each_output_has_its_attempt_before_the_generation_is_stored(count: int, seen: int) -> None:
    recorded = Recorded()

    reserved = first_attempts(recorded).reserve(generation(count=count))

    assert [attempt.state for attempt in reserved.attempts] == [AttemptState.RESERVED] * seen
    assert recorded.calls == [("reserved", attempt.id) for attempt in reserved.attempts]
    assert recorded.events == [], "nothing is stored yet"


def test_what_could_not_be_stored_is_taken_back_and_what_was_is_announced() -> None:
    recorded = Recorded()
    first = first_attempts(recorded)
    reserved = first.reserve(generation())
    recorded.calls.clear()

    first.discard(reserved)
    first.stored(reserved)

    assert recorded.calls == [("discarded", reserved.attempts[0].id)]
    assert [type(event) for event in recorded.events] == [AttemptReserved]


def test_a_generation_that_cannot_begin_now_is_stored_as_it_is() -> None:
    recorded = Recorded("acme")
    planned = generation()

    assert first_attempts(recorded).reserve(planned) is planned
    assert recorded.calls == []
