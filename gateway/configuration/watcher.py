"""Reloads the configuration when one of its files has changed, where `[server] watch_config` asks for it."""

import asyncio
from contextlib import suppress

import structlog

from gateway.clock import Clock, sleep
from gateway.configuration.bound import Bound
from gateway.configuration.reloader import Fingerprint, Reloader, fingerprint
from gateway.domain.errors import ConfigurationError
from gateway.live import Live

log = structlog.get_logger()
LOOK_SECONDS = 1.0  # between two looks; a change counts when two looks have seen the same of it


class Watcher:
    """Looks at the contents of the files by their names, so that it follows editors that replace a file and links."""

    def __init__(self, live: Live[Bound], reloader: Reloader, clock: Clock) -> None:
        self._live = live
        self._reloader = reloader
        self._clock = clock
        self._seen: Fingerprint | None = None  # a change that may still be under way

    async def run(self) -> None:
        """Look every second until it is cancelled."""
        while True:
            await sleep(self._clock, LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # the next look may succeed
                log.exception("configuration_watch_failed")

    async def look(self) -> None:
        """Reload if the files have changed, and have stayed as they are since the look before."""
        if not self._live.current.settings.server.watch_config:
            self._seen = None
            return
        read = self._reloader.read
        now = () if read is None else await asyncio.to_thread(fingerprint, [file for file, _ in read])
        before, self._seen = self._seen, now
        if read is None or (now != read and now == before):
            with suppress(ConfigurationError):  # it is logged, and the next change is another chance
                await self._reloader.reload("file")
