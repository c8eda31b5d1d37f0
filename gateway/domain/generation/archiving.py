"""When a result counts as stored, when its archiving is tried again, and what follows. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Status
from gateway.domain.backoff import spread
from gateway.domain.generation.changes import Draft
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Kept, Output
from gateway.domain.generation.task_polling import HintsOf
from gateway.domain.generation.transitions import SaveKept, SaveOutput

WAIT = timedelta(seconds=10)  # for the file of an open output; then the provider's link is what the client gets
LONGEST_WAIT = timedelta(minutes=5)  # the same while the file is coming
FIRST_SECONDS = 2.0  # until the second try
MAX_SECONDS = 900.0  # between later ones
MISSING_TRIES = 3  # no video there this often, and over a whole grace, before another one is bought
RESTART_SECONDS = 30.0  # over which files that were missed before a start are asked for


class Keep(Struct, frozen=True):
    """Bring the file of this output into the artifact store."""

    index: int


class FileKept(Struct, frozen=True):
    """The file is in the artifact store."""

    index: int
    kept: Kept


class FileUnread(Struct, frozen=True, kw_only=True):
    """The file could not be had. What is `final` is not tried again.

    `missing`: nothing is there, or something that is no video; it counts when it is seen often enough.
    `unstored`: it was not fetched, because the gateway's own store does not take files at the moment.
    """

    index: int
    missing: bool = False
    final: bool = False
    unstored: bool = False
    retry_after_seconds: float | None = None  # its host asks for this wait


FileFact = FileKept | FileUnread


class KeepWatch(Struct, frozen=True, kw_only=True):
    """Between two tries to keep a file. What one process remembers of it, never stored."""

    next_at: datetime
    since: datetime
    interval_seconds: float = FIRST_SECONDS
    missing: int = 0
    missing_since: datetime | None = None
    given_up: bool = False
    unstored: bool = False


def is_found(output: Output) -> bool:
    """Whether its file is known and on its way: nothing else is to be tried for it meanwhile."""
    return output.artifact is not None and not output.status.terminal


def is_ours_alone(output: Output) -> bool:
    """Whether only the gateway can fetch its file: no link would be of use to the client."""
    return output.artifact is not None and output.artifact.needs_credential


def is_keeping(generation: Generation, attempt: Attempt) -> bool:
    """Whether a file of the attempt is on its way: it is not known yet whether it made what was asked for."""
    return any(output.attempt_id == attempt.id and is_found(output) for output in generation.outputs)


def unkept(generation: Generation, now: datetime) -> Iterable[Output]:
    """The outputs whose file may still be had, and is not kept."""
    for output in generation.outputs:
        lasts = output.expires_at is None or now < output.expires_at
        if output.artifact is not None and output.kept is None and lasts:
            yield output


def first_watch(generation: Generation, output: Output, now: datetime) -> KeepWatch:
    """At once while somebody waits for it; what is found behind an end, or after a restart, in its turn."""
    late = RESTART_SECONDS * spread(f"{generation.id}:{output.index}") if output.status.terminal else 0.0
    return KeepWatch(next_at=now + timedelta(seconds=late), since=now)


def after_failure(watch: KeepWatch, fact: FileUnread, now: datetime) -> KeepWatch:
    """The next try, later each time, and not before its host wants it; no host makes a file wait for hours."""
    asked = min(max(fact.retry_after_seconds or 0.0, 0.0), MAX_SECONDS)
    return replace(
        watch,
        next_at=now + timedelta(seconds=max(watch.interval_seconds, asked)),
        interval_seconds=min(watch.interval_seconds * 2, MAX_SECONDS),
        missing=watch.missing + 1 if fact.missing else 0,
        missing_since=(watch.missing_since or now) if fact.missing else None,
        given_up=fact.final,
        unstored=fact.unstored,
    )


def is_missing(watch: KeepWatch, grace_seconds: float, now: datetime) -> bool:
    """Whether a file that is missing once more is so for good: a link may be told of before it works."""
    seen_for = (now - (watch.missing_since or now)).total_seconds()
    return watch.missing + 1 >= MISSING_TRIES and seen_for >= grace_seconds


def settles_at(watch: KeepWatch, output: Output, grace_seconds: float, *, coming: bool) -> datetime | None:
    """When an open output stops waiting for its file to be kept; what looks missing is looked at to the end.

    `coming`: it is being fetched, or is fetched next. A file that only the gateway can fetch is waited for as long as
    it may still be had: `None` is until the deadline. While the gateway's own store takes no files, such a file is
    passed through to the client, which is better than nothing.
    """
    if is_ours_alone(output) and not watch.unstored:
        return output.expires_at
    if watch.given_up:
        return watch.since
    if coming:
        return watch.since + LONGEST_WAIT
    if watch.missing_since is not None:  # tries grow apart by doubling: one comes between the grace and its double
        return watch.missing_since + timedelta(seconds=grace_seconds * 3) + WAIT
    return watch.since + WAIT


NOTHING: frozenset[object] = frozenset()


def absorb_file(draft: Draft, files: dict[int, KeepWatch], fact: FileFact, hints: HintsOf) -> None:
    """Take in what came of a try to keep a file; one that nobody wants any more changes nothing."""
    # What was fetched while the link was good counts also when that has ended since.
    wanted = (one for one in draft.generation.outputs if one.artifact is not None and one.kept is None)
    output = next((one for one in wanted if one.index == fact.index), None)
    if output is None:
        return
    watch = files.get(output.index) or first_watch(draft.generation, output, draft.now)
    match fact:
        case FileKept(kept=kept):
            draft.write(SaveKept(output.index, kept))
            files[output.index] = replace(watch, given_up=True)
            if is_found(output):
                draft.write(SaveOutput(replace(output, kept=kept, status=Status.COMPLETED)))
        case FileUnread() if fact.missing and is_missing(watch, _grace_seconds(draft, output, hints), draft.now):
            _reject(draft, files, output, watch)
        case FileUnread():
            files[output.index] = after_failure(watch, fact, draft.now)


def settle(
    draft: Draft,
    files: Mapping[int, KeepWatch],
    hints: HintsOf,
    busy: frozenset[object] = NOTHING,
    *,
    everything: bool = False,
) -> None:
    """Count an output whose file could not be kept for long as done: the provider's link is there, and paid for."""
    for output in draft.generation.outputs:
        if not is_found(output):
            continue
        watch = files.get(output.index)
        if everything or (watch is not None and _is_settled(draft, output, watch, hints, busy)):
            draft.write(SaveOutput(replace(output, status=Status.COMPLETED)))


