"""`serve`: runs the gateway until a signal ends it."""

import asyncio
import os
import signal
import stat
from collections.abc import Mapping
from pathlib import Path

import structlog
import uvloop

from gateway import log as logs
from gateway.app import Application
from gateway.artifacts.bucket import ArtifactBucket
from gateway.commands.configuration import configured
from gateway.commands.starting import without_collections
from gateway.commands.terminal import say
from gateway.domain.adapter.contract import Adapter
from gateway.domain.ledger_clock import ACCEPT, ClockTrouble
from gateway.domain.redaction import Redactor
from gateway.server import GatewayServer, listen, url_of
from gateway.settings.load import Settings
from gateway.settings.secret_values import secret_values

log = structlog.get_logger()
OWNER_ONLY = 0o077
ROOT_REMEDY = "a fault in the gateway would be a fault with all rights: start it as a user of its own"
SAME_SIGNAL_SECONDS = 1.0  # a signal this soon after the first one counts as the same signal


def serve(config: Path | None, host: str | None, port: int | None, *, accept_clock: bool = False) -> int:
    """Run until SIGINT or SIGTERM, then drain; a second signal ends the process at once. Returns the exit code.

    A supervisor may signal a whole group of processes, and a launcher in the group may pass the signal on. A signal
    within a second of the first one therefore counts as the same one: an end at once cuts off submits that may be paid.
    """
    settings, adapters = configured(config, host=host, port=port)
    logs.configure(settings.server.log_format, settings.server.log_level, Redactor(secret_values(settings)))
    with logs.in_background():
        return _serve(settings, adapters, accept_clock=accept_clock)


def _serve(settings: Settings, adapters: Mapping[str, Adapter], *, accept_clock: bool) -> int:
    os.umask(OWNER_ONLY)  # the ledger and the inputs contain prompts and images of clients
    if os.geteuid() == 0:
        log.warning("runs_as_root", remedy=ROOT_REMEDY)
    sockets = listen(settings.server.host, settings.server.port)
    try:
        with without_collections():
            application = Application(settings, adapters=adapters, accept_clock=accept_clock)
    except ClockTrouble as trouble:
        log.error(  # noqa: TRY400  # the traceback does not help
            "clock_refused",
            problem=trouble.problem,
            clock=trouble.clock.isoformat(),
            ledger=trouble.ledger.isoformat(),
            remedy=ACCEPT,
        )
        raise
    for warning in application.warnings:
        log.warning("configuration_warning", detail=warning)
    if stat.S_IMODE(settings.database.path.stat().st_mode) & OWNER_ONLY:
        log.warning("database_open_to_others", path=str(settings.database.path))

    def ready() -> None:
        url = url_of(sockets[0])
        say(f"listening on {url}")
        log.info("listening", url=url)

    server = GatewayServer(application, ready)

    is_stopping = False

    def let_signals_end_it() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    def stop(name: signal.Signals) -> None:
        nonlocal is_stopping
        if is_stopping:
            log.info("signal_repeated", signal=name.name)
            return
        is_stopping = True
        asyncio.get_running_loop().call_later(SAME_SIGNAL_SECONDS, let_signals_end_it)
        log.info("stopping", signal=name.name)
        server.stop()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        watching = asyncio.create_task(watch_bucket(application), name="bucket")
        await server.serve(sockets)
        watching.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return 0


async def watch_bucket(application: Application) -> None:
    """Log a bucket that does not work. The start does not wait for it, because generations are made anyway."""
    if isinstance(application.artifact_store, ArtifactBucket):
        await application.artifact_store.report_outage()
