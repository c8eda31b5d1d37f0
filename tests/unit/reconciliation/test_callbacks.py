"""Tasks that no reply has named: which slot each gets, in which states the ledger accepts them, and from whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Task
from gateway.domain.generation.reconciliation import REMEMBERED_MAX, TASKS_MAX, with_tasks
from gateway.domain.generation.transitions import AddAttempt, SaveAttempt
from gateway.ids import new_id
from gateway.reconciliation.callbacks import CallbackUrls
from gateway.store.port import Permission
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite.open import open_sqlite
from gateway.store.task_claims import ClaimResult
from gateway.tokens import Signer

from ..builders import T0, generation

SOON = T0 + timedelta(seconds=1)
IDS = st.lists(st.sampled_from("abcdefgh"), max_size=8)


def refs(*ids: str) -> list[TaskRef]:
    return [TaskRef(id=task_id, path="/v1/t") for task_id in ids]


@given(slots=st.integers(1, 4), first=IDS, then=IDS, outputs=st.integers(4, 6))
@settings(max_examples=100)
def test_every_task_has_a_slot_and_no_two_have_the_same(
    slots: int, first: list[str], then: list[str], outputs: int
) -> None:
    before = with_tasks(range(slots), (), refs(*first), outputs)
    after = with_tasks(range(slots), before, refs(*then), outputs)
    assert after[: len(before)] == before
    assert [task.ref.id for task in after] == list(dict.fromkeys(first + then))
    places = [task.slot for task in after]
    assert len(set(places)) == len(places)
    assert sorted(places)[: min(slots, len(places))] == list(range(min(slots, len(places))))
    assert all(place < slots or place >= outputs for place in places)


def test_the_number_of_tasks_of_an_attempt_is_limited() -> None:
    assert len(with_tasks((0,), (), refs(*map(str, range(99))), 1)) == TASKS_MAX


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = open_sqlite(tmp_path / "ledger.db", T0)
    yield opened
    await opened.close()


async def submitting(store: SqlStore, slots: int = 1) -> tuple[Generation, str]:
    """A generation whose only attempt is being submitted."""
    made = replace(generation(count=slots), id=new_id("gen_", T0), fence=1, version=1)
    await store.create(made)
    attempt = Attempt(
        id=f"att_{made.id[4:]}_1",
        number=1,
        route=0,
        slots=tuple(range(slots)),
        state=AttemptState.RESERVED,
        reserved_at=T0,
    )
    assert await store.write(made, [AddAttempt(attempt)], T0) is not None
    assert await store.begin_submit(attempt.id, made.fence, T0) is Permission.GRANTED
    return await stored(store, made.id), attempt.id


async def stored(store: SqlStore, generation_id: str) -> Generation:
    stored = await store.get(generation_id)
    assert stored is not None
    return stored


async def moved(store: SqlStore, made: Generation, state: AttemptState, **changes: Any) -> int | None:
    """Write the attempt's move, as its driver does."""
    (attempt,) = made.attempts
    return await store.write(made, [SaveAttempt(replace(attempt, state=state, **changes), attempt.state)], SOON)


async def report(store: SqlStore, attempt_id: str, *ids: str) -> ClaimResult:
    return await store.task_claims.claim(attempt_id, refs(*ids), SOON, "callback")


def ids_of(made: Generation) -> list[str]:
    return [task.ref.id for task in made.attempts[0].tasks]


def remembered_in(folder: Path) -> list[Any]:
    """The task ids of callbacks that are still remembered."""
    # apsw, as in the store: a second SQLite library in the same process would drop the locks of the first at its close.
    with closing(apsw.Connection(str(folder / "ledger.db"))) as database:
        return database.execute("select attempt_id, task_id from callbacks").fetchall()


async def types(store: SqlStore, made: Generation) -> list[str]:
    return [event.type for event in await store.events(made.id) if event.type.startswith("attempt.")]


