"""Makes a ledger in PostgreSQL with a long history quickly: `python -m bench.postgres_history URL COUNT`.

The history has the last `DAYS` days, so that one day of it is 1 %. One client owns 99 % of the generations, 50 others
share the rest, and one of these, `FEW`, has three of its own. The newest generations, at most `OPEN_MAX`, are open. The
rows have the form that the gateway gives them. The database must have the schema and no generations, and its user must
be a superuser: triggers and references are off meanwhile.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import Any

import asyncpg

from gateway.store.postgres.migrate import migrate

DAYS = 100
OPEN_MAX = 20_000
PIECE = 250_000  # generations in one transaction
MOST, FEW = "key_most", "key_few"
_ULID = """
create function pg_temp.ulid(at double precision, n bigint) returns text language sql immutable as $$
    select string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', cast(
        (case when place < 10 then cast(floor(at * 1000) as bigint) >> (5 * (9 - place))
            else n >> (5 * (25 - place)) end) & 31 as integer) + 1, 1), '' order by place)
    from generate_series(0, 25) as places (place) where place < 10 or place >= 14
$$
"""
# A ULID has 26 characters; those between the moment and the number are zeros.
_ROWS = """
create temp table one as
select n, is_open, at, status, key, model, provider, kind,
    overlay(pg_temp.ulid(at, n) placing '0000' from 11 for 0) as name
from (
    select n, n >= $2 as is_open, $4 - ($3 - n) * $5 as at,
        case when n >= $2 then case when n % 10 = 0 then 'queued' else 'in_progress' end
            when n % 50 = 3 then 'failed' when n % 200 = 1 then 'cancelled' else 'completed' end as status,
        case when n in ($3 / 2, $3 / 3, $3 / 4) then 'key_few'
            when n % 100 = 7 then 'key_' || (n / 100) % 50 else 'key_most' end as key,
        case when n % 1000 = 7 then 'model-3' else 'model-' || n % 3 end as model,
        case when n % 2 = 0 then 'foxapi' else 'keevx' end as provider,
        case when n % 20 = 9 then 'image' else 'video' end as kind
    from generate_series($1::bigint, $6::bigint) as numbers (n)
) as facts
"""
_FILL = (
    """
insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at, progress, provider,
    provider_model, failure, completed_at, fence, lease_until, version, digest, fell_back, maybe_billed, replica)
select 'gen_' || name, key, kind, model, status,
    '{"model":"' || model || '","input":{"type":"text_to_video"},"kind":"' || kind
        || '","prompt":"A calm sunrise over the ocean, seen from a boat, take ' || n
        || '","settings":{"duration_seconds":5,"resolution":"720p"},"metadata":{"project":"p' || n % 10
        || '","order":"o-' || n || '"}}',
    '{"routes":[{"provider":"' || provider || '","model":"kling-v3","row":"kling-v3","settings":'
        || '{"duration_seconds":5},"cost_usd":0.25}],"policy":{}}',
    at, at + 86400, 0, case when status <> 'queued' then provider end,
    case when status <> 'queued' then 'kling-v3' end,
    case when status = 'failed' then '{"state":"failed","kind":"content_policy","message":"The prompt was refused."}'
        end,
    case when not is_open then at + 90 end, 1, 253402300799.0, case when is_open then 3 else 5 end,
    sha256(cast(n as text)::bytea), cast(n % 200 = 5 as integer), cast(n % 5000 = 11 as integer), null
from one
""",
    """
insert into outputs (generation_id, number, status, extra, attempt_id, artifact, kept, unkept_until)
select 'gen_' || name, 0, case when is_open then 'queued' else status end, 0, 'att_' || name,
    case when status = 'completed' then '{"url":"https://files.example/' || n || '.mp4","content_type":"video/mp4"}'
        end,
    case when status = 'completed' and n % 100 > 0 and at > $1 - 30 * 86400 then
        '{"name":"art_' || name || '.mp4","bytes":4000000,"sha256":"'
        || encode(sha256(cast(n as text)::bytea), 'hex')
        || '","content_type":"video/mp4","kept_until":"2030-01-01T00:00:00Z"}' end,
    case when status = 'completed' and n % 100 = 0 then at + 86400 end
from one
""",
    """
insert into attempts (id, generation_id, number, route, slots, state, form, reserved_at, sent_at, accepted_at,
    ended_at, tasks, billed)
