"""The life of a generation as pure rules: what a fact changes, and what is to be done next.

`advance(generation, watches, facts, …) → Step(writes, effects, wake_at)`. Nothing here reads a clock or a database.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Completed, Failed, Pending, Status
from gateway.domain.adapter.task import TaskSnapshot as Snapshot
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.archiving import (
    Drawn,
    FileFact,
    FileKept,
    FileUnread,
    Keep,
    KeepWatch,
    Picture,
    absorb_file,
    file_moments,
    files_due,
    is_found,
    is_keeping,
    settle,
)
from gateway.domain.generation.changes import Draft
from gateway.domain.generation.cost_limit import billed_of, within_limit
from gateway.domain.generation.model import Attempt, AttemptState, Generation, untold
from gateway.domain.generation.next_attempt import Stop, Try, history, next_try
from gateway.domain.generation.outputs import (
    end_extras,
    fill,
    goes_on,
    is_followed,
    may_still_come,
    missing_slots,
    show_extras,
    use_spare,
)
from gateway.domain.generation.readings import Readings
from gateway.domain.generation.task_polling import (
    HintsOf,
    How,
    TaskKey,
    Watch,
    after_failure,
    after_reading,
    hinted,
    how_to_read,
    is_lost,
    open_tasks,
    times_out_at,
)
from gateway.domain.generation.transitions import ATTEMPT_MOVES, AddAttempt, SaveAttempt, SaveOutput, Write
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf, unknown_health

SOON = timedelta(seconds=1)  # until a driver looks again at what a step has changed
UNANSWERED = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING})  # as a driver knows it
NOTHING: Mapping[int, KeepWatch] = {}
IDLE_SECONDS = 3600  # nothing becomes due of itself any more: only what is under way wakes the driver


class Ended(Struct, frozen=True, kw_only=True):
    """A submit that brought no task."""

    attempt_id: str
    state: Literal[AttemptState.NOT_SENT, AttemptState.REFUSED, AttemptState.UNKNOWN]
    failure: Failed | None  # None: it was not sent because it was not wanted any more
    retry_after_seconds: float | None = None
    amend_form: str | None = None
    upstream: UpstreamAnswer | None = None


class Read(Struct, frozen=True, kw_only=True):
    """A task was read."""

    attempt_id: str
    index: int
    snapshot: Snapshot
    asked_at: datetime  # when the reading began: what happened at the provider after that is not in it


class Unread(Struct, frozen=True, kw_only=True):
    """A read that says nothing about its task, except `not_found`: that counts when it is said often enough."""

    attempt_id: str
    index: int
    asked_at: datetime  # when the reading began
    not_found: bool = False
    unreadable: bool = False  # no key for the provider is configured, so nobody asked
    adapter_failed: bool = False  # the adapter raised
    retry_after_seconds: float | None = None


class Hinted(Struct, frozen=True):
    """A provider says that something happened to the tasks of an attempt: only a reason to read them now."""

    attempt_id: str


Fact = Ended | Read | Unread | Hinted | FileFact


class Submit(Struct, frozen=True):
    """Prepare and send this reserved attempt."""

    attempt_id: str


class Poll(Struct, frozen=True, kw_only=True):
    """Read a task."""

    attempt_id: str
    index: int
    how: How = "poll"


Effect = Submit | Poll | Keep | Picture


class Step(Struct, frozen=True, kw_only=True):
    """What to store, what to do, and when to look again at the latest."""

    generation: Generation  # with `writes` applied
    writes: tuple[Write, ...]
    effects: tuple[Effect, ...]
    watches: Mapping[TaskKey, Watch]
    keeping: Mapping[int, KeepWatch]  # by the index of the output
    wake_at: datetime


def cancel(generation: Generation, now: datetime) -> tuple[Write, ...]:
    """The writes of a client's cancel; the generation must be open."""
    draft = Draft(generation, now)
    draft.close(Status.CANCELLED, None)
    draft.status(Status.CANCELLED, None)
    return tuple(draft.writes)


