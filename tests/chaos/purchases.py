"""Finds purchases that were not needed in the sandbox's journal. Pure functions.

A purchase is a submit that a provider received, whether it succeeded or not: the gateway was ready to pay. It was not
needed if, at that moment, a result for the same output that was already paid existed or could have been read.

So for every submit, each other task of the same generation is examined. It makes the purchase needless if all of this
is true:

1. The gateway knew the task. It knows a task as soon as the task is in the ledger, as soon as it polls it, and as soon
   as it has acknowledged a callback that names it. A task that was never named to the gateway is not known: the reply
   was lost, or reached a process that was killed or cut off before it stored the task, or refused the submit. Then the
   next route is what `on_ambiguous = "fall_back"` promises.
2. Its result was a usable file. The journal says when each task has one; a task that fails, hangs or is lost never has.
3. No poll allowed the gateway to continue without the task. The gateway may continue after an answered poll that says
   that the task failed, and after three polls that say that the task does not exist. After the time-out of the attempt
   it may continue if one recent poll after the time-out says "not done", or if three such polls have failed. A poll
   from before the time-out is not enough, because the task may have ended since. None of this counts once a poll was
   answered with "done": then the result exists.

The purchase was not needed if fewer outputs of the generation are without such a task than the submit requests. A task
covers the output that the ledger gives it. A task that is not in the ledger, or that is beyond the requested number,
covers any output.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from .ledger import Generation

KNOWN_SECONDS = 2.0  # a submit may already be running when the gateway learns about another task
READ_SECONDS = 1.0  # or when it reads "done"
AGAIN_SECONDS = 10.0  # how long a poll allows purchases; abandoned tasks are polled every few seconds
CLOCK_SECONDS = 0.1  # how much the clocks of the gateway and the sandbox may differ
NOT_FOUND_LEAST = 3
UNREAD_LEAST = 3
_NOT_DONE = frozenset({"queued", "running", "done_without_file"})
_FAILED = frozenset({"failed", "cancelled"})


class Reading(Struct, frozen=True, kw_only=True):
    """One poll of a task, as the sandbox answered it."""

    at: float  # when the answer was true
    says: str
    answered_at: float | None = None  # None: no answer was sent


class PaidTask(Struct, frozen=True, kw_only=True):
    """A started task, and what the gateway could know about it."""

    id: str
    done_at: float | None = None  # None: it never has a usable file
    known_at: float | None = None  # None: the task was never named to the gateway
    times_out_at: float | None = None  # time-out of its attempt; None: no attempt has the task
    slot: int | None = None  # the output that it is for; None: no attempt has the task
    readings: tuple[Reading, ...] = ()


def not_needed(
    lines: Sequence[Mapping[str, Any]], generations: Iterable[Generation], *, attempt_seconds: float
) -> Iterator[str]:
    """A sentence for each purchase that was not needed."""
    by_prompt = {generation.prompt: generation for generation in generations}
    tasks = paid_tasks(lines, by_prompt, attempt_seconds=attempt_seconds)
    for line in lines:
        generation = by_prompt.get(line["prompt"]) if line["event"] == "submit" else None
        if generation is None:
            continue
        at = line["created_at"]
        ready = [task for task in tasks[generation.prompt] if makes_needless(task, at)]
        if ready and generation.outputs - _covered(ready, generation.outputs) < line["count"]:
            ids = ", ".join(f"{task.id}, done for {at - (task.done_at or at):.1f} s" for task in ready)
            yield f"bought: {line['provider']} received a submit of {line['prompt']!r} for {line['count']} beside {ids}"


def makes_needless(task: PaidTask, at: float) -> bool:
    """True if the task's result existed at this moment, or could have been read."""
    if task.known_at is None or task.known_at + KNOWN_SECONDS > at:
        return False
    answered = [read for read in task.readings if read.answered_at is not None and read.answered_at <= at]
    if any(read.says == "done" and (read.answered_at or at) + READ_SECONDS < at for read in answered):
        return True
    if task.done_at is None or task.done_at >= at:
        return False
    return not _may_go_on(task, answered, at)


def _may_go_on(task: PaidTask, answered: Sequence[Reading], at: float) -> bool:
    """True if the polls allow the gateway to continue without this task."""
    if any(read.says in _FAILED for read in answered):
        return True
    if sum(read.says == "not_found" for read in answered) >= NOT_FOUND_LEAST:
        return True
    if task.times_out_at is None:
        return False
    since = task.times_out_at - CLOCK_SECONDS
    late = [read for read in task.readings if since <= read.at <= at]
    unread = sum(read.answered_at is None or read.says == "nothing" for read in late)
    recent = max(since, at - AGAIN_SECONDS)
    return unread >= UNREAD_LEAST or any(read.says in _NOT_DONE for read in answered if read.at >= recent)


def _covered(ready: Sequence[PaidTask], outputs: int) -> int:
    """How many outputs have a task."""
    own = [task.slot for task in ready if task.slot is not None and task.slot < outputs]
    return len(set(own)) + len(ready) - len(own)


def paid_tasks(
    lines: Sequence[Mapping[str, Any]], by_prompt: Mapping[str, Generation], *, attempt_seconds: float
) -> Mapping[str, list[PaidTask]]:
    """Every started task, by the prompt of its generation."""
    readings: dict[str, list[Reading]] = defaultdict(list)
    named_at: dict[str, float] = {}
    for line in lines:
        if line["event"] == "read":
            readings[line["task"]].append(Reading(at=line["at"], says=line["says"], answered_at=line["answered_at"]))
        if line["event"] == "read" or is_acknowledged(line):
            named_at[line["task"]] = min(line["at"], named_at.get(line["task"], line["at"]))
    tasks: dict[str, list[PaidTask]] = defaultdict(list)
    for line in lines:
        if line["event"] != "start":
            continue
        generation = by_prompt.get(line["prompt"])
        attempts = [] if generation is None else generation.attempts
        for name, done_at in line["done_at"].items():
            own_provider = [attempt for attempt in attempts if attempt.provider == line["provider"]]
            holders = (attempt for attempt in own_provider if name in attempt.tasks)
            holder = next(holders, None)
            accepted_at = None if holder is None else holder.accepted_at
            # If a callback or an operator named the task, the ledger only has the time of the attempt's first task.
            stored_at = None if holder is None or holder.adopted else holder.stored_at or accepted_at
            moments = [moment for moment in (named_at.get(name), stored_at) if moment is not None]
            task = PaidTask(
                id=name,
                done_at=done_at,
                known_at=min(moments, default=None),
                times_out_at=None if accepted_at is None else accepted_at + attempt_seconds,
                slot=None if holder is None else holder.tasks[name],
                readings=tuple(readings[name]),
            )
            tasks[line["prompt"]].append(task)
    return tasks


def is_acknowledged(line: Mapping[str, Any]) -> bool:
    """True if the line is a callback that the gateway acknowledged."""
    return line["event"] == "callback" and isinstance(line["outcome"], int) and 200 <= line["outcome"] < 300
