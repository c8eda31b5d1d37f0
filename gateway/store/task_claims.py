"""What the gateway asks of a store about tasks that no reply to their submit has named."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from gateway.domain.adapter.task import TaskRef
from gateway.domain.generation.reconciliation import Reporter

Teller = Reporter


class Told(StrEnum):
    """What has become of tasks that somebody told of."""

    ADOPTED = "adopted"  # the attempt has them
    REMEMBERED = "remembered"  # its submit is under way: it has them as soon as that is over
    REFUSED = "refused"  # they cannot be its own, or it has no room for more


class Callbacks(Protocol):
    """The tasks that attempts are told to have. Raises `StoreUnavailable`."""

    async def room(self, attempt_id: str) -> int:
        """How many further tasks an attempt can be told of.

        None while nothing of it was sent, and none while the tasks that the reply to its submit named, one for each
        output, run or are done.
        """
        ...

    async def tell(self, attempt_id: str, refs: Sequence[TaskRef], now: datetime, teller: Teller) -> Told:
        """Let an attempt have these tasks as well, whatever its state, while it has room: all of them or none.

        A `Conflict` where another attempt of the provider has one of them. A callback may come while the attempt is
        `submitting`: the tasks are remembered, and the attempt gets them when its submit is over, whatever its outcome:
        see `Store.accept` and `Store.write`.
        """
        ...
