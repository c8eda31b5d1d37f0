"""What identifies a request, so that its repeat is recognised, also after the owner of the first one was adopted."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

import msgspec
from msgspec import Struct

from gateway.domain.generation.model import GenerationRequest
from gateway.domain.routing.image_limits import ImageFacts
from gateway.inputs.prepare import file_name
from gateway.store.clients import Adopted
from gateway.store.port import KEY_LIFE, Idempotency

_encode = msgspec.json.Encoder(order="deterministic").encode
# So long after an adoption a repeat of a request from before may come: a key of an open generation stays until its end.
ADOPTION_LIFE = KEY_LIFE + timedelta(hours=24)


class Because(StrEnum):
    """By what a request was recognised as the repeat of the one that made the generation."""

    KEY = "idempotency_key"  # or an id that the client gave the task
    RETRY = "retry"  # the client's library says that it sends the request again
    OVERTAKEN = "overtaken_by_retry"  # the request is a first one that came after its retry
    NO_RESULT = "call_without_result"  # an equal call without a key has ended without a result


class InlineFile(Struct, frozen=True):
    """An image whose bytes came with the request."""

    content: bytes
    facts: ImageFacts


def digest_of(request: GenerationRequest) -> bytes:
    """What equal requests have in common; different ones have different digests."""
    return sha256(_encode(request)).digest()


async def digests_before(
    request: GenerationRequest, files: Mapping[str, InlineFile], adopted: Sequence[Adopted], now: datetime
) -> tuple[bytes, ...]:
    """The digests that an equal request had with the keys that its client has adopted lately.

    The id of an image that comes with a request is made with the owner id. So a request without such images has one
    digest with all owners, and there is nothing to compute for it.
    """
    owners = [row.owner for row in adopted if row.adopted_at > now - ADOPTION_LIFE] if files else []
    return tuple([await asyncio.to_thread(_digest_with, request, files, owner) for owner in owners])


def _digest_with(request: GenerationRequest, files: Mapping[str, InlineFile], owner: str) -> bytes:
    text = _encode(request)
    for name, file in files.items():
        text = text.replace(name.encode(), file_name(owner, file.content).encode())
    return sha256(text).digest()


def because_of(idempotency: Idempotency, unmarked: Because) -> Because:
    """By what a repeat was recognised; `unmarked`: if nothing in it says that it is one."""
    if idempotency.key is not None:
        return Because.KEY
    return Because.RETRY if idempotency.retry else unmarked
