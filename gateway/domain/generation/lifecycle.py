"""One step in the life of a generation: from what was learnt to what to store and what to do. Pure.

`advance(generation, schedules, facts, …) → Step(writes, effects, wake_at)`. A driver calls it again and again: it
stores the writes, carries the effects out, and sleeps until an effect ends in a fact or until `wake_at`. Nothing here
reads a clock or a database, so that every order of events can be tested.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Completed, Failed, Pending, Status, TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.archiving import (
    ArchiveSchedule,
    FileArchived,
    FileUnread,
    absorb_file,
    file_moments,
    files_due,
    has_file_being_archived,
    is_being_archived,
    settle,
)
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.cost_limit import billed_of, within_limit
from gateway.domain.generation.facts_and_effects import (
    CallbackReceived,
    Effect,
    Fact,
    Poll,
    Submit,
    SubmitEnded,
    TaskRead,
    TaskUnread,
)
from gateway.domain.generation.model import Attempt, AttemptState, Generation, unnamed_slots
from gateway.domain.generation.new_attempts import reserve_attempts
from gateway.domain.generation.next_attempt import history
from gateway.domain.generation.outputs import (
    accepted,
    end_extras,
    fill,
    fill_from_extra,
    is_followed,
    is_unfinished,
    missing_slots,
    show_extras,
)
from gateway.domain.generation.readings import Readings
from gateway.domain.generation.restored import is_held
from gateway.domain.generation.task_cancels import TaskCancelled, absorb_cancel, cancels_due
from gateway.domain.generation.task_polling import (
    PollSchedule,
    RouteProfileOf,
    TaskKey,
    after_callback,
    after_failure,
    after_reading,
    how_to_read,
    is_lost,
    noted,
    open_tasks,
)
from gateway.domain.generation.transitions import ATTEMPT_MOVES, SaveAttempt, Write
from gateway.domain.health.route_health import HealthOf, unknown_health

UNANSWERED = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING})  # no reply to the submit was read yet
NOTHING: Mapping[int, ArchiveSchedule] = {}
IDLE_SECONDS = 3600  # how long a driver sleeps when nothing is due, unless a fact or a change of the store wakes it


class Step(Struct, frozen=True, kw_only=True):
    """What to store, what to do, and when to call `advance` again at the latest."""

    generation: Generation  # with `writes` applied
    writes: tuple[Write, ...]
    effects: tuple[Effect, ...]
    schedules: Mapping[TaskKey, PollSchedule]  # to be handed to the next call; never stored
    archive_schedules: Mapping[int, ArchiveSchedule]  # the same for archiving, by the index of the output
    wake_at: datetime


def cancel(generation: Generation, now: datetime) -> tuple[Write, ...]:
    """The writes of a client's cancel. The generation must be open."""
    changes = Changes(generation, now)
    changes.close(Status.CANCELLED, None)
    changes.status(Status.CANCELLED, None)
    return tuple(changes.writes)


def accept(
    generation: Generation, attempt_id: str, refs: Sequence[TaskRef], now: datetime, answer: UpstreamAnswer | None
) -> tuple[Generation, tuple[Write, ...]]:
    """The generation after the reply to its submit, and the writes that make it so. It must be open."""
    changes = Changes(generation, now)
    changes.write(accepted(generation, attempt_id, refs, now, answer))
    _show_status(changes)
    return changes.generation, tuple(changes.writes)


