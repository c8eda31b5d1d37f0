"""Whether this process may submit: only while it is sure that no other one has taken its generations over."""

from typing import Protocol


class Liveness(Protocol):
    """Asked before each submit."""

    @property
    def is_sure(self) -> bool:
        """Whether this process is sure at this moment."""
        ...

    async def sure(self) -> None:
        """Wait until it is sure."""
        ...


class _Alone:
    is_sure = True

    async def sure(self) -> None:
        return


ALONE: Liveness = _Alone()  # a process that has the ledger for itself
