"""The auditor: the ledger against the sandbox's journal and what clients were told. A process of its own.

`python -m tests.chaos.audit LEDGER JOURNAL ACKNOWLEDGED [--attempt-seconds N] [--told FILE] [--artifacts FOLDER]
[--final]` prints a report as JSON and every violation as a line on standard error; it exits with 1 when there is one.
`--attempt-seconds` is the gateway's attempt time-out. `--final`: nothing is under way, all must have ended, been kept
and been told.
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

from .ledger import Generation, read, rows
from .purchases import is_acknowledged, not_needed

LATE_SECONDS = 30.0  # behind a deadline: the gateway may have been down or stopped when it came, and that often
POLL_MAX_SECONDS = 1.0  # the longest interval between two polls, in the gateway's configuration
STATUS_MOVES: Mapping[str, frozenset[str]] = {
    "": frozenset({"queued"}),
    "queued": frozenset(Status) - {"queued"},
    "in_progress": frozenset(Status) - {"queued", "in_progress"},
}
_ANSWERED = frozenset({"accepted", "refused", "completed", "failed", "abandoned"})
_TAKEN = _ANSWERED - {"refused"}
_ENDED = "select id, status from generations where status not in ('queued', 'in_progress')"
_WANTED = "select id from generations where request ->> '$.webhook_url' <> ''"
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
    bought: int = 0  # although a paid result was there or could have been read
    slow_reads: int = 0  # polls whose answer took longer than the longest poll interval
    contradicted: int = 0  # tasks that no reply named, and that an acknowledged callback named
    adopted: int = 0  # of those, the ones that an attempt has
    kept: int = 0
    told: int = 0
    deliveries: int = 0
    violations: list[str] = []


def audit(ledger: Path, journal: Path, acknowledged: Path, *, attempt_seconds: float, final: bool) -> Report:
    # What was told is read before what is known: whatever the first has, the second must have.
    told, lines = _lines(acknowledged), _lines(journal)
    return examine(told, lines, *read(ledger), attempt_seconds=attempt_seconds, final=final)


def examine(
    told: list[Any],
    lines: list[Any],
    generations: list[Generation],
    keys: Mapping[str, list[str]],
    *,
    attempt_seconds: float,
    final: bool,
) -> Report:
    """What is wrong between what clients were told, the journal's lines, and the ledger with its keys."""
    by_prompt: dict[str, list[Generation]] = defaultdict(list)
    for generation in generations:
        by_prompt[generation.prompt].append(generation)
    submits = Counter(_place(line) for line in lines if line["event"] == "submit")
    starts = [line for line in lines if line["event"] == "start"]

    lost = [*_lost(told, {one.id: one for one in generations})]
    twice = [*_twice(told, by_prompt, keys)]
    doubled = [*_doubled(submits, generations), *_again(generations)]
    bought = [*not_needed(lines, generations, attempt_seconds=attempt_seconds)]
    withheld = {name for line in lines if line["event"] == "withheld" for name in line["tasks"]}
    named = {line["task"] for line in lines if is_acknowledged(line)}
    followed = {name for one in generations for attempt in one.attempts for name in attempt.tasks}
    found = lost + twice + doubled + bought + [*_unknown_tasks(starts, by_prompt, withheld)]
    for generation in generations:
        found += [f"{generation.id}: {wrong}" for wrong in (*_moves(generation), *_late(generation, final=final))]
    if final:
        found += _unheard(submits, generations)
        refused = sorted(named - followed)
        found += [f"evidence: no attempt has {name}, which an acknowledged callback named" for name in refused]
    return Report(
        generations=len(generations),
        ended=dict(Counter(one.status for one in generations)),
        attempts=dict(Counter(attempt.state for one in generations for attempt in one.attempts)),
        submits=submits.total(),
        tasks=sum(len(line["tasks"]) for line in starts),
        lost=len(lost),
        doubled=len(doubled) + len(twice),
        bought=len(bought),
        slow_reads=sum(_is_slow(line) for line in lines),
        contradicted=len(named & withheld),
        adopted=len(named & withheld & followed),
        violations=found,
    )


