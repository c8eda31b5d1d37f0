"""What must hold for any order of facts, any jump of the clock and any crash."""

from collections import Counter
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from gateway.domain.adapter.failure import REMEDY, FailureKind, Remedy
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed, Pending, Status
from gateway.domain.errors import Conflict
from gateway.domain.generation.archiving import ArchiveFile, FileArchived, FileUnread
from gateway.domain.generation.facts_and_effects import (
    CallbackReceived,
    Fact,
    Poll,
    Submit,
    SubmitEnded,
    TaskRead,
    TaskUnread,
)
from gateway.domain.generation.lifecycle import Step
from gateway.domain.generation.model import AttemptState, Generation, Policy, expected_outputs
from gateway.domain.generation.next_attempt import REPEATS_MAX
from gateway.domain.generation.reconciliation import Decision, awaits_decision, decide
from gateway.domain.generation.task_polling import DECIDE_UNREAD, GIVE_UP_UNREAD, open_tasks, times_out_at
from gateway.domain.generation.transitions import AddAttempt, SaveAttempt, SaveOutput, apply

from ...builders import FILELESS, World, after, archived_file, done, generation

S = AttemptState
ROUTES = st.lists(
    st.sampled_from(["acme/a", "acme/b*4", "bolt/a*2", "bolt/b", "corp/a*4"]), min_size=1, max_size=4, unique=True
)
KINDS = st.sampled_from(FailureKind)
SNAPSHOTS = st.one_of(
    st.builds(
        Pending,
        status=st.sampled_from([Status.QUEUED, Status.IN_PROGRESS]),
        raw_status=st.sampled_from(["a", "b"]),
        progress=st.none() | st.floats(0, 1),
    ),
    st.just(FILELESS),
    st.integers(1, 3).map(lambda files: done(*"abc"[:files])),
    st.builds(Failed, kind=KINDS, message=st.just("no")),
)
WAITS = st.sampled_from([0.0, 0.001, 1.0, 7.0, 65.0, 400.0, 1300.0])
ENDED = (Status.CANCELLED, Status.EXPIRED)
RANK = {Status.QUEUED: 0, Status.IN_PROGRESS: 1}


