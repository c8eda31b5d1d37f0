"""An event stream has the public events of a generation, in order, up to its end and not after it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.adapter.task import Status
from gateway.domain.generation.event_names import ENDS, PUBLIC_EVENTS
from gateway.domain.generation.model import Generation
from gateway.domain.generation.transitions import STATUS_MOVES
from gateway.generations.event_stream import EventBatch, EventStreamSource
from gateway.generations.notifier import Notifier
from gateway.store.port import Event

from ..builders import T0, generation

LIFE = (
    "generation.queued",
    "attempt.reserved",
    "attempt.submitting",
    "attempt.accepted",
    "generation.in_progress",
    "output.found",
    "output.kept",
    "output.completed",
    "attempt.completed",
    "generation.completed",
    "output.kept",
    "output.completed",  # by a task that had been abandoned
)
PUBLIC = ["generation.queued", "generation.in_progress", "output.completed", "generation.completed"]


class Ledger:
    """A store with one generation. `between` is called after the first read of its events."""

    def __init__(self, rows: Sequence[str], status: Status) -> None:
        self.rows = list(rows)
        self.generation: Generation | None = replace(generation(), status=status)
        self.between: list[str] = []

    async def events(self, generation_id: str, after: int = 0) -> list[Event]:
        rows = [
            Event(seq=seq, generation_id=generation_id, type=row, data={}, at=T0)
            for seq, row in enumerate(self.rows, 1)
            if seq > after
        ]
        if self.between:
            assert self.generation is not None
            self.rows += self.between
            self.generation = replace(self.generation, status=Status.COMPLETED)
            self.between = []
        return rows

    async def get(self, _generation_id: str, _key: str | None = None) -> Generation | None:
        return self.generation


class StillClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)

    def call_later(self, seconds: float, callback: Any) -> Any:
        raise NotImplementedError


async def news(ledger: Ledger, after: int = 0) -> EventBatch | None:
    return await EventStreamSource(ledger, Notifier(), StillClock()).batch_after("gen_1", "key", after)  # type: ignore[arg-type]  # all of a store that is needed


def names(batch: EventBatch | None) -> list[str]:
    assert batch is not None
    return [row.type for row in batch.events]


async def test_a_stream_has_the_public_events_up_to_the_end_and_nothing_after_it() -> None:
    batch = await news(Ledger(LIFE, Status.COMPLETED))
    assert batch is not None
    assert (names(batch), batch.ended) == (PUBLIC, True)


@pytest.mark.parametrize("after", range(len(LIFE) + 1))
async def test_a_stream_from_any_position_has_the_events_after_it_up_to_the_end(after: int) -> None:
    batch = await news(Ledger(LIFE, Status.COMPLETED), after)
    assert batch is not None
    assert batch.ended
    rest = [row for row in LIFE[after : LIFE.index("generation.completed") + 1] if row in PUBLIC_EVENTS]
    assert names(batch) == rest


async def test_the_stream_of_an_open_generation_has_not_ended() -> None:
    batch = await news(Ledger(LIFE[:5], Status.IN_PROGRESS))
    assert batch is not None
    assert (names(batch), batch.ended) == (PUBLIC[:2], False)


async def test_an_end_between_the_two_reads_of_the_ledger_is_in_the_batch() -> None:
    ledger = Ledger(LIFE[:5], Status.IN_PROGRESS)
    ledger.between = list(LIFE[5:10])
    batch = await news(ledger, 5)
    assert batch is not None
    assert (names(batch), batch.ended) == (PUBLIC[2:], True)


async def test_a_generation_that_does_not_exist_has_no_batch() -> None:
    ledger = Ledger((), Status.QUEUED)
    ledger.generation = None
    assert await news(ledger) is None


def test_every_move_of_a_generation_is_public_and_every_end_is_one() -> None:
    assert {f"generation.{status}" for status in STATUS_MOVES} <= set(PUBLIC_EVENTS)
    assert {f"generation.{status}" for status in Status if not STATUS_MOVES[status]} == ENDS
    assert not [row for row in PUBLIC_EVENTS if row.startswith("attempt.")]
