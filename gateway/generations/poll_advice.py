"""What the gateway knows of a generation's route, as advice on when to read it again."""

from collections.abc import Mapping

from gateway.clock import Clock
from gateway.domain.generation.model import Generation, Route
from gateway.domain.generation.poll_advice import LATEST_SECONDS, Pace, poll_after
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

    def _pace(self, route: Route) -> Pace:
        provider = self._providers.get(route.provider)
        if provider is None:  # no longer configured: its tasks are not read
            return Pace(LATEST_SECONDS)
        known = self._health.completion_times(route.provider, route.model)
        return Pace(provider.polling(route.model).poll_seconds, None if known is None else known.median)
