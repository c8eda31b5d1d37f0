"""What an operator does about providers: close their circuits, take them out of new work, and release them."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

import structlog

from gateway.clock import Clock
from gateway.domain.errors import InvalidParameter, NotFound
from gateway.domain.health.hold import Hold
from gateway.live import Live
from gateway.store.holds import Holds
from gateway.store.signals import CircuitsReset, Signals
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider

log = structlog.get_logger()


class ProviderControl:
    """Changes what new work providers get. Tasks that they already run are not touched."""

    def __init__(
        self,
        *,
        configured: Live[Collection[str]],
        providers: Mapping[str, Provider],
        health: Health,
        holds: Holds,
        clock: Clock,
        signals: Signals,
        reconsider: Callable[[], None],
    ) -> None:
        """`configured` are all accounts of the configuration, also disabled ones. `reconsider` wakes every driver.

        `providers` are the accounts now: a reload changes what is in it.
        """
        self._configured = configured
        self.providers = providers
        self.health = health
        self._holds = holds
        self._clock = clock
        self._signals = signals
        self._reconsider = reconsider

    @property
    def names(self) -> tuple[str, ...]:
        """All accounts of the configuration, and those that were removed from it and whose tasks are followed."""
        return tuple(dict.fromkeys([*self._configured.current, *self.providers]))

    def now(self) -> datetime:
        """The moment as of which the state of circuits is shown."""
        return self._clock.now()

    def check(self, name: str) -> None:
        """Raise `NotFound` if the configuration has no such provider and none of this name is held."""
        if name not in self.names and name not in self.health.holds:
            raise NotFound(
                f"The provider {name[:64]!r} does not exist; the configuration has {', '.join(self.names)}.",
                param="name",
            )

    async def hold(self, name: str, *, held_by: str | None, note: str | None) -> None:
        """Take a provider out of new work, across restarts. A provider that is held already stays as it is.

        No submit to it begins after this has returned. One that began before goes on: it may have been paid for.
        """
        self.check(name)
        hold = Hold(provider=name, held_at=self._clock.now(), held_by=held_by, note=note)
        stored = await self._holds.put(hold)
        await self._take_over()
        if stored == hold:
            log.warning("provider_held", provider=name, held_by=held_by, note=note)

    async def release(self, name: str) -> None:
        """Give a provider new work again. Generations that wait for it go on. Without a hold nothing changes."""
        self.check(name)
        if await self._holds.remove(name):
            log.info("provider_released", provider=name)
        await self._take_over()

    def reset(self, name: str, model: str | None) -> None:
        """Close the circuits of the account and of its models, or only that of one model, in all processes.

        What has waited for them goes on at once. Raises `InvalidParameter` if the provider has no such model.
        """
        self.check(name)
        provider = self.providers.get(name)
        if model is not None and (provider is None or model not in provider.models):
            raise InvalidParameter(f"{name} has no model {model[:64]!r}.", param="model")
        self.reset_here(name, model)
        self._signals.send(CircuitsReset(provider=name, model=model))
        log.info("circuits_reset", provider=name, model=model)

    def reset_here(self, name: str, model: str | None) -> None:
        """The same in this process alone; nothing happens without such circuits."""
        self.health.reset(name, model)
        self._reconsider()

    async def read_holds(self) -> None:
        """Follow what another process has held or released. Raises `StoreUnavailable`."""
        holds = await self._holds.now()
        if {hold.provider: hold for hold in holds} != self.health.holds:
            self.health.set_holds(holds)
            self._reconsider()

    async def _take_over(self) -> None:
        self.health.set_holds(await self._holds.now())
        self._reconsider()
