"""How long a stop may take: long enough that no submit is cut off, for a submit that was cut off may have been paid."""

from collections.abc import Mapping

from msgspec import Struct

from gateway.settings.load import Settings
from gateway.upstream.provider import Provider, accepting

MARGIN_SECONDS = 5.0  # besides the longest submit: its answer is stored, clients get theirs, the ledger is closed


class Drain(Struct, frozen=True, kw_only=True):
    """The time from SIGTERM to the exit, at most."""

    seconds: float
    submit_seconds: float  # the longest `submit_timeout_seconds` in use
    submit_route: str  # where it is in use; empty where no provider takes work

    @property
    def needed_seconds(self) -> float:
        """What a stop needs to wait for every submit that may be under way."""
        return self.submit_seconds + MARGIN_SECONDS

    @property
    def warning(self) -> str | None:
        """Why the configured time is too short, with the path of its key; `None` when it is long enough."""
        if self.seconds >= self.needed_seconds:
            return None
        return (
            f"server.drain_seconds: {self.seconds:g} s is shorter than the {self.needed_seconds:g} s that a stop may"
            f" need: the longest submit_timeout_seconds in use is {self.submit_seconds:g} s ({self.submit_route}), and"
            f" {MARGIN_SECONDS:g} s are for storing its answer. A submit that a stop cuts off may have been paid, and"
            " is made again elsewhere; set a longer time, or leave the key out"
        )


def drain_of(settings: Settings, providers: Mapping[str, Provider]) -> Drain:
    """The configured time; where none is configured, as long as a stop may need."""
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
