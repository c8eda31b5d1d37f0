"""When a task is read next. What one process remembers between two readings is here, and never stored."""

from collections.abc import Callable
from dataclasses import replace as with_values
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Polling
from gateway.domain.backoff import spread
from gateway.domain.generation.model import Attempt, AttemptState, Route

HINT_GAP = timedelta(seconds=1)  # between two readings that a provider's hints ask for
LOST_READINGS = 3  # "not found" this often, and over a whole grace, before a task counts as lost
POLL_GROWTH = 1.25  # by this the interval between two readings grows with each of them, up to its ceiling
UNREAD_FACTOR = 4  # how far a failing read, and a task that was given up, stretch the longest interval
RETRY_AFTER_MAX_SECONDS = 600  # a provider's wait is honoured up to here: a day's would lose what was paid for
GIVE_UP_UNREAD = 5  # failed readings after an attempt's time-out that let the next route be bought without an answer
DECIDE_UNREAD = 3  # the same for a deadline, and for a purchase while a task that was given up is still open
TaskKey = tuple[str, int]  # attempt id, index into its tasks
How = Literal["poll", "refresh", "content"]


class Hints(Struct, frozen=True, kw_only=True):
    """What the rules need to know of a route's provider."""

    polling: Polling
    has_refresh: bool = False
    refresh_every: int = 0  # of the readings of a task that goes on, each so-many-th is a refresh; 0: none
    form: str = ""  # the form of a submit that worked last
    calls_back: bool = False  # the provider tells us which task an attempt has, also where its reply was lost


HintsOf = Callable[[Route], Hints]


class Watch(Struct, frozen=True, kw_only=True):
    """Between two readings of a task."""

    next_at: datetime
    interval_seconds: float
    reads: int = 0  # readings until now, the failed ones included
    not_found: int = 0
    not_found_since: datetime | None = None
    missing_since: datetime | None = None  # the upstream says "done" and names no file
    hinted_at: datetime | None = None  # when the provider last said that something happened
    again: bool = False  # it said so while a reading was under way, which may have been too early
    read_at: datetime | None = None  # when the newest reading that could be understood began
    needed_since: datetime | None = None  # a decision waits for a reading that begins at this moment or later
    unread: int = 0  # readings that failed since then
    unreadable: bool = False  # no key for its provider is configured: nobody can read it
    adapter_failed: bool = False  # the adapter raised at the newest reading


def first_watch(attempt: Attempt, index: int, polling: Polling, now: datetime) -> Watch:
    """When to read a task first; after a restart, spread over one interval."""
    told = attempt.tasks[index].ref.first_poll_seconds or 0
    wait = max(polling.first_poll_seconds, min(told, polling.poll_max_seconds * UNREAD_FACTOR))
    next_at = (attempt.accepted_at or now) + timedelta(seconds=wait)
    if next_at < now:
        next_at = now + timedelta(seconds=polling.poll_seconds * spread(f"{attempt.id}:{index}"))
    return Watch(next_at=next_at, interval_seconds=polling.poll_seconds)


def hinted(watch: Watch, *, reading: bool, now: datetime) -> Watch:
    """The watch after a provider's hint: the next reading is now, or a moment after the last hint."""
    if reading:
        return replace(watch, again=True)
    next_at = now if watch.hinted_at is None else max(now, watch.hinted_at + HINT_GAP)
    return watch if next_at >= watch.next_at else replace(watch, next_at=next_at, hinted_at=next_at)


def needed(watch: Watch, since: datetime, *, reading: bool, now: datetime) -> Watch:
    """The watch once a decision needs a reading that begins at `since` or later: such a reading is due now.

    A wait that the provider asked for is cut short once: what a purchase depends on is asked before it is made.
    """
    if watch.needed_since is not None and watch.needed_since >= since:
        return watch
    is_there = watch.read_at is not None and watch.read_at >= since
    return replace(
        watch,
        needed_since=since,
        unread=0,
        interval_seconds=watch.interval_seconds if is_there else 0.0,
        next_at=watch.next_at if reading or is_there else min(watch.next_at, now),
    )


def is_answered(watch: Watch | None, since: datetime, unread_max: int) -> bool:
    """True if the task was read at `since` or later, or if that failed so often that the decision is made without."""
    if watch is None:
        return False
    if watch.read_at is not None and watch.read_at >= since:
        return True
    return watch.needed_since is not None and watch.needed_since >= since and watch.unread >= unread_max