def advance(
    generation: Generation,
    schedules: Mapping[TaskKey, PollSchedule],
    facts: Iterable[Fact],
    *,
    now: datetime,
    busy: frozenset[Effect],
    profile_of: RouteProfileOf,
    health: HealthOf = unknown_health,
    archive_schedules: Mapping[int, ArchiveSchedule] = NOTHING,
) -> Step:
    """Apply the facts, then decide what to store and what to do next.

    `busy` are the effects that this driver has started and that have not ended. `schedules` and `archive_schedules`
    are those of the step before; after a restart both are empty.
    """
    changes = Changes(generation, now)
    files = dict(archive_schedules)
    polled = frozenset((effect.attempt_id, effect.index) for effect in busy if isinstance(effect, Poll))
    readings = Readings(changes, dict(schedules), profile_of, polled)
    show_extras(changes)
    for fact in facts:
        if isinstance(fact, FileArchived | FileUnread):
            absorb_file(changes, files, fact, profile_of)
        elif isinstance(fact, CallbackReceived):
            _poll_now(changes, readings, fact.attempt_id)
        elif isinstance(fact, TaskCancelled):
            absorb_cancel(changes, fact)
        else:
            _absorb(changes, readings, fact)
    _end_orphaned_submits(changes, busy)
    wake_at = now + timedelta(seconds=IDLE_SECONDS)
    if not changes.generation.status.terminal:
        settle(changes, files, profile_of, busy)
        _end_attempts(changes, readings, health)
        if is_held(generation):
            wake_at = min(wake_at, generation.deadline_at)
        elif now < generation.deadline_at:
            wake_at = min(wake_at, reserve_attempts(changes, readings, files, profile_of, health))
        _conclude(changes, readings, profile_of)
    if changes.generation.status.terminal:
        wake_at = now + timedelta(seconds=IDLE_SECONDS)
        _end_late(changes)
    cancels = cancels_due(changes, profile_of)
    return Step(
        generation=changes.generation,
        writes=tuple(changes.writes),
        effects=(*_effects(changes, readings, busy, profile_of), *cancels, *files_due(changes, files, busy)),
        schedules=readings.schedules,
        archive_schedules=files,
        wake_at=min([wake_at, *readings.moments(), *file_moments(changes, files, profile_of, busy)]),
    )


def _absorb(changes: Changes, readings: Readings, fact: SubmitEnded | TaskRead | TaskUnread) -> None:
    """Apply the fact of a submit or a poll. A fact that came too late changes nothing."""
    attempt = changes.generation.attempt(fact.attempt_id)
    if isinstance(fact, SubmitEnded):
        is_unsent = attempt.state is AttemptState.RESERVED and fact.state is AttemptState.UNKNOWN
        if fact.state in ATTEMPT_MOVES[attempt.state] and not is_unsent:
            ended = replace(
                attempt,
                state=fact.state,
                failure=fact.failure,
                ended_at=changes.now,
                retry_after_seconds=fact.retry_after_seconds,
                next_variant=fact.next_variant,
                upstream=fact.upstream,
            )
            billed = billed_of(changes.generation.route(ended), ended)
            changes.write(SaveAttempt(replace(ended, billed=billed), attempt.state))
        return
    if not is_followed(changes.generation, changes.now) or fact.index not in open_tasks(attempt):
        return  # the task ended, or is no longer of interest, while this poll was under way
    polling, schedule = readings.polling(attempt), readings.schedule(attempt, fact.index)
    key, seed = (attempt.id, fact.index), f"{attempt.id}:{fact.index}"
    task = attempt.tasks[fact.index]
    match fact:
        case TaskRead(snapshot=Pending() as pending):
            status = Status.IN_PROGRESS if task.status is Status.IN_PROGRESS else pending.status
            progress = task.progress if pending.progress is None else pending.progress
            polled = replace(task, status=status, raw_status=pending.raw_status, progress=progress)
            after = readings.schedules[key] = after_reading(
                schedule,
                polling,
                missing=pending.result_missing,
                unclear=pending.unknown_status,
                asked_at=fact.asked_at,
                seed=seed,
                now=changes.now,
            )
            changes.task(attempt, fact.index, noted(polled, after))
        case TaskRead(snapshot=Completed(artifacts=artifacts)):
            without_graces = replace(task, not_found=0, not_found_since=None, missing_since=None)
            changes.task(attempt, fact.index, replace(without_graces, status=Status.COMPLETED))
            fill(changes, attempt, task.slot, artifacts, changes.now + timedelta(seconds=polling.result_seconds))
        case TaskRead(snapshot=Failed() as failure):
            changes.task(attempt, fact.index, replace(task, status=Status.FAILED, failure=failure))
        case TaskUnread(not_found=True) if is_lost(schedule, polling, changes.now):
            lost = failed(FailureKind.TASK_LOST)
            changes.task(attempt, fact.index, replace(task, status=Status.FAILED, failure=lost))
        case TaskUnread():
            after = readings.schedules[key] = after_failure(
                schedule,
                polling,
                asked_at=fact.asked_at,
                not_found=fact.not_found,
                unreadable=fact.unreadable,
                adapter_failed=fact.adapter_failed,
                retry_after=fact.retry_after_seconds,
                seed=seed,
                now=changes.now,
            )
            changes.task(attempt, fact.index, noted(task, after))


