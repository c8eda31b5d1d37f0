"""Reads of attempts across all generations, and the record of an attempt's move."""

from datetime import UTC, datetime
from typing import Any

from gateway.domain.health.route_health import Completion
from gateway.store.port import AttemptCursor
from gateway.store.sql.columns import insert, to_json
from gateway.store.sql.database import Change, Row

# The open generations that have a task at a provider which is not among the configured ones.
UNFOLLOWED = (
    "select distinct t.provider, g.id from generations as g"
    " cross join attempts as a on a.generation_id = g.id and a.state in ('accepted', 'abandoned')"
    " cross join tasks as t on t.attempt_id = a.id"
    " where g.status in ('queued', 'in_progress') and t.provider not in (select value from json_each(?)) order by 1, 2"
)
_ADD_EVENT = insert("events", "generation_id", "type", "data", "at")


def completions(newest: int) -> str:
    """The statement of `Store.completions`.

    The number of generations is in its text: PostgreSQL would take a parameter for a tenth of the table.
    """
    return (
        "select json_extract(plan, '$.routes[' || route || '].provider'),"
        " json_extract(plan, '$.routes[' || route || '].model'), ended_at, ended_at - accepted_at"
        # `cross` makes the few generations come first; otherwise SQLite would look at every attempt of the history.
        f" from (select id, plan from generations order by id desc limit {newest:d}) as g"
        " cross join attempts on generation_id = g.id"
        " where state = 'completed' and accepted_at is not null order by ended_at"
    )


def completion_of(row: Row) -> Completion:
    """The completion in a row of `completions`."""
    provider, model, ended_at, seconds = row
    return Completion(provider=provider, model=model, ended_at=datetime.fromtimestamp(ended_at, UTC), seconds=seconds)


def unknown(limit: int, after: AttemptCursor | None, *, open_only: bool) -> tuple[str, tuple[Any, ...]]:
    """The statement of `Store.unknown_attempts` and its values. A row is the id of an attempt and of its generation.

    Attempts stay unknown after the end of their generation, so with `open_only` it may look at many for a few.
    """
    # The order is that of the index `attempts_unknown`, so nothing is sorted.
    sql = "select a.id, a.generation_id from attempts as a indexed by attempts_unknown"
    if open_only:
        sql += " cross join generations as g on g.id = a.generation_id and g.status in ('queued', 'in_progress')"
    place = ("", "") if after is None else (after.generation_id, after.attempt_id)
    sql += " where a.state = 'unknown' and (a.generation_id, a.id) > (?, ?) order by a.generation_id, a.id limit ?"
    return sql, (*place, limit)


def event_of_move(generation_id: str, attempt_id: str, state: str, now: datetime) -> Change:
    """The change that appends the event of an attempt's move."""
    return _ADD_EVENT, (generation_id, f"attempt.{state}", to_json({"attempt": attempt_id}), now.timestamp())
