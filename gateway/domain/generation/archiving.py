"""When a result counts as archived, when archiving is tried again, and what a missing file leads to. Pure.

A provider's "done" is believed only once its file was fetched and is of the right kind. Its link works for a limited
time, so the gateway archives a copy, but a client does not wait for that longer than necessary.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Status
from gateway.domain.backoff import spread
from gateway.domain.generation.changes import Changes
from gateway.domain.generation.model import ArchivedFile, Attempt, AttemptState, Generation, Output
from gateway.domain.generation.task_polling import RouteProfileOf
from gateway.domain.generation.transitions import SaveArchivedFile, SaveOutput

WAIT = timedelta(seconds=10)  # how long an open output waits for its file; then the client gets the provider's link
LONGEST_WAIT = timedelta(minutes=5)  # the same while the file is being transferred
FIRST_SECONDS = 2.0  # before the second try
MAX_SECONDS = 900.0  # the longest pause between later tries
MISSING_TRIES = 3  # so many fetches without a sound file, over a whole grace, count as a missing result
RESTART_SECONDS = 30.0  # after a restart, the first fetches are spread over this time


class ArchiveFile(Struct, frozen=True, gc=False):
    """Effect: archive the file of this output."""

    index: int


class FileArchived(Struct, frozen=True):
    """Fact: the file is in the artifact store."""

    index: int
    file: ArchivedFile


class FileUnread(Struct, frozen=True, kw_only=True):
    """Fact: the file could not be archived.

    `missing`: there is nothing at the URL, or something that is not a video, or image, as asked.
    It counts once it was seen often enough.
    `final`: it is not tried again.
    `unstored`: it was not fetched, because the gateway's own artifact store takes no files at the moment.
    """

    index: int
    missing: bool = False
    final: bool = False
    unstored: bool = False
    retry_after_seconds: float | None = None  # the wait that the file's host asked for


FileFact = FileArchived | FileUnread


class ArchiveSchedule(Struct, frozen=True, kw_only=True, gc=False):
    """What a driver remembers between two tries to archive a file. Only its grace is stored, with the file's task."""

    next_at: datetime  # of the next try
    since: datetime  # when archiving began in this process
    interval_seconds: float = FIRST_SECONDS
    missing: int = 0
    missing_since: datetime | None = None
    given_up: bool = False
    unstored: bool = False


def is_being_archived(output: Output) -> bool:
    """True while the output has a file that is being archived: meanwhile no other route is tried for it."""
    return output.artifact is not None and not output.status.terminal


def needs_gateway(output: Output) -> bool:
    """True if only the gateway can fetch the file, with the provider's key: a link would be useless to the client."""
    return output.artifact is not None and output.artifact.needs_credential


def has_file_being_archived(generation: Generation, attempt: Attempt) -> bool:
    """True while a file of the attempt is being archived: until then it is not certain that the attempt succeeded."""
    return any(output.attempt_id == attempt.id and is_being_archived(output) for output in generation.outputs)


def unarchived(generation: Generation, now: datetime) -> Iterable[Output]:
    """The outputs whose file is not archived yet and whose link may still work."""
    for output in generation.outputs:
        lasts = output.expires_at is None or now < output.expires_at
        if output.artifact is not None and output.kept is None and lasts:
            yield output


def first_schedule(generation: Generation, output: Output, now: datetime) -> ArchiveSchedule:
    """The first try: now if a client waits for the output, otherwise spread over `RESTART_SECONDS`.

    The others are late results and those that a restart found: there can be thousands of them at once.
    """
    delay = RESTART_SECONDS * spread(f"{generation.id}:{output.index}") if output.status.terminal else 0.0
    place = _task_of(generation, output)
    schedule = ArchiveSchedule(next_at=now + timedelta(seconds=delay), since=now)
    if place is None:
        return schedule
    attempt, index = place
    task = attempt.tasks[index]
    return replace(schedule, missing=task.missing, missing_since=task.missing_since)


