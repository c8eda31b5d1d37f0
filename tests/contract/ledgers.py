"""Opens the ledger of a test, in each kind of database."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from gateway.store.port import Store
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.sqlite.open import open_sqlite

KINDS = ("sqlite", "postgres")
Opener = Callable[[Path], Store]  # the same folder is the same ledger


def opener_of(request: pytest.FixtureRequest, now: datetime) -> Opener:
    """What opens the ledger of a test whose parameter is one of `KINDS`."""
    if request.param == "sqlite":
        return lambda folder: open_sqlite(folder / "ledger.db", now)
    server = Server(request.getfixturevalue("postgres_url"))
    return lambda _: open_postgres(server, now)
