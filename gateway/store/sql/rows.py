"""The tables of generations as structs, and the one statement that reads a generation whole."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.domain.generation.model import Attempt, Generation, Output
from gateway.store.port import Event, StoredFile
from gateway.store.sql.columns import Columns, seconds
from gateway.store.sql.database import Row, Transaction

# Most open generations have one of a few plans: 20,000 of their own would be a third of the memory.
GENERATION = Columns(
    Generation,
    without=("outputs", "attempts"),
    renamed={"owner": "key"},
    shared=("owner", "plan", "provider", "provider_model"),
)
OUTPUT = Columns(Output, renamed={"index": "number"})
ATTEMPT = Columns(Attempt)
FILE = Columns(StoredFile)
# One statement reads a generation with its outputs and attempts: between several, a commit could change a part of it.
SELECT = (
    f"select {GENERATION},"
    f" (select json_group_array(json_array({OUTPUT}) order by number) from outputs where generation_id = g.id),"
    f" (select json_group_array(json_array({ATTEMPT}) order by number) from attempts where generation_id = g.id)"
    " from generations as g"
)
OPEN = "('queued', 'in_progress')"  # the statuses of generations and outputs that have not ended
_rows = msgspec.json.Decoder(list[list[Any]])


def generation_of(row: Row) -> Generation:
    """The generation in a row of `SELECT`."""
    return GENERATION.of(
        row,
        outputs=tuple(map(OUTPUT.of, _rows.decode(row[-2]))),
        attempts=tuple(map(ATTEMPT.of, _rows.decode(row[-1]))),
    )


async def read(transaction: Transaction, generation_id: str) -> Generation:
    """One generation, which must exist, as the transaction sees it."""
    return generation_of((await transaction.all(f"{SELECT} where id = ?", (generation_id,)))[0])


def unarchived_until(output: Output) -> float | None:
    """The column `unkept_until` of an output: when the provider's link to a file ends that has no copy here."""
    return seconds(output.expires_at) if output.artifact is not None and output.kept is None else None


def event_of(row: Row) -> Event:
    """The event in a row of `seq, generation_id, type, data, at`."""
    seq, generation_id, kind, data, at = row
    data = msgspec.json.decode(data)
    return Event(seq=seq, generation_id=generation_id, type=kind, data=data, at=datetime.fromtimestamp(at, UTC))
