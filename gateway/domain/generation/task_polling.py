"""When a task is polled next, and when it counts as lost. Pure.

What a driver remembers between two polls is a `PollSchedule`. It is not stored: after a restart, each open task gets a
new one. Only the graces in it are stored, with the task (`noted`), and the new one goes on with them. A reading is a
poll with a reply that the gateway understood.
"""

from collections.abc import Callable
from dataclasses import replace as with_values
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Polling
from gateway.domain.backoff import spread
from gateway.domain.generation.model import Attempt, AttemptState, Route, Task

CALLBACK_GAP = timedelta(seconds=1)  # the shortest pause between two polls that callbacks cause
LOST_READINGS = 3  # after so many "not found", over a whole grace, a task counts as lost
POLL_GROWTH = 1.25  # each interval is so many times the one before, up to `poll_max_seconds`
UNREAD_FACTOR = 4  # the longest interval of failing polls, and of abandoned tasks, in multiples of `poll_max_seconds`
RETRY_AFTER_MAX_SECONDS = 600  # a provider's wait is honoured up to this: after a day the result would be lost
GIVE_UP_UNREAD = 5  # failed polls after an attempt's time-out, after which the next route is bought without a reading
DECIDE_UNREAD = 3  # the same at a deadline, and before a purchase while an abandoned task is still open
TaskKey = tuple[str, int]  # (id of the attempt, index of the task within it)
How = Literal["poll", "refresh", "content"]


class RouteProfile(Struct, frozen=True, kw_only=True):
    """What the rules need to know about the provider and model of a route. It comes from adapter and configuration."""

    polling: Polling
    has_refresh: bool = False  # the adapter has a second way to read a task
    refresh_every: int = 0  # every so many polls of a running task, one is a refresh; 0: never
    variant: str = ""  # the variant of the submit that worked last
    calls_back: bool = False  # the provider sends callbacks with task ids, so a lost reply can still be made up for
    has_cancel: bool = False  # the provider can be asked to cancel a task


RouteProfileOf = Callable[[Route], RouteProfile]


class PollSchedule(Struct, frozen=True, kw_only=True, gc=False):
    """What a driver remembers between two polls of a task."""

    next_at: datetime  # of the next poll
    interval_seconds: float
    reads: int = 0  # polls until now, failed ones included
    not_found: int = 0  # replies that said that the task does not exist
    not_found_since: datetime | None = None
    missing_since: datetime | None = None  # since when the provider says "done" and names no file
    callback_at: datetime | None = None  # of the poll that the last callback caused
    again: bool = False  # a callback came during a poll, whose reply may be older: poll once more
    read_at: datetime | None = None  # when the newest reading began
    needed_since: datetime | None = None  # a decision waits for a poll that begins at this moment or later
    unread: int = 0  # polls that failed since `needed_since`
    unreadable: bool = False  # no key for the provider is configured, so the task cannot be polled
    adapter_failed: bool = False  # the adapter raised at the newest poll


def first_schedule(attempt: Attempt, index: int, polling: Polling, now: datetime) -> PollSchedule:
    """The first poll of a task: after `first_poll_seconds`, or later if the provider said so at the submit.

    If that time has passed already, as after a restart, the first polls are spread over one interval: the one to which
    the interval would have grown by now. Otherwise a restart would poll all old tasks as often as new ones. The graces
    of the task go on.
    """
    suggested = attempt.tasks[index].ref.first_poll_seconds or 0
    wait = max(polling.first_poll_seconds, min(suggested, polling.poll_max_seconds * UNREAD_FACTOR))
    next_at = (attempt.accepted_at or now) + timedelta(seconds=wait)
    interval = polling.poll_seconds
    if next_at < now:
        # Intervals that grow by a factor have grown by (factor - 1) of the time that they add up to.
        grown = interval + (POLL_GROWTH - 1) * (now - next_at).total_seconds()
        interval = min(grown, max(polling.poll_max_seconds, interval))
        next_at = now + timedelta(seconds=interval * spread(f"{attempt.id}:{index}"))
    task = attempt.tasks[index]
    return PollSchedule(
        next_at=next_at,
        interval_seconds=interval,
        not_found=task.not_found,
        not_found_since=task.not_found_since,
        missing_since=task.missing_since,
    )