select 'att_' || name, 'gen_' || name, 1, 0, '[0]',
    case when is_open then 'accepted' when n % 5000 = 11 then 'unknown' when n % 2000 = 13 then 'abandoned'
        when status = 'failed' then 'failed' else 'completed' end,
    '', at, at, at + 1, case when not is_open then at + 80 end,
    '[{"ref":{"id":"task-' || n || '"},"slot":0,"status":"'
        || case when is_open then 'in_progress' when status = 'failed' then 'failed' else 'completed' end
        || '","raw_status":"pending"}]',
    case when is_open then null when n % 5000 = 11 then 'maybe' else 'yes' end
from one where status <> 'queued'
""",
    """
insert into tasks (provider, task_id, attempt_id)
select provider, 'task-' || n, 'att_' || name from one where status <> 'queued'
""",
    """
insert into events (generation_id, type, data, at)
select 'gen_' || name, type, data, at + number from one cross join lateral (values
    (0, 'generation.queued', '{}'),
    (2, 'attempt.accepted', '{"attempt":"att_' || name || '"}'),
    (90, 'generation.' || status, '{}')
) as each (number, type, data)
where case number when 0 then true when 2 then is_open and status <> 'queued' else not is_open end order by n, number
""",
    """
insert into generation_metadata (key, kind, name, value, generation_id)
select key, kind, label, value, 'gen_' || name from one
cross join lateral (values ('project', 'p' || n % 10), ('order', 'o-' || n)) as each (label, value)
where n % 4 = 0
""",
    """
insert into accounts (generation_id, key, day, reserved, settled, maybe)
select 'gen_' || name, key, to_char(to_timestamp(at) at time zone 'UTC', 'YYYY-MM-DD'),
    case when is_open then 250000 else 0 end, case when is_open then 0 else 250000 end, 0 from one
""",
    """
insert into deliveries (id, key, event_id, type, url, created_at, generation_id, endpoint_id, state, next_at, retries,
    tries, receiver)
select 'dlv_' || name, key, 'evt_' || name, 'generation.completed', 'https://customer.example/hook', at + 90,
    'gen_' || name, case when key = 'key_most' then 'whe_most' end,
    case when n >= $1 - 2000 then 'pending' when n % 1000 = 2 then 'dead' else 'delivered' end,
    case when n >= $1 - 2000 then $2 + n % 600 end, 0, '[]', 'customer.example'
from one where not is_open and n % 5 = 2
""",
    """
insert into files (id, key, sha256, facts, created_at, inline, expires_at)
select 'file_' || name, key, encode(sha256(cast(n as text)::bytea), 'hex'),
    '{"content_type":"image/png","bytes":100000,"width":800,"height":600}', at, cast(n % 100 <> 12 as integer),
    at + case when n % 100 = 12 then 30 * 86400 else 3600 end
from one where n % 50 = 12 and at > $1 - 40 * 86400
""",
    """
insert into generation_files (generation_id, key, file_id)
select 'gen_' || name, key, 'file_' || name from one where n % 50 = 12 and at > $1 - 40 * 86400
""",
    """
insert into artifacts (name, generation_id, kept_until)
select 'art_' || name || '.mp4', 'gen_' || name, at + 30 * 86400 from one
where status = 'completed' and n % 100 > 0 and at > $1 - 30 * 86400
""",
    """
insert into idempotency_keys (key, idempotency_key, digest, generation_id, created_at)
select key, 'idem-' || n, sha256(cast(n as text)::bytea), 'gen_' || name, at from one
where n % 2 = 0 and at > $1 - 86400
""",
    """
insert into deleted_generations (generation_id, key, digest, created_at)
select 'gen_0' || name, key, sha256(cast(n as text)::bytea), at from one where n % 10 = 4 and at > $1 - 86400
""",
    """
insert into uploads (account, sha256, recipe, url, expires_at)
select provider, encode(sha256(cast(n as text)::bytea), 'hex'), '', 'https://files.example/' || n, at + 86400
from one where n % 50 = 12 and at > $1 - 86400
""",
    """
insert into callbacks (attempt_id, task_id, ref, at)
select 'att_' || name, 'callback-' || n, '{}', at from one where is_open and status <> 'queued' and n % 10 = 1
""",
    """
insert into purchases (generation_id, attempt_id, key, kind, model, provider, provider_model, tasks, billed, cost_usd,
    created_at, sent_at, ended_at, deleted_at)
select 'gen_0' || name, 'att_0' || name, key, kind, model, provider, 'kling-v3', '[]', 'yes', 0.25, at, at, at + 80,
    at + 100 from one where n % 10 = 4
""",
    """