def after_reading(
    watch: Watch,
    polling: Polling,
    *,
    missing: bool,
    unclear: bool = False,
    asked_at: datetime,
    seed: str,
    now: datetime,
) -> Watch:
    """The next reading of a task that is not at its end: the interval grows to its ceiling.

    `asked_at` is when the reading began: the interval is counted from there, so that slow readings do not stretch it. A
    reading that began before the moment that a decision depends on is made again.

    Such a decision is not made by a reading that says "done" without a file (`missing`): the grace, and the last chance
    after it, decide. A status word that nobody knows (`unclear`) may mean "done" too: it counts like a failed reading.
    """
    interval = min(max(watch.interval_seconds, polling.poll_seconds), polling.poll_max_seconds)
    wait = timedelta(seconds=_jittered(interval, f"{seed}:{now.timestamp()}"))
    wait = max(wait - (now - asked_at), wait / 2)
    is_too_early = watch.needed_since is not None and asked_at < watch.needed_since
    counts = unclear and watch.needed_since is not None and not is_too_early
    return Watch(
        next_at=now if is_too_early else now + (HINT_GAP if watch.again else wait),
        hinted_at=now + HINT_GAP if watch.again else watch.hinted_at,
        reads=watch.reads + 1,
        interval_seconds=min(interval * POLL_GROWTH, polling.poll_max_seconds),
        missing_since=(watch.missing_since or now) if missing else None,
        read_at=watch.read_at if missing or unclear else asked_at,
        needed_since=watch.needed_since,
        unread=watch.unread + int(counts),
    )


def after_failure(
    watch: Watch,
    polling: Polling,
    *,
    asked_at: datetime,
    not_found: bool = False,
    unreadable: bool = False,
    adapter_failed: bool = False,
    retry_after: float | None = None,
    seed: str,
    now: datetime,
) -> Watch:
    """The next reading after one that failed: later each time, except "not found", which is to be confirmed.

    A failure counts towards a decision only when the reading began at the moment that the decision needs, or later.
    """
    counts = watch.needed_since is not None and asked_at >= watch.needed_since and not unreadable
    is_too_early = watch.needed_since is not None and asked_at < watch.needed_since and not unreadable
    if not_found:
        interval = polling.poll_seconds
    else:
        ceiling = polling.poll_max_seconds * UNREAD_FACTOR
        interval = min(max(watch.interval_seconds, polling.poll_seconds) * 2, ceiling)
    wait_seconds = min(max(retry_after or 0.0, 0.0), RETRY_AFTER_MAX_SECONDS)
    return replace(
        watch,
        next_at=now
        if is_too_early
        else now + timedelta(seconds=max(_jittered(interval, f"{seed}:{now.timestamp()}"), wait_seconds)),
        interval_seconds=interval,
        reads=watch.reads + 1,
        unread=watch.unread + int(counts),
        unreadable=unreadable,
        adapter_failed=adapter_failed,
        not_found=watch.not_found + int(not_found),
        not_found_since=(watch.not_found_since or now) if not_found else watch.not_found_since,
    )


def is_lost(watch: Watch, polling: Polling, now: datetime) -> bool:
    """Whether one more "not found" makes the task lost: said often enough, and for longer than an outage's moment."""
    said_for = (now - (watch.not_found_since or now)).total_seconds()
    return watch.not_found + 1 >= LOST_READINGS and said_for >= polling.grace_seconds


def how_to_read(watch: Watch, hints: Hints, now: datetime) -> How:
    """An ordinary poll, or a refresh; the last chance once "done" has come without a file for a whole grace.

    A task without a file is read both ways in turn, because either may name the file that the other does not. A task
    that goes on is refreshed now and then where the provider asks for it (`refresh_every`): its ordinary poll may
    never show an end. The number of readings decides, so that a refresh that fails is not tried for ever. A reading
    that a decision waits for is an ordinary poll: a refresh may name no file of a task that is done.
    """
    if watch.missing_since is None:
        if watch.needed_since is not None and (watch.read_at is None or watch.read_at < watch.needed_since):
            return "poll"
        is_due = hints.refresh_every > 0 and watch.reads > 0 and watch.reads % hints.refresh_every == 0
        return "refresh" if hints.has_refresh and is_due else "poll"
    if (now - watch.missing_since).total_seconds() >= hints.polling.grace_seconds:
        return "content"
    return "refresh" if hints.has_refresh and watch.reads % 2 == 0 else "poll"


def open_tasks(attempt: Attempt) -> list[int]:
    """The indices of the tasks that are still to be read, while the generation is open."""
    if attempt.state not in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
        return []
    return [index for index, task in enumerate(attempt.tasks) if not task.status.terminal]


def times_out_at(attempt: Attempt, polling: Polling) -> datetime:
    """When an attempt is given up and the next route has its turn; a task that turned up late has its full time."""
    return (attempt.accepted_at or attempt.sent_at or attempt.reserved_at) + timedelta(
        seconds=polling.attempt_timeout_seconds
    )


def given_up(polling: Polling) -> Polling:
    """How a task is read whose attempt was given up: now and then."""
    seconds = polling.poll_max_seconds * UNREAD_FACTOR
    return with_values(polling, poll_seconds=seconds, poll_max_seconds=seconds)


def _jittered(seconds: float, seed: str) -> float:
    """90–100 % of the interval, so that tasks that began together do not stay together."""
    return seconds * (0.9 + spread(seed) / 10)
