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
_MOVED_TO = "moved to "  # how the reason of a lineage begins that represents the end of the ledger in this file
_LAST_REASON = "select reason from lineages order by number desc limit 1"
_BEGIN_MARKED = "insert into lineages (id, began_at, reason, marked) values (?, ?, ?, 1)"
_FORGET_MOVE = f"delete from lineages where reason like '{_MOVED_TO}%'"

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
    where it was. Raises `ConfigurationError` if the marker cannot be written, or if the ledger was moved away.
    """
    if said != "restored":
        refuse_moved(connection, path)
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


def moved_to(connection: apsw.Connection) -> str | None:
    """Where the whole ledger was moved, as `HOST/DATABASE` of PostgreSQL; `None` if this file is the ledger."""
    reason: str | None = connection.execute(_LAST_REASON).get
    return reason.removeprefix(_MOVED_TO) if reason is not None and reason.startswith(_MOVED_TO) else None


def refuse_moved(connection: apsw.Connection, path: Path) -> None:
    """Raise `ConfigurationError` if the ledger was moved away: to work with what was left buys everything twice."""
    place = moved_to(connection)
    if place is not None:
        raise ConfigurationError(
            f"database.url: the ledger in {path} was moved to PostgreSQL, at {place}, and what it left here is old; set"
            " database.url to that database. `video-gateway serve --restored` works with this file all the same, and"
            " holds every generation that is open in it"
        )


def note_move(connection: apsw.Connection, place: str, now: datetime) -> None:
    """Begin a lineage that says where the ledger is from now on.

    It has no marker. So a version that does not know such a lineage takes the file for a copy, and holds what is open.
    """
    connection.execute(_BEGIN_MARKED, (token_hex(16), now.timestamp(), _MOVED_TO + place))


def unnote_move(connection: apsw.Connection) -> None:
    """Take back what `note_move` has noted."""
    connection.execute(_FORGET_MOVE)


def begin_without_marker(connection: apsw.Connection, now: datetime) -> str:
    """Begin the first lineage of a ledger that goes on in PostgreSQL, where no marker is beside it; its id.

    As it was never marked, nothing is concluded from the marker that is missing here, if the move has to be repeated.
    """
    lineage = token_hex(16)
    connection.execute(_BEGIN, (lineage, now.timestamp(), None))
    return lineage


def _continues(near: Reading, ledger: Lineage) -> bool:
    """Whether the ledger goes on with its lineage: its marker is there, or was not written yet."""
    return not ledger.marked or (isinstance(near, Marker) and near.lineage == ledger.id)