def advance(
    generation: Generation,
    watches: Mapping[TaskKey, Watch],
    facts: Iterable[Fact],
    *,
    now: datetime,
    busy: frozenset[Effect],
    hints: HintsOf,
    health: HealthOf = unknown_health,
    keeping: Mapping[int, KeepWatch] = NOTHING,
) -> Step:
    """Take the facts in, then say what is to be done; `busy` is what this driver is already doing."""
    draft = Draft(generation, now)
    files = dict(keeping)
    under_way = frozenset((one.attempt_id, one.index) for one in busy if isinstance(one, Poll))
    readings = Readings(draft, dict(watches), hints, under_way)
    show_extras(draft)
    for fact in facts:
        if isinstance(fact, FileKept | Drawn | FileUnread):
            absorb_file(draft, files, fact, hints)
        elif isinstance(fact, Hinted):
            _hurry(draft, readings, fact.attempt_id)
        else:
            _absorb(draft, readings, fact)
    _orphans(draft, busy)
    wake_at = now + timedelta(seconds=IDLE_SECONDS)
    if not draft.generation.status.terminal:
        settle(draft, files, hints, busy)
        _end_attempts(draft, readings)
        wake_at = min(wake_at, _start_attempts(draft, readings, files, hints, health))
        _conclude(draft, readings, hints)
    if draft.generation.status.terminal:
        wake_at = now + timedelta(seconds=IDLE_SECONDS)
        _end_late(draft)
    return Step(
        generation=draft.generation,
        writes=tuple(draft.writes),
        effects=(*_effects(draft, readings, busy, hints), *files_due(draft, files, busy)),
        watches=readings.watches,
        keeping=files,
        wake_at=min([wake_at, *readings.moments(), *file_moments(draft, files, hints, busy)]),
    )


def _absorb(draft: Draft, readings: Readings, fact: Ended | Read | Unread) -> None:
    attempt = draft.generation.attempt(fact.attempt_id)
    if isinstance(fact, Ended):
        if fact.state in ATTEMPT_MOVES[attempt.state]:
            ended = replace(
                attempt,
                state=fact.state,
                failure=fact.failure,
                ended_at=draft.now,
                retry_after_seconds=fact.retry_after_seconds,
                amend_form=fact.amend_form,
                upstream=fact.upstream,
            )
            draft.write(SaveAttempt(replace(ended, billed=billed_of(ended)), attempt.state))
        return
    if not is_followed(draft.generation, draft.now) or fact.index not in open_tasks(attempt):
        return  # the attempt ended while the read was under way
    polling, watch = readings.polling(attempt), readings.watch(attempt, fact.index)
    key, seed = (attempt.id, fact.index), f"{attempt.id}:{fact.index}"
    task = attempt.tasks[fact.index]
    match fact:
        case Read(snapshot=Pending() as pending):
            status = Status.IN_PROGRESS if task.status is Status.IN_PROGRESS else pending.status
            progress = task.progress if pending.progress is None else pending.progress
            read = replace(task, status=status, raw_status=pending.raw_status, progress=progress)
            draft.task(attempt, fact.index, read)
            readings.watches[key] = after_reading(
                watch,
                polling,
                missing=pending.result_missing,
                unclear=pending.unknown_status,
                asked_at=fact.asked_at,
                seed=seed,
                now=draft.now,
            )
        case Read(snapshot=Completed(artifacts=artifacts)):
            draft.task(attempt, fact.index, replace(task, status=Status.COMPLETED))
            fill(draft, attempt, task.slot, artifacts, draft.now + timedelta(seconds=polling.result_seconds))
        case Read(snapshot=Failed() as failure):
            draft.task(attempt, fact.index, replace(task, status=Status.FAILED, failure=failure))
        case Unread(not_found=True) if is_lost(watch, polling, draft.now):
            lost = failed(FailureKind.TASK_LOST)
            draft.task(attempt, fact.index, replace(task, status=Status.FAILED, failure=lost))
        case Unread():
            readings.watches[key] = after_failure(
                watch,
                polling,
                asked_at=fact.asked_at,
                not_found=fact.not_found,
                unreadable=fact.unreadable,
                adapter_failed=fact.adapter_failed,
                retry_after=fact.retry_after_seconds,
                seed=seed,
                now=draft.now,
            )


def _hurry(draft: Draft, readings: Readings, attempt_id: str) -> None:
    for attempt in draft.generation.attempts:
        if attempt.id == attempt_id:
            for index in open_tasks(attempt):
                key = (attempt.id, index)
                watch = readings.watch(attempt, index)
                readings.watches[key] = hinted(watch, reading=key in readings.under_way, now=draft.now)
            if attempt.state in UNANSWERED:  # its tasks are read as soon as they are known
                early = Watch(next_at=draft.now, interval_seconds=readings.polling(attempt).poll_seconds)
                readings.watches.update({(attempt.id, index): early for index in range(len(attempt.slots))})


