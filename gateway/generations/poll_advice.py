"""What the gateway knows of a generation's route, as advice on when to read it again."""

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
)
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider


class PollHints:
    """Advice of this moment."""

    def __init__(self, providers: Mapping[str, Provider], health: Health, clock: Clock) -> None:
        self._providers = providers
        self._health = health
        self._clock = clock

    def seconds(self, generation: Generation) -> float | None:
        """Until a read is worth while; `None` when nothing is to come."""
        return poll_after(generation, self._pace, self._clock.now())

    def submit_seconds(self, generation: Generation) -> float:
        """Until a submit that is under way has probably ended, in whole seconds.

        `SOONEST_SECONDS` when none is under way any more.
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
        if provider is None:  # no longer configured: its tasks are not read
            return Pace(LATEST_SECONDS)
        known = self._health.completion_times(route.provider, route.model)
        return Pace(provider.polling(route.model).poll_seconds, None if known is None else known.median)