async def test_a_task_reported_before_the_reply_is_adopted_when_no_reply_comes(store: SqlStore) -> None:
    made, attempt = await submitting(store, 2)
    assert await report(store, attempt, "a") is ClaimResult.REMEMBERED
    assert await report(store, attempt, "b", "a") is ClaimResult.REMEMBERED
    assert ids_of(await stored(store, made.id)) == []
    assert await moved(store, made, AttemptState.UNKNOWN, ended_at=SOON) is None
    after = await stored(store, made.id)
    assert (after.attempts[0].state, ids_of(after)) == (AttemptState.ACCEPTED, ["a", "b"])
    assert (after.attempts[0].tasks[0].ref, after.attempts[0].accepted_at) == (refs("a")[0], SOON)
    assert after.version > made.version
    assert await types(store, made) == ["attempt.reserved", "attempt.submitting", "attempt.accepted"]


async def test_a_task_that_the_reply_names_too_is_stored_once(store: SqlStore) -> None:
    made, attempt = await submitting(store)
    await report(store, attempt, "a")
    assert await store.accept(attempt, [Task(ref=refs("a")[0], slot=0)], SOON) is not None
    assert await report(store, attempt, "a") is ClaimResult.ADOPTED
    assert ids_of(await stored(store, made.id)) == ["a"]


async def test_a_callback_may_name_a_task_that_a_reply_with_too_few_tasks_left_out(store: SqlStore) -> None:
    made, attempt = await submitting(store, 2)
    assert await store.accept(attempt, [Task(ref=refs("a")[0], slot=0)], SOON) is not None
    assert await store.task_claims.free_slots(attempt) == TASKS_MAX - 1
    assert await report(store, attempt, "b") is ClaimResult.ADOPTED
    after = await stored(store, made.id)
    assert (ids_of(after), after.attempts[0].adopted) == (["a", "b"], None)
    assert await report(store, attempt, "c") is ClaimResult.REFUSED, "there is a task for each output"


@pytest.mark.parametrize("state", [AttemptState.FAILED, AttemptState.ABANDONED])
async def test_a_task_reported_for_an_attempt_that_delivered_nothing_is_adopted(
    store: SqlStore, state: AttemptState
) -> None:
    made, attempt = await submitting(store)
    assert await store.accept(attempt, [Task(ref=refs("a")[0], slot=0)], SOON) is not None
    made = await stored(store, made.id)
    given_up = replace(made.attempts[0], state=state, ended_at=SOON)
    assert await store.write(made, [SaveAttempt(given_up, AttemptState.ACCEPTED)], SOON) is not None
    assert await report(store, attempt, "b") is ClaimResult.ADOPTED
    after = await stored(store, made.id)
    expected = AttemptState.ABANDONED if state is AttemptState.ABANDONED else AttemptState.ACCEPTED
    assert (ids_of(after), after.attempts[0].state) == (["a", "b"], expected)


@pytest.mark.parametrize("state", [AttemptState.REFUSED, AttemptState.NOT_SENT, AttemptState.UNKNOWN])
async def test_a_submit_that_ended_without_a_task_gets_the_task_that_a_callback_names(
    store: SqlStore, state: AttemptState
) -> None:
    made, attempt = await submitting(store)
    failure = failed(FailureKind.RATE_LIMITED)
    assert await moved(store, made, state, ended_at=SOON, failure=failure, billed=Billed.NO) is not None
    assert await report(store, attempt, "a") is ClaimResult.ADOPTED
    after = (await stored(store, made.id)).attempts[0]
    assert (after.state, after.adopted, after.accepted_at) == (AttemptState.ACCEPTED, "callback", SOON)
    assert (after.ended_at, after.failure, after.billed) == (None, None, None)
    assert await report(store, attempt, "a") is ClaimResult.ADOPTED, "a task that was adopted already changes nothing"
    assert len((await stored(store, made.id)).attempts[0].tasks) == 1


async def test_reported_tasks_that_the_reply_does_not_name_come_after_its_tasks(
    store: SqlStore, tmp_path: Path
) -> None:
    made, attempt = await submitting(store, 2)
    await report(store, attempt, "b", "c", "d")
    version = await store.accept(attempt, [Task(ref=refs("a")[0], slot=0), Task(ref=refs("c")[0], slot=2)], SOON)
    after = await stored(store, made.id)
    assert [(task.ref.id, task.slot) for task in after.attempts[0].tasks] == [("a", 0), ("c", 2), ("b", 1), ("d", 3)]
    assert (after.version, after.attempts[0].adopted) == (version, None)
    assert remembered_in(tmp_path) == []