def _orphans(draft: Draft, busy: frozenset[Effect]) -> None:
    """A submit that nobody is carrying out was left by a holder that is gone: it may have been received."""
    for attempt in draft.generation.attempts:
        if attempt.state is AttemptState.SUBMITTING and Submit(attempt.id) not in busy:
            draft.move(attempt, AttemptState.UNKNOWN, failed(FailureKind.AMBIGUOUS))


def _end_late(draft: Draft) -> None:
    """Of a generation at its end: a task that was accepted since is given up, one that is done is accounted for."""
    for attempt in draft.generation.attempts:
        if attempt.state is AttemptState.ACCEPTED:
            draft.abandon(attempt, attempt.failure)
        elif attempt.state is AttemptState.ABANDONED and not open_tasks(attempt):
            _end(draft, attempt)


def _end_attempts(draft: Draft, readings: Readings) -> None:
    for attempt in draft.generation.attempts:
        if attempt.state is AttemptState.RESERVED:
            # A result that came meanwhile is not bought once more: a smaller attempt follows for what is still missing.
            if missing_slots(draft.generation, attempt) != attempt.slots or not within_limit(draft.generation):
                draft.move(attempt, AttemptState.NOT_SENT, None)
        elif attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
            reading, missing = open_tasks(attempt), untold(attempt)
            wanted = _wanted(draft, [*(attempt.tasks[index].slot for index in reading), *missing])
            if not reading and (not missing or not wanted or readings.is_overdue(attempt)):
                if not is_keeping(draft.generation, attempt):  # else it is not known yet what came of it
                    _end(draft, attempt)
            elif attempt.state is AttemptState.ABANDONED:
                continue  # still read now and then: what it makes may be used, and what it cost is told
            elif not wanted:
                draft.abandon(attempt, None)
            elif readings.is_overdue(attempt) and readings.may_give_up(attempt):
                is_ours = readings.is_adapter_failing(attempt)
                draft.abandon(attempt, failed(FailureKind.ADAPTER_FAILED if is_ours else FailureKind.TIMED_OUT))


def _wanted(draft: Draft, slots: Iterable[int]) -> bool:
    """Whether an output among these is still open."""
    return any(not draft.generation.output(slot).status.terminal for slot in slots)


def _end(draft: Draft, attempt: Attempt) -> None:
    """All tasks of the attempt are at their end."""
    failure = next((task.failure for task in attempt.tasks if task.failure is not None), None)
    if any(task.status is Status.COMPLETED for task in attempt.tasks):
        draft.move(attempt, AttemptState.COMPLETED, failure)
    else:
        draft.move(attempt, AttemptState.FAILED, failure or failed(FailureKind.RESULT_MISSING))


def _callback_until(generation: Generation, slot: int, hints: HintsOf) -> datetime | None:
    """Until when a callback may name the task of a submit for this slot that got no clear answer.

    `None` where no provider would call back. It is only asked where nothing else can be tried: an output that fails at
    once would be lost although its task may be at work.
    """
    if generation.plan.policy.on_ambiguous == "fail":
        return None
    waits = (
        times_out_at(attempt, found.polling)
        for attempt in history(generation, slot)
        if attempt.state is AttemptState.UNKNOWN
        and attempt.decision is None
        and (found := hints(generation.route(attempt))).calls_back
    )
    return max(waits, default=None)


