"""The processes that work on a ledger in PostgreSQL, as its transactions see them: the replicas.

A process that is killed has no heartbeat for `DEAD_SECONDS` before it counts as dead. A client whose call it cut off
repeats the call sooner. So each replica also holds a lock in the session of its heartbeats: the kernel closes the
connections of a process that has ended, the server then lets the lock go, and a transaction that gets it knows.
A replica that only lost its connection looks like one that has ended until its next heartbeat. That decides about
repeats of calls alone, where the danger is a second purchase, and never about who drives a generation.
"""

from collections.abc import Callable
from datetime import datetime

from gateway.store.sql.database import Transaction

# Shared, so that a session which the server has not given up yet does not make the next one wait.
HOLD = "select pg_advisory_lock_shared(hashtextextended($1, 0))"
_KIND = "replica "  # before the id: a process that has not joined yet has a name, too
_NOW = "select cast(extract(epoch from clock_timestamp()) as real)"
_LIVES = "select case when replica_lives(?1) then not pg_try_advisory_xact_lock(hashtextextended(?1, 0)) else false end"


class PostgresProcesses:
    """Implements `Processes`."""

    def __init__(self, replica: Callable[[], str]) -> None:
        """`replica` gives the id of this replica."""
        self._replica = replica

    @property
    def own(self) -> bytes:
        """See `Processes`."""
        return f"{_KIND}{self._replica()}".encode()

    async def now(self, transaction: Transaction, own: datetime) -> float:  # noqa: ARG002  # the interface
        """See `Processes`. The clock of the database counts."""
        return float(await transaction.value(_NOW))

    async def lives(self, transaction: Transaction, name: bytes) -> bool:
        """See `Processes`."""
        if name == self.own:
            return True
        replica = name.decode(errors="replace").removeprefix(_KIND)
        return bool(await transaction.value(_LIVES, (replica,)))
