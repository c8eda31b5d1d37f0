"""Reserves the first attempts of a generation before it is created, so that both are stored in one transaction."""

from gateway.clock import Clock
from gateway.domain.generation.lifecycle import advance
from gateway.domain.generation.model import Generation
from gateway.domain.generation.transitions import AddAttempt
from gateway.engine.health_feedback import report_discarded, report_reserved
from gateway.engine.route_profiles import RouteProfiles
from gateway.engine.step_events import step_events
from gateway.telemetry import Observer
from gateway.upstream.health import Health


class FirstAttempts:
    """The rules are those of every other step. What is reserved here has to be reported as stored, or as discarded."""

    def __init__(self, *, profiles: RouteProfiles, health: Health, clock: Clock, observer: Observer) -> None:
        self._profiles = profiles
        self._health = health
        self._clock = clock
        self._observer = observer

    def reserve(self, generation: Generation) -> Generation:
        """The generation with its first attempts, which exist since it does; without any if it begins otherwise."""
        step = advance(
            generation,
            {},
            [],
            now=generation.created_at,
            busy=frozenset(),
            profile_of=self._profiles.of,
            health=self._health.of,
        )
        if not all(isinstance(write, AddAttempt) for write in step.writes):
            return generation  # its driver finds the same, and stores it
        report_reserved(self._health, step.generation, step.writes)
        return step.generation

    def stored(self, generation: Generation) -> None:
        """The generation was created with the attempts that it has."""
        for event in step_events(generation, generation, _writes(generation), self._clock.now()):
            self._observer.observe(event)

    def discard(self, generation: Generation) -> None:
        """The generation was not created, so its attempts do not exist."""
        report_discarded(self._health, generation, _writes(generation))


def _writes(generation: Generation) -> list[AddAttempt]:
    return [AddAttempt(attempt) for attempt in generation.attempts]
