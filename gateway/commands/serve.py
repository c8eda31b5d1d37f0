"""`serve`: runs the gateway until a signal ends it."""

import asyncio
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path

import structlog
import uvloop

from gateway import collector
from gateway import log as logs
from gateway.api.metrics import PATH as METRICS_PATH
from gateway.app import Application
from gateway.artifacts.bucket import ArtifactBucket
from gateway.commands.configuration import configured, reloads
from gateway.configuration.bound import Source
from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import ACCEPT, ClockTrouble
from gateway.log_writer import write_apart
from gateway.server import GatewayServer, listen, url_of
from gateway.settings.load import Settings
from gateway.settings.secret_values import redactor_of
from gateway.store.lineage import Said

log = structlog.get_logger()
OWNER_ONLY = 0o077
UNCOLLECTED_SECONDS = 120.0  # without the garbage collector at most, while open generations are taken over
REFUSED = 2  # the exit code of a start that the configuration, the clock or the machine does not allow
ROOT_REMEDY = "a fault in the gateway would be a fault with all rights: start it as a user of its own"
SAME_SIGNAL_SECONDS = 1.0  # a signal this soon after the first one counts as the same signal


def serve(
    config: Path | None, host: str | None, port: int | None, *, accept_clock: bool = False, said: Said | None = None
) -> int:
    """Run until SIGINT or SIGTERM, then drain; a second signal ends the process at once. Returns the exit code.

    SIGHUP reloads the configuration.

    The garbage collector is suspended when this is called, and resumes when the start is over.

    A supervisor may signal a whole group of processes, and a launcher in the group may pass the signal on. A signal
    within a second of the first one therefore counts as the same one: an end at once cuts off submits that may be paid.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it asks for a reload, and would end a process that still starts
    settings, source = configured(config, host=host, port=port)
    logs.configure(settings.server.log_format, settings.server.log_level, redactor_of(settings))
    with logs.in_background():
        try:
            return _serve(settings, source, accept_clock=accept_clock, said=said)
        except ClockTrouble:
            pass  # it is logged with both times
        except ConfigurationError as error:  # the log has begun, so the reason comes in its format
            log.error("start_refused", problem=str(error))  # noqa: TRY400  # the traceback does not help
        return REFUSED


def _serve(settings: Settings, source: Source, *, accept_clock: bool, said: Said | None) -> int:
    os.umask(OWNER_ONLY)  # the ledger and the inputs contain prompts and images of clients
    sockets = listen(settings.server.host, settings.server.port)
    metrics = [] if settings.metrics.port is None else listen(settings.metrics.host, settings.metrics.port, "metrics")
    try:
        application = Application(
            settings, adapters=source.adapters, accept_clock=accept_clock, source=source, said=said
        )
    except ClockTrouble as trouble:
        log.error(  # noqa: TRY400  # the traceback does not help
            "clock_refused",
            problem=trouble.problem,
            detail=str(trouble),
            clock=trouble.clock.isoformat(),
            ledger=trouble.ledger.isoformat(),
            remedy=ACCEPT,
        )
        raise
    if os.geteuid() == 0:
        log.warning("runs_as_root", remedy=ROOT_REMEDY)
    for warning in application.warnings:
        log.warning("configuration_warning", detail=warning)
    path = settings.database.path
    if path is not None and stat.S_IMODE(path.stat().st_mode) & OWNER_ONLY:
        log.warning("database_open_to_others", path=str(path))

    collecting: asyncio.Task[None] | None = None

    def ready() -> None:
        nonlocal collecting
        collecting = asyncio.create_task(collect_later(application), name="collector")
        url = url_of(sockets[0])
        write_apart(sys.stdout.fileno(), f"listening on {url}")
        log.info("listening", url=url)
        if metrics:
            log.info("listening_for_metrics", url=f"{url_of(metrics[0])}{METRICS_PATH}")

    server = GatewayServer(application, ready, metrics)

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
        with reloads(application):
            await server.serve(sockets)
        watching.cancel()
        if collecting is not None:
            collecting.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return 0


async def collect_later(application: Application) -> None:
    """Let the garbage collector run once the start is over: it ignores the services and the open generations then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(UNCOLLECTED_SECONDS):
            await application.engine.taken_over()
    collector.resume()


async def watch_bucket(application: Application) -> None:
    """Log a bucket that does not work. The start does not wait for it, because generations are made anyway."""
    if isinstance(application.artifact_store, ArtifactBucket):
        await application.artifact_store.report_outage()
