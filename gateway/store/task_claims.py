"""The protocol for task ids that a callback or an operator reports. Rules: `domain/generation/reconciliation.py`."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.domain.adapter.task import TaskRef
from gateway.domain.generation.reconciliation import Reporter


class ClaimResult(StrEnum):
    """What became of reported task ids."""

    ADOPTED = "adopted"  # the attempt has these tasks
    REMEMBERED = "remembered"  # the submit has no answer yet: the attempt gets the tasks when it has one
    REFUSED = "refused"  # the attempt cannot have such tasks, or has no room for more


class TaskClaims(Protocol):
    """Claims of tasks for attempts. Every method may raise `StoreUnavailable`."""

    async def free_slots(self, attempt_id: str) -> int:
        """How many further task ids may be reported for an attempt; 0 if the attempt does not exist.

        It is 0 before the submit was sent, and 0 while the tasks that the reply to the submit named, one for each
        output, run or have completed.
        """
        ...

    async def claim(self, attempt_id: str, refs: Sequence[TaskRef], now: datetime, reporter: Reporter) -> ClaimResult:
        """Give an attempt these tasks, in any state that has room for them: all of them or none.

        Raises `Conflict` if another attempt of the provider has one of them. While the attempt is `submitting` the ids
        are only remembered. The attempt gets them when its submit has ended, with any outcome: see `Store.accept` and
        `Store.write`.
        """
        ...
