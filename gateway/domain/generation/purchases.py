"""What stays in the ledger when a generation is deleted: which attempts may have been billed, and by whom. Pure.

An operator needs this to check the provider's invoice. A purchase has nothing that the client sent: no prompt, no
image, no URL, no metadata.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from msgspec import Struct

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import Kind
from gateway.domain.generation.cost_limit import billed_of, cost_of
from gateway.domain.generation.model import Generation


class Purchase(Struct, frozen=True, kw_only=True):
    """An attempt of a deleted generation that was billed or may have been."""

    generation_id: str
    attempt_id: str
    key: str  # the API key that owned the generation
    kind: Kind
    model: str  # as the client named it
    provider: str
    provider_model: str
    tasks: tuple[str, ...]  # the provider's own ids, for a search in its invoice or console
    billed: Literal[Billed.MAYBE, Billed.YES]
    cost_usd: float | None  # None: the route had no price
    created_at: datetime  # of the generation
    sent_at: datetime | None
    ended_at: datetime | None
    deleted_at: datetime


def purchases_of(generation: Generation, deleted_at: datetime) -> Iterator[Purchase]:
    """The attempts that were billed or may have been; nothing for a generation that certainly cost nothing."""
    for attempt in generation.attempts:
        billed = billed_of(generation.route(attempt), attempt)
        if billed is Billed.NO:
            continue
        route = generation.route(attempt)
        yield Purchase(
            generation_id=generation.id,
            attempt_id=attempt.id,
            key=generation.owner,
            kind=generation.kind,
            model=generation.request.model,
            provider=route.provider,
            provider_model=route.model,
            tasks=tuple(task.ref.id for task in attempt.tasks),
            billed=billed,
            cost_usd=cost_of(generation, attempt),
            created_at=generation.created_at,
            sent_at=attempt.sent_at,
            ended_at=attempt.ended_at,
            deleted_at=deleted_at,
        )
