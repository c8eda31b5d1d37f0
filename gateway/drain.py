"""How long a stop may take: long enough for every submit, because one that is cut off may have been paid for."""

from collections.abc import Mapping

from msgspec import Struct

from gateway.settings.load import Settings
from gateway.upstream.provider import Provider, accepting

MARGIN_SECONDS = 5.0  # after the longest submit: to store its answer, answer the clients and close the ledger


class Drain(Struct, frozen=True, kw_only=True):
    """The longest time from SIGTERM to the exit."""

    seconds: float
    submit_seconds: float  # the longest `submit_timeout_seconds` in use
    submit_route: str  # the route that uses it; empty if no provider takes work

    @property
    def needed_seconds(self) -> float:
        """How long a stop must be able to wait for every submit that may be under way."""
        return self.submit_seconds + MARGIN_SECONDS

    @property
    def warning(self) -> str | None:
        """Why the configured time is too short, with the path of its key; `None` if it is long enough."""
        if self.seconds >= self.needed_seconds:
            return None
        return (
            f"server.drain_seconds: {self.seconds:g} s is shorter than the {self.needed_seconds:g} s that a stop may"
            f" need: the longest submit_timeout_seconds in use is {self.submit_seconds:g} s ({self.submit_route}), and"
            f" {MARGIN_SECONDS:g} s are for storing its answer. A submit that a stop cuts off may have been paid for,"
            " and another route is then paid for the same video; set a longer time, or remove the key"
        )


def drain_of(settings: Settings, providers: Mapping[str, Provider]) -> Drain:
    """The configured time, or the time that a stop may need if nothing is configured."""
    timeouts = [
        (model.polling.submit_timeout_seconds, f"{provider.name}/{model.name}")
        for provider in accepting(providers).values()
        for model in provider.models.values()
    ]
    longest = max((seconds for seconds, _ in timeouts), default=0.0)
    route = next((route for seconds, route in timeouts if seconds == longest), "")
    drain = Drain(seconds=longest + MARGIN_SECONDS, submit_seconds=longest, submit_route=route)
    configured = settings.server.drain_seconds
    return drain if configured is None else Drain(seconds=configured, submit_seconds=longest, submit_route=route)
