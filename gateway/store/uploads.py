"""What the gateway asks of a store about inputs that were uploaded to a provider."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class UploadKey(Struct, frozen=True):
    """One content with one account: an upload of it is made once while it lives there."""

    account: str  # of the provider: a digest, nothing that could be used
    sha256: str  # of the bytes as the gateway got them
    recipe: str = ""  # what was made of them before; "" for nothing


class Uploads(Protocol):
    """Where a provider has what was uploaded. Raises `StoreUnavailable`."""

    async def find(self, key: UploadKey, now: datetime) -> str | None:
        """The URL of an upload that is not expired."""
        ...

    async def keep(self, key: UploadKey, url: str, expires_at: datetime) -> None:
        """Remember an upload, in the place of an earlier one."""
        ...

    async def forget(self, account: str, digests: Sequence[str]) -> int:
        """What the account has of these contents is of no use; how many uploads that were."""
        ...

    async def expire(self, now: datetime, limit: int) -> int:
        """Remove what is expired, at most so many, the oldest first; how many there were."""
        ...
