"""What the statements of this package ask of a database, and the SQL that they may use.

A change of the ledger is a job: a coroutine that gets a `Transaction`. It waits for nothing but its transaction. In
SQLite it never waits at all, because its statements run at once on the thread of the event loop; another database sends
them over a connection. A job may be carried out a second time, if another job of the same transaction failed, so it
changes nothing but the database, or forgets at its begin what it noted the first time.

The text of a statement is SQLite's, limited to what PostgreSQL has as well, or to what is easily replaced:

- Placeholders are `?` and `?N`. Every value is used in the statement, because PostgreSQL infers its type there.
- A list of values is one JSON text: `in (select value from json_each(?))`, and for numbers
  `in (select cast(value as bigint) from json_each(?))`.
- A field of a JSON column is `json_extract(column, '$.path')`. PostgreSQL's schema has a function of this name that
  returns text, so numbers are cast. JSON is changed in Python.
- Rows become one JSON text with `json_group_array(json_array(…) order by …)`; in place of `json_array(…)` there may be
  a column of text, or `json(column)` for a column of JSON.
- The hints `indexed by NAME`, `+column`, and `cross join … on` are for SQLite. They change no result.
- A conflict has a target where it updates, and a value of the stored row is named with its table:
  `on conflict (key) do update set bytes = inline_bytes.bytes + excluded.bytes`.
- A violated constraint breaks a transaction of PostgreSQL. Where a row may exist already, a statement says
  `on conflict … do nothing`, and the number of changed rows says whether it was inserted.
- Sums of integers are cast to `bigint`, a table in `from` that is a select has a name, booleans are not numbers,
  `is not distinct from` compares what may be null, and a limit is never negative.
- The whole minute of a moment is `cast(created_at / 60 as integer)`, as SQLite's index has it.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from gateway.store.lineage import LedgerLineage
from gateway.store.replicas import Replicas
from gateway.store.request_rates import RequestRates
from gateway.store.signals import Signals
from gateway.store.start import Start

T = TypeVar("T")
Row = Sequence[Any]
Change = tuple[str, Sequence[Any]]  # an insert, an update or a delete, and its values


class Transaction(Protocol):
    """The statements of one job. What they write is committed with everything else that the job writes, or not at all.

    A statement gets its values in the order of its placeholders.
    """

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row."""
        ...

    async def first(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """The first row; None if there is no row."""
        ...

    async def value(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """The first column of the first row; None if there is no row."""
        ...

    async def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Carry out an insert, an update or a delete; returns the number of rows that it changed."""
        ...

    async def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out the same statement for each of several rows of values."""
        ...

    async def all_of(self, changes: Sequence[Change]) -> list[int]:
        """Carry out changes that are independent of one another; returns the number of rows that each has changed.

        None of them may look at what another one writes, and no two may write the same row: a database may carry them
        out as one statement, in any order. So they cost one exchange with a server. A transaction of all gateways on it
        waits for each exchange, because one of them at a time has the lock of the ledger.
        """
        ...


Work = Callable[[Transaction], Coroutine[Any, Any, T]]


class Reader(Protocol):
    """Reads what is committed, beside the writer. Every method raises `StoreUnavailable` if that is not possible."""

    async def all(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row of a statement that takes a millisecond or so."""
        ...

    async def long(self, client: str, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Every row, of which there should be few, of a statement that may take long.

        Such reads are shared fairly between clients, and end at a deadline. Raises `SearchTooLong` then, and
        `Overloaded` if too many of them wait.
        """
        ...


class Writer(Protocol):
    """Carries out jobs, each in a transaction that it may share with others."""

    async def run(self, work: Work[T], *, yields: bool = False) -> T:
        """The result of `work`, once it is committed and durable. Raises `StoreUnavailable` if that did not succeed.

        Work that `yields` is refused with `Overloaded` while many jobs wait, so that other work need not be. Its caller
        is a client that waits: where a database is silent, it gets the error before the end of the transaction.
        """
        ...

    async def purchase(self, work: Work[T], without_marker: Callable[[T], T]) -> T:
        """The result of `work` that may allow a submit: it comes after the marker of the ledger says so as well.

        If the marker cannot be written although the work is committed, the result is `without_marker(result)`. While
        that goes on, `StoreUnavailable` is raised before the work is done. A database without a marker does the same as
        in `run`.
        """
        ...

    @property
    def waiting(self) -> int:
        """How many jobs wait for the next transaction."""
        ...


class OpenCount(Struct, frozen=True, kw_only=True):
    """How many generations are open in all processes on the ledger."""

    of_owner: int
    of_all: int


class SharedCounts(Protocol):
    """What the transactions of all processes on the ledger count, where there can be several."""

    @property
    def has_place(self) -> str:
        """The SQL of whether a submit may begin to a provider, `?`, that takes so many, `?`, at the same time.

        False also if places are free, but for other processes, which have waited longer. Who got False asks again soon.
        """
        ...

    async def open_now(self, transaction: Transaction, owner: str) -> OpenCount:
        """How many generations are open now."""
        ...


class Processes(Protocol):
    """The processes that work on the ledger, one or several, as a transaction sees them."""

    @property
    def own(self) -> bytes:
        """The name of this process. It has another one after each start."""
        ...

    async def now(self, transaction: Transaction, own: datetime) -> float:
        """This moment in Unix seconds, by the clock that counts for all; `own`: by the clock of this process."""
        ...

    async def lives(self, transaction: Transaction, name: bytes) -> bool:
        """Whether the process of this name still works on the ledger."""
        ...


class Database(Protocol):
    """An open ledger. What is not a statement of this package is up to the kind of database."""

    @property
    def reader(self) -> Reader:
        """For reads outside of jobs."""
        ...

    @property
    def writer(self) -> Writer:
        """For jobs."""
        ...

    @property
    def lineage(self) -> LedgerLineage:
        """What the start has learnt about the lineage of the ledger."""
        ...

    @property
    def signals(self) -> Signals:
        """What other processes on this ledger are made aware of."""
        ...

    @property
    def replicas(self) -> Replicas | None:
        """The processes that work on it together; None if only one can."""
        ...

    @property
    def processes(self) -> Processes:
        """The processes that work on it, also if only one can."""
        ...

    @property
    def shared_counts(self) -> SharedCounts | None:
        """Counts over all processes; None if only one can work on it, which counts in its memory."""
        ...

    @property
    def request_rates(self) -> RequestRates | None:
        """The requests of clients, counted over all processes; None if only one can work on it."""
        ...

    @property
    def at_start(self) -> Start:
        """What the start has read; `gateway/store/sql/start.py` reads it."""
        ...

    async def ping(self) -> None:
        """See `Store.ping`."""
        ...

    def keep_time(self, now: datetime) -> None:
        """See `Store.keep_time`."""
        ...

    def log_bytes(self) -> int:
        """See `Store.log_bytes`; 0 for a database without such a log."""
        ...

    async def close(self) -> None:
        """Finish the jobs that wait, then close everything."""
        ...
