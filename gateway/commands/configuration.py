"""The settings of a command, from the file, the environment and the command line, and how a server reads them again."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway import log as logs
from gateway.app import Application
from gateway.configuration.bound import Bound, Source, settings_of
from gateway.configuration.watcher import Watcher
from gateway.domain.errors import ConfigurationError
from gateway.settings.load import Settings
from gateway.upstream.registry import load_adapters


def configured(file: Path | None, *, host: str | None = None, port: int | None = None) -> tuple[Settings, Source]:
    """The settings, and where they are from. Raises `ConfigurationError` with every fault, each with its path."""
    source = Source(path=file, environ=os.environ, adapters=load_adapters(), host=host, port=port)
    return settings_of(source.read(), source.adapters), source


@contextmanager
def reloads(application: Application) -> Iterator[None]:
    """Reload on SIGHUP, and when a file changes that is watched, until the end of the block; in a running event loop.

    A refusal is in the log, and in the warnings of the readiness.
    """
    running: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        task = asyncio.create_task(_reload(application), name="reload")
        running.add(task)
        task.add_done_callback(running.discard)

    def adjust_log(_: Bound, now: Bound) -> None:
        logs.adjust(now.settings.server.log_level, now.redactor)

    application.live.watch(adjust_log)
    watcher = Watcher(application.live, application.reloader, application.clock)
    watching = asyncio.create_task(watcher.run(), name="configuration")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, on_signal)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the process is ending already
        watching.cancel()


async def _reload(application: Application) -> None:
    with suppress(ConfigurationError):
        await application.reloader.reload("signal")
