"""Makes a ledger with a long history quickly, for measurements of reads: `python bench/history.py PATH COUNT`.

It holds ended generations of one client, 30 seconds apart, with 3 pairs of metadata each. The rows have the form that
the gateway of schema `SCHEMA` gave them; the gateway that opens the ledger migrates it.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import GenerationRequest, Plan, Route, Task
from gateway.ids import RANDOM_BYTES, ulid
from gateway.store import migrations
from gateway.store.sql.columns import to_json

SCHEMA = 11  # the last one before lists had an index for each filter, so that its migration is measured as well
SPACING_SECONDS = 30.0
MODELS = 4  # `model-0` … `model-3`, the last of them in one generation of 1,000
PROVIDERS = ("foxapi", "keevx")
PIECE = 10_000  # generations in one transaction

_ROWS = "create temp table one (n integer, name text, made real, model text, status text, provider text, request text)"
_FILL = """
insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at, progress, provider,
    provider_model, completed_at, fence, lease_until, version)
select 'gen_' || name, :key, 'video', model, status, request, :plan, made, made + 3600, 1,
    iif(status = 'completed', provider, null), 'kling-v3', made + 90, 1, 253402300799.0, 4 from one;
insert into outputs (generation_id, number, status, extra, attempt_id)
select 'gen_' || name, 0, status, 0, 'att_' || name || '_1' from one;
insert into attempts (id, generation_id, number, route, slots, state, form, reserved_at, sent_at, accepted_at, ended_at,
    tasks, billed)
select 'att_' || name || '_1', 'gen_' || name, 1, 0, '[0]', status, '', made, made, made + 1, made + 80,
    replace(:task, '#', n), 'yes' from one;
insert into tasks (provider, task_id, attempt_id)
select provider, 'task-' || n, 'att_' || name || '_1' from one;
insert into events (generation_id, type, data, at)
select 'gen_' || name, 'generation.queued', '{}', made from one;
"""


def fill(path: Path, count: int, key: str, newest: datetime) -> None:
    """Write a new ledger with `count` ended generations of the client whose key has the id `key`."""
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -524288", "locking_mode = exclusive"):
        connection.execute(f"pragma {pragma}")
    connection.execute(
        "create table schema_migrations"
        " (number integer primary key, name text not null, checksum text not null, applied_at real not null) strict"
    )
    for migration in migrations.load("sqlite")[:SCHEMA]:
        connection.execute(migration.sql)
        row = (migration.number, migration.name, migration.checksum, newest.timestamp() - 1)
        connection.execute("insert into schema_migrations values (?, ?, ?, ?)", row)
    values = {
        "key": key,
        "plan": to_json(Plan(routes=(Route(provider="foxapi", model="kling-v3", capability_name="kling-v3"),))),
        "task": to_json((Task(ref=TaskRef(id="task-#"), slot=0),)),
    }
    connection.execute(_ROWS)
    for start in range(0, count, PIECE):
        numbers = range(start, min(count, start + PIECE))
        connection.execute("begin")
        connection.execute("delete from one")
        rows = (_row(number, newest, count) for number in numbers)
        connection.executemany("insert into one values (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute(_FILL, values)
        connection.execute("commit")
    connection.close()


def _row(number: int, newest: datetime, count: int) -> tuple[object, ...]:
    """What differs between the generations; the number is 0 for the oldest one."""
    made = newest - timedelta(seconds=SPACING_SECONDS) * (count - number)
    model, status = _model(number), _status(number)
    request = GenerationRequest(
        model=model,
        input=TextInput(),
        prompt=f"A calm sunrise over the ocean, seen from a boat, take {number}",
        metadata=metadata(number),
    )
    name = ulid(made, number.to_bytes(RANDOM_BYTES))
    return number, name, made.timestamp(), model, status, PROVIDERS[number % 2], to_json(request)


def metadata(number: int) -> dict[str, str]:
    """What the client noted about a generation: a project, a customer, and an order of its own for each."""
    return {"project": f"p{number % 10}", "customer": f"c{number % 997}", "order": f"o-{number:08}"}


def _model(number: int) -> str:
    return f"model-{MODELS - 1}" if number % 1000 == 7 else f"model-{number % (MODELS - 1)}"


def _status(number: int) -> str:
    return Status.FAILED.value if number % 50 == 3 else Status.COMPLETED.value


def main() -> None:
    """Write a ledger for a look at it."""
    path, count = Path(sys.argv[1]), int(sys.argv[2])
    began = time.perf_counter()
    fill(path, count, "bench", datetime.now(UTC))
    print(f"{count:,} generations, {path.stat().st_size / 1e6:,.0f} MB, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
