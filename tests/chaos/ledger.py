"""The ledger of the gateway, read as another process."""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from gateway.settings.load import DatabaseSettings
from gateway.store.snapshot import snapshot
from gateway.store.sql.database import Transaction


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a generation."""

    id: str
    number: int
    provider: str
    model: str
    slots: frozenset[int]
    state: str
    sent: bool
    tasks: Mapping[str, int]  # by id: the output that each task is for
    accepted_at: float | None = None  # when the reply was read
    stored_at: float | None = None  # when that was stored, which a gateway without its database does later
    adopted: bool = False  # its tasks were named by a callback or an operator


class Generation(Struct, frozen=True, kw_only=True):
    """One generation with its history."""

    id: str
    prompt: str
    status: str
    outputs: int  # the requested number
    deadline_at: float
    completed_at: float | None
    attempts: tuple[Attempt, ...]
    events: tuple[tuple[str, Mapping[str, Any]], ...]


# PostgreSQL of a chaos run knows when each row was committed. An event has the moment at which its gateway learnt of
# it, and a gateway that is cut off from its database repeats the same change until it is stored, much later.
_EVENTS = "select generation_id, type, data, at from events order by seq"
_EVENTS_AS_COMMITTED = _EVENTS.replace(", at", ", coalesce(extract(epoch from pg_xact_commit_timestamp(xmin)), at)")


def rows(database: DatabaseSettings, sql: str) -> list[Any]:
    """The rows of a query on the ledger, read as another process."""
    return snapshot(database, lambda transaction: transaction.all(sql))


def read(database: DatabaseSettings) -> tuple[list[Generation], dict[str, list[str]]]:
    """All generations and idempotency keys of the ledger, at one moment."""
    return snapshot(database, partial(_read, _EVENTS if database.path is not None else _EVENTS_AS_COMMITTED))


async def _read(events_of: str, transaction: Transaction) -> tuple[list[Generation], dict[str, list[str]]]:
    events: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    stored_at: dict[str, float] = {}
    for name, kind, data, at in await transaction.all(events_of):
        events[name].append((kind, decoded := msgspec.json.decode(data)))
        if kind == "attempt.accepted":
            stored_at.setdefault(decoded["attempt"], float(at))
    attempts: dict[str, list[Any]] = defaultdict(list)
    for name, *row in await transaction.all(
        "select generation_id, id, number, route, slots, state, sent_at, tasks, accepted_at, adopted"
        " from attempts order by number"
    ):
        attempts[name].append(row)
    generations = [
        Generation(
            id=name,
            prompt=msgspec.json.decode(request)["prompt"],
            outputs=msgspec.json.decode(request).get("count", 1),
            status=status,
            deadline_at=deadline_at,
            completed_at=completed_at,
            attempts=tuple(_attempt(row, msgspec.json.decode(plan)["routes"], stored_at) for row in attempts[name]),
            events=tuple(events[name]),
        )
        for name, request, plan, status, deadline_at, completed_at in await transaction.all(
            "select id, request, plan, status, deadline_at, completed_at from generations order by id"
        )
    ]
    keys: dict[str, list[str]] = defaultdict(list)
    for key, name in await transaction.all("select idempotency_key, generation_id from idempotency_keys"):
        keys[key].append(name)
    return generations, keys


def _attempt(row: list[Any], routes: list[Any], stored_at: Mapping[str, float]) -> Attempt:
    name, number, route, slots, state, sent_at, tasks, accepted_at, adopted = row
    return Attempt(
        id=name,
        number=number,
        provider=routes[route]["provider"],
        model=routes[route]["model"],
        slots=frozenset(msgspec.json.decode(slots)),
        state=state,
        sent=sent_at is not None,
        tasks={task["ref"]["id"]: task["slot"] for task in msgspec.json.decode(tasks)},
        accepted_at=accepted_at,
        stored_at=stored_at.get(name),
        adopted=adopted is not None,
    )