def _is_settled(draft: Draft, output: Output, watch: KeepWatch, hints: HintsOf, busy: frozenset[object]) -> bool:
    """True once the wait for a file is over; for one that is fetched next, also once a running fetch would be over."""
    is_coming = Keep(output.index) in busy
    ways = {is_coming, is_coming or watch.next_at <= draft.now}
    moments = (settles_at(watch, output, _grace_seconds(draft, output, hints), coming=coming) for coming in ways)
    return any(moment is not None and draft.now >= moment for moment in moments)


def files_due(draft: Draft, files: dict[int, KeepWatch], busy: frozenset[object]) -> tuple[Keep, ...]:
    """The files to be kept now; forgets the watches of those that need none."""
    live: set[int] = set()
    due: list[Keep] = []
    for output in unkept(draft.generation, draft.now):
        live.add(output.index)
        watch = files.setdefault(output.index, first_watch(draft.generation, output, draft.now))
        effect = Keep(output.index)
        if not watch.given_up and watch.next_at <= draft.now and effect not in busy:
            due.append(effect)
    for index in files.keys() - live:
        del files[index]
    return tuple(due)


def file_moments(
    draft: Draft, files: Mapping[int, KeepWatch], hints: HintsOf, busy: frozenset[object]
) -> Iterator[datetime]:
    """When a file is to be tried again, and when an output stops waiting for its own."""
    for output in draft.generation.outputs:
        watch = files.get(output.index)
        if watch is None:
            continue
        if not watch.given_up and watch.next_at > draft.now:
            yield watch.next_at
        if is_found(output):
            coming = Keep(output.index) in busy or watch.next_at <= draft.now
            settles = settles_at(watch, output, _grace_seconds(draft, output, hints), coming=coming)
            if settles is not None:
                yield settles


def _reject(draft: Draft, files: dict[int, KeepWatch], output: Output, watch: KeepWatch) -> None:
    """What the provider handed over is no result: its output is open again, and its task has failed."""
    if not is_found(output):  # it counts already, and the client has its link
        files[output.index] = replace(watch, given_up=True)
        return
    missing = failed(FailureKind.RESULT_MISSING)
    if output.extra:
        ended = replace(output, status=Status.FAILED, failure=missing, artifact=None, expires_at=None)
        draft.write(SaveOutput(ended))
        return
    attempt = draft.generation.attempt(output.attempt_id or "")
    for index, task in enumerate(attempt.tasks):
        if task.slot == output.index and attempt.state in {AttemptState.ACCEPTED, AttemptState.ABANDONED}:
            draft.task(attempt, index, replace(task, status=Status.FAILED, failure=missing))
    empty = replace(output, status=Status.QUEUED, attempt_id=None, artifact=None, expires_at=None)
    draft.write(SaveOutput(empty))


def _grace_seconds(draft: Draft, output: Output, hints: HintsOf) -> float:
    attempt = draft.generation.attempt(output.attempt_id or "")
    return hints(draft.generation.route(attempt)).polling.grace_seconds
