"""The contract of what stores the bytes of input images, each content under its SHA-256."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

Named = Callable[[Sequence[str]], Awaitable[set[str]]]  # digests → those that a file in the ledger has
Going = Callable[[], bool]  # False as soon as the work should end
BATCH = 200  # blobs at once: the event loop needs about a millisecond for them
RETRY_AFTER_SECONDS = 5  # when a client should try again after a store of blobs has failed
CHUNK = 256 * 1024  # bytes read at once


class Blobs(Protocol):
    """Blobs by digest, the SHA-256 in hex. A blob is there completely or not at all, and never changes.

    Every method may raise `StoreUnavailable`: its `detail` is for clients, its `reason` for the operator. `client` is
    the API key that a call is for: callers take fair turns.
    """

    async def put(self, content: bytes, client: str = "") -> str:
        """Store the bytes durably, where every gateway on the ledger reads them, and return their digest.

        The blob stays for an hour at least, and then for as long as a file in the ledger names it.
        """
        ...

    async def get(self, digest: str, client: str = "") -> bytes | None:
        """The bytes, or `None` when they are lost or were removed."""
        ...

    async def has(self, digest: str, client: str = "") -> bool:
        """True if `chunks` can give the bytes."""
        ...

    def chunks(self, digest: str, client: str = "") -> AsyncIterator[bytes]:
        """The bytes in pieces of at most `CHUNK`. Raises `OSError` too when they cannot be read to the end."""
        ...

    async def sweep(self, before: datetime, named: Named, *, of_all: bool, going: Going) -> int:
        """Remove the blobs that were not put since `before` and that nothing names; how many these were.

        `of_all`: also from the place that all gateways have in common.
        """
        ...

    async def close(self) -> None:
        """End what is under way."""
        ...
