"""Migrations after the first release: the version before can work with their schema, and nobody waits long."""

import re

from gateway.store import migrations
from gateway.store.migrations import Migration

from ....cases import every

FIRST = 3  # the schema of the first program with these rules
_FUNCTION = re.compile(r"\$\$.*?\$\$", re.DOTALL)
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_REASON = re.compile(r"^-- harmless: \S.*$", re.MULTILINE)
_BREAKS = re.compile(r"^-- breaks programs before schema \d+: \S.*$", re.MULTILINE)
_TYPE = "(?:text|bigint|double precision|boolean|bytea|timestamptz|smallint|integer|jsonb)"
# Statements that no program of the version before notices, and that are done in a moment whatever the tables have.
_HARMLESS = (
    r"create (?:or replace )?function \w+\(",
    r"create (?:or replace )?trigger \w+ ",
    r"create (?:unlogged )?table \w+ \(",
    r"create type \w+ as enum",
    rf"alter table \w+ add column \w+ {_TYPE}(?: collate \"C\")?(?:(?: not null)? default [^(),]+)?$",
    r"insert into \w+ ",
)
_APART = (r"create (?:unique )?index concurrently \w+ on ", r"drop index concurrently if exists \w+$")


def faults(migration: Migration) -> list[str]:
    """What is wrong with a file, a line for each statement."""
    text = _COMMENT.sub("", _FUNCTION.sub("", migration.sql))
    statements = [" ".join(part.split()) for part in text.split(";") if part.strip()]
    if _BREAKS.search(migration.sql):
        return []
    if migration.oldest == migration.number:
        return ["it says neither which programs work with it, nor why it breaks those of the version before"]
    made = set(re.findall(r"create (?:unlogged )?table (\w+)", text))
    wrong = []
    for statement in statements:
        index = re.match(r"create (?:unique )?index \w+ on (\w+)", statement)
        fits = any(re.match(rule, statement) for rule in (_APART if migration.is_apart else _HARMLESS))
        if not fits and not (index and index[1] in made) and not _REASON.search(migration.sql):
            wrong.append(statement)
    if migration.is_apart:
        for position, name in enumerate(migration.statements):
            built = re.match(r"create (?:unique )?index concurrently (\w+)", " ".join(name.split()))
            dropped = f"drop index concurrently if exists {built[1]}" if built else ""
            if built and dropped not in (" ".join(each.split()) for each in migration.statements[:position]):
                wrong.append(f"{built[1]}: an interrupted build is not dropped first")
    return wrong


def test_every_migration_leaves_the_version_before_at_work() -> None:
    wrong = {migration.name: lines for migration in migrations.load("postgres")[FIRST:] if (lines := faults(migration))}
    assert not wrong, 'see "A change of the schema" in CONTRIBUTING.md'


APART = "-- without a transaction\n"
HEAD = "-- works with programs from schema 3\n"


@every(
    "sql, wrong",
    [
        (HEAD + "create table a (b text not null);\ncreate index c on a (b);", 0),
        (HEAD + "alter table events add column x bigint not null default 0;", 0),
        (HEAD + 'alter table events add column x text collate "C";', 0),
        (HEAD + "create or replace function f() returns trigger as $$ drop table x; $$;", 0),
        (
            HEAD + APART + "drop index concurrently if exists a;\ncreate index concurrently a on b (c);",
            0,
        ),
        (HEAD + "-- harmless: no program has ever read it\nalter table events drop column x;", 0),
        ("-- breaks programs before schema 4: they do not know the clock\nalter table events drop column x;", 0),
        ("create table a (b text);", 1),
        (HEAD + "alter table events drop column type;", 1),
        (HEAD + "alter table events add column x text not null;", 1),
        (HEAD + "alter table events add column x timestamptz default clock_timestamp();", 1),
        (HEAD + "alter table events alter column x type text;", 1),
        (HEAD + "alter table events add constraint x check (seq > 0);", 1),
        (HEAD + "create index c on events (type);", 1),
        (HEAD + "update events set type = data;", 1),  # noqa: S608  # a fixed text
        (HEAD + "drop table events; drop trigger x on y;", 2),
        (HEAD + APART + "create index concurrently a on b (c);", 1),
        (HEAD + APART + "create table a (b text);", 1),
    ],
)
def test_what_the_rules_refuse(sql: str, wrong: int) -> None:
    assert len(faults(Migration(4, "004_x.sql", sql))) == wrong