def _task_of(generation: Generation, output: Output) -> tuple[Attempt, int] | None:
    """The attempt and the index of the completed task whose file this is; None for a further file of a task."""
    attempt = generation.attempt(output.attempt_id or "")
    ends = (index for index, task in enumerate(attempt.tasks) if task.slot == output.index)
    index = next((index for index in ends if attempt.tasks[index].status is Status.COMPLETED), None)
    return None if index is None else (attempt, index)


def _note(changes: Changes, output: Output, schedule: ArchiveSchedule) -> None:
    """Store the grace of a file. More than `MISSING_TRIES` are not counted: they change nothing."""
    place = _task_of(changes.generation, output)
    if place is not None:
        attempt, index = place
        missing = min(schedule.missing, MISSING_TRIES)
        changes.task(
            attempt,
            index,
            replace(attempt.tasks[index], missing=missing, missing_since=schedule.missing_since),
        )


def after_failure(schedule: ArchiveSchedule, fact: FileUnread, now: datetime) -> ArchiveSchedule:
    """When the next try is: after a pause that doubles, or the wait that the host asked for, up to `MAX_SECONDS`."""
    requested = min(max(fact.retry_after_seconds or 0.0, 0.0), MAX_SECONDS)
    return replace(
        schedule,
        next_at=now + timedelta(seconds=max(schedule.interval_seconds, requested)),
        interval_seconds=min(schedule.interval_seconds * 2, MAX_SECONDS),
        missing=schedule.missing + 1 if fact.missing else 0,
        missing_since=(schedule.missing_since or now) if fact.missing else None,
        given_up=fact.final,
        unstored=fact.unstored,
    )


def is_missing(schedule: ArchiveSchedule, grace_seconds: float, now: datetime) -> bool:
    """True if one more missing file counts as permanent. A provider may name a link some time before it works."""
    missing_for = (now - (schedule.missing_since or now)).total_seconds()
    return schedule.missing + 1 >= MISSING_TRIES and missing_for >= grace_seconds


def settles_at(schedule: ArchiveSchedule, output: Output, grace_seconds: float, *, coming: bool) -> datetime | None:
    """When an open output stops waiting for its file to be archived and counts as completed without it.

    `coming`: the file is being fetched, or is fetched next. A file that looks missing is waited for until it is certain
    whether it is. A file that only the gateway can fetch is waited for as long as its link may work; `None` means until
    the deadline. If the gateway's own store takes no files at the moment, such a file is passed through to the client
    instead.
    """
    if needs_gateway(output) and not schedule.unstored:
        return output.expires_at
    if schedule.given_up:
        return schedule.since
    if coming:
        return schedule.since + LONGEST_WAIT
    if schedule.missing_since is not None:  # the pauses double, so one try is between the end of the grace and twice it
        return schedule.missing_since + timedelta(seconds=grace_seconds * 3) + WAIT
    return schedule.since + WAIT


NOTHING: frozenset[object] = frozenset()


def absorb_file(
    changes: Changes, files: dict[int, ArchiveSchedule], fact: FileFact, profile_of: RouteProfileOf
) -> None:
    """Apply the result of a try to archive a file. A file that its output no longer has changes nothing."""
    # A file that was fetched in time counts even if the provider's link has ended since.
    wanted = (output for output in changes.generation.outputs if output.artifact is not None and output.kept is None)
    output = next((output for output in wanted if output.index == fact.index), None)
    if output is None:
        return
    schedule = files.get(output.index) or first_schedule(changes.generation, output, changes.now)
    match fact:
        case FileArchived(file=file):
            changes.write(SaveArchivedFile(output.index, file))
            files[output.index] = replace(schedule, given_up=True)
            if is_being_archived(output):
                changes.write(SaveOutput(replace(output, kept=file, status=Status.COMPLETED)))
        case FileUnread() if fact.missing and is_missing(
            schedule, _grace_seconds(changes, output, profile_of), changes.now
        ):
            _reject(changes, files, output, schedule)
        case FileUnread():
            files[output.index] = after_failure(schedule, fact, changes.now)
            _note(changes, output, files[output.index])


