"""Makes a ledger with a long history quickly, for measurements of reads: `python bench/history.py PATH COUNT`.

The rows have the form that the gateway of schema `SCHEMA` gives them. The newest generation is the last one, and they
are 30 seconds apart. The gateway that opens the ledger migrates it.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import GenerationRequest, Output, Plan, Route, Task
from gateway.ids import ulid
from gateway.store import migrations
from gateway.store.sqlite.columns import to_json

SCHEMA = 11  # the last one before lists had an index for each filter, so that its migration is measured as well
SPACING_SECONDS = 30.0
MODELS = 4  # `model-0` … `model-3`, the last of them in one generation of 1,000
PROVIDERS = ("foxapi", "keevx")
PAGES = 2000  # the number of generations in one step of the generator

_FILL = """
insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at, progress, provider,
    provider_model, completed_at, fence, lease_until, version)
select 'gen_' || name(n), :key, 'video', model(n), status(n), request(n), :plan, made(n), made(n) + 3600, 1,
    case when status(n) = 'completed' then provider(n) end, 'kling-v3', made(n) + 90, 1, 253402300799.0, 4
from numbers
"""
_OTHERS = (
    "insert into outputs (generation_id, number, status, extra, attempt_id)"
    " select 'gen_' || name(n), 0, status(n), 0, 'att_' || name(n) || '_1' from numbers",
    "insert into attempts (id, generation_id, number, route, slots, state, form, reserved_at, sent_at, accepted_at,"
    " ended_at, tasks, billed) select 'att_' || name(n) || '_1', 'gen_' || name(n), 1, 0, '[0]',"
    " case status(n) when 'completed' then 'completed' else 'failed' end, '', made(n), made(n), made(n) + 1,"
    " made(n) + 80, task(n), 'yes' from numbers",
    "insert into tasks (provider, task_id, attempt_id) select provider(n), 'task-' || n, 'att_' || name(n) || '_1'"
    " from numbers",
    "insert into events (generation_id, type, data, at)"
    " select 'gen_' || name(n), 'generation.queued', '{}', made(n) from numbers union all"
    " select 'gen_' || name(n), 'generation.' || status(n), '{}', made(n) + 90 from numbers",
)


def moment(number: int, newest: datetime, count: int) -> datetime:
    """When the generation of this number, from 0 for the oldest one, was created."""
    return newest - timedelta(seconds=SPACING_SECONDS) * (count - number)


def fill(path: Path, count: int, key: str, newest: datetime) -> None:
    """Write a new ledger with `count` ended generations of the client whose key has the id `key`."""
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode = wal", "synchronous = off", "cache_size = -262144", "wal_autocheckpoint = 20000"):
        connection.execute(f"pragma {pragma}")
    connection.execute(
        "create table schema_migrations"
        " (number integer primary key, name text not null, checksum text not null, applied_at real not null) strict"
    )
    for migration in migrations.load("sqlite")[:SCHEMA]:
        connection.execute(migration.sql)
        row = (migration.number, migration.name, migration.checksum, newest.timestamp() - 1)
        connection.execute("insert into schema_migrations values (?, ?, ?, ?)", row)
    functions: dict[str, Callable[[int], str | float]] = {
        "name": lambda n: ulid(moment(n, newest, count), n.to_bytes(10)),
        "made": lambda n: moment(n, newest, count).timestamp(),
        "model": _model,
        "status": _status,
        "provider": lambda n: PROVIDERS[n % 2],
        "request": _request,
        "task": lambda n: to_json((Task(ref=TaskRef(id=f"task-{n}"), slot=0),)) or "",
    }
    for name, function in functions.items():
        connection.create_scalar_function(name, function, 1, deterministic=True)
    plan = to_json(Plan(routes=(Route(provider="foxapi", model="kling-v3", capability_name="kling-v3"),)))
    connection.execute("create temp table numbers (n integer primary key)")
    for start in range(0, count, PAGES):
        connection.execute("begin")
        connection.execute("delete from numbers")
        connection.executemany(
            "insert into numbers values (?)", [(n,) for n in range(start, min(count, start + PAGES))]
        )
        connection.execute(_FILL, {"key": key, "plan": plan})
        for statement in _OTHERS:
            connection.execute(statement)
        connection.execute("commit")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()


def metadata(number: int) -> dict[str, str]:
    """What the client noted about a generation: a project, a customer, and an order of its own for each."""
    return {"project": f"p{number % 10}", "customer": f"c{number % 997}", "order": f"o-{number:08}"}


def _model(number: int) -> str:
    return f"model-{MODELS - 1}" if number % 1000 == 7 else f"model-{number % (MODELS - 1)}"


def _status(number: int) -> str:
    return Status.FAILED.value if number % 50 == 3 else Status.COMPLETED.value


def _request(number: int) -> str:
    request = GenerationRequest(
        model=_model(number),
        input=TextInput(),
        prompt=f"A calm sunrise over the ocean, seen from a boat, take {number}",
        metadata=metadata(number),
    )
    return to_json(request) or ""


def main() -> None:
    """Write a ledger for a look at it."""
    path, count = Path(sys.argv[1]), int(sys.argv[2])
    began = time.perf_counter()
    fill(path, count, "bench", datetime.now(UTC))
    print(f"{count:,} generations, {path.stat().st_size / 1e6:,.0f} MB, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
