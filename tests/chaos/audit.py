"""The auditor, a separate process: compares the ledger with the sandbox's journal and the answers that clients got.

`python -m tests.chaos.audit DATABASE JOURNAL ACKNOWLEDGED [--attempt-seconds N] [--late-seconds N]
[--deliveries FILE] [--artifacts FOLDER] [--watched FILE] [--shared] [--final]` prints a report as JSON, and every
violation as a line on standard error. It exits with 1 if there is one. DATABASE is the URL of the ledger,
`--attempt-seconds` the attempt time-out of the gateway. A generation may end `--late-seconds` after its deadline.
`--shared`: several gateways have the folder, so what a killed one left half-written stays for a day. `--final`: no work
is running any more, so every generation must have ended, every result must be archived, and every end must be
announced.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.domain.adapter.task import Status
from gateway.domain.generation.model import AttemptState
from gateway.domain.generation.transitions import ATTEMPT_MOVES
from gateway.settings.load import DatabaseSettings

from .ledger import Attempt, Generation, read, rows
from .money import examine_money
from .purchases import is_acknowledged, not_needed
from .watched import EVENTS, examine_watched

LATE_SECONDS = 30.0  # after a deadline: the gateway may have been down or stopped at that time, even repeatedly
POLL_MAX_SECONDS = 1.0  # the longest interval between two polls, in the gateway's configuration
STATUS_MOVES: Mapping[str, frozenset[str]] = {
    "": frozenset({"queued"}),
    "queued": frozenset(Status) - {"queued"},
    "in_progress": frozenset(Status) - {"queued", "in_progress"},
}
_ANSWERED = frozenset({"accepted", "refused", "completed", "failed", "abandoned"})
_TAKEN = _ANSWERED - {"refused"}
_ENDED = "select id, status from generations where status not in ('queued', 'in_progress')"
_WANTED = "select id, request from generations"
_KEPT = "select kept from outputs where kept is not null"
Place = tuple[str, str, str]  # prompt, provider, model


class Report(Struct, kw_only=True):
    generations: int = 0
    ended: dict[str, int] = {}
    attempts: dict[str, int] = {}
    submits: int = 0
    tasks: int = 0
    lost: int = 0
    doubled: int = 0
    bought: int = 0  # although a paid result existed or could have been read
    slow_reads: int = 0  # polls whose answer took longer than the longest poll interval
    contradicted: int = 0  # tasks that no reply named but an acknowledged callback did
    adopted: int = 0  # those of them that belong to an attempt
    archived: int = 0
    announced: int = 0
    deliveries: int = 0
    spent_usd: float = 0.0
    watched: int = 0  # streams of events that clients have followed to the end
    violations: list[str] = []


def audit(database: DatabaseSettings, journal: Path, acknowledged: Path, **options: Any) -> Report:
    """See `examine` for the options."""
    # The answers to clients are read before the ledger: everything in the first must be in the second.
    creates, lines = _lines(acknowledged), _lines(journal)
    return examine(creates, lines, *read(database), **options)


def examine(
    creates: list[Any],
    lines: list[Any],
    generations: list[Generation],
    keys: Mapping[str, list[str]],
    *,
    attempt_seconds: float,
    final: bool,
    late_seconds: float = LATE_SECONDS,
) -> Report:
    """All contradictions between the acknowledged creates, the lines of the journal, and the ledger with its keys."""
    by_prompt: dict[str, list[Generation]] = defaultdict(list)
    for generation in generations:
        by_prompt[generation.prompt].append(generation)
    submits = Counter(_place(line) for line in lines if line["event"] == "submit")
    starts = [line for line in lines if line["event"] == "start"]

    lost = [*_lost(creates, {generation.id: generation for generation in generations})]
    twice = [*_twice(creates, by_prompt, keys)]
    doubled = [*_doubled(submits, generations), *_again(generations)]
    bought = [*not_needed(lines, generations, attempt_seconds=attempt_seconds)]
    withheld = {name for line in lines if line["event"] == "withheld" for name in line["tasks"]}
    named = {line["task"] for line in lines if is_acknowledged(line)}
    followed = {name for generation in generations for attempt in generation.attempts for name in attempt.tasks}
    violations = lost + twice + doubled + bought + [*_unknown_tasks(starts, by_prompt, withheld)]
    for generation in generations:
        violations += [
            f"{generation.id}: {wrong}"
            for wrong in (*_moves(generation), *_late(generation, late_seconds, final=final))
        ]
    if final:
        violations += _unheard(submits, generations)
        refused = sorted(named - followed)
        violations += [f"evidence: no attempt has {name}, which an acknowledged callback named" for name in refused]
    return Report(
        generations=len(generations),
        ended=dict(Counter(generation.status for generation in generations)),
        attempts=dict(Counter(attempt.state for generation in generations for attempt in generation.attempts)),
        submits=submits.total(),
        tasks=sum(len(line["tasks"]) for line in starts),
        lost=len(lost),
        doubled=len(doubled) + len(twice),
        bought=len(bought),
        slow_reads=sum(_is_slow(line) for line in lines),
        contradicted=len(named & withheld),
        adopted=len(named & withheld & followed),
        violations=violations,
    )


def _lost(creates: list[Any], by_id: Mapping[str, Generation]) -> Iterator[str]:
    """A create that was answered is in the ledger, and it is the requested one."""
    for line in creates:
        generation = by_id.get(line["id"])
        if generation is None:
            yield f"lost: {line['id']} was acknowledged for {line['key']} and is not in the ledger"
        elif generation.prompt != line["prompt"]:
            yield f"lost: {line['id']} was acknowledged for {line['prompt']!r} and is {generation.prompt!r}"


def _twice(
    creates: list[Any], by_prompt: Mapping[str, list[Generation]], keys: Mapping[str, list[str]]
) -> Iterator[str]:
    """A key has one generation, however often it was sent, and a prompt belongs to one key."""
    for prompt, alike in by_prompt.items():
        if len(alike) > 1:
            yield f"twice: {prompt!r} has made {', '.join(generation.id for generation in alike)}"
    for key, ids in keys.items():
        if len(ids) > 1:
            yield f"twice: the key {key} has made {', '.join(ids)}"
    for line in creates:
        if line["id"] not in keys.get(line["key"], ()):
            yield f"twice: {line['key']} was answered with {line['id']}, in the ledger it is {keys.get(line['key'])}"


def _doubled(submits: Counter[Place], generations: list[Generation]) -> Iterator[str]:
    """A provider received at most one submit for each attempt that may have been sent to it."""
    allowed = Counter(
        (generation.prompt, attempt.provider, attempt.model)
        for generation in generations
        for attempt in generation.attempts
        if attempt.sent and attempt.state != AttemptState.NOT_SENT
    )
    for place, count in submits.items():
        if count > allowed[place]:
            attempts = f"{allowed[place]} attempts"
            yield f"doubled: {place[1]}/{place[2]} received {count} submits of {place[0]!r} for {attempts}"


def _again(generations: list[Generation]) -> Iterator[str]:
    """After an unclear answer, the same provider gets no second submit for the same output."""
    for generation in generations:
        unclear = {data["attempt"] for kind, data in generation.events if kind == "attempt.unknown"}
        for earlier in generation.attempts:
            for later in generation.attempts:
                if (
                    earlier.id in unclear
                    and later.sent
                    and later.number > earlier.number
                    and later.provider == earlier.provider
                    and later.slots & earlier.slots
                ):
                    yield f"doubled: {later.id} went to {later.provider}, where {earlier.id} had no clear answer"


def _has_tasks(attempt: Attempt, tasks: set[str]) -> bool:
    """Whether these tasks of one submit belong to an attempt.

    Callbacks name the tasks of a submit without a reply one by one. After the first one the attempt has that task, and
    waits for the callbacks of the others, which a crash may have kept away.
    """
    if tasks <= attempt.tasks.keys():
        return True
    waits = attempt.adopted and attempt.state == AttemptState.ACCEPTED and len(attempt.tasks) < len(attempt.slots)
    return waits and set() < attempt.tasks.keys() < tasks


def _unknown_tasks(
    starts: list[Any], by_prompt: Mapping[str, list[Generation]], withheld: Collection[str]
) -> Iterator[str]:
    """Every started task belongs to an attempt, or may belong to one whose outcome is unknown or not yet stored.

    Tasks that the reply withheld can only be named by a callback; `evidence` is about those.
    """
    unassigned: Counter[Place] = Counter()
    for line in starts:
        tasks = set(line["tasks"]).difference(withheld)
        attempts = [attempt for generation in by_prompt.get(line["prompt"], ()) for attempt in generation.attempts]
        if tasks and not any(
            _has_tasks(attempt, tasks) and attempt.provider == line["provider"] for attempt in attempts
        ):
            unassigned[_place(line)] += 1
    for place, count in unassigned.items():
        open_ends = sum(
            attempt.state in {AttemptState.UNKNOWN, AttemptState.SUBMITTING}
            for generation in by_prompt.get(place[0], ())
            for attempt in generation.attempts
            if (attempt.provider, attempt.model) == place[1:]
        )
        if count > open_ends:
            yield f"task: {place[1]}/{place[2]} started {count} for {place[0]!r} that the ledger has no attempt for"


def _unheard(submits: Counter[Place], generations: list[Generation]) -> list[str]:
    """Every submit that was answered according to the ledger was received."""
    answered = Counter(
        (generation.prompt, attempt.provider, attempt.model)
        for generation in generations
        for attempt in generation.attempts
        if attempt.sent and attempt.state in _ANSWERED
    )
    return [
        f"unheard: {place[1]}/{place[2]} received {submits[place]} submits of {place[0]!r}, {count} were answered"
        for place, count in answered.items()
        if count > submits[place]
    ]


def _moves(generation: Generation) -> Iterator[str]:
    """The events are legal transitions in a legal order, and they lead to the stored states."""
    status = ""
    states: dict[str, str] = {}
    ended: set[int] = set()
    for kind, data in generation.events:
        subject, _, word = kind.partition(".")
        if subject == "generation":
            if word not in STATUS_MOVES.get(status, ()):
                yield f"illegal: the generation went from {status or 'nothing'} to {word}"
            status = word
        elif subject == "attempt":
            before = states.get(data["attempt"])
            legal = {AttemptState.RESERVED} if before is None else ATTEMPT_MOVES[AttemptState(before)]
            if word not in legal:
                yield f"illegal: {data['attempt']} went from {before or 'nothing'} to {word}"
            states[data["attempt"]] = word
        elif subject == "output" and word in STATUS_MOVES["in_progress"]:
            if data["index"] in ended:
                yield f"illegal: output {data['index']} ended twice"
            ended.add(data["index"])
    if status != generation.status:
        yield f"illegal: its events end with {status}, it is {generation.status}"
    for attempt in generation.attempts:
        if states.pop(attempt.id, None) != attempt.state:
            yield f"illegal: {attempt.id} is {attempt.state}, which no event reports"
    if states:
        yield f"illegal: events report {', '.join(states)}, which do not exist"


def _late(generation: Generation, late_seconds: float, *, final: bool) -> Iterator[str]:
    """Every generation ends, and by its deadline."""
    if generation.completed_at is None:
        if final:
            yield f"open: it is {generation.status} at the end"
    elif generation.completed_at > generation.deadline_at + late_seconds:
        yield f"late: it ended {generation.completed_at - generation.deadline_at:.1f} s after its deadline"
    for attempt in generation.attempts:
        if final and attempt.state in {AttemptState.SUBMITTING, AttemptState.RESERVED}:
            yield f"open: {attempt.id} is {attempt.state} at the end"


def _is_slow(line: Mapping[str, Any]) -> bool:
    """True if a poll was answered after more than the longest interval between two polls."""
    return line["event"] == "read" and (line["answered_at"] or 0) - line["at"] > POLL_MAX_SECONDS


def _place(line: Mapping[str, Any]) -> Place:
    return line["prompt"], line["provider"], line["model"]


def _lines(file: Path) -> list[Any]:
    """The complete lines of JSON: the last line may be half-written at this moment."""
    return [msgspec.json.decode(line) for line in file.read_bytes().split(b"\n")[:-1]]


def examine_deliveries(
    report: Report, lines: list[Any], ended: Mapping[str, str], wanted: set[str], *, final: bool
) -> None:
    """Every end of a generation with a webhook is announced: under one id, signed, with the right status."""
    ids: dict[str, set[str]] = defaultdict(set)
    acknowledged: set[str] = set()
    for line in lines:
        name = line["generation"]
        ids[name].add(line["id"])
        if not line["signed"]:
            report.violations.append(f"webhook: {line['id']} of {name} is not signed")
        if line["type"] != f"video.generation.{ended.get(name)}":
            report.violations.append(f"webhook: {name} was announced as {line['type']}, it is {ended.get(name)}")
        if line["answer"] < 300:
            acknowledged.add(name)
    report.violations += [
        f"webhook: {name} was announced under {len(event_ids)} ids"
        for name, event_ids in ids.items()
        if len(event_ids) > 1
    ]
    if final:
        report.violations += [
            f"webhook: {name} was never announced" for name in sorted((wanted & ended.keys()) - acknowledged)
        ]
    report.announced, report.deliveries = len(acknowledged), len(lines)


def files_in(folder: Path) -> set[str]:
    """The names of the files of a folder and of those below it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def examine_files(  # all of them are what is compared
    report: Report,
    folder: Path,
    names: set[str],
    rows: set[str],
    archived: list[Any],
    *,
    final: bool,
    shared: bool = False,
) -> None:
    """Every file has a row, and every archived file exists and is complete.

    `names` are those of the files before the rows were read, because a row is written before its file is.
    """
    partial = {name for name in names if name.startswith(".partial/")}
    stray = sorted(name for name in names - partial - rows if (folder / name).exists())
    report.violations += [f"file: {name} exists and has no row" for name in stray]
    if final and not shared:
        report.violations += [f"file: {name} was left half-written" for name in sorted(partial)]
    for file in archived:
        path = folder / file["name"]
        if not path.exists():
            report.violations.append(f"file: {file['name']} is archived and does not exist")
        elif final and sha256(path.read_bytes()).hexdigest() != file["sha256"]:
            report.violations.append(f"file: {file['name']} is not the archived file")
    report.archived = len(archived)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("files", nargs=2, type=Path)
    parser.add_argument("--attempt-seconds", type=float, default=1200)
    parser.add_argument("--late-seconds", type=float, default=LATE_SECONDS)
    parser.add_argument("--deliveries", type=Path)
    parser.add_argument("--artifacts", type=Path)
    parser.add_argument("--watched", type=Path)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--final", action="store_true")
    options = parser.parse_args(arguments)
    database = DatabaseSettings(url=options.database)
    report = audit(
        database,
        *options.files,
        attempt_seconds=options.attempt_seconds,
        late_seconds=options.late_seconds,
        final=options.final,
    )
    report.spent_usd, contradictions = examine_money(database, _lines(options.files[0]), final=options.final)
    report.violations += contradictions
    if options.deliveries is not None:
        lines = _lines(options.deliveries)  # before the ledger is read, as above
        ended = dict(rows(database, _ENDED))
        wanted = {name for name, request in rows(database, _WANTED) if msgspec.json.decode(request).get("webhook_url")}
        examine_deliveries(report, lines, ended, wanted, final=options.final)
    if options.watched is not None:
        lines = _lines(options.watched)
        report.violations += examine_watched(lines, rows(database, EVENTS))
        report.watched = len(lines)
    if options.artifacts is not None:
        there = files_in(options.artifacts)
        names = {name for (name,) in rows(database, "select name from artifacts")}
        archived = [msgspec.json.decode(text) for (text,) in rows(database, _KEPT)]
        examine_files(report, options.artifacts, there, names, archived, final=options.final, shared=options.shared)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stderr.writelines(f"VIOLATION {violation}\n" for violation in report.violations)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