def _poll_now(changes: Changes, readings: Readings, attempt_id: str) -> None:
    """Poll the tasks of an attempt as soon as possible, also those whose ids are not known yet."""
    for attempt in changes.generation.attempts:
        if attempt.id == attempt_id:
            for index in open_tasks(attempt):
                key = (attempt.id, index)
                schedule = readings.schedule(attempt, index)
                readings.schedules[key] = after_callback(schedule, reading=key in readings.under_way, now=changes.now)
            if attempt.state in UNANSWERED:  # a callback can come before the reply to the submit: poll once it is read
                early = PollSchedule(next_at=changes.now, interval_seconds=readings.polling(attempt).poll_seconds)
                readings.schedules.update({(attempt.id, index): early for index in range(len(attempt.slots))})


def _end_orphaned_submits(changes: Changes, busy: frozenset[Effect]) -> None:
    """A submit that this driver is not sending was left by a process that died: the provider may have received it."""
    for attempt in changes.generation.attempts:
        if attempt.state is AttemptState.SUBMITTING and Submit(attempt.id) not in busy:
            changes.move(attempt, AttemptState.UNKNOWN, failed(FailureKind.AMBIGUOUS))


def _end_late(changes: Changes) -> None:
    """After the end of a generation: abandon attempts that were accepted since, and end those whose tasks are done."""
    for attempt in changes.generation.attempts:
        if attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED} and not open_tasks(attempt):
            _end(changes, attempt)
        elif attempt.state is AttemptState.ACCEPTED:
            changes.abandon(attempt, attempt.failure)


def _end_attempts(changes: Changes, readings: Readings, health: HealthOf) -> None:
    """End attempts that are done, no longer wanted, or overdue. A reserved attempt that ends here is never sent."""
    for attempt in changes.generation.attempts:
        if attempt.state is AttemptState.RESERVED:
            route = changes.generation.route(attempt)
            is_held = health(route.provider, route.model).held
            # A result that arrived meanwhile must not be bought again: a smaller attempt follows for what is missing.
            is_needed = missing_slots(changes.generation, attempt) == attempt.slots
            if is_held or not is_needed or not within_limit(changes.generation):
                changes.move(attempt, AttemptState.NOT_SENT, None)
        elif attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
            running, unnamed = open_tasks(attempt), unnamed_slots(attempt)
            wanted = _any_open(changes, [*(attempt.tasks[index].slot for index in running), *unnamed])
            if not running and (not unnamed or not wanted or readings.is_overdue(attempt)):
                if not has_file_being_archived(changes.generation, attempt):  # its file may prove not to be a video
                    _end(changes, attempt)
            elif attempt.state is AttemptState.ABANDONED:
                continue  # polled now and then: a late result can be used, and its cost is reported
            elif not wanted:
                changes.abandon(attempt, None)
            elif readings.is_overdue(attempt) and readings.may_give_up(attempt):
                is_ours = readings.is_adapter_failing(attempt)
                changes.abandon(attempt, failed(FailureKind.ADAPTER_FAILED if is_ours else FailureKind.TIMED_OUT))


def _any_open(changes: Changes, slots: Iterable[int]) -> bool:
    """True if one of these outputs is still open."""
    return any(not changes.generation.output(slot).status.terminal for slot in slots)