def noted(task: Task, schedule: PollSchedule) -> Task:
    """The task with the graces of its schedule. More than `LOST_READINGS` are not counted: they change nothing."""
    return replace(
        task,
        not_found=min(schedule.not_found, LOST_READINGS),
        not_found_since=schedule.not_found_since,
        missing_since=schedule.missing_since,
    )


def after_callback(schedule: PollSchedule, *, reading: bool, now: datetime) -> PollSchedule:
    """After a callback, the next poll is now, but at least `CALLBACK_GAP` after the one that the last callback caused.

    `reading`: a poll is under way.
    """
    if reading:
        return replace(schedule, again=True)
    next_at = now if schedule.callback_at is None else max(now, schedule.callback_at + CALLBACK_GAP)
    return schedule if next_at >= schedule.next_at else replace(schedule, next_at=next_at, callback_at=next_at)


def require_reading(schedule: PollSchedule, since: datetime, *, reading: bool, now: datetime) -> PollSchedule:
    """Note that a decision needs a poll that begins at `since` or later; such a poll is due now.

    This cuts a wait short that the provider asked for, once: a purchase must not be made while its reason is unproven.
    `reading`: a poll is under way.
    """
    if schedule.needed_since is not None and schedule.needed_since >= since:
        return schedule
    is_there = schedule.read_at is not None and schedule.read_at >= since
    return replace(
        schedule,
        needed_since=since,
        unread=0,
        interval_seconds=schedule.interval_seconds if is_there else 0.0,
        next_at=schedule.next_at if reading or is_there else min(schedule.next_at, now),
    )


def is_answered(schedule: PollSchedule | None, since: datetime, unread_max: int) -> bool:
    """True if the task was polled at `since` or later, or if `unread_max` such polls have failed."""
    if schedule is None:
        return False
    if schedule.read_at is not None and schedule.read_at >= since:
        return True
    return schedule.needed_since is not None and schedule.needed_since >= since and schedule.unread >= unread_max


def after_reading(
    schedule: PollSchedule,
    polling: Polling,
    *,
    missing: bool,
    unclear: bool = False,
    asked_at: datetime,
    seed: str,
    now: datetime,
) -> PollSchedule:
    """When to poll a running task again: the interval grows by `POLL_GROWTH` up to `poll_max_seconds`.

    `asked_at` is when the poll began. The interval is counted from there, so that slow replies do not stretch it. A
    poll that began before the moment that a decision needs is repeated at once.

    Two replies do not answer such a decision. "Done" without a file (`missing`) may get its file during the grace. An
    unknown status word (`unclear`) may mean "done" as well, so it counts like a failed poll.
    """
    interval = min(max(schedule.interval_seconds, polling.poll_seconds), polling.poll_max_seconds)
    wait = timedelta(seconds=_jittered(interval, f"{seed}:{now.timestamp()}"))
    wait = max(wait - (now - asked_at), wait / 2)
    is_too_early = schedule.needed_since is not None and asked_at < schedule.needed_since
    counts = unclear and schedule.needed_since is not None and not is_too_early
    return PollSchedule(
        next_at=now if is_too_early else now + (CALLBACK_GAP if schedule.again else wait),
        callback_at=now + CALLBACK_GAP if schedule.again else schedule.callback_at,
        reads=schedule.reads + 1,
        interval_seconds=min(interval * POLL_GROWTH, polling.poll_max_seconds),
        missing_since=(schedule.missing_since or now) if missing else None,
        read_at=schedule.read_at if missing or unclear else asked_at,
        needed_since=schedule.needed_since,
        unread=schedule.unread + int(counts),
    )


