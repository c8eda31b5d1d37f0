"""Advises clients when to read their generation again, by the measured speed of its routes."""

from collections.abc import Mapping
from math import ceil

from gateway.clock import Clock
from gateway.domain.generation.model import AttemptState, Generation, Route
from gateway.domain.generation.poll_advice import (
    LATEST_SECONDS,
    SOONEST_SECONDS,
    Pace,
    poll_after,
    submit_advice_seconds,
    usual_seconds,
)
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider


class PollAdvisor:
    """`Retry-After` values for clients, valid at the moment of the call."""

    def __init__(self, providers: Mapping[str, Provider], health: Health, clock: Clock) -> None:
        self._providers = providers
        self._health = health
        self._clock = clock

    def seconds(self, generation: Generation) -> float | None:
        """Seconds until a read is worthwhile; `None` if the generation has ended."""
        return poll_after(generation, self._pace, self._clock.now())

    def usual_seconds(self, generation: Generation) -> int:
        """Whole seconds that a generation like this one takes as a rule, at least 1. It is an estimate, no promise."""
        return max(ceil(usual_seconds(generation, self._pace)), 1)

    def submit_seconds(self, generation: Generation) -> float:
        """Seconds until a submit that is under way has probably ended, a whole number.

        `SOONEST_SECONDS` if no submit is under way any more.
        """
        now = self._clock.now()
        waits = [SOONEST_SECONDS]
        for attempt in generation.attempts:
            if attempt.state is AttemptState.SUBMITTING and attempt.sent_at is not None:
                route = generation.route(attempt)
                provider = self._providers.get(route.provider)
                limit = 0.0 if provider is None else provider.polling(route.model).submit_timeout_seconds
                waits.append(submit_advice_seconds((now - attempt.sent_at).total_seconds(), limit))
        return float(ceil(max(waits)))

    def _pace(self, route: Route) -> Pace:
        provider = self._providers.get(route.provider)
        if provider is None:  # it is no longer configured, so its tasks are not polled
            return Pace(LATEST_SECONDS)
        times = self._health.completion_times(route.provider, route.model)
        return Pace(provider.polling(route.model).poll_seconds, None if times is None else times.median)