class Life(RuleBasedStateMachine):
    """A provider that answers anything, a process that may die at any moment, and a client that may cancel."""

    world: World
    world_type = World

    @initialize(
        routes=ROUTES,
        count=st.integers(1, 4),
        ambiguous=st.sampled_from(["fall_back", "fail", "hold"]),
        policy=st.sampled_from(["stop", "fall_back"]),
        deadline=st.sampled_from([60, 1000, 3600]),
        refresh=st.booleans(),
    )
    def begin(
        self, *, routes: list[str], count: int, ambiguous: str, policy: str, deadline: float, refresh: bool
    ) -> None:
        rules = Policy(on_ambiguous=ambiguous, on_content_policy=policy)  # type: ignore[arg-type]  # sampled from both
        start = generation(*routes, count=count, policy=rules, deadline_seconds=deadline)
        self.count = count
        self.adopted: set[str] = set()  # attempts whose tasks a callback named
        self.seen: dict[str, Generation] = {}  # the generation as each sender knew it
        self.ended: Generation | None = None
        self.sent: Counter[str] = Counter()
        self.readings: list[tuple[str, int, datetime, bool]] = []  # attempt, task, when it began, was it understood
        self.world = self.world_type(start, has_refresh=refresh, keeps=False)
        self.after_step(start, self.world.last)

    def step(self, *facts: Fact, wait: float = 0) -> None:
        before = self.world.generation
        self.after_step(before, self.world.step(*facts, wait=wait))

    def after_step(self, before: Generation, step: Step) -> None:
        now = self.world.generation
        assert RANK.get(before.status, 2) <= RANK.get(now.status, 2)
        for write in step.writes:
            if isinstance(write, AddAttempt):
                self.check_new(before, write)
            if isinstance(write, SaveAttempt):
                assert write.attempt.state is not S.SUBMITTING, "only the store begins a submit"
                self.check_given_up(write)
        if self.world.now >= now.deadline_at:
            assert now.status.terminal or any(open_tasks(attempt) for attempt in now.attempts), (
                "only open tasks keep a generation open after its deadline"
            )
        if before.status.terminal:
            assert not any(isinstance(write, AddAttempt) for write in step.writes)
            saved = [write for write in step.writes if isinstance(write, SaveOutput)]
            assert all(write.new and write.output.late for write in saved)
            assert not any(isinstance(effect, Submit) for effect in step.effects), "nothing is sent after the end"
            read = [now.attempt(effect.attempt_id).state for effect in step.effects if isinstance(effect, Poll)]
            assert set(read) <= {S.ABANDONED}
            assert not read or now.status in {Status.COMPLETED, Status.FAILED}
        for effect in step.effects:
            if isinstance(effect, Submit):
                assert now.attempt(effect.attempt_id).state is S.RESERVED
                self.seen[effect.attempt_id] = now
        if now.status.terminal:
            assert not any(attempt.state in {S.RESERVED, S.ACCEPTED} for attempt in now.attempts)
        else:
            self.check_every_task_has_its_own_output()

    def check_new(self, before: Generation, write: AddAttempt) -> None:
        """A new attempt never goes to a provider that may already have a task for one of its outputs."""
        now, new = self.world.generation, write.attempt
        provider = now.route(new).provider
        assert new.slots
        assert len(new.slots) <= now.route(new).count_max
        for slot in new.slots:
            assert not now.output(slot).extra
            assert now.output(slot).artifact is None, "a file is being archived for the output"
            earlier = [attempt for attempt in now.attempts if slot in attempt.slots and attempt.number < new.number]
            unclear = {
                now.route(attempt).provider
                for attempt in earlier
                if attempt.state is S.UNKNOWN and attempt.decision is None
            }
            assert provider not in unclear
            assert not any(slot in expected_outputs(attempt) for attempt in earlier), (
                "an attempt is expected to fill the output"
            )
            for previous in earlier:
                ends = [other.ended_at for other in earlier if other is not previous and other.ended_at is not None]
                since = max([previous.reserved_at, *ends])
                for index in open_tasks(previous):
                    if previous.tasks[index].slot == slot:
                        assert self.is_answered(previous.id, index, since, DECIDE_UNREAD), (
                            "an earlier task may have finished"
                        )
            same = [attempt for attempt in earlier if attempt.route == new.route]
            resubmit = [attempt for attempt in same if attempt.decision == "resubmit"]
            assert len(resubmit) <= 1
            assert all(attempt in resubmit or attempt.state in {S.REFUSED, S.NOT_SENT} for attempt in same), (
                "the provider may have accepted it before"
            )
            amended = [
                attempt
                for attempt in same
                if attempt.variant == "amended" and attempt.failure is not None and attempt not in resubmit
            ]
            waits = {attempt.failure and REMEDY[attempt.failure.kind] for attempt in amended}
            assert new.variant != "amended" or waits <= {Remedy.FALL_BACK_OR_WAIT}, "that form was refused permanently"
            tries = sum(attempt.route == new.route for attempt in earlier)
            assert tries <= REPEATS_MAX + 1, "the last route is repeated endlessly"

    def check_given_up(self, write: SaveAttempt) -> None:
        """An attempt is abandoned for its time-out only because of polls that began after the time-out."""
        attempt = write.attempt
        if attempt.state is not S.ABANDONED or write.was is not S.ACCEPTED or attempt.failure is None:
            return
        if attempt.failure.kind is not FailureKind.TIMED_OUT or self.world.now >= self.world.generation.deadline_at:
            return
        since = times_out_at(attempt, self.world.profile.polling)
        for index in open_tasks(attempt):
            assert self.is_answered(attempt.id, index, since, GIVE_UP_UNREAD), "time alone proves nothing"

    def is_answered(self, attempt_id: str, index: int, since: datetime, failures: int) -> bool:
        readings = [reading for reading in self.readings if reading[:2] == (attempt_id, index) and reading[2] >= since]
        return any(was_understood for *_, was_understood in readings) or len(readings) >= failures

    def check_every_task_has_its_own_output(self) -> None:
        now = self.world.generation
        extras = [task.slot for attempt in now.attempts for task in attempt.tasks if task.slot not in attempt.slots]
        assert len(set(extras)) == len(extras)
        assert all(now.output(slot).extra for slot in extras)

    def numbers(self, *states: AttemptState, busy: bool | None = None) -> list[int]:
        return [
            attempt.number
            for attempt in self.world.generation.attempts
            if attempt.state in states and busy in {None, Submit(attempt.id) in self.world.busy}
        ]

    # What can happen

    @rule(wait=WAITS)
    def time_passes(self, wait: float) -> None:
        self.step(wait=wait)

    @rule()
    def sleep(self) -> None:
        self.step(wait=(self.world.last.wake_at - self.world.now).total_seconds())

    @precondition(lambda self: self.numbers(S.RESERVED, busy=True))
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.numbers(S.RESERVED, busy=True)))
        if self.world.generation.status.terminal or self.world.now >= self.world.generation.deadline_at:
            return
        self.world.send(number)
        self.sent[self.world.attempt(number).id] += 1

    @precondition(lambda self: self.numbers(S.SUBMITTING, busy=True))
    @rule(data=st.data(), tasks=st.integers(1, 6), stale=st.booleans(), at_once=st.booleans())
    def accepted(self, data: st.DataObject, tasks: int, stale: bool, at_once: bool) -> None:
        number = data.draw(st.sampled_from(self.numbers(S.SUBMITTING, busy=True)))
        seen = self.seen[self.world.attempt(number).id] if stale else None
        self.world.take(number, *(f"t{number}-{task}" for task in range(tasks)), seen=seen)
        if at_once:
            self.step()

    @precondition(lambda self: self.numbers(*set(S) - {S.RESERVED, S.SUBMITTING}))
    @rule(data=st.data(), tasks=st.integers(1, 3))
    def found_late(self, data: st.DataObject, tasks: int) -> None:
        number = data.draw(st.sampled_from(self.numbers(*set(S) - {S.RESERVED, S.SUBMITTING})))
        self.adopted.add(self.world.attempt(number).id)
        self.world.adopt(number, *(f"late{number}-{task}" for task in range(tasks)))
        assert self.world.attempt(number).tasks, "a paid task must be recorded"
        self.step()

    @precondition(lambda self: self.numbers(S.SUBMITTING, S.RESERVED, busy=True))
    @rule(
        data=st.data(),
        kind=KINDS,
        elsewhere=st.booleans(),
        retry_after=st.none() | st.sampled_from([0.0, 3.0, 86400.0]),
        amend=st.none() | st.just("amended"),
    )
    def refused(
        self, data: st.DataObject, kind: FailureKind, elsewhere: bool, retry_after: float | None, amend: str | None
    ) -> None:
        number = data.draw(st.sampled_from(self.numbers(S.SUBMITTING, S.RESERVED, busy=True)))
        attempt = self.world.attempt(number)
        states = [S.NOT_SENT, S.REFUSED] + ([S.UNKNOWN] if attempt.state is S.SUBMITTING else [])
        state = data.draw(st.sampled_from(states))
        self.world.busy.discard(Submit(attempt.id))
        self.step(
            SubmitEnded(
                attempt_id=attempt.id,
                state=state,
                failure=failed(kind, "no", elsewhere=elsewhere),
                retry_after_seconds=retry_after,
                next_variant=amend if state is S.REFUSED else None,
            )
        )

    @precondition(lambda self: any(isinstance(effect, Poll) for effect in self.world.busy))
    @rule(data=st.data(), snapshot=st.none() | SNAPSHOTS, not_found=st.booleans(), wait=WAITS, took=WAITS)
    def read(self, data: st.DataObject, snapshot: object, not_found: bool, wait: float, took: float) -> None:
        polls = sorted(
            (effect for effect in self.world.busy if isinstance(effect, Poll)),
            key=lambda poll: (poll.attempt_id, poll.index),
        )
        poll = data.draw(st.sampled_from(polls))
        self.world.busy.discard(poll)
        asked_at = max(self.world.now - timedelta(seconds=took), after(0))
        self.readings.append((poll.attempt_id, poll.index, asked_at, snapshot is not None))
        if snapshot is None:
            fact: Fact = TaskUnread(
                attempt_id=poll.attempt_id, index=poll.index, asked_at=asked_at, not_found=not_found
            )
        else:
            fact = TaskRead(attempt_id=poll.attempt_id, index=poll.index, asked_at=asked_at, snapshot=snapshot)
        self.step(fact, wait=wait)

    @precondition(lambda self: any(isinstance(effect, ArchiveFile) for effect in self.world.busy))
    @rule(data=st.data(), what=st.sampled_from(["kept", "missing", "final", "unread"]), wait=WAITS)
    def file_is_fetched(self, data: st.DataObject, what: str, wait: float) -> None:
        indices = sorted(effect.index for effect in self.world.busy if isinstance(effect, ArchiveFile))
        index = data.draw(st.sampled_from(indices))
        self.world.busy.discard(ArchiveFile(index))
        match what:
            case "kept":
                self.step(FileArchived(index, archived_file(index)), wait=wait)
            case _:
                self.step(FileUnread(index=index, missing=what == "missing", final=what == "final"), wait=wait)

    @rule(data=st.data())
    def provider_hints(self, data: st.DataObject) -> None:
        attempts = self.world.generation.attempts
        if attempts:
            self.step(CallbackReceived(data.draw(st.sampled_from([attempt.id for attempt in attempts]))))

    @precondition(
        lambda self: any(awaits_decision(self.world.generation, attempt) for attempt in self.world.generation.attempts)
    )
    @rule(data=st.data(), decision=st.sampled_from(["fail", "resubmit"]))
    def operator_decides(self, data: st.DataObject, decision: Decision) -> None:
        now = self.world.generation
        held = data.draw(st.sampled_from([attempt for attempt in now.attempts if awaits_decision(now, attempt)]))
        try:
            write = decide(now, held, decision)
        except Conflict:
            assert decision == "resubmit"
            return
        self.world.generation = apply(now, write)
        self.step()

    @precondition(lambda self: self.numbers(S.ACCEPTED))
    @rule()
    def attempts_time_out(self) -> None:
        self.step(wait=1200)

    @rule(later=st.booleans())
    def crash(self, later: bool) -> None:
        self.world.crash()
        if not later:
            self.step()

    @precondition(lambda self: not self.world.generation.status.terminal)
    @rule(chance=st.integers(0, 9))
    def cancel(self, chance: int) -> None:
        if chance == 0:
            self.world.cancel()
            assert self.world.generation.status is Status.CANCELLED

    # What must always hold

    @invariant()
    def outputs_have_no_gap(self) -> None:
        outputs = self.world.generation.outputs
        assert [output.index for output in outputs] == list(range(len(outputs)))
        assert [output.extra for output in outputs] == [index >= self.count for index in range(len(outputs))]
        assert all(output.artifact is not None for output in outputs if output.status is Status.COMPLETED)
        assert all(output.artifact is None for output in outputs if output.status in {Status.FAILED, *ENDED})
        assert all(output.artifact is not None for output in outputs if output.kept is not None)

    @invariant()
    def one_attempt_is_live_for_an_output(self) -> None:
        now = self.world.generation
        for slot in range(self.count):
            live = [attempt for attempt in now.attempts if slot in attempt.slots and slot in expected_outputs(attempt)]
            assert len([attempt for attempt in live if attempt.id not in self.adopted]) <= 1

    @invariant()
    def a_provider_holds_one_unclear_submit_for_an_output(self) -> None:
        now = self.world.generation
        unclear = [attempt for attempt in now.attempts if attempt.state is S.UNKNOWN and attempt.decision is None]
        held = Counter((slot, now.route(attempt).provider) for attempt in unclear for slot in attempt.slots)
        assert all(times == 1 for times in held.values())

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert all(times == 1 for times in self.sent.values())

    @invariant()
    def an_end_is_an_end(self) -> None:
        now = self.world.generation
        if self.ended is None and now.status.terminal:
            self.ended = now
            there = any(output.status is Status.COMPLETED for output in now.outputs)
            assert all(output.status.terminal for output in now.outputs)
            assert now.status is Status.CANCELLED or there == (now.status is Status.COMPLETED)
            assert (now.failure is not None) == (now.status in {Status.FAILED, Status.EXPIRED})
            assert now.completed_at is not None
        if self.ended is not None:
            before = len(self.ended.outputs)
            outputs = tuple(replace(output, kept=None) for output in self.ended.outputs)
            stays = (now.status, tuple(replace(output, kept=None) for output in now.outputs[:before]), now.failure)
            assert stays == (self.ended.status, outputs, self.ended.failure)
            assert all(output.late and output.status is Status.COMPLETED for output in now.outputs[before:])
            assert (now.progress, now.completed_at) == (self.ended.progress, self.ended.completed_at)

    @invariant()
    def progress_is_a_share(self) -> None:
        assert 0 <= self.world.generation.progress <= 1

    def teardown(self) -> None:
        """Whatever happened, the deadline and a few polls end the generation, and no effect is left."""
        if not hasattr(self, "world"):
            return
        self.world.now = max(self.world.now, self.world.generation.deadline_at)
        self.step()
        for _ in range(400):  # many tasks, each of which may fail its poll at another time
            if self.world.generation.status.terminal:
                break
            for poll in [effect for effect in self.world.busy if isinstance(effect, Poll)]:
                self.world.busy.discard(poll)
                self.step(TaskUnread(attempt_id=poll.attempt_id, index=poll.index, asked_at=self.world.now))
            if not self.world.generation.status.terminal:
                self.step(wait=(self.world.last.wake_at - self.world.now).total_seconds())
        assert self.world.generation.status.terminal
        assert not any(isinstance(effect, Poll) for effect in self.world.last.effects)
        assert not self.world.schedules, "no task is polled any more"
        self.world.crash()
        self.step()
        assert S.SUBMITTING not in self.world.states()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=30, suppress_health_check=list(HealthCheck))