def after_failure(
    schedule: PollSchedule,
    polling: Polling,
    *,
    asked_at: datetime,
    not_found: bool = False,
    unreadable: bool = False,
    adapter_failed: bool = False,
    retry_after: float | None = None,
    seed: str,
    now: datetime,
) -> PollSchedule:
    """When to poll again after a failed poll: the pause doubles, except after "not found", which is confirmed soon.

    A failed poll counts for a waiting decision only if it began at the moment that the decision needs, or later.
    """
    counts = schedule.needed_since is not None and asked_at >= schedule.needed_since and not unreadable
    is_too_early = schedule.needed_since is not None and asked_at < schedule.needed_since and not unreadable
    if not_found:
        interval = polling.poll_seconds
    else:
        ceiling = polling.poll_max_seconds * UNREAD_FACTOR
        interval = min(max(schedule.interval_seconds, polling.poll_seconds) * 2, ceiling)
    wait_seconds = min(max(retry_after or 0.0, 0.0), RETRY_AFTER_MAX_SECONDS)
    return replace(
        schedule,
        next_at=now
        if is_too_early
        else now + timedelta(seconds=max(_jittered(interval, f"{seed}:{now.timestamp()}"), wait_seconds)),
        interval_seconds=interval,
        reads=schedule.reads + 1,
        unread=schedule.unread + int(counts),
        unreadable=unreadable,
        adapter_failed=adapter_failed,
        not_found=schedule.not_found + int(not_found),
        not_found_since=(schedule.not_found_since or now) if not_found else schedule.not_found_since,
    )


def is_lost(schedule: PollSchedule, polling: Polling, now: datetime) -> bool:
    """True if one more "not found" makes the task count as lost: `LOST_READINGS` of them, over a whole grace.

    A provider may not find its own task for a moment, just after the submit or during an outage.
    """
    not_found_for = (now - (schedule.not_found_since or now)).total_seconds()
    return schedule.not_found + 1 >= LOST_READINGS and not_found_for >= polling.grace_seconds


def how_to_read(schedule: PollSchedule, profile: RouteProfile, now: datetime) -> How:
    """How to read a task: an ordinary poll, a refresh, or its content as the last chance.

    If a task is done but its file is missing, polls and refreshes alternate, because either may name the file that the
    other does not. After a whole grace, `content` is tried. A running task is refreshed every `refresh_every` polls,
    for providers whose ordinary poll may never show an end; failed polls are counted too, so that a failing refresh is
    not repeated endlessly. A poll that a decision waits for is an ordinary one: a refresh may not name the file of a
    finished task.
    """
    if schedule.missing_since is None:
        if schedule.needed_since is not None and (schedule.read_at is None or schedule.read_at < schedule.needed_since):
            return "poll"
        is_due = profile.refresh_every > 0 and schedule.reads > 0 and schedule.reads % profile.refresh_every == 0
        return "refresh" if profile.has_refresh and is_due else "poll"
    # After a restart an ordinary poll comes first: the last chance may be a refresh, which may not name the file.
    has_read = schedule.reads > 0 or not profile.has_refresh
    if has_read and (now - schedule.missing_since).total_seconds() >= profile.polling.grace_seconds:
        return "content"
    return "refresh" if profile.has_refresh and schedule.reads > 0 and schedule.reads % 2 == 0 else "poll"


def open_tasks(attempt: Attempt) -> list[int]:
    """The indices of the attempt's tasks that may still change: those of an accepted or abandoned attempt."""
    if attempt.state not in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
        return []
    return [index for index, task in enumerate(attempt.tasks) if not task.status.terminal]


def times_out_at(attempt: Attempt, polling: Polling) -> datetime:
    """When an attempt is abandoned and the next route is tried. It is counted from the acceptance, even a late one."""
    return (attempt.accepted_at or attempt.sent_at or attempt.reserved_at) + timedelta(
        seconds=polling.attempt_timeout_seconds
    )


def polled_seldom(polling: Polling) -> Polling:
    """The polling of tasks whose attempt was abandoned: at the longest interval of all."""
    seconds = polling.poll_max_seconds * UNREAD_FACTOR
    return with_values(polling, poll_seconds=seconds, poll_max_seconds=seconds)


def _jittered(seconds: float, seed: str) -> float:
    """90 to 100 % of the interval, so that tasks which began together are not polled together."""
    return seconds * (0.9 + spread(seed) / 10)