def _start_attempts(
    draft: Draft, readings: Readings, files: Mapping[int, KeepWatch], hints: HintsOf, health: HealthOf
) -> datetime:
    """Reserve an attempt for every open output that has none; the moment at which one that waits may go on."""
    wake_at = draft.generation.deadline_at
    if draft.now >= wake_at:
        return draft.now + timedelta(seconds=IDLE_SECONDS)  # nothing more is bought
    wanted: dict[tuple[int, str], list[int]] = {}
    for output in draft.generation.outputs:
        if output.status.terminal or output.extra or is_found(output):
            continue
        match next_try(draft.generation, output.index, health):
            case Try(route=route, form=form, not_before=not_before):
                if use_spare(draft, output, files):
                    wake_at = min(wake_at, draft.now + SOON)
                elif not_before is not None and not_before > draft.now:
                    wake_at = min(wake_at, not_before)
                elif readings.may_buy([output.index], history(draft.generation, output.index), not_before):
                    wanted.setdefault((route, form), []).append(output.index)
            case Stop(failure=failure) if not may_still_come(draft.generation, output.index):
                callback_until = _callback_until(draft.generation, output.index, hints)
                # A further result of another task was paid for: an output that nothing more is bought for gets it.
                if not use_spare(draft, output, files):
                    if callback_until is not None and callback_until > draft.now:
                        wake_at = min(wake_at, callback_until)
                        continue
                    draft.write(SaveOutput(replace(output, status=Status.FAILED, failure=failure)))
                wake_at = min(wake_at, draft.now + SOON)  # what was too dear beside it may not be without it
            case _:
                pass
    for (index, form), slots in sorted(wanted.items()):
        chosen = draft.generation.plan.routes[index]
        starts = range(0, len(slots), chosen.count_max)
        if health(chosen.provider, chosen.model).circuit is CircuitState.HALF_OPEN and len(starts) > 1:
            starts = starts[:1]  # the probe; where the others go is asked again in a moment
            wake_at = min(wake_at, draft.now + SOON)
        for start in starts:
            number = len(draft.generation.attempts) + 1
            attempt = Attempt(
                id=f"att_{draft.generation.id.removeprefix('gen_')}_{number}",
                number=number,
                route=index,
                slots=tuple(slots[start : start + chosen.count_max]),
                state=AttemptState.RESERVED,
                reserved_at=draft.now,
                form=form or hints(chosen).form,
            )
            draft.write(AddAttempt(attempt))
    return wake_at


def _conclude(draft: Draft, readings: Readings, hints: HintsOf) -> None:
    """End the generation when nothing is open or its deadline has passed; else bring its status up to date."""
    end_extras(draft, {AttemptState.COMPLETED, AttemptState.FAILED})
    generation = draft.generation
    late = _why_late(generation, readings)
    if draft.now >= generation.deadline_at and readings.may_expire():
        for output in generation.outputs:
            if not (output.status.terminal or output.extra or is_found(output)):
                use_spare(draft, output, NOTHING)  # it was paid for, and is better than an output that expires
        settle(draft, {}, hints, everything=True)
        draft.close(Status.EXPIRED, late)
    elif goes_on(generation):
        running = generation.status is Status.IN_PROGRESS or any(
            task.status is not Status.QUEUED for attempt in generation.attempts for task in attempt.tasks
        )
        draft.status(Status.IN_PROGRESS if running else Status.QUEUED, None)
        return
    end_extras(draft, {AttemptState.ABANDONED})
    ends = {output.status: output.failure for output in reversed(draft.generation.outputs)}
    if Status.COMPLETED in ends:
        draft.status(Status.COMPLETED, None)
    elif Status.EXPIRED in ends:
        draft.status(Status.EXPIRED, late)
    else:
        draft.status(Status.FAILED, ends[Status.FAILED])


def _why_late(generation: Generation, readings: Readings) -> Failed:
    """Why the deadline passed: where no task ever ran, what the newest attempt met."""
    met = [one.failure for one in generation.attempts if one.failure is not None]
    ran = any(one.tasks for one in generation.attempts)
    if met and not ran:
        return met[-1]
    is_ours = any(readings.is_adapter_failing(attempt) for attempt in generation.attempts)
    return failed(FailureKind.ADAPTER_FAILED if is_ours else FailureKind.TIMED_OUT)


def _effects(draft: Draft, readings: Readings, busy: frozenset[Effect], hints: HintsOf) -> tuple[Effect, ...]:
    """What is due and not under way; forgets the watches of tasks that are at their end."""
    due: list[Effect] = []
    live: set[TaskKey] = set()
    generation = draft.generation
    for attempt in generation.attempts:
        if not is_followed(generation, draft.now):
            break
        if attempt.state is AttemptState.RESERVED and Submit(attempt.id) not in busy:
            # After a restart it may have been reserved long ago: what was paid for before is looked at first.
            known = (one for slot in attempt.slots for one in history(generation, slot))
            if readings.may_buy(attempt.slots, (one for one in known if one.number < attempt.number)):
                due.append(Submit(attempt.id))
    for attempt in generation.attempts:
        if not is_followed(generation, draft.now):
            break
        if attempt.state in UNANSWERED:
            live.update(key for key in readings.watches if key[0] == attempt.id)
        for index in open_tasks(attempt):
            key = (attempt.id, index)
            live.add(key)
            watch = readings.watch(attempt, index)
            if watch.next_at <= draft.now and key not in readings.under_way:
                how = how_to_read(watch, hints(generation.route(attempt)), draft.now)
                due.append(Poll(attempt_id=attempt.id, index=index, how=how))
    for key in readings.watches.keys() - live:
        del readings.watches[key]
    return tuple(due)
