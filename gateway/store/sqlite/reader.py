"""The connection that reads: what it meets of damage, the writer learns."""

from typing import Any

import apsw

from gateway.store.sqlite.errors import is_damage, told, unavailable
from gateway.store.sqlite.rows import Row
from gateway.store.sqlite.writer import Writer


class Reader:
    """Reads beside the writer; it sees what is committed."""

    def __init__(self, connection: apsw.Connection, writer: Writer) -> None:
        self._connection = connection
        self._writer = writer

    def all(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """Every row of a statement; `StoreUnavailable` when the file cannot be read."""
        try:
            return list(self._connection.execute(sql, values))
        except apsw.Error as error:
            if is_damage(error):
                self._writer.damage = told(error)
            raise unavailable(error, "The store cannot be read now.") from error

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()
