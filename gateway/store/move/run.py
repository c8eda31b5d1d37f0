"""The steps of a move. Wherever it is killed, at most one of the two databases lets a gateway start by itself.

The target is written in one transaction, and compared with the source in it. Just before its commit the source notes
durably that the ledger is in the target. A kill between the two leaves a source that refuses, and an empty target: the
same command does it again.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from msgspec import Struct

from gateway.domain.errors import ConfigurationError
from gateway.store.move.contents import Seal, Table
from gateway.store.move.source import Source, open_source
from gateway.store.move.target import Target, open_target
from gateway.store.postgres.server import Server

SHOWN = 5  # tables that are named
Progress = Callable[[str, int, int], None]  # a table, how many rows it has, how many of them were written


class Moved(Struct, frozen=True, kw_only=True):
    """What was moved."""

    rows: int
    tables: int
    replaced: int = 0  # rows in which U+FFFD is in place of U+0000
    before: bool = False  # an earlier run has moved everything, and this one changed nothing


async def move(ledger: Path, server: Server, now: datetime, progress: Progress) -> Moved:
    """Move a ledger into an empty database. Raises `ConfigurationError`, and then nothing is moved.

    An exception is the loss of the connection in the very moment of the commit: then the source refuses to work, and
    the message says to run the command again.
    """
    is_left = False
    try:
        with open_source(ledger, now) as source:
            _check_place(source, server)
            try:
                async with open_target(server, now) as target:
                    if await _is_done(source, target):
                        return Moved(rows=0, tables=0, before=True)
                    moved = await _copy(source, target, progress)
                    source.leave(server.place, now)
                    is_left = True
            except ConfigurationError as error:
                raise _about("--to", error) from error
    except _PlacedError as error:
        if not is_left:
            raise
        raise ConfigurationError(
            f"{error}; it is not known whether the target has the ledger. Run the same command again"
        ) from error
    except ConfigurationError as error:
        raise _about("--from", error) from error
    return moved


def _check_place(source: Source, server: Server) -> None:
    if source.moved_to not in {None, server.place}:
        raise ConfigurationError(f"the ledger was moved already, to {source.moved_to}; name that database")


class _PlacedError(ConfigurationError):
    """Its text names the option that it is about."""


def _about(option: str, error: ConfigurationError) -> _PlacedError:
    return _PlacedError(f"{option}: {str(error).removeprefix('database.url: ')}")


async def _is_done(source: Source, target: Target) -> bool:
    """Whether the target has this ledger already; False if it is empty. Raises if it has anything else."""
    filled = await target.filled(source.tables())
    if not filled:
        return False
    if not await target.has_lineage(source.lineage):
        raise ConfigurationError(
            f"the database is not empty: it has rows in {', '.join(filled[:SHOWN])}. It has a ledger of its own, or a"
            " gateway was started on it; name a new database"
        )
    if source.moved_to is None:
        raise ConfigurationError(
            "the database has this ledger already, and the file does not know of the move: it is an older copy, or a"
            " gateway has worked with it since (`serve --restored`); name a new database, if you want to go on with it"
        )
    return True


async def _copy(source: Source, target: Target, progress: Progress) -> Moved:
    tables = source.tables()
    foreign = {table.name for table in tables} - await target.there(tables)
    if foreign:
        raise ConfigurationError(
            f"the database has no table {', '.join(sorted(foreign))}, which the file has; remove from the file what is"
            " not of the gateway"
        )
    rows = replaced = 0
    seals: dict[Table, Seal] = {}
    for table in tables:
        count = source.count(table)
        seal, changed = await target.copy(table, source.rows(table), partial(progress, table.name, count))
        seals[table] = seal
        rows, replaced = rows + seal.rows, replaced + changed
        if seal.rows != count:
            raise ConfigurationError(f"{table.name}: {seal.rows:,} rows were read of {count:,}")
    for table, seal in seals.items():
        stored = await target.seal(table)
        if stored != seal:
            raise ConfigurationError(
                f"the database has other values than were sent to it, in {table.name} ({stored.rows:,} rows of"
                f" {seal.rows:,}); nothing was moved. Something in the database changes what is written, such as a"
                " trigger; name a new database"
            )
        await target.analyze(table)
    await target.go_on_from({table.name: source.numbers().get(table.name, 0) for table in tables})
    await target.count()
    return Moved(rows=rows, tables=len(tables), replaced=replaced)