def _lost(told: list[Any], known: Mapping[str, Generation]) -> Iterator[str]:
    """A create that was answered is there, and is the one that was asked for."""
    for line in told:
        generation = known.get(line["id"])
        if generation is None:
            yield f"lost: {line['id']} was acknowledged for {line['key']} and is not in the ledger"
        elif generation.prompt != line["prompt"]:
            yield f"lost: {line['id']} was acknowledged for {line['prompt']!r} and is {generation.prompt!r}"


def _twice(told: list[Any], by_prompt: Mapping[str, list[Generation]], keys: Mapping[str, list[str]]) -> Iterator[str]:
    """A key stands for one generation, whoever asks; a prompt is one key's alone."""
    for prompt, alike in by_prompt.items():
        if len(alike) > 1:
            yield f"twice: {prompt!r} has made {', '.join(one.id for one in alike)}"
    for key, ids in keys.items():
        if len(ids) > 1:
            yield f"twice: the key {key} has made {', '.join(ids)}"
    for line in told:
        if line["id"] not in keys.get(line["key"], ()):
            yield f"twice: {line['key']} was answered with {line['id']}, in the ledger it is {keys.get(line['key'])}"


def _doubled(submits: Counter[Place], generations: list[Generation]) -> Iterator[str]:
    """What a provider received is at most one submit for each attempt that may have been received there."""
    allowed = Counter(
        (one.prompt, attempt.provider, attempt.model)
        for one in generations
        for attempt in one.attempts
        if attempt.sent and attempt.state != AttemptState.NOT_SENT
    )
    for place, count in submits.items():
        if count > allowed[place]:
            attempts = f"{allowed[place]} attempts"
            yield f"doubled: {place[1]}/{place[2]} received {count} submits of {place[0]!r} for {attempts}"


def _again(generations: list[Generation]) -> Iterator[str]:
    """After an unclear answer the same provider is not asked again for the same output."""
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


def _unknown_tasks(
    starts: list[Any], by_prompt: Mapping[str, list[Generation]], withheld: Collection[str]
) -> Iterator[str]:
    """Every task that was started is an attempt's, or may be: its attempt's end is not known, or not yet.

    Tasks that the reply has withheld are known by a callback alone; `evidence` is about those.
    """
    untold: Counter[Place] = Counter()
    for line in starts:
        tasks = set(line["tasks"]).difference(withheld)
        attempts = [attempt for one in by_prompt.get(line["prompt"], ()) for attempt in one.attempts]
        if tasks and not any(
            tasks <= attempt.tasks.keys() and attempt.provider == line["provider"] for attempt in attempts
        ):
            untold[_place(line)] += 1
    for place, count in untold.items():
        open_ends = sum(
            attempt.state in {AttemptState.UNKNOWN, AttemptState.SUBMITTING}
            for one in by_prompt.get(place[0], ())
            for attempt in one.attempts
            if (attempt.provider, attempt.model) == place[1:]
        )
        if count > open_ends:
            yield f"task: {place[1]}/{place[2]} started {count} for {place[0]!r} that the ledger has no attempt for"


def _unheard(submits: Counter[Place], generations: list[Generation]) -> list[str]:
    """Whatever the ledger says was answered was received."""
    answered = Counter(
        (one.prompt, attempt.provider, attempt.model)
        for one in generations
        for attempt in one.attempts
        if attempt.sent and attempt.state in _ANSWERED
    )
    return [
        f"unheard: {place[1]}/{place[2]} received {submits[place]} submits of {place[0]!r}, {count} were answered"
        for place, count in answered.items()
        if count > submits[place]
    ]


def _moves(generation: Generation) -> Iterator[str]:
    """Events tell of moves that the tables have, in their order, up to the states that are stored."""
    status = ""
    states: dict[str, str] = {}
    ended: set[int] = set()
    for kind, data in generation.events:
        what, _, word = kind.partition(".")
        if what == "generation":
            if word not in STATUS_MOVES.get(status, ()):
                yield f"illegal: the generation went from {status or 'nothing'} to {word}"
            status = word
        elif what == "attempt":
            before = states.get(data["attempt"])
            legal = {AttemptState.RESERVED} if before is None else ATTEMPT_MOVES[AttemptState(before)]
            if word not in legal:
                yield f"illegal: {data['attempt']} went from {before or 'nothing'} to {word}"
            states[data["attempt"]] = word
        elif what == "output" and word in STATUS_MOVES["in_progress"]:
            if data["index"] in ended:
                yield f"illegal: output {data['index']} ended twice"
            ended.add(data["index"])
    if status != generation.status:
        yield f"illegal: its events end with {status}, it is {generation.status}"
    for attempt in generation.attempts:
        if states.pop(attempt.id, None) != attempt.state:
            yield f"illegal: {attempt.id} is {attempt.state}, which no event tells"
    if states:
        yield f"illegal: events tell of {', '.join(states)}, which are not there"


