"""Opens the ledger that is configured, after its newest moment was compared with the system clock."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

import structlog

from gateway.clock import Clock
from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime, SweepHold, clock_trouble, sweep_hold
from gateway.domain.lineage import Reading
from gateway.settings.load import Settings
from gateway.store.lineage import LedgerLineage, Said
from gateway.store.port import Store
from gateway.store.sqlite.open import open_sqlite
from gateway.telemetry import Observer

log = structlog.get_logger()
NO_DRIVER = "database.url: PostgreSQL needs the package {name}, which is not here; install video-gateway[postgres]"
POSTGRES_PACKAGES = ("asyncpg", "pgqueuer")
HELD_SHOWN = 20  # generation ids that are logged


def open_store(
    settings: Settings,
    clock: Clock,
    observer: Observer,
    *,
    accept_clock: bool,
    read_far: Callable[[str], Reading | None],
    said: Said | None,
    adopt: Mapping[str, str],
) -> tuple[Store, SweepHold | None]:
    """The ledger, and a hold for the sweeper if the clock is far ahead of the ledger. Raises `ClockTrouble`.

    `read_far` reads the marker of a lineage in the artifact store; `said` is what the operator says about the ledger.
    `adopt` maps owner ids to those that get their things.
    """
    path = settings.database.path
    opened = _postgres(settings) if path is None else partial(open_sqlite, path)
    now = clock.now()  # after the imports, which take long on a busy machine: it is compared with the database's clock
    hold: SweepHold | None = None

    def check_clock(ledger: LedgerTime) -> None:
        nonlocal hold
        trouble = clock_trouble(now, ledger)
        if trouble is not None and not accept_clock:
            raise trouble
        if trouble is not None:
            log.warning("clock_accepted", clock=trouble.clock.isoformat(), ledger=trouble.ledger.isoformat())
        elif not accept_clock and (hold := sweep_hold(now, ledger)) is not None:
            log.warning(
                "clock_ahead_of_ledger",
                clock=now.isoformat(),
                ledger=hold.ledger.isoformat(),
                detail="if the clock is wrong, set it and start again; for a day this time removes nothing",
            )

    store = opened(
        now,
        check_clock=check_clock,
        observer=observer,
        keep_results=timedelta(days=settings.artifacts.keep_days) if accept_clock else None,
        read_far=read_far,
        said=said,
        adopt=adopt,
    )
    _log_copy(store.lineage)
    return store, hold


def _postgres(settings: Settings) -> Callable[..., Store]:
    """What opens a ledger in PostgreSQL; a gateway with SQLite needs neither the package nor its memory."""
    try:
        from gateway.store.postgres.open import open_postgres  # noqa: PLC0415  # most gateways do without
        from gateway.store.postgres.server import Server  # noqa: PLC0415  # most gateways do without
    except ModuleNotFoundError as error:
        if error.name not in POSTGRES_PACKAGES:
            raise
        raise ConfigurationError(NO_DRIVER.format(name=error.name)) from None
    server = Server(settings.database.url, settings.database.password)
    return partial(open_postgres, server, locks=settings.artifacts.path / "replicas")


def _log_copy(lineage: LedgerLineage) -> None:
    """Say that the ledger is treated as an older copy, and which generations wait for an operator because of that."""
    if lineage.copy is not None:
        log.warning(
            "ledger_restored",
            reason=lineage.copy.reason,
            count=len(lineage.held),
            generations=lineage.held[:HELD_SHOWN],
            detail="what this ledger does not know may have been bought already; nothing is bought for these"
            " generations until an operator releases them: `video-gateway restored`, or /v1/admin/restored",
        )
