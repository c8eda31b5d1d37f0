"""The start of a store."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.settings.load import DatabaseSettings, Settings
from gateway.store import opening
from gateway.telemetry import NOBODY

START = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_the_time_of_a_start_is_read_after_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared with the clock of the database. A gateway that imports for long would be ahead of the others."""
    clock: Any = SimpleNamespace(at=START, now=lambda: clock.at)
    given: list[datetime] = []

    def slowly_imported(_: Settings) -> Callable[..., Any]:
        clock.at += timedelta(seconds=5)
        return lambda now, **_: given.append(now) or SimpleNamespace(lineage=None)

    monkeypatch.setattr(opening, "_postgres", slowly_imported)
    monkeypatch.setattr(opening, "_log_copy", lambda _: None)
    settings = Settings(database=DatabaseSettings(url="postgresql://gateway@db/gateway"))

    opening.open_store(settings, clock, NOBODY, accept_clock=False, read_far=lambda _: None, said=None, adopt={})

    assert given == [START + timedelta(seconds=5)]