def _end(changes: Changes, attempt: Attempt) -> None:
    """End an attempt whose tasks have all ended: one completed task makes it completed."""
    failure = next((task.failure for task in attempt.tasks if task.failure is not None), None)
    if any(task.status is Status.COMPLETED for task in attempt.tasks):
        changes.move(attempt, AttemptState.COMPLETED, failure)
    else:
        changes.move(attempt, AttemptState.FAILED, failure or failed(FailureKind.RESULT_MISSING))


def _conclude(changes: Changes, readings: Readings, profile_of: RouteProfileOf) -> None:
    """End the generation if nothing is open or its deadline has passed; otherwise update its status and progress."""
    end_extras(changes, {AttemptState.COMPLETED, AttemptState.FAILED})
    generation = changes.generation
    if changes.now >= generation.deadline_at and readings.may_expire():
        for output in generation.outputs:
            if not (output.status.terminal or output.extra or is_being_archived(output)):
                fill_from_extra(changes, output, NOTHING)  # a paid result is better than an output that expires
        settle(changes, {}, profile_of, everything=True)
        changes.close(Status.EXPIRED, _why_late(generation, readings))
    elif is_unfinished(generation):
        _show_status(changes)
        return
    end_extras(changes, {AttemptState.ABANDONED})
    ends = {output.status: output.failure for output in reversed(changes.generation.outputs)}
    if Status.COMPLETED in ends:
        changes.status(Status.COMPLETED, None)
    elif Status.EXPIRED in ends:
        changes.status(Status.EXPIRED, _why_late(generation, readings))
    else:
        changes.status(Status.FAILED, ends[Status.FAILED])


def _show_status(changes: Changes) -> None:
    """Update the status and the progress of a generation that goes on."""
    running = changes.generation.status is Status.IN_PROGRESS or any(
        task.status is not Status.QUEUED for attempt in changes.generation.attempts for task in attempt.tasks
    )
    changes.status(Status.IN_PROGRESS if running else Status.QUEUED, None)


def _why_late(generation: Generation, readings: Readings) -> Failed:
    """Why the deadline passed: if no attempt got a task, the newest failure of an attempt, else a time-out.

    A time-out during which the adapter kept raising is the fault of the gateway.
    """
    failures = [attempt.failure for attempt in generation.attempts if attempt.failure is not None]
    has_run = any(attempt.tasks for attempt in generation.attempts)
    if failures and not has_run:
        return failures[-1]
    is_ours = any(readings.is_adapter_failing(attempt) for attempt in generation.attempts)
    return failed(FailureKind.ADAPTER_FAILED if is_ours else FailureKind.TIMED_OUT)


def _effects(
    changes: Changes, readings: Readings, busy: frozenset[Effect], profile_of: RouteProfileOf
) -> tuple[Effect, ...]:
    """The submits and polls that are due and not under way. Drops the poll schedules of tasks that have ended."""
    due: list[Effect] = []
    live: set[TaskKey] = set()
    generation = changes.generation
    for attempt in generation.attempts:
        if not is_followed(generation, changes.now):
            break
        if attempt.state is AttemptState.RESERVED and Submit(attempt.id) not in busy:
            # After a restart it may have been reserved long ago: earlier tasks may have finished, so poll them first.
            earlier = (
                previous
                for slot in attempt.slots
                for previous in history(generation, slot)
                if previous.number < attempt.number
            )
            if readings.may_buy(attempt.slots, earlier):
                due.append(Submit(attempt.id))
    for attempt in generation.attempts:
        if not is_followed(generation, changes.now):
            break
        if attempt.state in UNANSWERED:
            live.update(key for key in readings.schedules if key[0] == attempt.id)
        for index in open_tasks(attempt):
            key = (attempt.id, index)
            live.add(key)
            schedule = readings.schedule(attempt, index)
            if schedule.next_at <= changes.now and key not in readings.under_way:
                how = how_to_read(schedule, profile_of(generation.route(attempt)), changes.now)
                due.append(Poll(attempt_id=attempt.id, index=index, how=how))
    for key in readings.schedules.keys() - live:
        del readings.schedules[key]
    return tuple(due)
