"""What a create checks and inserts, in one transaction."""

from collections.abc import Sequence

from msgspec import Struct

from gateway.domain.clients import CreateLimits
from gateway.domain.errors import InvalidImage
from gateway.domain.generation.model import Generation
from gateway.domain.money.budgets import Budget, Exceeded
from gateway.domain.routing.plan import param_of
from gateway.failpoints import reach
from gateway.store.files import FileLimits, StoredFile
from gateway.store.port import Idempotency
from gateway.store.sql import accounts, clients, files, generations
from gateway.store.sql import idempotency as repeats
from gateway.store.sql.accounting import follow
from gateway.store.sql.database import Transaction
from gateway.store.sql.rows import FILE


class Create(Struct, frozen=True, kw_only=True):
    """The arguments of `Store.create`."""

    generation: Generation
    files: Sequence[StoredFile]
    idempotency: Idempotency | None
    named: Sequence[str]
    limits: FileLimits | None
    client_limits: CreateLimits | None
    budgets: Sequence[Budget]

    async def insert(self, transaction: Transaction) -> str | Exceeded:
        """The id of the new generation, or of the one that an earlier request made, or the budget that is too small.

        Raises what `Store.create` raises for everything else.
        """
        generation, idempotency = self.generation, self.idempotency
        if idempotency is not None:
            earlier = await repeats.earlier(transaction, generation.owner, idempotency, generation.created_at)
            if earlier is not None:
                return earlier
        # Returned and not raised: an error would make the other jobs of the transaction begin again. So it comes
        # before everything that counts the create: what was written until here is committed.
        if self.budgets and (refusal := await accounts.refusal(transaction, generation, self.budgets)) is not None:
            return refusal
        if self.client_limits is not None:
            await clients.check_create(transaction, generation, self.client_limits)
        await generations.add(transaction, generation, None if idempotency is None else idempotency.digest)
        if self.files or self.named:
            await self._use_files(transaction)
        if idempotency is not None and idempotency.key is not None:
            await repeats.add_key(transaction, generation, idempotency.key, idempotency.digest)
        await follow(transaction, None, generation, generation.created_at)
        reach("create_before_commit")
        return generation.id

    async def _use_files(self, transaction: Transaction) -> None:
        """Insert the files that came with the create, and note all that the generation uses."""
        owner, now = self.generation.owner, self.generation.created_at
        for file in self.files:
            await transaction.run(files.INSERT_INLINE, FILE.values(file))
        if self.files and self.limits is not None:  # here and not only before: other creates may have come in between
            await files.check_inline(transaction.all, owner, 0, self.limits, now)
        for file_id in [*(file.id for file in self.files), *self.named]:
            if not await transaction.run(files.USE, (self.generation.id, owner, file_id, now.timestamp())):
                raise InvalidImage(
                    f"The file {file_id!r} does not exist or has expired.",
                    param=param_of(self.generation.request, file_id),
                )
