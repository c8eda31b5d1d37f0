"""Searches for the ids of a page: what they find, how many steps they take, and that each reads an index only."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.request import InputKind
from gateway.domain.errors import SearchTooLong
from gateway.ids import number_of, text_of, ulid
from gateway.store import migrations
from gateway.store.port import Query
from gateway.store.sql import search
from gateway.store.sql.columns import to_json
from gateway.store.sql.search import Search

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
MODELS, STATUSES, PROVIDERS = ("one", "two"), ("queued", "completed"), (None, "acme")
KINDS = (InputKind.TEXT, InputKind.IMAGE, InputKind.REFERENCES)
FAILURES = (None, FailureKind.UNAVAILABLE, FailureKind.AMBIGUOUS)
COUNT = 120


def id_of(number: int) -> str:
    return "gen_" + ulid(NOW + timedelta(seconds=number), number.to_bytes(10))


ROWS: list[dict[str, Any]] = [
    {
        "id": id_of(n),
        "model": MODELS[n % 2],
        "status": STATUSES[n // 2 % 2],
        "provider": PROVIDERS[n // 4 % 2],
        "input": KINDS[n % 3],
        "metadata": {"project": f"p{n % 5}", "parity": str(n % 2)},
        "failure": FAILURES[n % 3],
        "fell_back": n % 7 == 0,
        "maybe_billed": n % 5 == 0,
    }
    for n in range(COUNT)
]


def own_id(key: str, kind: str, row: dict[str, Any]) -> str:
    """The id of the generation of this owner that is like the row; those of other owners follow it in the order."""
    generation_id: str = row["id"]
    return generation_id if (key, kind) == ("alice", "video") else generation_id[:-3] + (key + kind)[-3:].upper()


OWNED = sorted(
    (own_id(key, kind, row), key, kind, n)
    for key, kind in (("alice", "video"), ("bob", "video"), ("alice", "image"))
    for n, row in enumerate(ROWS)
)


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for migration in migrations.load("sqlite"):
        connection.execute(migration.sql)
    for own, key, kind, n in OWNED:
        row = ROWS[n]
        request = to_json({"input": {"type": row["input"]}, "metadata": row["metadata"]})
        failure = None if row["failure"] is None else to_json({"kind": row["failure"], "message": ""})
        connection.execute(
            "insert into generations (id, key, kind, model, status, provider, request, failure, fell_back,"
            " maybe_billed, plan, created_at, deadline_at, progress, fence, lease_until, version)"
            " values (?,?,?,?,?,?,?,?,?,?,'',0,0,0,0,0,0)",
            (
                *(own, key, kind, row["model"], row["status"], row["provider"], request, failure),
                *(int(row["fell_back"]), int(row["maybe_billed"])),
            ),
        )
        pairs = [(key, kind, name, value, own) for name, value in row["metadata"].items()]
        connection.executemany("insert into generation_metadata values (?, ?, ?, ?, ?)", pairs)
    yield connection
    connection.close()


def result_of(connection: apsw.Connection, query: Query) -> search.Found:
    wanted = Search(query)
    ((text, last, steps),) = connection.execute(*wanted.statement()).fetchall()
    return wanted.result(text, last, steps)


def expected(query: Query) -> tuple[list[str], bool]:
    rows = [
        own
        for own, key, kind, n in OWNED
        if (row := ROWS[n])
        and query.key in {None, key}
        and query.kind in {None, kind}
        and (not query.failures or row["failure"] in query.failures)
        and (row["fell_back"] or not query.fell_back)
        and (row["maybe_billed"] or not query.maybe_billed)
        and query.status in {None, row["status"]}
        and query.model in {None, row["model"]}
        and query.provider in {None, row["provider"]}
        and (not query.inputs or row["input"] in query.inputs)
        and query.metadata.items() <= row["metadata"].items()
        and (query.created_after is None or NOW + timedelta(seconds=n) > query.created_after)
        and (query.created_before is None or NOW + timedelta(seconds=n) < query.created_before)
    ]
    if query.order == "desc":
        rows.reverse()
    sign = 1 if query.order == "asc" else -1
    if query.after is not None:
        rows = [row for row in rows if (row > query.after) - (row < query.after) == sign]
    if query.before is not None:
        rows = [row for row in rows if (row < query.before) - (row > query.before) == sign][::-1]
    page = rows[query.offset :][: query.limit]
    return page[::-1] if query.before is not None else page, len(rows) > query.offset + query.limit


MOMENTS = st.none() | st.integers(-2, COUNT + 2).map(lambda n: NOW + timedelta(seconds=n))
CURSORS = st.none() | st.integers(0, COUNT - 1).map(id_of)
OF_ALL: dict[str, Any] = {
    "limit": st.integers(1, 30),
    "order": st.sampled_from(["asc", "desc"]),
    "after": CURSORS,
    "before": CURSORS,
    "status": st.sampled_from([None, *STATUSES, "failed"]),
    "model": st.sampled_from([None, *MODELS]),
    "provider": st.sampled_from([None, "acme", "other"]),
    "created_after": MOMENTS,
    "created_before": MOMENTS,
    "offset": st.integers(0, 3),
}
OPERATORS = st.builds(
    Query,
    key=st.sampled_from([None, None, "alice", "bob", "nobody"]),
    kind=st.sampled_from([None, "video", "image"]),
    failures=st.lists(st.sampled_from([*FAILURES[1:], FailureKind.TASK_LOST]), unique=True, max_size=2).map(tuple),
    fell_back=st.booleans(),
    maybe_billed=st.booleans(),
    **OF_ALL,
)
CLIENTS = st.builds(
    Query,
    key=st.just("alice"),
    kind=st.just("video"),
    metadata=st.dictionaries(st.sampled_from(["project", "parity", "none"]), st.sampled_from(["p1", "0", "1"])),
    inputs=st.lists(st.sampled_from(KINDS), unique=True, max_size=2).map(tuple),
    **OF_ALL,
)
QUERIES = CLIENTS | OPERATORS


@settings(max_examples=100, deadline=None)
@given(query=QUERIES)
def test_a_search_finds_what_a_look_at_every_row_finds(connection: apsw.Connection, query: Query) -> None:
    page = result_of(connection, query)
    assert (list(page.ids), page.has_more) == expected(query)


@settings(max_examples=100, deadline=None)
@given(query=QUERIES)
def test_no_search_looks_at_a_row_or_sorts(connection: apsw.Connection, query: Query) -> None:
    """Each read of the history is an index search that an id ends, whatever the filters are."""
    sql, values = Search(query).statement()
    plan = [row[3] for row in connection.execute(f"explain query plan {sql}", values)]
    reads = [line for line in plan if "generation" in line]
    assert reads
    assert all(line.startswith("SEARCH") for line in reads), plan
    assert all("COVERING INDEX" in line or "PRIMARY KEY" in line for line in reads), plan
    assert all("id>?" in line.replace("generation_id", "id") or "id<?" in line for line in reads), plan


def test_the_steps_follow_the_rarest_filter(connection: apsw.Connection) -> None:
    query = Query(key="alice", kind="video", limit=100, model="one", metadata={"project": "p9"})
    ((text, _, steps),) = connection.execute(*Search(query).statement()).fetchall()
    assert (text, steps) == ("[]", 2), "the filter that matches nothing ends the search at once"


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("way", ["after", "before"])
def test_a_search_that_is_cut_is_continued_with_the_cursor_that_its_error_names(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch, order: Any, way: str
) -> None:
    monkeypatch.setattr(search, "STEPS_MAX", 6)
    end = {"desc": "gen_" + "0" * 26, "asc": "gen_7" + "Z" * 25}[order]
    cursor = {"before": end} if way == "before" else {}
    base = Query(
        key="alice",
        kind="video",
        limit=3,
        order=order,
        model="one",
        status="completed",
        provider="acme",
        metadata={"project": "p3"},
    )
    listed: list[str] = []
    cuts = 0
    for _ in range(200):
        query = Query(**{name: getattr(base, name) for name in base.__struct_fields__} | cursor)
        try:
            page = result_of(connection, query)
        except SearchTooLong as error:
            cuts += 1
            cursor = {str(error.param): error.detail.partition(f"`{way}=")[2].partition("`")[0]}
            continue
        listed = listed + list(page.ids) if way == "after" else list(page.ids) + listed
        if not page.has_more:
            break
        cursor = {way: page.ids[-1] if way == "after" else page.ids[0]}
    base = Query(**{name: getattr(base, name) for name in base.__struct_fields__} | {"limit": 100})
    assert listed == expected(base)[0]
    assert cuts > 3


@given(number=st.integers(0, (1 << 130) - 1))
def test_a_number_survives_the_way_into_an_id_and_back(number: int) -> None:
    assert number_of(text_of(number)) == number


def test_a_migrated_ledger_has_the_metadata_of_what_it_stored_before(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "ledger.db"))
    *before, last = migrations.load("sqlite")[:12]
    for migration in before:
        connection.execute(migration.sql)
    insert = (
        "insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at, progress,"
        " fence, lease_until, version) values (?, 'alice', 'video', 'one', 'queued', ?, '', 0, 0, 0, 0, 0, 0)"
    )
    for row in ROWS[:3]:
        connection.execute(insert, (row["id"], to_json({"input": {"type": "x"}, "metadata": row["metadata"]})))
    connection.execute(insert, ("gen_0", to_json({"input": {"type": "x"}})))
    connection.execute(last.sql)
    query = Query(key="alice", kind="video", limit=9, metadata={"project": "p1", "parity": "1"})
    assert result_of(connection, query).ids == (ROWS[1]["id"],)
    assert connection.execute("select count(*) from generation_metadata").get == 6
    connection.close()


def test_a_migrated_ledger_knows_the_fallbacks_and_doubtful_bills_of_before(tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "ledger.db"))) as connection:
        *before, last = migrations.load("sqlite")[:17]
        for migration in before:
            connection.execute(migration.sql)
        for row in ROWS[:3]:
            connection.execute(
                "insert into generations (id, key, kind, model, status, request, plan, created_at, deadline_at,"
                " progress, fence, lease_until, version)"
                " values (?, 'a', 'video', 'one', 'failed', '{}', '', 0, 0, 0, 0, 0, 0)",
                (row["id"],),
            )
        # Of the first both attempts were tried, of the second one was dropped, the third was refused on one route.
        for n, route, state, failure, billed in (
            *((0, 0, "refused", "{}", "no"), (0, 1, "completed", None, "yes")),
            *((1, 0, "not_sent", None, "no"), (1, 1, "unknown", "{}", "maybe")),
            *((2, 0, "refused", "{}", "no"), (2, 0, "refused", "{}", "no")),
        ):
            connection.execute(
                "insert into attempts (id, generation_id, number, route, slots, state, form, reserved_at, tasks,"
                " failure, billed)"
                " select ?1 || count(*), ?1, count(*) + 1, ?2, '[0]', ?3, '', 0, '[]', ?4, ?5"
                " from attempts where generation_id = ?1",
                (ROWS[n]["id"], route, state, failure, billed),
            )
        connection.execute(last.sql)
        fallbacks = result_of(connection, Query(key=None, kind=None, limit=9, fell_back=True))
        doubtful = result_of(connection, Query(key="a", kind="video", limit=9, maybe_billed=True))
    assert (fallbacks.ids, doubtful.ids) == ((ROWS[0]["id"],), (ROWS[1]["id"],))
