"""The transaction of a create in the SQLite ledger: what is checked again in it, and what it stores."""

from collections.abc import Sequence

import apsw

from gateway.domain.clients import CreateLimits
from gateway.domain.errors import InvalidImage
from gateway.domain.generation.model import Generation
from gateway.domain.money.budgets import Budget, Exceeded
from gateway.domain.routing.plan import param_of
from gateway.failpoints import reach
from gateway.store.files import FileLimits, StoredFile
from gateway.store.port import Idempotency
from gateway.store.sqlite import accounts, clients, generations
from gateway.store.sqlite import files as inputs
from gateway.store.sqlite import idempotency as repeats
from gateway.store.sqlite.accounting import follow
from gateway.store.sqlite.generations import changes
from gateway.store.sqlite.rows import FILE


def create(
    connection: apsw.Connection,
    *,
    generation: Generation,
    files: Sequence[StoredFile],
    idempotency: Idempotency | None,
    named: Sequence[str],
    limits: FileLimits | None,
    client_limits: CreateLimits | None,
    budgets: Sequence[Budget],
) -> str | Exceeded:
    """Store a generation as `Store.create` says, and return its id.

    For a repeated request it is the id of the earlier generation. A budget that would be exceeded is returned and not
    raised: an error would make the other jobs of the transaction begin again.
    """
    if idempotency is not None:
        earlier = repeats.earlier(connection, generation.owner, idempotency, generation.created_at)
        if earlier is not None:
            return earlier
    # Before everything that counts the create: what was written until here is committed.
    if budgets and (refusal := accounts.refusal(connection, generation, budgets)) is not None:
        return refusal
    if client_limits is not None:
        clients.check_create(connection, generation, client_limits)
    generations.add(connection, generation, None if idempotency is None else idempotency.digest)
    for file in files:
        connection.execute(inputs.INSERT_INLINE, FILE.values(file))
    if files and limits is not None:  # here and not only before: other creates may have come in between
        inputs.check_inline(inputs.rows_of(connection), generation.owner, 0, limits, generation.created_at)
    created_at = generation.created_at.timestamp()
    for file_id in [*(file.id for file in files), *named]:
        if not changes(connection, inputs.USE, (generation.id, generation.owner, file_id, created_at)):
            raise InvalidImage(
                f"The file {file_id!r} does not exist or has expired.", param=param_of(generation.request, file_id)
            )
    if idempotency is not None and idempotency.key is not None:
        repeats.add_key(connection, generation, idempotency.key, idempotency.digest)
    follow(connection, None, generation, generation.created_at)
    reach("create_before_commit")
    return generation.id
