"""The transaction of a change that a start of the gateway makes to the whole ledger, before anything is served."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from gateway.store.sqlite.progress import migration_progress


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit all that the block writes, or nothing of it. The log says how far a long commit is.

    The writer of a running gateway has transactions of its own, which many jobs share.
    """
    connection.execute("begin immediate")
    try:
        yield
        with migration_progress(connection, "commit"):
            connection.execute("commit")
    except BaseException:  # also Ctrl-C: a part of the change must not stay
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("rollback")
        raise
