"""The connection for all reads of the SQLite ledger."""

from typing import Any

import apsw

from gateway.store.sqlite.columns import Row
from gateway.store.sqlite.errors import explain, is_damage, unavailable
from gateway.store.sqlite.writer import CommitWriter


class ReadConnection:
    """Reads beside the writer, and sees what is committed. It reports damage to the writer, which refuses to go on."""

    def __init__(self, connection: apsw.Connection, writer: CommitWriter) -> None:
        self._connection = connection
        self._writer = writer

    def all(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Every row of a statement. Raises `StoreUnavailable` if the file cannot be read."""
        try:
            return list(self._connection.execute(sql, values))
        except apsw.Error as error:
            if is_damage(error):
                self._writer.damage = explain(error)
            raise unavailable(error, "The store cannot be read now.") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
