"""The protocol for inputs that were uploaded to a provider."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct


class UploadKey(Struct, frozen=True):
    """One content in one account of a provider. It is uploaded once, until it expires there."""

    account: str  # a digest of the provider's name, base URL and key, from which the key cannot be found
    sha256: str  # of the bytes that the gateway got
    recipe: str = ""  # how they were converted before the upload; "" if they were not


class Uploads(Protocol):
    """URLs of uploads at providers. Every method may raise `StoreUnavailable`."""

    async def find(self, key: UploadKey, now: datetime) -> str | None:
        """The URL of an upload that has not expired, else None."""
        ...

    async def keep(self, key: UploadKey, url: str, expires_at: datetime) -> None:
        """Store the URL of an upload; it replaces an earlier one of the same key."""
        ...

    async def forget(self, account: str, digests: Sequence[str]) -> int:
        """Delete the uploads of these contents to an account, and return how many there were.

        It is called when the provider refused their URLs.
        """
        ...

    async def expire(self, now: datetime, limit: int) -> int:
        """Delete at most `limit` expired uploads, the oldest first, and return how many there were."""
        ...
