"""The transaction of the usual reply to a submit: nothing has changed since the submit began."""

from collections.abc import Sequence
from datetime import datetime
from functools import reduce

from gateway.domain.generation.model import Attempt, Generation
from gateway.domain.generation.transitions import SaveAttempt, Write, apply
from gateway.domain.usage.contribution import provider_of
from gateway.store.sql.accounting import following
from gateway.store.sql.database import Transaction
from gateway.store.sql.generations import carry_out

_RAISE_VERSION = (
    "update generations set version = version + 1 where id = ? and fence = ? and version = ?"
    " and exists (select 1 from attempts where id = ? and state = 'submitting')"
    " and not exists (select 1 from callbacks where attempt_id = ?) returning version"
)
_CLAIM = "insert into tasks (provider, task_id, attempt_id) values (?, ?, ?) on conflict do nothing"


async def accept_expected(
    transaction: Transaction, *, before: Generation, writes: Sequence[Write], now: datetime
) -> int | None:
    """See `Store.accept_expected`."""
    attempt = next(write.attempt for write in writes if isinstance(write, SaveAttempt))
    guard = (before.id, before.fence, before.version, attempt.id, attempt.id)
    version: int | None = await transaction.value(_RAISE_VERSION, guard)
    if version is None:
        return None
    provider = before.route(attempt).provider
    claims = [(_CLAIM, (provider, task.ref.id, attempt.id)) for task in attempt.tasks]
    after = reduce(apply, writes, before)
    counted = [] if _is_usual(before, after, attempt) else await following(transaction, before, after)
    await carry_out(transaction, before.id, writes, now, [*claims, *counted])
    return version


def _is_usual(before: Generation, after: Generation, attempt: Attempt) -> bool:
    """Whether nothing that is counted differs: one running task for each output; see `accounting.following`."""
    return (
        after.status is before.status
        and provider_of(after) == provider_of(before)
        and len(attempt.tasks) == len(attempt.slots)
        and not any(task.status.terminal for task in attempt.tasks)
    )
