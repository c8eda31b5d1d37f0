"""Statements in the words of SQLite become those of PostgreSQL, and every one of the ledger can be prepared there."""

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.postgres.dialect import together, translate

from ....cases import every
from ....ledger_statements import statements


@every(
    "sql, expected, values",
    [
        ("a = ? and b = ?", "a = $1 and b = $2", ("x", "y")),
        ("a = ?2 and b = ?1 and c = ?2", "a = $1 and b = $2 and c = $1", ("y", "x")),
        ("a = ?3 and b = ?", "a = $1 and b = $2", ("z", "w")),  # `?` comes after the largest number
        ("a = '?' and b = \"?\" -- ?\n and c = ?", "a = '?' and b = \"?\" and c = $1", ("x",)),
        ("from g indexed by i where +a = ?", "from g where a = $1", ("x",)),
        ("from g as h indexed by i where a + b = - 1 and not +c", "from g as h where a + b = - 1 and not c", ()),
        ("g cross join a on a.i = g.i cross join b where c", "g join a on a.i = g.i cross join b where c", ()),
        ("g cross join (select 1 from x) as a on b", "g join (select 1 from x) as a on b", ()),
        ("in (select value from json_each(?))", "in (select value from json_elements($1))", ("x",)),
        ("cast(created_at / 60 as integer)", "cast(floor(created_at / 60) as bigint)", ()),
        ("cast(round(cast(a as real)) as integer)", "cast(round(cast(a as double precision)) as bigint)", ()),
        (
            "json_group_array(json_array(a, '(') order by n) filter (where b > ?), c",
            "cast(coalesce(json_agg(json_build_array(a, '(') order by n) filter(where b > $1), '[]') as text), c",
            ("x",),
        ),
        ("not exists (select 1 from x)", "not exists (select 1 from x offset 0)", ()),
        ("exists (x)", "exists (x)", ()),
        (
            "delete from d where (a, b) in (select a, b from d as e where c < ? limit ?)",
            "delete from d where ctid = any(array(select ctid from d as e where c < $1 limit $2))",
            ("x", "y"),
        ),
        ("delete from d where a in (select a from e)", "delete from d where a in (select a from e)", ()),
        (
            "delete from d where a in (select a from d) and b",
            "delete from d where a in (select a from d) and b",
            (),
        ),
        ("json_group_array(json(a))", "cast(coalesce(json_agg(cast(a as json)), '[]') as text)", ()),
    ],
)
def test_statements_are_translated(sql: str, expected: str, values: tuple[str, ...]) -> None:
    statement = translate(sql)
    assert statement.sql == expected
    assert tuple(statement.values(("x", "y", "z", "w")))[: len(values)] == values


def test_changes_become_one_statement_that_takes_their_values_one_after_another() -> None:
    assert together(("insert into a (b, c) values (?2, ?1)", "delete from d where e = ?", "delete from f")) == (
        "with change_0 as (insert into a(b, c) values ($1, $2) returning 1),"
        " change_1 as (delete from d where e = $3 returning 1),"
        " change_2 as (delete from f returning 1)"
        " select (select count(*) from change_0), (select count(*) from change_1), (select count(*) from change_2)"
    )


@given(st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=1, max_size=12))
def test_each_placeholder_gets_the_value_that_sqlite_would_give_it(numbers: list[int | None]) -> None:
    sql = "select " + ", ".join("?" if number is None else f"?{number}" for number in numbers)
    given_values = [f"value {place}" for place in range(21)]
    largest, wanted = 0, []
    for number in numbers:
        largest = max(largest, number or largest + 1)
        wanted.append(given_values[(number or largest) - 1])

    statement = translate(sql)

    values = statement.values(given_values)
    assert [values[int(part[1:]) - 1] for part in statement.sql.removeprefix("select ").split(", ")] == wanted


@given(st.text(st.sampled_from("?$'()-+ json_each\n"), max_size=20))
def test_a_text_in_quotes_stays(text: str) -> None:
    quoted = "'" + text.replace("'", "''") + "'"
    assert translate(f"select {quoted}, ?").sql == f"select {quoted}, $1"


async def test_every_statement_can_be_prepared(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    wrong, number = [], 0
    for name, sql in statements():
        number += 1
        try:
            await connection.prepare(translate(sql).sql)
        except asyncpg.PostgresError as error:
            wrong.append(f"{name}: {error}\n{translate(sql).sql}")
    await connection.close()
    assert not wrong, "\n".join(wrong)
    assert number > 150


@pytest.mark.parametrize("sql", ["select (1", "select json_each(1"])
def test_an_open_bracket_is_a_defect(sql: str) -> None:
    with pytest.raises(ValueError, match="bracket"):
        translate(f"{sql} cross join (")
