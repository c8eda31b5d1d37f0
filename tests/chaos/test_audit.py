"""Every check of the auditor, with one correct generation and with every defect that it may have."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ..cases import every
from .audit import Report, examine, examine_deliveries, examine_files, files_in
from .ledger import Attempt, Generation

CREATE = {"key": "k1", "prompt": "Beach", "id": "gen_1"}
PLACE = {"provider": "keevx", "model": "V", "prompt": "Beach"}
SUBMIT = {"event": "submit", "count": 1, "created_at": 1.0, **PLACE}
START = {"event": "start", "tasks": ["t1"], "done_at": {"t1": 11.0}, "created_at": 1.0, **PLACE}
CALLBACK = {"event": "callback", "task": "t1", "at": 12.0, "outcome": 200}
WITHHELD = {"event": "withheld", "provider": "keevx", "tasks": ["t1"]}
ATTEMPT = Attempt(
    id="a1",
    number=1,
    provider="keevx",
    model="V",
    slots=frozenset({0}),
    state="completed",
    sent=True,
    tasks={"t1": 0},
)
GENERATION = Generation(
    id="gen_1",
    prompt="Beach",
    outputs=1,
    status="completed",
    deadline_at=100,
    completed_at=50,
    attempts=(ATTEMPT,),
    events=(
        ("generation.queued", {}),
        *((f"attempt.{state}", {"attempt": "a1"}) for state in ("reserved", "submitting", "accepted")),
        ("generation.in_progress", {}),
        ("attempt.completed", {"attempt": "a1"}),
        ("output.completed", {"index": 0}),
        ("generation.completed", {}),
    ),
)


def examined(
    *generations: Generation,
    creates: list[Any] | None = None,
    lines: list[Any] | None = None,
    keys: Mapping[str, list[str]] | None = None,
    final: bool = True,
) -> Report:
    return examine(
        [CREATE] if creates is None else creates,
        [SUBMIT, START] if lines is None else lines,
        list(generations),
        keys or {"k1": ["gen_1"]},
        attempt_seconds=20,
        final=final,
    )


def moved(*states: str, **changes: Any) -> Generation:
    """The generation with an attempt that went through these states."""
    events = tuple((f"attempt.{state}", {"attempt": "a1"}) for state in states)
    attempt = replace(ATTEMPT, state=states[-1], **{"tasks": {}, **changes})
    return replace(GENERATION, attempts=(attempt,), events=(GENERATION.events[0], *events, *GENERATION.events[-2:]))


def with_event(kind: str, **data: Any) -> Generation:
    return replace(GENERATION, events=(*GENERATION.events, (kind, data)))


def test_a_correct_run_has_no_violation() -> None:
    report = examined(GENERATION)

    assert report.violations == []
    assert (report.generations, report.submits, report.tasks) == (1, 1, 1)


@pytest.mark.parametrize("state", ["unknown", "submitting"])
def test_a_task_whose_submit_has_no_known_end_is_not_a_violation(state: str) -> None:
    states = ("reserved", "submitting", "unknown")[: 3 if state == "unknown" else 2]

    assert examined(moved(*states), final=False).violations == []


SECOND = replace(ATTEMPT, id="a2", number=2, tasks={})
AGAIN = replace(
    moved("reserved", "submitting", "unknown"),
    attempts=(moved("reserved", "submitting", "unknown").attempts[0], SECOND),
)
WRONG = {
    "not in the ledger": examined(),
    "and is 'Else'": examined(replace(GENERATION, prompt="Else")),
    "has made gen_1, gen_2": examined(GENERATION, replace(GENERATION, id="gen_2")),
    "the key k1 has made gen_1, gen_2": examined(GENERATION, keys={"k1": ["gen_1", "gen_2"]}),
    "in the ledger it is": examined(GENERATION, creates=[CREATE, CREATE | {"key": "k2"}]),
    "received 2 submits of 'Beach' for 1": examined(GENERATION, lines=[SUBMIT, SUBMIT, START]),
    "received 1 submits of 'Beach' for 0": examined(moved("reserved", "submitting", "not_sent"), lines=[SUBMIT]),
    "where a1 had no clear answer": examined(AGAIN, lines=[SUBMIT, SUBMIT]),
    "started 1 for '?'": examined(GENERATION, lines=[SUBMIT, START, START | {"prompt": "?"}]),
    "started 1 for 'Beach'": examined(moved("reserved", "submitting", "refused")),
    "received a submit of 'Beach' for 1 beside t1": examined(
        replace(GENERATION, attempts=(replace(ATTEMPT, accepted_at=2.0),)),
        lines=[SUBMIT, START, SUBMIT | {"created_at": 30.0}],
    ),
    "no attempt has t9": examined(GENERATION, lines=[SUBMIT, START, CALLBACK | {"task": "t9"}]),
    "1 were answered": examined(GENERATION, lines=[START]),
    "from reserved to accepted": examined(moved("reserved", "accepted", "completed", tasks={"t1": 0})),
    "which no event reports": examined(replace(GENERATION, attempts=(replace(ATTEMPT, state="failed"),))),
    "which do not exist": examined(with_event("attempt.reserved", attempt="a2")),
    "from completed to failed": examined(with_event("generation.failed")),
    "its events end with in_progress": examined(replace(GENERATION, events=GENERATION.events[:-1])),
    "output 0 ended twice": examined(with_event("output.failed", index=0)),
    "40.0 s after its deadline": examined(replace(GENERATION, completed_at=140)),
    "it is in_progress at the end": examined(replace(GENERATION, completed_at=None, status="in_progress")),
    "a1 is submitting at the end": examined(moved("reserved", "submitting")),
}


@every("words", WRONG)
def test_each_violation_is_reported(words: str) -> None:
    assert any(words in violation for violation in WRONG[words].violations), WRONG[words].violations


def test_what_is_lost_doubled_or_bought_without_need_is_counted() -> None:
    assert [examined().lost, examined(GENERATION, lines=[SUBMIT, SUBMIT, START]).doubled] == [1, 1]
    assert WRONG["received a submit of 'Beach' for 1 beside t1"].bought == 1


def test_a_task_that_the_reply_did_not_name_is_known_by_a_callback_alone() -> None:
    refused = moved("reserved", "submitting", "refused")
    unnamed = examined(refused, lines=[SUBMIT, START, WITHHELD, CALLBACK | {"outcome": 503}])
    denied = examined(refused, lines=[SUBMIT, START, WITHHELD, CALLBACK])
    adopted = examined(GENERATION, lines=[SUBMIT, START, WITHHELD, CALLBACK])

    assert [unnamed.violations, adopted.violations] == [[], []]
    assert denied.violations == ["evidence: no attempt has t1, which an acknowledged callback named"]
    assert [(report.contradicted, report.adopted) for report in (unnamed, denied, adopted)] == [(0, 0), (1, 0), (1, 1)]


def test_slow_reads_are_counted() -> None:
    reads = [{"event": "read", "task": "t1", "at": 5.0, "says": "running", "answered_at": at} for at in (5.5, 7, None)]

    assert examined(GENERATION, lines=[SUBMIT, START, *reads]).slow_reads == 1


DELIVERY = {"id": "evt_1", "type": "video.generation.completed", "generation": "gen_1", "answer": 200, "signed": True}


def heard(*lines: Mapping[str, Any]) -> Report:
    report = Report()
    examine_deliveries(report, list(lines), {"gen_1": "completed"}, {"gen_1"}, final=True)
    return report


def test_an_end_may_be_announced_more_than_once() -> None:
    report = heard(DELIVERY | {"answer": 500}, DELIVERY, DELIVERY)

    assert (report.violations, report.announced, report.deliveries) == ([], 1, 3)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "gen_1 was never announced"),
        ([DELIVERY | {"answer": 500}], "gen_1 was never announced"),
        ([DELIVERY | {"signed": False}], "not signed"),
        ([DELIVERY, DELIVERY | {"id": "evt_2"}], "under 2 ids"),
        ([DELIVERY | {"type": "video.generation.failed"}], "it is completed"),
        ([DELIVERY, DELIVERY | {"generation": "gen_2"}], "it is None"),
    ],
)
def test_faults_of_deliveries_are_reported(lines: list[Any], words: str) -> None:
    assert any(words in violation for violation in heard(*lines).violations)


def stored(folder: Path, rows: set[str], *archived: str, final: bool = True) -> list[str]:
    report = Report()
    files = [{"name": name, "sha256": sha256(b"video").hexdigest()} for name in archived]
    examine_files(report, folder, files_in(folder), rows, files, final=final)
    return report.violations


def test_faults_of_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "gen_1").mkdir()
    (tmp_path / ".partial").mkdir()
    (tmp_path / "gen_1" / "a.mp4").write_bytes(b"video")
    (tmp_path / ".partial" / "half").write_bytes(b"vi")

    assert stored(tmp_path, {"gen_1/a.mp4"}, "gen_1/a.mp4", final=False) == []
    assert stored(tmp_path, {"gen_1/a.mp4"}, "gen_1/a.mp4") == ["file: .partial/half was left half-written"]
    assert stored(tmp_path, set(), final=False) == ["file: gen_1/a.mp4 exists and has no row"]
    assert stored(tmp_path, {"gen_1/a.mp4"}, "gen_1/b.mp4", final=False) == [
        "file: gen_1/b.mp4 is archived and does not exist"
    ]
    (tmp_path / ".partial" / "half").unlink()
    (tmp_path / "gen_1" / "a.mp4").write_bytes(b"vi")
    assert stored(tmp_path, {"gen_1/a.mp4"}, "gen_1/a.mp4") == ["file: gen_1/a.mp4 is not the archived file"]


def test_a_submit_whose_tasks_callbacks_name_one_by_one_belongs_to_its_attempt() -> None:
    lines = [SUBMIT | {"count": 2}, START | {"tasks": ["t1", "t2"], "done_at": {"t1": 11.0, "t2": 11.0}}]
    waiting = replace(ATTEMPT, slots=frozenset({0, 1}), state="accepted", adopted=True)
    named_elsewhere = replace(waiting, tasks={"t3": 0})
    by_reply = replace(waiting, adopted=False)

    def lost(attempt: Attempt) -> list[str]:
        generation = replace(GENERATION, outputs=2, attempts=(attempt,))
        violations = examined(generation, lines=lines, final=False).violations
        return [violation for violation in violations if "that the ledger has no attempt for" in violation]

    assert lost(waiting) == []
    assert len(lost(named_elsewhere)) == len(lost(by_reply)) == 1
