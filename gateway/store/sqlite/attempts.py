"""What the SQLite ledger tells of attempts across all generations: the unknown, the completed."""

from datetime import UTC, datetime
from typing import Any

import apsw

from gateway.domain.health.route_health import Completion
from gateway.store.port import AttemptCursor
from gateway.store.sqlite.rows import Row, to_json

COMPLETIONS = (
    "select json_extract(plan, '$.routes[' || route || '].provider'),"
    " json_extract(plan, '$.routes[' || route || '].model'), ended_at, ended_at - accepted_at"
    " from (select id, plan from generations order by id desc limit ?) as g join attempts on generation_id = g.id"
    " where state = 'completed' and accepted_at is not null order by ended_at"
)
UNFOLLOWED = (  # by the providers that are configured
    "select distinct t.provider, g.id from generations as g"
    " cross join attempts as a on a.generation_id = g.id and a.state in ('accepted', 'abandoned')"
    " cross join tasks as t on t.attempt_id = a.id"
    " where g.status in ('queued', 'in_progress') and t.provider not in (select value from json_each(?)) order by 1, 2"
)
_UNKNOWN = (
    "(select id as attempt, generation_id as owner from attempts where state = 'unknown'"
    " and (generation_id, id) > (?, ?))"
)


def completion_of(row: Row) -> Completion:
    """A completion from the columns of `COMPLETIONS`."""
    provider, model, ended, seconds = row
    return Completion(provider=provider, model=model, ended_at=datetime.fromtimestamp(ended, UTC), seconds=seconds)


def unknown(columns: str, limit: int, after: AttemptCursor | None, *, open_only: bool) -> tuple[str, tuple[Any, ...]]:
    """The statement of `Store.unknown_attempts` and its values; `columns` is a select of whole generations, as `g`."""
    # The index of what is unknown has these two columns, in this order.
    sql = f"select attempt, {columns.removeprefix('select ')} join {_UNKNOWN} on owner = g.id"
    if open_only:
        sql += " where g.status in ('queued', 'in_progress')"
    place = ("", "") if after is None else (after.generation_id, after.attempt_id)
    return f"{sql} order by owner, attempt limit ?", (*place, limit)


def moved(connection: apsw.Connection, generation_id: str, attempt_id: str, state: str, now: datetime) -> int:
    """Tell of an attempt's move and give the generation's new version."""
    told = (generation_id, f"attempt.{state}", to_json({"attempt": attempt_id}), now.timestamp())
    connection.execute("insert into events (generation_id, type, data, at) values (?, ?, ?, ?)", told)
    version: int = connection.execute(
        "update generations set version = version + 1 where id = ? returning version", (generation_id,)
    ).get
    return version
