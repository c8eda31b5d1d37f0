"""A change of the whole ledger is made completely or not at all."""

import apsw
import pytest

from gateway.store.sqlite.transaction import transaction

from ....cases import every


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    connection.execute("create table things (name text)")
    return connection


def names(connection: apsw.Connection) -> list[str]:
    return [row[0] for row in connection.execute("select name from things")]


def test_what_the_block_writes_is_committed(connection: apsw.Connection) -> None:
    with transaction(connection):
        connection.execute("insert into things values ('a')")
    assert not connection.in_transaction
    assert names(connection) == ["a"]


@every("error", [ValueError, KeyboardInterrupt, SystemExit], ids=lambda error: error.__name__)
def test_a_block_that_is_interrupted_leaves_nothing(connection: apsw.Connection, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with transaction(connection):
            connection.execute("insert into things values ('a')")
            raise error

    with pytest.raises(error):
        interrupted()
    assert not connection.in_transaction
    assert names(connection) == []


def test_a_commit_that_fails_leaves_nothing_and_raises_its_own_error(connection: apsw.Connection) -> None:
    connection.set_commit_hook(lambda: True)  # SQLite makes a rollback of the commit
    with pytest.raises(apsw.ConstraintError), transaction(connection):
        connection.execute("insert into things values ('a')")
    assert not connection.in_transaction
    assert names(connection) == []