insert into usage (day, key, model, provider, queued, in_progress, completed, failed, cancelled, expired, fallbacks,
    attempts, outputs, milliseconds, cost, maybe, reserved, unpriced)
select to_char(to_timestamp(at) at time zone 'UTC', 'YYYY-MM-DD'), key, model, provider, 0, 0, count(*), 0, 0, 0, 0,
    count(*), count(*), 90000 * count(*), 250000 * count(*), 0, 0, 0 from one group by 1, 2, 3, 4
on conflict (key, day, model, provider) do update set completed = usage.completed + excluded.completed
""",
    """
insert into usage_times (day, key, model, provider, bucket, number)
select to_char(to_timestamp(at) at time zone 'UTC', 'YYYY-MM-DD'), key, model, provider, n % 12, count(*)
from one where not is_open group by 1, 2, 3, 4, 5
on conflict (key, day, model, provider, bucket) do update set number = usage_times.number + excluded.number
""",
)
_REST = """
insert into webhook_endpoints (id, key, url, events, secrets, created_at)
    values ('whe_most', 'key_most', 'https://customer.example/hook', '["generation.completed"]', '[]', 0);
insert into receivers (key, name, next_at)
    select key, receiver, min(next_at) from deliveries where state = 'pending' group by 1, 2;
insert into spending (key, period, reserved, settled, maybe)
    select owner, period, sum(reserved), sum(settled), 0 from accounts
    cross join lateral (values (key), ('')) as owners (owner)
    cross join lateral (values (day), (substr(day, 1, 7)), ('total')) as periods (period) group by 1, 2;
insert into client_days (key, day, outputs) select key, day, count(*) from accounts group by 1, 2;
insert into closed_accounts (key, day, settled, maybe) select key, day, sum(settled), 0 from accounts group by 1, 2;
insert into inline_bytes (key, bytes) select key, 100000 * count(*) from files where inline = 1 group by 1
"""
_INDEXES = """
select indexname, indexdef from pg_indexes where schemaname = 'public'
and tablename in ('generations', 'outputs', 'attempts', 'events', 'deliveries', 'tasks', 'accounts', 'purchases',
    'artifacts', 'files', 'generation_files', 'idempotency_keys')
and indexname not in (select conname from pg_constraint)
"""


async def fill(
    connection: Any,
    count: int,
    now: datetime,
    *,
    open_count: int | None = None,
    days: int = DAYS,
    rebuilds: bool = True,
) -> None:
    """Write `count` generations of the last `days` days, of which the newest `open_count` are open.

    `rebuilds` builds indexes again at the end, which is quicker for a long history.
    """
    open_from = count - (min(OPEN_MAX, count // 10) if open_count is None else open_count)
    at, spacing = now.timestamp(), days * 86400 / count
    await connection.execute("set session_replication_role = replica; set synchronous_commit = off")
    await connection.execute(_ULID)
    indexes = await connection.fetch(_INDEXES) if rebuilds else []
    for name, _ in indexes:
        await connection.execute(f"drop index {name}")
    for start in range(0, count, PIECE):
        last = min(count, start + PIECE) - 1
        async with connection.transaction():
            await connection.execute(_rows(start, open_from, count, at, spacing, last))
            for statement in _FILL:
                values = {1: str(at), 2: str(at)} if "$2" not in statement else {1: str(open_from), 2: str(at)}
                await connection.execute(_with(statement, values))
            await connection.execute("drop table one")
    await connection.execute(_REST)
    await connection.execute("set maintenance_work_mem = '1GB'")
    for _, definition in indexes:
        await connection.execute(definition)
    await connection.execute("vacuum analyze")
    await connection.execute("reset session_replication_role; reset synchronous_commit; reset maintenance_work_mem")


def _rows(*values: float) -> str:
    return _with(_ROWS, {number: str(value) for number, value in enumerate(values, 1)})


def _with(sql: str, values: dict[int, str]) -> str:
    """A statement that defines a table takes no values, so they are written into it; all of them are numbers."""
    for number, value in values.items():
        sql = sql.replace(f"${number}", value)
    return sql


async def main() -> None:
    """Fill a database."""
    url, count = sys.argv[1], int(sys.argv[2])
    connection = await asyncpg.connect(url)
    await migrate(connection, datetime(2020, 1, 1, tzinfo=UTC))
    began = time.perf_counter()
    await fill(connection, count, datetime.now(UTC))
    size = await connection.fetchval("select pg_database_size(current_database())")
    print(f"{count:,} generations, {size / 1e6:,.0f} MB, {time.perf_counter() - began:.0f} s")
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
