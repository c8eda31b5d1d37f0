"""The lineage of a ledger in PostgreSQL: recognises at a start that the database is an older state.

Its marker is in the artifact store alone. So an older backup is recognised, and a standby that took over without the
newest transactions. The position of the ledger is that of the sequence of its events, which is at least the number of
each event that is committed. The marker says the newest event that is committed.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from secrets import token_hex

from msgspec import Struct

from gateway.domain.lineage import Copy, Lineage, Marker, Reading, verdict
from gateway.store.lineage import Said
from gateway.store.sql.database import Transaction
from gateway.store.sql.restored import hold_open

NEWEST_EVENT = "select coalesce(max(seq), 0) from events"
_POSITION = "select case when is_called then last_value else 0 end from events_seq_seq"
_SKIP_TO = "select setval('events_seq_seq', ?)"
_NEWEST = "select id, marked from lineages order by number desc limit 1"
_BEGIN = "insert into lineages (id, began_at, reason, marked) values (?, ?, ?, 1)"

ReadFar = Callable[[str], Reading | None]  # from the id of a lineage to its marker in the artifact store


class Begun(Struct, kw_only=True):
    """Implements `LedgerLineage`."""

    marker: Marker
    copy: Copy | None
    held: tuple[str, ...]
    newest_event: Callable[[], Awaitable[int]]  # reads its number from the ledger

    async def newest(self) -> Marker:
        """See `LedgerLineage`."""
        newest = await self.newest_event()
        if newest > self.marker.position:
            self.marker = Marker(lineage=self.marker.lineage, position=newest)
        return self.marker


async def begin(transaction: Transaction, now: datetime, read_far: ReadFar, said: Said | None) -> Begun:
    """Compare the ledger with its marker; hold the open generations of an older state, and begin a new lineage."""
    row = await transaction.first(_NEWEST)
    ledger = None if row is None else Lineage(id=str(row[0]), marked=bool(row[1]))
    position = int(await transaction.value(_POSITION))
    far = None if ledger is None else read_far(ledger.id)
    near: Reading = "missing" if ledger is None else Marker(lineage=ledger.id, position=position)
    copy = verdict(ledger, position, file=0, near=near, far=far, said=said)
    held: tuple[str, ...] = ()
    if ledger is None or copy is not None or said == "moved":
        lineage = token_hex(16)
        if copy is not None:
            held = tuple(await hold_open(transaction, now))
            if copy.position > int(await transaction.value(_POSITION)):
                await transaction.all(_SKIP_TO, (copy.position,))  # no number of an event is given twice
        await transaction.run(_BEGIN, (lineage, now.timestamp(), said if copy is None else copy.reason))
    else:
        lineage = ledger.id
    newest = int(await transaction.value(NEWEST_EVENT))
    marker = Marker(lineage=lineage, position=newest)
    return Begun(marker=marker, copy=copy, held=held, newest_event=_not_open)


async def _not_open() -> int:
    return 0  # until the database is open
