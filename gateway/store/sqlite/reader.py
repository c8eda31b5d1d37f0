"""The connection for short reads of the SQLite ledger, which run on the event loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from gateway.store.sqlite.columns import Row
from gateway.store.sqlite.errors import explain, is_damage, unavailable
from gateway.store.sqlite.writer import CommitWriter


@contextmanager
def readable(writer: CommitWriter) -> Iterator[None]:
    """Raise `StoreUnavailable` if the file cannot be read. Damage is reported to the writer, which refuses to go on."""
    try:
        yield
    except apsw.InterruptError:  # the reader itself has stopped the read
        raise
    except apsw.Error as error:
        if is_damage(error):
            writer.damage = explain(error)
        raise unavailable(error, "The store cannot be read now.") from error


class ReadConnection:
    """Reads beside the writer, and sees what is committed. A read of unknown length belongs into `LongReads`."""

    def __init__(self, connection: apsw.Connection, writer: CommitWriter) -> None:
        self._connection = connection
        self._writer = writer

    def all(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Every row of a statement. Raises `StoreUnavailable` if the file cannot be read."""
        with readable(self._writer):
            return list(self._connection.execute(sql, values))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
