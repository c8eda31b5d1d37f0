"""What becomes of a generation while the files of its outputs are brought into the artifact store. Pure."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from msgspec.structs import replace

from gateway.domain.draft import Draft
from gateway.domain.generation import AttemptState, Output
from gateway.domain.keeping import (
    Drawn,
    FileFact,
    FileKept,
    FileUnread,
    Keep,
    KeepWatch,
    Picture,
    after_failure,
    first_watch,
    is_found,
    is_missing,
    settles_at,
    unkept,
)
from gateway.domain.ledger import SaveKept, SaveOutput, SavePicture
from gateway.domain.polling import HintsOf
from gateway.domain.reading import failed
from gateway.domain.task import FailureKind, Status

NOTHING: frozenset[object] = frozenset()


def absorb_file(draft: Draft, files: dict[int, KeepWatch], fact: FileFact, hints: HintsOf) -> None:
    """Take in what came of a try to keep a file; one that nobody wants any more changes nothing."""
    if isinstance(fact, Drawn):
        files.pop(fact.index, None)
        kept = draft.generation.output(fact.index).kept
        if fact.name is not None and kept is not None:
            pictured = replace(kept, thumbnail=fact.name, thumbnail_type=fact.content_type)
            draft.write(SavePicture(fact.index, pictured))
        return
    # What was fetched while the link was good counts also when that has ended since.
    wanted = (one for one in draft.generation.outputs if one.artifact is not None and one.kept is None)
    output = next((one for one in wanted if one.index == fact.index), None)
    if output is None:
        return
    watch = files.get(output.index) or first_watch(draft.generation, output, draft.now)
    match fact:
        case FileKept(kept=kept):
            draft.write(SaveKept(output.index, kept))
            files[output.index] = replace(watch, draws=fact.draws, given_up=not fact.draws)
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


def files_due(draft: Draft, files: dict[int, KeepWatch], busy: frozenset[object]) -> tuple[Keep | Picture, ...]:
    """The files to be kept now, and pictures to be heard of; forgets the watches of those that need none."""
    live = {index for index, watch in files.items() if watch.draws}
    due: list[Keep | Picture] = [Picture(index) for index in sorted(live) if Picture(index) not in busy]
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
