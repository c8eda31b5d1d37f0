"""When a result counts as there: its file is kept, or the wait for that is over. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.backoff import spread
from gateway.domain.generation import Attempt, Generation, Kept, Output

WAIT = timedelta(seconds=10)  # for the file of an open output; then the provider's link is what the client gets
LONGEST_WAIT = timedelta(minutes=5)  # the same while the file is coming
FIRST_SECONDS = 2.0  # until the second try
MAX_SECONDS = 900.0  # between later ones
MISSING_TRIES = 3  # no video there this often, and over a whole grace, before another one is bought
RESTART_SECONDS = 30.0  # over which files that were missed before a start are asked for


class Keep(Struct, frozen=True):
    """Bring the file of this output into the artifact store."""

    index: int


class Picture(Struct, frozen=True):
    """Hear what came of drawing the first frame of this output's file."""

    index: int


class FileKept(Struct, frozen=True):
    """The file is in the artifact store; a picture of it may be on its way."""

    index: int
    kept: Kept
    draws: bool = False


class Drawn(Struct, frozen=True):
    """The picture is in the artifact store under this name, or there is none."""

    index: int
    name: str | None
    content_type: str = "image/jpeg"


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


FileFact = FileKept | Drawn | FileUnread


class KeepWatch(Struct, frozen=True, kw_only=True):
    """Between two tries to keep a file. What one process remembers of it, never stored."""

    next_at: datetime
    since: datetime
    interval_seconds: float = FIRST_SECONDS
    missing: int = 0
    missing_since: datetime | None = None
    given_up: bool = False
    unstored: bool = False
    draws: bool = False  # it is kept, and its picture is on its way


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
