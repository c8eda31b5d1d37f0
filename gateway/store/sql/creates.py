"""The transaction of a create: what is checked again in it, and what it stores."""

from collections.abc import Sequence

from gateway.domain.clients import CreateLimits
from gateway.domain.errors import InvalidImage, Overloaded
from gateway.domain.generation.model import Generation
from gateway.domain.money.budgets import Budget, Exceeded
from gateway.domain.routing.plan import param_of
from gateway.failpoints import reach
from gateway.sharing.open_places import no_place
from gateway.store.files import FileLimits, StoredFile
from gateway.store.port import Idempotency
from gateway.store.sql import accounts, clients, generations
from gateway.store.sql import files as inputs
from gateway.store.sql import idempotency as repeats
from gateway.store.sql.accounting import following
from gateway.store.sql.database import SharedCounts, Transaction
from gateway.store.sql.rows import FILE


async def create(
    transaction: Transaction,
    *,
    generation: Generation,
    files: Sequence[StoredFile],
    idempotency: Idempotency | None,
    named: Sequence[str],
    limits: FileLimits | None,
    client_limits: CreateLimits | None,
    budgets: Sequence[Budget],
    is_shared: bool,
    open_max: int | None,
    counts: SharedCounts | None,
) -> str | Exceeded | Overloaded:
    """Store a generation as `Store.create` says, and return its id.

    For a repeated request it is the id of the earlier generation. A budget that would be exceeded, and too many open
    generations, are returned and not raised: an error would make the other jobs of the transaction begin again.
    `is_shared`: other processes make creates in the same ledger, and one of them may have got the retry of this request
    before.
    """
    if idempotency is not None:
        earlier = await repeats.earlier(transaction, generation.owner, idempotency, generation.created_at)
        if earlier is None and is_shared:
            earlier = await repeats.overtaken(transaction, generation.owner, idempotency, generation.created_at)
        if earlier is not None:
            return earlier
    if counts is not None and open_max is not None:
        now_open = await counts.open_now(transaction, generation.owner)
        if (full := no_place(now_open.of_owner, now_open.of_all, open_max)) is not None:
            return full
    # Before everything that counts the create: what was written until here is committed.
    if budgets and (refusal := await accounts.refusal(transaction, generation, budgets)) is not None:
        return refusal
    if client_limits is not None:
        await clients.check_create(transaction, generation, client_limits)
    counted = await following(transaction, None, generation)
    await generations.add(transaction, generation, None if idempotency is None else idempotency.digest, counted)
    for file in files:
        await transaction.run(inputs.INSERT_INLINE, FILE.values(file))
    if files and limits is not None:  # here and not only before: other creates may have come in between
        await inputs.check_inline(transaction.all, generation.owner, 0, limits, generation.created_at)
    created_at = generation.created_at.timestamp()
    for file_id in [*(file.id for file in files), *named]:
        if not await transaction.run(inputs.USE, (generation.id, generation.owner, file_id, created_at)):
            raise InvalidImage(
                f"The file {file_id!r} does not exist or has expired.", param=param_of(generation.request, file_id)
            )
    if idempotency is not None:
        for name in idempotency.keys:
            await repeats.add_key(transaction, generation, name, idempotency.digest)
        if idempotency.key is None and idempotency.retry and is_shared:
            await repeats.put_retry(transaction, generation, idempotency.digest)
    reach("create_before_commit")
    return generation.id
