"""A generation under the rules alone: the test gives the time as a value and the providers' answers as facts."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from gateway.domain.adapter.contract import Polling
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Completed, Failed, Pending, Status, TaskRef, TaskSnapshot
from gateway.domain.generation.archiving import ArchiveFile, ArchiveSchedule, FileArchived, FileFact
from gateway.domain.generation.facts_and_effects import Effect, Fact, Poll, Submit, SubmitEnded, TaskRead, TaskUnread
from gateway.domain.generation.lifecycle import IDLE_SECONDS, Step, advance, cancel
from gateway.domain.generation.model import (
    ArchivedFile,
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Policy,
    Route,
)
from gateway.domain.generation.outputs import accepted
from gateway.domain.generation.reconciliation import FOLLOWED, with_tasks
from gateway.domain.generation.task_polling import PollSchedule, RouteProfile, TaskKey, open_tasks
from gateway.domain.generation.transitions import SaveAttempt, Write, apply, event_of

T0 = datetime(2026, 1, 1, tzinfo=UTC)
POLLING = Polling(
    first_poll_seconds=5, poll_seconds=5, poll_max_seconds=15, attempt_timeout_seconds=1200, grace_seconds=60
)
LIVE = frozenset({AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED})
RUNNING = Pending(status=Status.IN_PROGRESS, raw_status="processing")
UNKNOWN_WORD = Pending(status=Status.IN_PROGRESS, raw_status="wobbling", unknown_status=True)
FILELESS = Pending(status=Status.IN_PROGRESS, raw_status="completed", result_missing=True)


def after(seconds: float) -> datetime:
    """The time so many seconds after the generation was created."""
    return T0 + timedelta(seconds=seconds)


def done(*names: str) -> Completed:
    """The snapshot of a completed task with these files."""
    return Completed(tuple(Artifact(url=f"https://files.example/{name}.mp4") for name in names or ("a",)))


def generation(
    *routes: str,
    count: int = 1,
    count_max: int = 1,
    policy: Policy | None = None,
    deadline_seconds: float = 3600,
) -> Generation:
    """A new generation. A route is `provider/model`, or `provider/model*4` if one submit may have 4 outputs."""
    parsed = []
    for route in routes or ("acme/one",):
        name, _, most = route.partition("*")
        provider, _, model = name.partition("/")
        parsed.append(Route(provider=provider, model=model, capability_name=model, count_max=int(most or count_max)))
    return Generation(
        id="gen_1",
        owner="key",
        kind="video",
        request=GenerationRequest(model="any", input=TextInput(), prompt="a boat", count=count),
        plan=Plan(routes=tuple(parsed), policy=policy or Policy()),
        status=Status.QUEUED,
        created_at=T0,
        deadline_at=after(deadline_seconds),
        outputs=tuple(Output(index=index) for index in range(count)),
    )


def archived_file(index: int = 0) -> ArchivedFile:
    """A file of the gateway in the artifact store."""
    return ArchivedFile(
        name=f"gen_1/{index}-1.mp4", bytes=1, sha256="0" * 64, content_type="video/mp4", kept_until=after(86400)
    )


class World:
    """Does what a driver and a store do for one generation, without either of them."""

    def __init__(
        self,
        start: Generation,
        *,
        polling: Polling = POLLING,
        has_refresh: bool = False,
        variant: str = "",
        keeps: bool = True,
    ) -> None:
        """`keeps`: each file is archived at once; otherwise the test says what happens to it."""
        self.generation = start
        self.keeps = keeps
        self.archive_schedules: dict[int, ArchiveSchedule] = {}
        self.now = T0
        self.schedules: dict[TaskKey, PollSchedule] = {}
        self.busy: set[Effect] = set()
        self.profile = RouteProfile(polling=polling, has_refresh=has_refresh, variant=variant)
        self.last: Step = self.step()

    def profile_of(self, route: Route) -> RouteProfile:
        return self.profile

    def step(self, *facts: Fact, wait: float = 0) -> Step:
        """Let time pass, apply facts, start the due effects. Every step is checked for what must always hold."""
        self.now += timedelta(seconds=wait)
        before = self.generation
        step = self._advance(facts)
        assert step.generation == _applied(before, step.writes)
        for write in step.writes:
            event = event_of(write)
            assert event is None or json.loads(json.dumps(event[1])) is not None
        assert step.wake_at > self.now, "a driver would loop without a pause"
        self.generation, self.schedules = step.generation, dict(step.schedules)
        self.archive_schedules = dict(step.archive_schedules)
        self.busy |= set(step.effects)
        again = self._advance(())
        assert again.writes == (), "the same step writes a second time"
        assert again.effects == (), "the same effect starts a second time"
        self.last = step
        fetches = sorted(effect.index for effect in self.busy if isinstance(effect, ArchiveFile)) if self.keeps else []
        return self.file(*(FileArchived(index, archived_file(index)) for index in fetches)) if fetches else step

    def file(self, *facts: FileFact, wait: float = 0) -> Step:
        """Step with the results of tries to archive files."""
        self.busy -= {ArchiveFile(fact.index) for fact in facts}
        return self.step(*facts, wait=wait)

    def _advance(self, facts: Iterable[Fact]) -> Step:
        return advance(
            self.generation,
            self.schedules,
            facts,
            now=self.now,
            busy=frozenset(self.busy),
            profile_of=self.profile_of,
            archive_schedules=self.archive_schedules,
        )

    def attempt(self, number: int) -> Attempt:
        return self.generation.attempts[number - 1]

    def send(self, number: int) -> None:
        """Make the intent to submit durable, as the store does: from here on money may be spent."""
        attempt = self.attempt(number)
        assert Submit(attempt.id) in self.busy
        sent = replace(attempt, state=AttemptState.SUBMITTING, sent_at=self.now)
        self.generation = apply(self.generation, SaveAttempt(sent, AttemptState.RESERVED))

    def take(self, number: int, *ids: str, seen: Generation | None = None) -> None:
        """Store the task ids from the provider's reply. `seen` is the generation as the sender knew it."""
        attempt = self.attempt(number)
        refs = [TaskRef(id=id_) for id_ in ids or (f"t{number}",)]
        tasks = accepted(seen or self.generation, attempt.id, refs, self.now).attempt.tasks
        write = accepted(self.generation, attempt.id, refs, self.now)
        self.generation = apply(self.generation, SaveAttempt(replace(write.attempt, tasks=tasks), write.was))
        self.busy.discard(Submit(attempt.id))

    def adopt(self, number: int, *ids: str) -> None:
        """Store the tasks that a callback names for an attempt, which may be in any state."""
        attempt = self.attempt(number)
        refs = [TaskRef(id=id_) for id_ in ids]
        tasks = with_tasks(attempt.slots, attempt.tasks, refs, len(self.generation.outputs))
        changed = replace(attempt, tasks=tasks)
        if attempt.state not in FOLLOWED:
            adopted_by = attempt.adopted if attempt.tasks else "callback"
            accepted_attempt = replace(changed, state=AttemptState.ACCEPTED, adopted=adopted_by, accepted_at=self.now)
            changed = replace(accepted_attempt, ended_at=None, failure=None, billed=None)
        self.generation = apply(self.generation, SaveAttempt(changed, attempt.state))

    def accept(self, number: int, *ids: str) -> Step:
        """Send an attempt, let the provider accept it, step."""
        self.send(number)
        self.take(number, *ids)
        return self.step()

    def end(
        self,
        number: int,
        kind: FailureKind,
        *,
        state: AttemptState = AttemptState.REFUSED,
        elsewhere: bool = False,
        retry_after: float | None = None,
        amend: str | None = None,
    ) -> Step:
        """Send an attempt, let it end without a task, step."""
        if self.attempt(number).state is AttemptState.RESERVED:
            self.send(number)
        self.busy.discard(Submit(self.attempt(number).id))
        return self.step(
            SubmitEnded(
                attempt_id=self.attempt(number).id,
                state=state,  # type: ignore[arg-type]  # callers give one of the three
                failure=failed(kind, "no", elsewhere=elsewhere),
                retry_after_seconds=retry_after,
                next_variant=amend,
            )
        )

    def unknown(self, number: int) -> Step:
        """Send an attempt and get no clear answer."""
        return self.end(number, FailureKind.AMBIGUOUS, state=AttemptState.UNKNOWN)

    def until_poll(self, number: int, index: int = 0) -> Poll:
        """Sleep as a driver does until this task is being polled."""
        for _ in range(500):
            for effect in self.busy:
                if isinstance(effect, Poll) and (effect.attempt_id, effect.index) == (self.attempt(number).id, index):
                    return effect
            self.now = max(self.now, self.last.wake_at)
            self.step()
        raise AssertionError("the task was never polled")

    def until_keep(self, index: int = 0) -> None:
        """Sleep as a driver does until the file of this output is being archived."""
        for _ in range(500):
            if ArchiveFile(index) in self.busy:
                return
            if self.last.wake_at - self.now >= timedelta(seconds=IDLE_SECONDS):
                break
            self.now = max(self.now, self.last.wake_at)
            self.step()
        raise AssertionError("the file was never fetched")

    def read(self, number: int, snapshot: TaskSnapshot, index: int = 0, *, asked_at: datetime | None = None) -> Step:
        """Poll a task when it is due, step. `asked_at` is when the poll began, by default now."""
        self.busy.discard(self.until_poll(number, index))
        asked_at = asked_at or self.now
        return self.step(
            TaskRead(attempt_id=self.attempt(number).id, index=index, snapshot=snapshot, asked_at=asked_at)
        )

    def unread(self, number: int, index: int = 0, *, not_found: bool = False, retry_after: float | None = None) -> Step:
        """Fail to poll a task when it is due, step."""
        self.busy.discard(self.until_poll(number, index))
        return self.step(
            TaskUnread(
                attempt_id=self.attempt(number).id,
                index=index,
                asked_at=self.now,
                not_found=not_found,
                retry_after_seconds=retry_after,
            )
        )

    def give_up(self, number: int) -> Step:
        """Reach the time-out of an attempt, poll that its tasks still run, step."""
        attempt = self.attempt(number)
        self.now = (attempt.accepted_at or self.now) + timedelta(seconds=self.profile.polling.attempt_timeout_seconds)
        self.step()
        for index in open_tasks(attempt):
            self.read(number, RUNNING, index)
        return self.last

    def fail(self, number: int, kind: FailureKind, index: int = 0) -> Step:
        """Poll that the task has failed."""
        return self.read(number, Failed(kind=kind, message="no"), index)

    def cancel(self) -> None:
        """Cancel the generation as the service does for a client, and wake the driver."""
        self.generation = _applied(self.generation, cancel(self.generation, self.now))
        self.step()

    def crash(self) -> None:
        """Kill the process: another one continues with the generation as it is in the ledger."""
        self.schedules, self.archive_schedules, self.busy = {}, {}, set()

    def states(self) -> list[AttemptState]:
        return [attempt.state for attempt in self.generation.attempts]

    def routes(self) -> list[int]:
        return [attempt.route for attempt in self.generation.attempts]

    def outputs(self) -> list[Status]:
        return [output.status for output in self.generation.outputs]


def _applied(value: Generation, writes: Sequence[Write]) -> Generation:
    for write in writes:
        value = apply(value, write)
    return value
