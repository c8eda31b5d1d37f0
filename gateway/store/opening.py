"""Opens the ledger that is configured, after its newest moment was compared with the system clock."""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from gateway.clock import Clock
from gateway.domain.ledger_clock import LedgerTime, SweepHold, clock_trouble, sweep_hold
from gateway.settings.load import Settings
from gateway.store.port import Store
from gateway.store.sqlite.store import SqliteStore

log = structlog.get_logger()


def open_store(
    settings: Settings, clock: Clock, *, accept_clock: bool, adopt: Mapping[str, str]
) -> tuple[Store, SweepHold | None]:
    """The ledger, and a hold for the sweeper if the clock is far ahead of the ledger. Raises `ClockTrouble`.

    `adopt` maps owner ids to those that get their things.
    """
    now = clock.now()
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

    store = SqliteStore.open(
        settings.database.path,
        now,
        check_clock=check_clock,
        keep_results=timedelta(days=settings.artifacts.keep_days) if accept_clock else None,
        adopt=adopt,
    )
    return store, hold
