"""Removes what has been stored for as long as `[retention]` says: a few rows in each call, so that nothing stalls."""

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.live import Live
from gateway.settings.sections import RetentionSettings
from gateway.store.port import Store
from gateway.store.retention import FIRST_END, EndPlace

# Generations at once: the event loop needs about 5 milliseconds to delete them with all that belongs to them.
BATCH_OF_GENERATIONS = 8
BATCH = 200  # rows at once: about a millisecond


class KeepFor(Struct, frozen=True, kw_only=True):
    """How long each kind of row is stored. None: for ever."""

    generations: timedelta | None = None  # after the end, and at least as long as a file of it is stored
    events: timedelta | None = None  # after the event, and at least until the end of the generation
    deliveries: timedelta | None = None  # after the event that they announce, and at least until they have ended
    usage: timedelta | None = None  # after the day


def kept_for(settings: RetentionSettings) -> KeepFor:
    """The times of the configuration."""
    days = (settings.generations_days, settings.events_days, settings.deliveries_days, settings.usage_days)
    generations, events, deliveries, usage = (None if number is None else timedelta(number) for number in days)
    return KeepFor(generations=generations, events=events, deliveries=deliveries, usage=usage)


class OldRows:
    """Removes the rows of each kind that are old enough."""

    def __init__(self, store: Store, keep: Live[KeepFor]) -> None:
        self._store = store
        self._keep = keep
        self._seen_events = 0  # events up to this number are deleted, or stay for ever; a restart begins again

    async def remove(self, now: datetime, is_stopping: Callable[[], bool]) -> int:
        """Remove what is old at `now`, until `is_stopping`; returns how many rows, counting a generation as one."""
        total = 0
        keep = self._keep.current
        if keep.generations is not None:
            total += await self._generations(now - keep.generations, now, is_stopping)
        if keep.events is not None:
            total += await self._events(now - keep.events, is_stopping)
        if keep.usage is not None:
            before = (now - keep.usage).date()
            while not is_stopping() and (count := await self._store.usage.expire(before, BATCH)):
                total += count
        return total

    async def deliveries(self, now: datetime, limit: int) -> int:
        """Remove tests of webhooks, and the deliveries that are old; returns how many."""
        keep = self._keep.current.deliveries
        before = None if keep is None else now - keep
        return await self._store.webhooks.expire(now, limit, before=before)

    async def _generations(self, ended_before: datetime, now: datetime, is_stopping: Callable[[], bool]) -> int:
        total = 0
        place: EndPlace | None = FIRST_END
        while place is not None and not is_stopping():
            count, place = await self._store.retention.remove_generations(
                ended_before, now, BATCH_OF_GENERATIONS, place
            )
            total += count
        return total

    async def _events(self, before: datetime, is_stopping: Callable[[], bool]) -> int:
        total = 0
        place: int | None = self._seen_events
        while place is not None and not is_stopping():
            self._seen_events = place
            count, place = await self._store.retention.remove_events(before, BATCH, place)
            total += count
        return total
