"""Passes on what other processes on the ledger have changed: to clients that wait here, drivers, and what is in memory.

Nothing is taken over because of a signal: another process may drive the generation.
"""

import asyncio
from functools import partial

import structlog

from gateway import log_context
from gateway.clients.directory import Directory
from gateway.clock import Clock
from gateway.engine.port import Engine
from gateway.engine.store_retry import until_store_works
from gateway.generations.notifier import Notifier
from gateway.store.port import Store
from gateway.store.signals import (
    CalledBack,
    CircuitsReset,
    ClientsChanged,
    GenerationChanged,
    HoldsChanged,
    Signal,
)
from gateway.upstream.control import ProviderControl

log = structlog.get_logger()


class WakeUps:
    """Works between `start` and `stop`."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        notifier: Notifier,
        directory: Directory,
        control: ProviderControl,
        clock: Clock,
    ) -> None:
        self._store = store
        self._engine = engine
        self._notifier = notifier
        self._directory = directory
        self._control = control
        self._clock = clock
        self._outdated: dict[ClientsChanged | HoldsChanged, None] = {}  # what is to be read again; the oldest first
        self._reading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Follow other processes from now on. What is in memory is to be read after this, so that nothing is missed."""
        self._store.signals.start(self._hear)

    async def stop(self) -> None:
        """Follow nothing more."""
        await self._store.signals.stop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        trouble = self._store.signals.trouble
        return [] if trouble is None else [trouble]

    def _hear(self, signal: Signal) -> None:
        match signal:
            case GenerationChanged(generation_id=generation_id):
                self._notifier.changed(generation_id)
                self._engine.look_again(generation_id)
            case CalledBack(generation_id=generation_id, attempt_id=attempt_id):
                self._engine.poll_now(generation_id, attempt_id)
            case CircuitsReset(provider=provider, model=model):
                self._control.reset_here(provider, model)
            case ClientsChanged() | HoldsChanged():
                self._outdated[signal] = None
                if self._reading is None:
                    self._reading = asyncio.create_task(self._read_again(), context=log_context.nothing())

    async def _read_again(self) -> None:
        """Read one after another what is outdated. A change that comes meanwhile is read once more."""
        try:
            while self._outdated:
                signal = next(iter(self._outdated))
                del self._outdated[signal]
                try:
                    await until_store_works(self._clock, partial(self._read, signal))
                except Exception:  # a defect that concerns one of them must not keep the others outdated
                    log.exception("read_again_failed", signal=repr(signal))
        finally:
            self._reading = None

    async def _read(self, signal: ClientsChanged | HoldsChanged) -> None:
        match signal:
            case HoldsChanged():
                await self._control.read_holds()
            case ClientsChanged(name=None):
                await self._directory.load(self._store.clients)
            case ClientsChanged(name=str(name)):
                await self._directory.load_again(self._store.clients, name)
