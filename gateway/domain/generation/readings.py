"""Which tasks must be read before money is spent, a task is given up, or a deadline counts. Pure.

Time that passed while nobody looked proves nothing: the task may have finished during a stop of the gateway, a slow
reading, or a wait that the provider asked for. So each of these decisions needs a reading that began at the moment that
the decision depends on, or later. After a bounded number of failed readings the decision is made without one.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from gateway.domain.adapter.contract import Polling
from gateway.domain.generation.changes import Draft
from gateway.domain.generation.model import Attempt, AttemptState
from gateway.domain.generation.task_polling import (
    DECIDE_UNREAD,
    GIVE_UP_UNREAD,
    HintsOf,
    TaskKey,
    Watch,
    first_watch,
    given_up,
    is_answered,
    needed,
    open_tasks,
    times_out_at,
)


class Readings:
    """The open tasks of a generation in one step, with what the driver remembers of their readings."""

    def __init__(
        self, draft: Draft, watches: dict[TaskKey, Watch], hints: HintsOf, under_way: frozenset[TaskKey]
    ) -> None:
        """`under_way`: the tasks that are being read now. `watches` is changed."""
        self._draft = draft
        self.watches = watches
        self._hints = hints
        self.under_way = under_way

    def polling(self, attempt: Attempt) -> Polling:
        """When its tasks are read: seldom once it was given up, unless another attempt is about to be paid for."""
        polling = self._hints(self._draft.generation.route(attempt)).polling
        is_seldom = attempt.state is AttemptState.ABANDONED and not self._is_purchase_near(attempt)
        return given_up(polling) if is_seldom else polling

    def watch(self, attempt: Attempt, index: int) -> Watch:
        """What the driver remembers of a task, a new watch where it remembers nothing."""
        key = (attempt.id, index)
        known = self.watches.get(key)
        if known is None:
            known = self.watches[key] = first_watch(attempt, index, self.polling(attempt), self._draft.now)
        return known

    def is_overdue(self, attempt: Attempt) -> bool:
        """True once the attempt's time-out has passed. By itself that proves nothing about its tasks."""
        return self._draft.now >= self._times_out_at(attempt)

    def is_adapter_failing(self, attempt: Attempt) -> bool:
        """True if the adapter raised at the newest reading of an open task: the provider is not to blame then."""
        watches = (self.watches.get((attempt.id, index)) for index in open_tasks(attempt))
        return any(watch is not None and watch.adapter_failed for watch in watches)

    def may_give_up(self, attempt: Attempt) -> bool:
        """True once every open task of an overdue attempt was read at or after its time-out and was not done.

        Tasks that nobody can read, because no key is configured, are never given up for that.
        """
        return self._are_read(
            ((attempt, index) for index in open_tasks(attempt)), lambda _: self._times_out_at(attempt), GIVE_UP_UNREAD
        )

    def may_buy(self, slots: Iterable[int], before: Iterable[Attempt], not_before: datetime | None = None) -> bool:
        """True once every open task that could fill one of these outputs was read since the last attempt ended.

        `before` are the attempts that the purchase follows; `not_before` is when it became due. A task beyond the
        number asked for can fill any output.
        """
        wanted = set(slots)
        ends = {one.id: one.ended_at for one in before if one.ended_at is not None}

        def since(attempt: Attempt) -> datetime:
            own = self._times_out_at(attempt) if self.is_overdue(attempt) else attempt.ended_at or attempt.reserved_at
            others = (at for attempt_id, at in ends.items() if attempt_id != attempt.id)
            return max(own, *others, not_before or own)

        could_fill = (
            (attempt, index)
            for attempt, index in self._open()
            if attempt.tasks[index].slot in wanted or self._is_beyond(attempt.tasks[index].slot)
        )
        return self._are_read(could_fill, since, DECIDE_UNREAD, without_key=True)

    def may_expire(self) -> bool:
        """True once every task whose output is still open was read at the deadline or later."""
        deadline = self._draft.generation.deadline_at
        return self._are_read(
            (
                (attempt, index)
                for attempt, index in self._open()
                if not self._draft.generation.output(attempt.tasks[index].slot).status.terminal
            ),
            lambda _: deadline,
            DECIDE_UNREAD,
            without_key=True,
        )

    def _are_read(
        self,
        tasks: Iterable[tuple[Attempt, int]],
        since: Callable[[Attempt], datetime],
        unread_max: int,
        *,
        without_key: bool = False,
    ) -> bool:
        """Ask for the readings that are missing; True when none is. `without_key`: go on where nobody can read."""
        answers = []
        for attempt, index in tasks:
            key, moment = (attempt.id, index), since(attempt)
            watch = needed(self.watch(attempt, index), moment, reading=key in self.under_way, now=self._draft.now)
            self.watches[key] = watch
            answers.append(is_answered(watch, moment, unread_max) or (without_key and watch.unreadable))
        return all(answers)

    def moments(self) -> Iterator[datetime]:
        """When a reading, or a time-out, becomes due."""
        now = self._draft.now
        yield from (watch.next_at for watch in self.watches.values() if watch.next_at > now)
        for attempt in self._draft.generation.attempts:
            if attempt.state is AttemptState.ACCEPTED:
                times_out = self._times_out_at(attempt)
                if times_out > now:  # else a reading is due, or a file of its tasks is being fetched
                    yield times_out

    def _open(self) -> Iterator[tuple[Attempt, int]]:
        for attempt in self._draft.generation.attempts:
            for index in open_tasks(attempt):
                yield attempt, index

    def _is_beyond(self, slot: int) -> bool:
        outputs = self._draft.generation.outputs
        return slot >= len(outputs) or outputs[slot].extra

    def _is_purchase_near(self, attempt: Attempt) -> bool:
        """True while an attempt waits to be sent that one of these tasks could make unnecessary."""
        slots = {attempt.tasks[index].slot for index in open_tasks(attempt)}
        return any(
            other.state is AttemptState.RESERVED and not slots.isdisjoint(other.slots)
            for other in self._draft.generation.attempts
        )

    def _times_out_at(self, attempt: Attempt) -> datetime:
        return times_out_at(attempt, self._hints(self._draft.generation.route(attempt)).polling)
