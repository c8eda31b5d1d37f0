"""What the rules of the state machine need to know about a route: its polling, and the variant of its submits."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from gateway.domain.adapter.contract import Polling
from gateway.domain.generation.model import Route
from gateway.domain.generation.task_polling import RouteProfile
from gateway.upstream.provider import Provider

# For a provider that is not configured. Nobody can read its tasks, and that says nothing about them, so no time-out may
# let another route be paid for. The tasks wait for the deadline, or for a start with the provider's key.
UNFOLLOWED = Polling(
    first_poll_seconds=60,
    poll_seconds=300,
    poll_max_seconds=300,
    attempt_timeout_seconds=172_800,  # longer than any deadline
)


class RouteProfiles:
    """The profile of every route, with the variant of a submit that each model accepted last."""

    def __init__(self, providers: Mapping[str, Provider], calls_back: Callable[[Provider], bool]) -> None:
        """`calls_back` says whether a provider gets a URL with each submit at which it reports changes."""
        self._providers = providers
        self._accepted_variants: dict[tuple[str, str], str] = {}  # by provider and model
        self._calls_back = calls_back

    def of(self, route: Route) -> RouteProfile:
        """The profile of a route, also of one whose provider is no longer configured."""
        provider = self._providers.get(route.provider)
        if provider is None:
            return RouteProfile(polling=UNFOLLOWED)
        adapter = provider.adapter
        polling = provider.polling(route.model)
        if route.attempt_timeout_seconds is not None:
            polling = replace(polling, attempt_timeout_seconds=route.attempt_timeout_seconds)
        return RouteProfile(
            polling=polling,
            has_refresh=adapter.refresh is not None,
            refresh_every=adapter.refresh_every,
            variant=self._accepted_variants.get((route.provider, route.model))
            or provider.variant
            or adapter.variants[0],
            calls_back=self._calls_back(provider),
            has_cancel=adapter.cancel is not None,
        )

    def forget(self, providers: Collection[str]) -> None:
        """Forget the variants of accounts that are not the same any more."""
        for key in [key for key in self._accepted_variants if key[0] in providers]:
            del self._accepted_variants[key]

    def remember_variant(self, route: Route, variant: str) -> None:
        """A submit in this variant was accepted: the next submits to the same model use it first."""
        if variant:
            self._accepted_variants[route.provider, route.model] = variant