@pytest.mark.parametrize("state", [AttemptState.NOT_SENT, AttemptState.REFUSED])
async def test_a_task_reported_before_the_reply_counts_more_than_a_refusal(
    store: SqlStore, tmp_path: Path, state: AttemptState
) -> None:
    made, attempt = await submitting(store)
    await report(store, attempt, "a")
    assert await moved(store, made, state, ended_at=SOON, billed=Billed.NO) is None
    after = (await stored(store, made.id)).attempts[0]
    assert (after.state, after.billed, after.ended_at) == (AttemptState.ACCEPTED, None, None)
    assert ids_of(await stored(store, made.id)) == ["a"]
    assert remembered_in(tmp_path) == []
    assert await report(store, attempt, "b") is ClaimResult.ADOPTED


@pytest.mark.parametrize("state", [AttemptState.NOT_SENT, AttemptState.REFUSED, AttemptState.UNKNOWN])
async def test_reported_tasks_that_another_attempt_got_meanwhile_are_dropped_and_logged(
    store: SqlStore, tmp_path: Path, state: AttemptState
) -> None:
    (made, attempt), (_, other) = await submitting(store), await submitting(store)
    await report(store, attempt, "a", "b")
    await store.accept(other, [Task(ref=refs("b")[0], slot=0), Task(ref=refs("a")[0], slot=1)], SOON)
    with capture_logs() as logs:
        assert await moved(store, made, state, ended_at=SOON) is not None
    assert (await stored(store, made.id)).attempts[0].state is state
    dropped = {"event": "callback_dropped", "log_level": "warning", "attempt": attempt, "tasks": ["a", "b"]}
    assert logs == [dropped]
    assert remembered_in(tmp_path) == []


async def test_an_attempt_adopts_only_reported_tasks_that_no_other_attempt_has(store: SqlStore) -> None:
    (first_generation, first), (second_generation, second), (_, other) = [await submitting(store) for _ in range(3)]
    await report(store, first, "a", "b")
    await report(store, second, "a", "b")
    await store.accept(other, [Task(ref=refs("a")[0], slot=0)], SOON)
    with capture_logs() as logs:
        assert await moved(store, first_generation, AttemptState.REFUSED, ended_at=SOON) is None
        await store.accept(second, [Task(ref=refs("c")[0], slot=0)], SOON)
    assert ids_of(await stored(store, first_generation.id)) == ["b"]
    assert ids_of(await stored(store, second_generation.id)) == ["c"]
    assert [(log["attempt"], log["tasks"]) for log in logs] == [(first, ["a"]), (second, ["a", "b"])]


async def test_reported_tasks_without_room_after_the_reply_are_logged(store: SqlStore) -> None:
    _, attempt = await submitting(store)
    await report(store, attempt, "a", "b")
    named = [Task(ref=ref, slot=slot) for slot, ref in enumerate(refs(*map(str, range(TASKS_MAX - 1))))]
    with capture_logs() as logs:
        await store.accept(attempt, named, SOON)
    assert [log["tasks"] for log in logs] == [["b"]]


async def test_a_task_that_a_reply_names_is_stored_even_if_another_attempt_has_it(store: SqlStore) -> None:
    (first_generation, first), (second_generation, second) = await submitting(store), await submitting(store)
    for attempt in (first, second):
        assert await store.accept(attempt, [Task(ref=refs("a")[0], slot=0)], SOON) is not None
    assert [ids_of(await stored(store, made.id)) for made in (first_generation, second_generation)] == [["a"], ["a"]]


async def test_a_write_with_an_old_fence_adopts_nothing(store: SqlStore) -> None:
    made, attempt = await submitting(store)
    await report(store, attempt, "a")
    assert await store.take_over([made.id], SOON) != []
    assert await moved(store, made, AttemptState.UNKNOWN) is None
    assert (await stored(store, made.id)).attempts[0].state is AttemptState.SUBMITTING


