"""Any order of facts, jumps of the clock and crashes keeps the promises of the ledger."""

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
from gateway.domain.generation.archiving import FileKept, FileUnread, Keep
from gateway.domain.generation.lifecycle import Ended, Fact, Hinted, Poll, Read, Step, Submit, Unread
from gateway.domain.generation.model import AttemptState, Generation, Policy, serves
from gateway.domain.generation.next_attempt import REPEATS_MAX
from gateway.domain.generation.reconciliation import Decision, decide, is_held
from gateway.domain.generation.task_polling import DECIDE_UNREAD, GIVE_UP_UNREAD, open_tasks, times_out_at
from gateway.domain.generation.transitions import AddAttempt, SaveAttempt, SaveOutput, apply

from ...builders import FILELESS, World, after, done, generation, kept

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
    """A provider that answers anything, a process that dies at any moment, a client that may cancel."""

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
        self.adopted: set[str] = set()  # attempts whose task turned up after they were unknown
        self.seen: dict[str, Generation] = {}  # what a sender knew when it began
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
                assert write.attempt.state is not S.SUBMITTING, "only the store sends"
                self.check_given_up(write)
        if self.world.now >= now.deadline_at:
            assert now.status.terminal or any(open_tasks(one) for one in now.attempts), "nothing else is waited for"
        if before.status.terminal:
            assert not any(isinstance(write, AddAttempt) for write in step.writes)
            saved = [write for write in step.writes if isinstance(write, SaveOutput)]
            assert all(write.new and write.output.late for write in saved)
            assert not any(isinstance(one, Submit) for one in step.effects), "nothing is sent behind the end"
            read = [now.attempt(one.attempt_id).state for one in step.effects if isinstance(one, Poll)]
            assert set(read) <= {S.ABANDONED}
            assert not read or now.status in {Status.COMPLETED, Status.FAILED}
        for one in step.effects:
            if isinstance(one, Submit):
                assert now.attempt(one.attempt_id).state is S.RESERVED
                self.seen[one.attempt_id] = now
        if now.status.terminal:
            assert not any(one.state in {S.RESERVED, S.ACCEPTED} for one in now.attempts)
        else:
            self.check_every_task_has_its_own_output()

    def check_new(self, before: Generation, write: AddAttempt) -> None:
        """A new attempt never goes where a task may already exist for one of its outputs."""
        now, new = self.world.generation, write.attempt
        provider = now.route(new).provider
        assert new.slots
        assert len(new.slots) <= now.route(new).count_max
        for slot in new.slots:
            assert not now.output(slot).extra
            assert now.output(slot).artifact is None, "a file is on its way for the output"
            earlier = [one for one in now.attempts if slot in one.slots and one.number < new.number]
            unclear = {now.route(one).provider for one in earlier if one.state is S.UNKNOWN and one.decision is None}
            assert provider not in unclear
            assert not any(slot in serves(one) for one in earlier), "a task is live for the output"
            for one in earlier:
                ends = [other.ended_at for other in earlier if other is not one and other.ended_at is not None]
                since = max([one.reserved_at, *ends])
                for index in open_tasks(one):
                    if one.tasks[index].slot == slot:
                        assert self.is_answered(one.id, index, since, DECIDE_UNREAD), "it may be done by now"
            same = [one for one in earlier if one.route == new.route]
            resubmit = [one for one in same if one.decision == "resubmit"]
            assert len(resubmit) <= 1
            assert all(one in resubmit or one.state in {S.REFUSED, S.NOT_SENT} for one in same), "it may be paid for"
            amended = [one for one in same if one.form == "amended" and one.failure is not None and one not in resubmit]
            waits = {one.failure and REMEDY[one.failure.kind] for one in amended}
            assert new.form != "amended" or waits <= {Remedy.FALL_BACK_OR_WAIT}, "that form was refused for good"
            tries = sum(one.route == new.route for one in earlier)
            assert tries <= REPEATS_MAX + 1, "the last route is tried again without end"

    def check_given_up(self, write: SaveAttempt) -> None:
        """An attempt is given up for its time only by readings that began after it was over."""
        attempt = write.attempt
        if attempt.state is not S.ABANDONED or write.was is not S.ACCEPTED or attempt.failure is None:
            return
        if attempt.failure.kind is not FailureKind.TIMED_OUT or self.world.now >= self.world.generation.deadline_at:
            return
        since = times_out_at(attempt, self.world.hint.polling)
        for index in open_tasks(attempt):
            assert self.is_answered(attempt.id, index, since, GIVE_UP_UNREAD), "time alone proves nothing"

    def is_answered(self, attempt_id: str, index: int, since: datetime, failures: int) -> bool:
        known = [one for one in self.readings if one[:2] == (attempt_id, index) and one[2] >= since]
        return any(one[3] for one in known) or len(known) >= failures

    def check_every_task_has_its_own_output(self) -> None:
        now = self.world.generation
        extras = [task.slot for one in now.attempts for task in one.tasks if task.slot not in one.slots]
        assert len(set(extras)) == len(extras)
        assert all(now.output(slot).extra for slot in extras)

    def numbers(self, *states: AttemptState, busy: bool | None = None) -> list[int]:
        return [
            one.number
            for one in self.world.generation.attempts
            if one.state in states and busy in {None, Submit(one.id) in self.world.busy}
        ]

    # What the world does

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
        self.world.take(number, *(f"t{number}-{one}" for one in range(tasks)), seen=seen)
        if at_once:
            self.step()

    @precondition(lambda self: self.numbers(*set(S) - {S.RESERVED, S.SUBMITTING}))
    @rule(data=st.data(), tasks=st.integers(1, 3))
    def found_late(self, data: st.DataObject, tasks: int) -> None:
        number = data.draw(st.sampled_from(self.numbers(*set(S) - {S.RESERVED, S.SUBMITTING})))
        self.adopted.add(self.world.attempt(number).id)
        self.world.adopt(number, *(f"late{number}-{one}" for one in range(tasks)))
        assert self.world.attempt(number).tasks, "knowledge of a paid task is never refused"
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
            Ended(
                attempt_id=attempt.id,
                state=state,
                failure=failed(kind, "no", elsewhere=elsewhere),
                retry_after_seconds=retry_after,
                amend_form=amend if state is S.REFUSED else None,
            )
        )

    @precondition(lambda self: any(isinstance(one, Poll) for one in self.world.busy))
    @rule(data=st.data(), snapshot=st.none() | SNAPSHOTS, not_found=st.booleans(), wait=WAITS, took=WAITS)
    def read(self, data: st.DataObject, snapshot: object, not_found: bool, wait: float, took: float) -> None:
        polls = sorted(
            (one for one in self.world.busy if isinstance(one, Poll)), key=lambda one: (one.attempt_id, one.index)
        )
        one = data.draw(st.sampled_from(polls))
        self.world.busy.discard(one)
        asked_at = max(self.world.now - timedelta(seconds=took), after(0))
        self.readings.append((one.attempt_id, one.index, asked_at, snapshot is not None))
        if snapshot is None:
            fact: Fact = Unread(attempt_id=one.attempt_id, index=one.index, asked_at=asked_at, not_found=not_found)
        else:
            fact = Read(attempt_id=one.attempt_id, index=one.index, asked_at=asked_at, snapshot=snapshot)
        self.step(fact, wait=wait)

    @precondition(lambda self: any(isinstance(one, Keep) for one in self.world.busy))
    @rule(data=st.data(), what=st.sampled_from(["kept", "missing", "final", "unread"]), wait=WAITS)
    def file_is_fetched(self, data: st.DataObject, what: str, wait: float) -> None:
        indices = sorted(one.index for one in self.world.busy if isinstance(one, Keep))
        index = data.draw(st.sampled_from(indices))
        self.world.busy.discard(Keep(index))
        match what:
            case "kept":
                self.step(FileKept(index, kept(index)), wait=wait)
            case _:
                self.step(FileUnread(index=index, missing=what == "missing", final=what == "final"), wait=wait)

    @rule(data=st.data())
    def provider_hints(self, data: st.DataObject) -> None:
        attempts = self.world.generation.attempts
        if attempts:
            self.step(Hinted(data.draw(st.sampled_from([one.id for one in attempts]))))

    @precondition(lambda self: any(is_held(self.world.generation, one) for one in self.world.generation.attempts))
    @rule(data=st.data(), decision=st.sampled_from(["fail", "resubmit"]))
    def operator_decides(self, data: st.DataObject, decision: Decision) -> None:
        now = self.world.generation
        held = data.draw(st.sampled_from([one for one in now.attempts if is_held(now, one)]))
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

    # What always holds

    @invariant()
    def outputs_have_no_gap(self) -> None:
        outputs = self.world.generation.outputs
        assert [one.index for one in outputs] == list(range(len(outputs)))
        assert [one.extra for one in outputs] == [index >= self.count for index in range(len(outputs))]
        assert all(one.artifact is not None for one in outputs if one.status is Status.COMPLETED)
        assert all(one.artifact is None for one in outputs if one.status in {Status.FAILED, *ENDED})
        assert all(one.artifact is not None for one in outputs if one.kept is not None)

    @invariant()
    def one_attempt_is_live_for_an_output(self) -> None:
        now = self.world.generation
        for slot in range(self.count):
            live = [one for one in now.attempts if slot in one.slots and slot in serves(one)]
            assert len([one for one in live if one.id not in self.adopted]) <= 1

    @invariant()
    def a_provider_holds_one_unclear_submit_for_an_output(self) -> None:
        now = self.world.generation
        unclear = [one for one in now.attempts if one.state is S.UNKNOWN and one.decision is None]
        held = Counter((slot, now.route(one).provider) for one in unclear for slot in one.slots)
        assert all(times == 1 for times in held.values())

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        assert all(times == 1 for times in self.sent.values())

    @invariant()
    def an_end_is_an_end(self) -> None:
        now = self.world.generation
        if self.ended is None and now.status.terminal:
            self.ended = now
            there = any(one.status is Status.COMPLETED for one in now.outputs)
            assert all(one.status.terminal for one in now.outputs)
            assert now.status is Status.CANCELLED or there == (now.status is Status.COMPLETED)
            assert (now.failure is not None) == (now.status in {Status.FAILED, Status.EXPIRED})
            assert now.completed_at is not None
        if self.ended is not None:
            before = len(self.ended.outputs)
            told = tuple(replace(one, kept=None) for one in self.ended.outputs)
            stays = (now.status, tuple(replace(one, kept=None) for one in now.outputs[:before]), now.failure)
            assert stays == (self.ended.status, told, self.ended.failure)
            assert all(one.late and one.status is Status.COMPLETED for one in now.outputs[before:])
            assert (now.progress, now.completed_at) == (self.ended.progress, self.ended.completed_at)

    @invariant()
    def progress_is_a_share(self) -> None:
        assert 0 <= self.world.generation.progress <= 1

    def teardown(self) -> None:
        """Whatever happened, the deadline and a few readings end it, and nothing is left that would be carried out."""
        if not hasattr(self, "world"):
            return
        self.world.now = max(self.world.now, self.world.generation.deadline_at)
        self.step()
        for _ in range(400):  # many tasks, each of which may fail to be read at a moment of its own
            if self.world.generation.status.terminal:
                break
            for poll in [one for one in self.world.busy if isinstance(one, Poll)]:
                self.world.busy.discard(poll)
                self.step(Unread(attempt_id=poll.attempt_id, index=poll.index, asked_at=self.world.now))
            if not self.world.generation.status.terminal:
                self.step(wait=(self.world.last.wake_at - self.world.now).total_seconds())
        assert self.world.generation.status.terminal
        assert not any(isinstance(one, Poll) for one in self.world.last.effects)
        assert not self.world.watches, "nothing is read any more"
        self.world.crash()
        self.step()
        assert S.SUBMITTING not in self.world.states()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=30, suppress_health_check=list(HealthCheck))