def settle(
    changes: Changes,
    files: Mapping[int, ArchiveSchedule],
    profile_of: RouteProfileOf,
    busy: frozenset[object] = NOTHING,
    *,
    everything: bool = False,
) -> None:
    """Complete the outputs that have waited long enough for archiving: the client gets the provider's link.

    `everything`: complete all of them, because the deadline has passed.
    """
    for output in changes.generation.outputs:
        if not is_being_archived(output):
            continue
        schedule = files.get(output.index)
        if everything or (schedule is not None and _is_settled(changes, output, schedule, profile_of, busy)):
            changes.write(SaveOutput(replace(output, status=Status.COMPLETED)))


def _is_settled(
    changes: Changes, output: Output, schedule: ArchiveSchedule, profile_of: RouteProfileOf, busy: frozenset[object]
) -> bool:
    """True once the wait for a file is over, as it is now or as it would be with the fetch that is due."""
    is_coming = ArchiveFile(output.index) in busy
    cases = {is_coming, is_coming or schedule.next_at <= changes.now}
    moments = (
        settles_at(schedule, output, _grace_seconds(changes, output, profile_of), coming=coming) for coming in cases
    )
    return any(moment is not None and changes.now >= moment for moment in moments)


def files_due(changes: Changes, files: dict[int, ArchiveSchedule], busy: frozenset[object]) -> tuple[ArchiveFile, ...]:
    """The files to archive now. Drops the schedules of outputs that need none."""
    live: set[int] = set()
    due: list[ArchiveFile] = []
    for output in unarchived(changes.generation, changes.now):
        live.add(output.index)
        schedule = files.setdefault(output.index, first_schedule(changes.generation, output, changes.now))
        effect = ArchiveFile(output.index)
        if not schedule.given_up and schedule.next_at <= changes.now and effect not in busy:
            due.append(effect)
    for index in files.keys() - live:
        del files[index]
    return tuple(due)


def file_moments(
    changes: Changes, files: Mapping[int, ArchiveSchedule], profile_of: RouteProfileOf, busy: frozenset[object]
) -> Iterator[datetime]:
    """The moments at which a fetch is tried again, or an output stops waiting for its file."""
    for output in changes.generation.outputs:
        schedule = files.get(output.index)
        if schedule is None:
            continue
        if not schedule.given_up and schedule.next_at > changes.now:
            yield schedule.next_at
        if is_being_archived(output):
            coming = ArchiveFile(output.index) in busy or schedule.next_at <= changes.now
            settles = settles_at(schedule, output, _grace_seconds(changes, output, profile_of), coming=coming)
            if settles is not None:
                yield settles


def _reject(changes: Changes, files: dict[int, ArchiveSchedule], output: Output, schedule: ArchiveSchedule) -> None:
    """The provider's file is not a result: its task has failed, and its output is open for another route."""
    if not is_being_archived(output):  # the output is completed already, and the client has the provider's link
        files[output.index] = replace(schedule, given_up=True)
        return
    missing = failed(FailureKind.RESULT_MISSING)
    if output.extra:
        ended = replace(output, status=Status.FAILED, failure=missing, artifact=None, expires_at=None)
        changes.write(SaveOutput(ended))
        return
    attempt = changes.generation.attempt(output.attempt_id or "")
    for index, task in enumerate(attempt.tasks):
        if task.slot == output.index and attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
            changes.task(attempt, index, replace(task, status=Status.FAILED, failure=missing))
    empty = replace(output, status=Status.QUEUED, attempt_id=None, artifact=None, expires_at=None)
    changes.write(SaveOutput(empty))


def _grace_seconds(changes: Changes, output: Output, profile_of: RouteProfileOf) -> float:
    attempt = changes.generation.attempt(output.attempt_id or "")
    return profile_of(changes.generation.route(attempt)).polling.grace_seconds
