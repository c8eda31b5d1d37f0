"""Which tasks must be polled before money is spent, an attempt is abandoned, or a deadline ends a generation. Pure.

Time that passed without a poll proves nothing: the task may have finished while the gateway was stopped, while a poll
was slow, or during a wait that the provider asked for. So each of these decisions needs a poll that began at the moment
that the decision depends on, or later. After a limited number of failed polls the decision is made without one. A
reading is a poll with a reply that the gateway understood.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from gateway.domain.adapter.contract import Polling
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.model import Attempt, AttemptState
from gateway.domain.generation.task_polling import (
    DECIDE_UNREAD,
    GIVE_UP_UNREAD,
    PollSchedule,
    RouteProfileOf,
    TaskKey,
    first_schedule,
    is_answered,
    open_tasks,
    polled_seldom,
    require_reading,
    times_out_at,
)


class Readings:
    """The open tasks of a generation in one step, with what the driver remembers of their polls."""

    def __init__(
        self,
        changes: Changes,
        schedules: dict[TaskKey, PollSchedule],
        profile_of: RouteProfileOf,
        under_way: frozenset[TaskKey],
    ) -> None:
        """`under_way`: the tasks that are being polled now. `schedules` is changed in place."""
        self._changes = changes
        self.schedules = schedules
        self._profile_of = profile_of
        self.under_way = under_way

    def polling(self, attempt: Attempt) -> Polling:
        """How often its tasks are polled: rarely once it was abandoned, unless another attempt is about to be sent."""
        polling = self._profile_of(self._changes.generation.route(attempt)).polling
        is_seldom = attempt.state is AttemptState.ABANDONED and not self._is_purchase_near(attempt)
        return polled_seldom(polling) if is_seldom else polling

    def schedule(self, attempt: Attempt, index: int) -> PollSchedule:
        """What the driver remembers about polling a task; a new schedule if it remembers nothing."""
        key = (attempt.id, index)
        schedule = self.schedules.get(key)
        if schedule is None:
            schedule = self.schedules[key] = first_schedule(attempt, index, self.polling(attempt), self._changes.now)
        return schedule

    def is_overdue(self, attempt: Attempt) -> bool:
        """True once the attempt's time-out has passed. Alone, that proves nothing about its tasks."""
        return self._changes.now >= self._times_out_at(attempt)

    def is_adapter_failing(self, attempt: Attempt) -> bool:
        """True if the adapter raised at the newest poll of an open task: then the provider is not to blame."""
        schedules = (self.schedules.get((attempt.id, index)) for index in open_tasks(attempt))
        return any(schedule is not None and schedule.adapter_failed for schedule in schedules)

    def may_give_up(self, attempt: Attempt) -> bool:
        """True once every open task of an overdue attempt was polled at or after its time-out and was not done.

        Tasks that cannot be polled, because no key for their provider is configured, are not abandoned for that.
        """
        return self._are_read(
            ((attempt, index) for index in open_tasks(attempt)), lambda _: self._times_out_at(attempt), GIVE_UP_UNREAD
        )

    def may_buy(self, slots: Iterable[int], before: Iterable[Attempt], not_before: datetime | None = None) -> bool:
        """True once every open task that could fill one of these outputs was polled since the last attempt ended.

        `before` are the earlier attempts for these outputs; `not_before` is when the purchase became due. A task beyond
        the requested number can fill any output.
        """
        wanted = set(slots)
        ends = {attempt.id: attempt.ended_at for attempt in before if attempt.ended_at is not None}

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
        """True once every task whose output is still open was polled at the deadline or later."""
        deadline = self._changes.generation.deadline_at
        return self._are_read(
            (
                (attempt, index)
                for attempt, index in self._open()
                if not self._changes.generation.output(attempt.tasks[index].slot).status.terminal
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
        """True if every task was polled since its moment, or failed `unread_max` polls; requests the missing polls.

        `without_key`: do not wait for tasks that cannot be polled because no key is configured.
        """
        answers = []
        for attempt, index in tasks:
            key, moment = (attempt.id, index), since(attempt)
            schedule = require_reading(
                self.schedule(attempt, index), moment, reading=key in self.under_way, now=self._changes.now
            )
            self.schedules[key] = schedule
            answers.append(is_answered(schedule, moment, unread_max) or (without_key and schedule.unreadable))
        return all(answers)

    def moments(self) -> Iterator[datetime]:
        """The moments at which a poll or a time-out becomes due."""
        now = self._changes.now
        yield from (schedule.next_at for schedule in self.schedules.values() if schedule.next_at > now)
        for attempt in self._changes.generation.attempts:
            if attempt.state is AttemptState.ACCEPTED:
                times_out = self._times_out_at(attempt)
                if times_out > now:  # otherwise a poll is due anyway, or a file of its tasks is being archived
                    yield times_out

    def _open(self) -> Iterator[tuple[Attempt, int]]:
        for attempt in self._changes.generation.attempts:
            for index in open_tasks(attempt):
                yield attempt, index

    def _is_beyond(self, slot: int) -> bool:
        outputs = self._changes.generation.outputs
        return slot >= len(outputs) or outputs[slot].extra

    def _is_purchase_near(self, attempt: Attempt) -> bool:
        """True while a reserved attempt waits to be sent that one of these tasks could make unnecessary."""
        slots = {attempt.tasks[index].slot for index in open_tasks(attempt)}
        return any(
            other.state is AttemptState.RESERVED and not slots.isdisjoint(other.slots)
            for other in self._changes.generation.attempts
        )

    def _times_out_at(self, attempt: Attempt) -> datetime:
        return times_out_at(attempt, self._profile_of(self._changes.generation.route(attempt)).polling)
