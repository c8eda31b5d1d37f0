"""Opens the ledger of a test, in each kind of database."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.settings.load import DatabaseSettings
from gateway.store.port import Store
from gateway.store.postgres.open import open_postgres
from gateway.store.postgres.server import Server
from gateway.store.snapshot import snapshot
from gateway.store.sql.database import Row
from gateway.store.sql.money_audit import audit_money
from gateway.store.sqlite.open import open_sqlite

from ..postgres_databases import execute, run_apart

KINDS = ("sqlite", "postgres")
Opener = Callable[[Path], Store]  # the same folder is the same ledger


def opener_of(request: pytest.FixtureRequest, now: datetime) -> Opener:
    """What opens the ledger of a test whose parameter is one of `KINDS`."""
    if request.param == "sqlite":
        return lambda folder: open_sqlite(folder / "ledger.db", now)
    server = Server(request.getfixturevalue("postgres_url"))
    return lambda _: open_postgres(server, now)


class LedgerPlace:
    """Where the ledger of a test is: it can be opened, read beside its gateway, and changed by hand."""

    def __init__(self, database: DatabaseSettings) -> None:
        self.database = database

    def open(self, now: datetime, **options: Any) -> Store:
        if self.database.path is not None:
            return open_sqlite(self.database.path, now, **options)
        return open_postgres(Server(self.database.url), now, **options)

    def contradictions(self) -> list[str]:
        """What the audit of money says."""
        return snapshot(self.database, audit_money)

    def rows(self, sql: str) -> list[Row]:
        return snapshot(self.database, lambda transaction: transaction.all(sql))

    def execute(self, *statements: str) -> None:
        if self.database.path is None:
            run_apart(execute(self.database.url, "; ".join(statements)))
            return
        with closing(apsw.Connection(str(self.database.path))) as connection:
            for statement in statements:
                connection.execute(statement)


def sqlite_place(path: Path) -> LedgerPlace:
    return LedgerPlace(DatabaseSettings(url=f"sqlite:///{path}"))


def postgres_place(url: str) -> LedgerPlace:
    return LedgerPlace(DatabaseSettings(url=url))