async def test_the_number_of_remembered_tasks_is_limited(store: SqlStore) -> None:
    made, attempt = await submitting(store)
    results = [await report(store, attempt, str(number)) for number in range(REMEMBERED_MAX + 2)]
    assert results == [ClaimResult.REMEMBERED] * REMEMBERED_MAX + [ClaimResult.REFUSED] * 2
    assert await moved(store, made, AttemptState.UNKNOWN) is None
    assert len(ids_of(await stored(store, made.id))) == REMEMBERED_MAX


async def test_tasks_reported_later_join_those_that_are_polled_already(store: SqlStore) -> None:
    made, attempt = await submitting(store, 2)
    assert await moved(store, made, AttemptState.UNKNOWN, ended_at=SOON) is not None
    assert await report(store, attempt, "a") is ClaimResult.ADOPTED
    before = await stored(store, made.id)
    (read,) = before.attempts[0].tasks
    running = replace(before.attempts[0], tasks=(replace(read, status=Status.IN_PROGRESS),))
    assert await store.write(before, [SaveAttempt(running, running.state)], SOON) is not None
    assert await report(store, attempt, "b", "c") is ClaimResult.ADOPTED
    after = await stored(store, made.id)
    assert after.attempts[0].tasks[0].status is Status.IN_PROGRESS
    assert [task.slot for task in after.attempts[0].tasks] == [0, 1, 2]
    assert await store.write(before, [], SOON) is None, "a driver with an older version must read the generation again"
    assert await moved(store, after, AttemptState.ABANDONED, ended_at=SOON) is not None
    assert await report(store, attempt, "d") is ClaimResult.ADOPTED
    assert (await types(store, made)).count("attempt.accepted") == 1
    assert await report(store, attempt, *map(str, range(TASKS_MAX))) is ClaimResult.REFUSED


async def test_reports_at_the_same_time_are_all_adopted(store: SqlStore) -> None:
    made, attempt = await submitting(store)
    await moved(store, made, AttemptState.UNKNOWN, ended_at=SOON)
    results = await asyncio.gather(*(report(store, attempt, task_id) for task_id in "abca"))
    assert results == [ClaimResult.ADOPTED] * 4
    assert ids_of(await stored(store, made.id)) == ["a", "b", "c"]


async def test_adopted_tasks_are_no_longer_remembered_and_an_unknown_attempt_adopts_nothing(
    store: SqlStore, tmp_path: Path
) -> None:
    (made, first), (_, second) = await submitting(store), await submitting(store)
    await report(store, first, "a")
    await report(store, second, "b")
    await moved(store, made, AttemptState.UNKNOWN)
    assert await report(store, "att_of_nobody", "a") is ClaimResult.REFUSED
    assert await store.task_claims.free_slots("att_of_nobody") == 0
    assert remembered_in(tmp_path) == [(second, "b")]
    assert (await stored(store, made.id)).attempts[0].adopted == "callback"


PROVIDER: Any = SimpleNamespace(name="keevx", adapter=SimpleNamespace(read_callback=len))
URLS = CallbackUrls("https://gw.example", Signer(b"s" * 32), SimpleNamespace(now=lambda: T0))  # type: ignore[arg-type]  # no timers
ATTEMPT = "att_01JDKQ00000000000000000000_1"
GOOD = URLS.url(PROVIDER, ATTEMPT) or ""


def test_a_token_is_for_one_attempt_of_one_provider_and_hard_to_guess() -> None:
    token = GOOD.removeprefix("https://gw.example/callbacks/keevx/")
    assert URLS.attempt_of("keevx", token) == ATTEMPT
    assert URLS.attempt_of("foxapi", token) is None
    assert len(token.rpartition(".")[2]) == 32, "192 bits"
    assert Signer(b"t" * 32).sign("callback", "keevx", ATTEMPT) != Signer(b"s" * 32).sign("callback", "keevx", ATTEMPT)


@given(provider=st.text(max_size=9), token=st.text(max_size=60) | st.text(max_size=9).map(lambda end: ATTEMPT + end))
@settings(max_examples=200)
def test_a_token_that_was_never_made_names_no_attempt(provider: str, token: str) -> None:
    assert URLS.attempt_of(provider, token) is None
    assert URLS.attempt_of("keevx", token) is None
