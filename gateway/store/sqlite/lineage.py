"""The lineage of an SQLite ledger: recognises an older copy when it is opened, and holds what it would buy again."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from secrets import token_hex

import apsw
from msgspec import Struct

from gateway.domain.errors import ConfigurationError
from gateway.domain.lineage import Copy, Lineage, Marker, Reading, verdict
from gateway.store.lineage import Said
from gateway.store.sql.restored import hold_open
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.sqlite.marker import MarkerFile, file_number, marker_path, read_marker, write_marker

# The newest event that was ever stored. SQLite keeps the number when events are removed, and writes it with each event.
POSITION = "select seq from sqlite_sequence where name = 'events'"
_NEWEST = "select id, marked from lineages order by number desc limit 1"
_BEGIN = "insert into lineages (id, began_at, reason) values (?, ?, ?)"
_MARKED = "update lineages set marked = 1 where id = ?"
_SKIP_TO = "update sqlite_sequence set seq = max(seq, ?) where name = 'events'"

ReadFar = Callable[[str], Reading | None]  # from the id of a lineage to its marker in the artifact store


class Begun(Struct, frozen=True, kw_only=True):
    """Implements `LedgerLineage`."""

    file: MarkerFile
    copy: Copy | None
    held: tuple[str, ...]

    @property
    def marker(self) -> Marker:
        """See `LedgerLineage`."""
        return self.file.marker

    async def newest(self) -> Marker:
        """See `LedgerLineage`. No other process stores anything."""
        return self.file.marker


def begin(connection: apsw.Connection, path: Path, now: datetime, read_far: ReadFar, said: Said | None) -> Begun:
    """Compare the ledger with its markers. If it is an older copy, hold its open generations and begin a new lineage.

    All of that is one transaction, and the new marker is written after it: a start that is killed in between goes on
    where it was. Raises `ConfigurationError` if the marker cannot be written.
    """
    ledger, position, file = lineage_of(connection), position_of(connection), file_number(path)
    near = read_marker(path)
    far = None if ledger is None else read_far(ledger.id)
    copy = verdict(ledger, position, file=file, near=near, far=far, said=said)
    held: tuple[str, ...] = ()
    if ledger is None or copy is not None or said == "moved" or not _continues(near, ledger):
        lineage = token_hex(16)
        with connection:
            if copy is not None:
                held = tuple(drive(hold_open(SqliteTransaction(connection), now)))
                connection.execute(_SKIP_TO, (copy.position,))  # no number of an event is given twice
            connection.execute(_BEGIN, (lineage, now.timestamp(), said if copy is None else copy.reason))
            position = position_of(connection)
    else:
        lineage = ledger.id
    marker = Marker(lineage=lineage, position=position, file=file)
    try:
        if near != marker:
            write_marker(path, marker)
        if ledger is None or lineage != ledger.id or not ledger.marked:
            connection.execute(_MARKED, (lineage,))
        return Begun(file=MarkerFile(path, marker), copy=copy, held=held)
    except OSError as error:
        raise ConfigurationError(f"database.url: cannot write {marker_path(path)}: {error.strerror}") from error


def lineage_of(connection: apsw.Connection) -> Lineage | None:
    """The lineage of the ledger; `None` if no version with lineages has opened it."""
    row = connection.execute(_NEWEST).fetchone()
    return None if row is None else Lineage(id=str(row[0]), marked=bool(row[1]))


def position_of(connection: apsw.Connection) -> int:
    """The position of the ledger; 0 before its first event."""
    position: int | None = connection.execute(POSITION).get
    return position or 0


def _continues(near: Reading, ledger: Lineage) -> bool:
    """Whether the ledger goes on with its lineage: its marker is there, or was not written yet."""
    return not ledger.marked or (isinstance(near, Marker) and near.lineage == ledger.id)