def _late(generation: Generation, *, final: bool) -> Iterator[str]:
    """All end, by their deadline."""
    if generation.completed_at is None:
        if final:
            yield f"open: it is {generation.status} at the end"
    elif generation.completed_at > generation.deadline_at + LATE_SECONDS:
        yield f"late: it ended {generation.completed_at - generation.deadline_at:.1f} s behind its deadline"
    for attempt in generation.attempts:
        if final and attempt.state in {AttemptState.SUBMITTING, AttemptState.RESERVED}:
            yield f"open: {attempt.id} is {attempt.state} at the end"


def _is_slow(line: Mapping[str, Any]) -> bool:
    """True if a poll was answered after more than the longest interval between two polls."""
    return line["event"] == "read" and (line["answered_at"] or 0) - line["at"] > POLL_MAX_SECONDS


def _place(line: Mapping[str, Any]) -> Place:
    return line["prompt"], line["provider"], line["model"]


def _lines(file: Path) -> list[Any]:
    """The lines of JSON that are whole: the last may be half-written at this moment."""
    return [msgspec.json.decode(line) for line in file.read_bytes().split(b"\n")[:-1]]


def examine_told(report: Report, lines: list[Any], ended: Mapping[str, str], wanted: set[str], *, final: bool) -> None:
    """Every end that asked for it is told, under one id, signed, and as what it is."""
    ids: dict[str, set[str]] = defaultdict(set)
    heard: set[str] = set()
    for line in lines:
        name = line["generation"]
        ids[name].add(line["id"])
        if not line["signed"]:
            report.violations.append(f"told: {line['id']} of {name} is not signed")
        if line["type"] != f"video.generation.{ended.get(name)}":
            report.violations.append(f"told: {name} as {line['type']}, it is {ended.get(name)}")
        if line["answer"] < 300:
            heard.add(name)
    report.violations += [f"told: {name} under {len(known)} ids" for name, known in ids.items() if len(known) > 1]
    if final:
        report.violations += [f"told: {name} never was" for name in sorted((wanted & ended.keys()) - heard)]
    report.told, report.deliveries = len(heard), len(lines)


def examine_files(report: Report, folder: Path, rows: set[str], kept: list[Any], *, final: bool) -> None:
    """No file is there that no row tells of; what is kept is there, whole."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    partial = {name for name in names if name.startswith(".partial/")}
    stray = sorted(name for name in names - partial - rows if (folder / name).exists())
    report.violations += [f"file: {name} is there and no row tells of it" for name in stray]
    if final:
        report.violations += [f"file: {name} was left half-written" for name in sorted(partial)]
    for one in kept:
        path = folder / one["name"]
        if not path.exists():
            report.violations.append(f"file: {one['name']} is kept and is not there")
        elif final and sha256(path.read_bytes()).hexdigest() != one["sha256"]:
            report.violations.append(f"file: {one['name']} is not what was kept")
    report.kept = len(kept)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs=3, type=Path)
    parser.add_argument("--attempt-seconds", type=float, default=1200)
    parser.add_argument("--told", type=Path)
    parser.add_argument("--artifacts", type=Path)
    parser.add_argument("--final", action="store_true")
    asked = parser.parse_args(arguments)
    report = audit(*asked.files, attempt_seconds=asked.attempt_seconds, final=asked.final)
    if asked.told is not None:
        lines = _lines(asked.told)  # before the ledger is read, as above
        ended = dict(rows(asked.files[0], _ENDED))
        wanted = {name for (name,) in rows(asked.files[0], _WANTED)}
        examine_told(report, lines, ended, wanted, final=asked.final)
    if asked.artifacts is not None:
        names = {name for (name,) in rows(asked.files[0], "select name from artifacts")}
        kept = [msgspec.json.decode(text) for (text,) in rows(asked.files[0], _KEPT)]
        examine_files(report, asked.artifacts, names, kept, final=asked.final)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stderr.writelines(f"VIOLATION {one}\n" for one in report.violations)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
