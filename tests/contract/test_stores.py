"""What every store must do: each method, in each state."""

import asyncio
import string
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.adapter.failure import Billed, FailureKind
from gateway.domain.adapter.request import FramesInput, InputKind, ReferencesInput, Settings, TextInput
from gateway.domain.adapter.task import Artifact, Failed, Status, TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.errors import Conflict, GenerationDeleted, IdempotencyKeyReused, InvalidImage, StoreUnavailable
from gateway.domain.generation.lifecycle import accept
from gateway.domain.generation.model import (
    Adaptation,
    ArchivedFile,
    Attempt,
    AttemptState,
    Generation,
    GenerationRequest,
    Output,
    Plan,
    Policy,
    Route,
    Task,
)
from gateway.domain.generation.transitions import (
    ATTEMPT_MOVES,
    AddAttempt,
    IllegalMove,
    SaveArchivedFile,
    SaveAttempt,
    SaveOutput,
    SaveStatus,
    Write,
    apply,
)
from gateway.domain.routing.image_limits import ImageFacts
from gateway.ids import new_id
from gateway.store.port import AttemptCursor, Idempotency, Permission, Query, Store, StoredFile, attempt_cursor
from gateway.store.task_claims import ClaimResult

from .ledgers import KINDS, Opener, opener_of

NOW = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
SOON = NOW + timedelta(seconds=1)
LEASE = NOW + timedelta(seconds=45)
REF = TaskRef(id="t-1", path="/v1/t", first_poll_seconds=2.5)


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest) -> Opener:
    return opener_of(request, NOW)


@pytest_asyncio.fixture
async def store(opener: Opener, tmp_path: Path) -> AsyncIterator[Store]:
    store = opener(tmp_path)
    yield store
    await store.close()


def generation(at: datetime = NOW, **changes: Any) -> Generation:
    request = GenerationRequest(model=changes.pop("model", "hero"), input=TextInput(), prompt="a fox")
    request = replace(request, metadata=changes.pop("metadata", {}))
    plain = Generation(
        id=new_id("gen_", at),
        owner="alice",
        kind="video",
        request=request,
        plan=Plan(
            routes=(
                Route(provider="keevx", model="V", capability_name="V"),
                Route(provider="foxapi", model="k3", capability_name="k3"),
            )
        ),
        status=Status.QUEUED,
        created_at=at,
        deadline_at=at + timedelta(hours=1),
        outputs=(Output(index=0),),
        fence=1,
    )
    return replace(plain, **changes)


def attempt(owner: Generation, number: int = 1, **changes: Any) -> Attempt:
    name = f"att_{owner.id}_{number}"
    plain = Attempt(id=name, number=number, route=0, slots=(0,), state=AttemptState.RESERVED, reserved_at=NOW)
    return replace(plain, **changes)


def status(now: Generation, to: Status, **changes: Any) -> SaveStatus:
    plain = SaveStatus(
        was=now.status,
        status=to,
        progress=now.progress,
        provider=now.provider,
        provider_model=now.provider_model,
        failure=None,
        completed_at=SOON if to.terminal else None,
    )
    return replace(plain, **changes)


async def stored(store: Store, generation_id: str) -> Generation:
    read = await store.get(generation_id)
    assert read is not None
    return read


async def wrote(store: Store, before: Generation, *writes: Write) -> Generation:
    """Write, and check that the store then has what the same writes make of the value in memory."""
    version = await store.write(before, writes, SOON)
    assert version == before.version + 1
    expected = before
    for write in writes:
        expected = apply(expected, write)
    after = await stored(store, before.id)
    assert after == replace(expected, version=version)
    return after


async def ended(store: Store, to: Status = Status.COMPLETED, **changes: Any) -> Generation:
    created = await store.create(generation(**changes))
    return await wrote(store, created, status(created, to))


async def reserved(store: Store) -> tuple[Generation, str]:
    created = await store.create(generation())
    after = await wrote(store, created, AddAttempt(attempt(created)))
    return after, after.attempts[0].id


async def submitting(store: Store) -> tuple[Generation, str]:
    before, name = await reserved(store)
    assert await store.begin_submit(name, before.fence, SOON) is Permission.GRANTED
    return await stored(store, before.id), name


async def in_state(store: Store, state: AttemptState) -> tuple[Generation, str]:
    """A generation whose attempt was brought to this state by legal moves."""
    if state is AttemptState.RESERVED:
        return await reserved(store)
    before, name = await submitting(store)
    if state is AttemptState.SUBMITTING:
        return before, name
    if state not in ATTEMPT_MOVES[AttemptState.SUBMITTING]:
        await store.accept(name, [Task(ref=REF, slot=0)], SOON)
        before = await stored(store, before.id)
    current = before.attempt(name)
    return await wrote(store, before, SaveAttempt(replace(current, state=state), current.state)), name


# -- create, get, ownership


async def test_created_is_read_back_by_its_owner_alone(store: Store) -> None:
    created = await store.create(generation())

    assert await store.get(created.id) == created
    assert await store.get(created.id, "alice") == created
    assert await store.get(created.id, "bob") is None
    assert await store.get("gen_none") is None


async def test_a_second_create_with_the_same_id_is_refused_and_changes_nothing(store: Store) -> None:
    created = await store.create(generation())

    with pytest.raises(Exception, match=r"(?i)unique"):
        await store.create(replace(created, owner="bob"))

    assert await store.get(created.id) == created


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
WORD = st.text(string.ascii_letters + "é动", min_size=1, max_size=8)
MOMENT = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # Hypothesis wants naive bounds
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FLOAT | TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2))
FAILED = st.builds(Failed, kind=st.sampled_from(FailureKind), message=TEXT)
SETTINGS = st.builds(
    Settings, cfg_scale=st.none() | FLOAT, seed=st.none() | st.integers(0, 2**53), mode=st.none() | TEXT
)
INPUT = st.one_of(
    st.builds(TextInput),
    st.builds(FramesInput, first_frame=TEXT, last_frame=st.none() | TEXT),
    st.builds(ReferencesInput, references=st.lists(TEXT, min_size=1, max_size=3).map(tuple)),
)
ARTIFACT = st.builds(Artifact, url=TEXT, duration_seconds=st.none() | FLOAT, width=st.none() | st.integers(1, 9999))
REFS = st.builds(TaskRef, id=TEXT, path=TEXT, first_poll_seconds=st.none() | FLOAT)
TASKS = st.builds(Task, ref=REFS, slot=st.integers(0, 9), progress=st.none() | FLOAT, failure=st.none() | FAILED)
REQUESTS = st.builds(
    GenerationRequest,
    model=TEXT,
    input=INPUT,
    prompt=TEXT,
    settings=SETTINGS,
    provider_options=st.dictionaries(WORD, st.dictionaries(WORD, JSON, max_size=2), max_size=2),
    fallback=st.booleans() | st.lists(WORD, max_size=2).map(tuple),
    max_cost=st.none() | st.floats(0.01, 1e6),  # as an amount in millionths it must fit into an integer column
    metadata=st.dictionaries(TEXT, TEXT, max_size=2),
    user=st.none() | TEXT,
)
ROUTES = st.builds(
    Route,
    provider=WORD,
    model=WORD,
    capability_name=WORD,
    settings=SETTINGS,
    adaptations=st.lists(st.builds(Adaptation, param=WORD, asked=JSON, given=JSON), max_size=1).map(tuple),
)
PLANS = st.builds(Plan, routes=st.lists(ROUTES, min_size=1, max_size=2).map(tuple), policy=st.builds(Policy))
OUTPUTS = st.builds(
    Output,
    index=st.just(0),
    status=st.sampled_from(Status),
    extra=st.booleans(),
    attempt_id=st.none() | TEXT,
    artifact=st.none() | ARTIFACT,
    expires_at=st.none() | MOMENT,
    failure=st.none() | FAILED,
)
ATTEMPTS = st.builds(
    Attempt,
    id=st.just(""),  # filled in
    number=st.just(1),
    route=st.integers(0, 9),
    slots=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    state=st.sampled_from(AttemptState),
    reserved_at=MOMENT,
    variant=TEXT,
    sent_at=st.none() | MOMENT,
    accepted_at=st.none() | MOMENT,
    ended_at=st.none() | MOMENT,
    tasks=st.lists(TASKS, max_size=2).map(tuple),
    failure=st.none() | FAILED,
    billed=st.none() | st.sampled_from(Billed),
    retry_after_seconds=st.none() | FLOAT,
    next_variant=st.none() | TEXT,
)
GENERATIONS = st.builds(
    Generation,
    id=st.just(""),  # filled in
    owner=TEXT,
    kind=st.sampled_from(["video", "image"]),
    request=REQUESTS,
    plan=PLANS,
    status=st.sampled_from(Status),
    created_at=MOMENT,
    deadline_at=MOMENT,
    outputs=OUTPUTS.map(lambda output: (output,)) | st.just(()),
    attempts=ATTEMPTS.map(lambda attempt: (attempt,)) | st.just(()),
    progress=FLOAT,
    provider=st.none() | TEXT,
    provider_model=st.none() | TEXT,
    failure=st.none() | FAILED,
    completed_at=st.none() | MOMENT,
    fence=st.integers(0, 2**31),
    version=st.integers(1, 2**31),
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=GENERATIONS)
async def test_every_value_survives_the_way_there_and_back(store: Store, wanted: Generation) -> None:
    name = new_id("gen_", NOW)
    routes = len(wanted.plan.routes)
    attempts = tuple(replace(made, id=f"att_{name}", route=made.route % routes) for made in wanted.attempts)
    makers = [attempt.id for attempt in attempts] or [None]  # an output names an attempt of its generation
    outputs = tuple(replace(made, attempt_id=None if made.attempt_id is None else makers[0]) for made in wanted.outputs)
    wanted = replace(wanted, id=name, attempts=attempts, outputs=outputs)

    await store.create(wanted)

    assert await store.get(name) == wanted
    assert await store.get(name, wanted.owner) == wanted


# -- pages


async def filled(store: Store, count: int = 7) -> list[str]:
    created = [await store.create(generation(NOW + timedelta(seconds=second))) for second in range(count)]
    await store.create(generation(NOW, owner="bob"))
    await store.create(generation(NOW, kind="image"))
    return [made.id for made in created]


async def names(store: Store, limit: int = 100, **changes: Any) -> tuple[list[str], bool]:
    page = await store.page(Query(**{"key": "alice", "kind": "video", "limit": limit, **changes}))
    assert [await store.get(entry.id) for entry in page.data] == list(page.data), "a page holds whole generations"
    return [entry.id for entry in page.data], page.has_more


async def test_a_page_has_the_keys_own_generations_of_the_kind_newest_first(store: Store) -> None:
    ids = await filled(store)

    assert await names(store) == (ids[::-1], False)
    assert await names(store, order="asc") == (ids, False)
    assert len((await names(store, key="bob"))[0]) == 1
    assert len((await names(store, kind="image"))[0]) == 1
    assert await names(store, key="carol") == ([], False)


async def test_a_limit_cuts_and_says_that_more_follow(store: Store) -> None:
    ids = await filled(store)

    assert await names(store, limit=7) == (ids[::-1], False)
    assert await names(store, limit=6) == (ids[:0:-1], True)
    assert await names(store, limit=6, order="asc") == (ids[:6], True)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_after_a_cursor_cover_everything_once(store: Store, order: str) -> None:
    ids = await filled(store)
    listed = ids if order == "asc" else ids[::-1]

    assert await names(store, limit=3, order=order, after=listed[1]) == (listed[2:5], True)
    assert await names(store, limit=3, order=order, after=listed[3]) == (listed[4:], False)
    assert await names(store, order=order, after=listed[-1]) == ([], False)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_before_a_cursor_has_the_nearest_ones_in_the_order_of_the_query(store: Store, order: str) -> None:
    ids = await filled(store)
    listed = ids if order == "asc" else ids[::-1]

    assert await names(store, limit=3, order=order, before=listed[5]) == (listed[2:5], True)
    assert await names(store, limit=3, order=order, before=listed[2]) == (listed[:2], False)
    assert await names(store, order=order, before=listed[0]) == ([], False)


async def test_a_cursor_that_is_not_an_id_gives_an_empty_page(store: Store) -> None:
    ids = await filled(store)

    for cursor in (
        f"{ids[3]}x",
        f"x{ids[3]}",
        ids[3].lower(),
        "nothing",
        "gen_",
        "gen_zzzz",
        "",
        "gen_01ARZ3NDEKTSV4RRFFQ69G5FA\n",
    ):
        for order in ("asc", "desc"):
            assert await names(store, order=order, after=cursor) == ([], False), cursor
            assert await names(store, order=order, before=cursor) == ([], False), cursor


async def test_a_cursor_may_be_deleted_between_two_pages(store: Store) -> None:
    ids = [(await ended(store, at=NOW + timedelta(seconds=second))).id for second in range(5)]

    page, _ = await names(store, limit=2)
    for name in page:
        assert await store.delete(name, "alice", NOW)

    assert await names(store, limit=2, after=page[-1]) == ([ids[2], ids[1]], True)


async def test_every_filter_narrows_the_page(store: Store) -> None:
    first = await store.create(generation(NOW, model="one", metadata={"order": "1", "a.b": '"x"'}))
    second = await store.create(generation(SOON, model="two", metadata={"order": "2", "a.b": '"x"'}))
    second = await wrote(store, second, status(second, Status.COMPLETED, provider="keevx"))

    async def matching(**changes: Any) -> list[str]:
        return (await names(store, order="asc", **changes))[0]

    assert await matching(status="queued") == [first.id]
    assert await matching(status="completed") == [second.id]
    assert await matching(status="expired") == []
    assert await matching(model="one") == [first.id]
    assert await matching(provider="keevx") == [second.id]
    assert await matching(created_after=NOW) == [second.id]
    assert await matching(created_after=NOW - timedelta(seconds=1)) == [first.id, second.id]
    assert await matching(created_before=SOON) == [first.id]
    assert await matching(metadata={"order": "2"}) == [second.id]
    assert await matching(metadata={"a.b": '"x"'}) == [first.id, second.id]
    assert await matching(metadata={"a.b": '"x"', "order": "1"}) == [first.id]
    assert await matching(metadata={"a.b": "x"}) == []
    assert await matching(metadata={"order": "1"}, model="two") == []


async def test_a_page_can_pass_over_generations_and_select_by_input_and_external_id(store: Store) -> None:
    plain = generation(NOW, metadata={"external_task_id": "7"})
    framed = replace(plain.request, input=FramesInput(first_frame="https://x/a.png"), metadata={})
    text = await store.create(plain)
    image = await store.create(replace(plain, id=new_id("gen_", SOON), request=framed))
    last = await store.create(generation(SOON + timedelta(seconds=1), metadata={"external_task_id": "8", "order": "1"}))

    assert await names(store, limit=1, offset=1) == ([image.id], True)
    assert await names(store, limit=2, offset=2) == ([text.id], False)
    assert await names(store, limit=1, offset=1, after=last.id) == ([text.id], False)
    assert await names(store, inputs=(InputKind.TEXT,)) == ([last.id, text.id], False)
    assert await names(store, inputs=(InputKind.IMAGE, InputKind.REFERENCES)) == ([image.id], False)
    assert await names(store, metadata={"external_task_id": "7"}) == ([text.id], False)
    assert await names(store, metadata={"external_task_id": "8", "order": "2"}) == ([], False)


# -- delete, open_ids, files


@pytest.mark.parametrize("state", list(Status))
async def test_only_an_ended_generation_is_deleted_and_only_by_its_owner(store: Store, state: Status) -> None:
    created = await store.create(generation(status=state))

    assert await store.delete(created.id, "bob", NOW) is False
    assert await store.delete(created.id, "alice", NOW) is state.terminal
    assert (await store.get(created.id) is None) is state.terminal
    assert await store.delete(created.id, "alice", NOW) is False or not state.terminal


async def test_delete_takes_attempts_outputs_and_events_along(store: Store) -> None:
    created = await store.create(generation())
    closed = await wrote(store, created, AddAttempt(attempt(created)), status(created, Status.FAILED))

    assert await store.delete(closed.id, "alice", NOW)

    assert await store.events(closed.id) == []
    assert await store.begin_submit(closed.attempts[0].id, closed.fence, SOON) is Permission.OVERTAKEN
    assert await store.write(closed, [SaveOutput(replace(closed.outputs[0], status=Status.FAILED))], SOON) is None
    copy = replace(closed, owner="carol")
    assert await store.create(copy) == copy, "nothing is left in the way of the same ids"
    assert await store.get(copy.id) == copy


async def test_open_ids_are_all_that_have_not_ended_oldest_first(store: Store) -> None:
    newer = await store.create(generation(SOON, owner="bob"))
    older = await store.create(generation(NOW, kind="image", status=Status.IN_PROGRESS))
    for state in Status:
        if state.terminal:
            await store.create(generation(status=state))

    assert await store.open_ids(NOW) == [older.id, newer.id]


async def test_a_submit_under_way_outlives_the_end_of_its_generation(store: Store) -> None:
    before, name = await submitting(store)
    closed = await wrote(store, before, status(before, Status.CANCELLED))

    assert await store.open_ids(NOW) == [closed.id]
    assert not await store.delete(closed.id, "alice", NOW)
    (taken,) = await store.take_over([closed.id], SOON)
    assert taken is not None
    sent = taken.attempt(name)
    await wrote(store, taken, SaveAttempt(replace(sent, state=AttemptState.UNKNOWN), sent.state))

    assert await store.open_ids(NOW) == []
    assert await store.take_over([closed.id], SOON) == []
    assert await store.delete(closed.id, "alice", NOW)


def bought(owner: Generation, number: int = 1, **changes: Any) -> Attempt:
    tasks = (Task(ref=REF, slot=0, status=Status.COMPLETED),)
    fields = {"state": AttemptState.COMPLETED, "billed": Billed.YES, "sent_at": NOW, "ended_at": SOON, "tasks": tasks}
    return attempt(owner, number, **(fields | changes))


async def test_a_delete_stores_what_may_have_been_paid_and_nothing_that_the_client_sent(store: Store) -> None:
    plain = generation(status=Status.COMPLETED, metadata={"order": "hush"})
    plain = replace(plain, request=replace(plain.request, prompt="hush", webhook_url="https://hush.example"))
    refused = attempt(plain, 2, route=1, state=AttemptState.REFUSED, billed=Billed.NO, sent_at=NOW)
    unknown = attempt(plain, 3, route=1, state=AttemptState.UNKNOWN, billed=Billed.MAYBE, sent_at=NOW, ended_at=SOON)
    made = await store.create(replace(plain, attempts=(bought(plain), refused, unknown)))
    await store.create(generation(SOON))

    assert await store.delete(made.id, "alice", SOON)

    paid, maybe = rows = await store.purchases.page(10)
    assert (paid.attempt_id, paid.provider, paid.provider_model) == (made.attempts[0].id, "keevx", "V")
    assert (paid.tasks, paid.billed, paid.model, paid.key) == ((REF.id,), Billed.YES, "hero", "alice")
    assert (paid.created_at, paid.sent_at, paid.ended_at, paid.deleted_at) == (NOW, NOW, SOON, SOON)
    assert (maybe.attempt_id, maybe.provider, maybe.tasks, maybe.billed) == (unknown.id, "foxapi", (), Billed.MAYBE)
    assert "hush" not in repr(rows)


async def test_a_delete_of_a_generation_that_cost_nothing_leaves_nothing(store: Store) -> None:
    plain = generation(status=Status.FAILED)
    refused = attempt(plain, state=AttemptState.REFUSED, billed=Billed.NO, sent_at=NOW)
    made = await store.create(replace(plain, attempts=(refused,)))

    assert not await store.delete(made.id, "bob", NOW)
    assert await store.delete(made.id, "alice", NOW)

    assert await store.purchases.page(10) == []


async def test_a_delete_that_is_refused_leaves_no_purchase(store: Store) -> None:
    plain = generation()
    made = await store.create(replace(plain, attempts=(bought(plain),)))

    assert not await store.delete(made.id, "alice", NOW)
    assert await store.purchases.page(10) == []


async def test_purchases_are_paged_and_found_by_their_generation(store: Store) -> None:
    made = []
    for second in range(3):
        plain = generation(NOW + timedelta(seconds=second), status=Status.COMPLETED)
        made.append(await store.create(replace(plain, attempts=(bought(plain), bought(plain, 2)))))
        assert await store.delete(made[-1].id, "alice", NOW)
    every = [(purchase.generation_id, purchase.attempt_id) for purchase in await store.purchases.page(10)]

    assert every == [(owner.id, number.id) for owner in made for number in owner.attempts]
    assert [purchase.attempt_id for purchase in await store.purchases.page(2, every[2])] == [every[3][1], every[4][1]]
    of_second = await store.purchases.page(10, every[2], made[1].id)
    assert [purchase.attempt_id for purchase in of_second] == [every[3][1]]
    assert await store.purchases.page(10, every[5]) == []


async def test_purchases_expire_by_the_time_of_the_delete(store: Store) -> None:
    for second in range(3):
        plain = generation(status=Status.COMPLETED)
        await store.create(replace(plain, attempts=(bought(plain),)))
        assert await store.delete(plain.id, "alice", NOW + timedelta(seconds=second))

    assert await store.purchases.expire(NOW, 10) == 0
    assert await store.purchases.expire(NOW + timedelta(seconds=2), 1) == 1
    assert await store.purchases.expire(NOW + timedelta(seconds=2), 10) == 1
    (left,) = await store.purchases.page(10)
    assert left.deleted_at == NOW + timedelta(seconds=2)


@pytest.mark.parametrize("state", [Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
async def test_an_abandoned_task_is_polled_after_the_end_until_the_deadline(store: Store, state: Status) -> None:
    given_up = attempt(plain := generation(), state=AttemptState.ABANDONED, accepted_at=NOW, ended_at=NOW)
    ended_one = await store.create(replace(plain, status=state, attempts=(given_up,)))

    followed = state in {Status.COMPLETED, Status.FAILED}
    assert await store.open_ids(NOW) == ([ended_one.id] if followed else [])
    assert await store.open_ids(ended_one.deadline_at) == []
    (taken,) = await store.take_over([ended_one.id], SOON)
    assert taken is not None
    late = Output(index=1, status=Status.COMPLETED, extra=True, late=True, attempt_id=given_up.id)
    done = SaveAttempt(replace(given_up, state=AttemptState.COMPLETED), given_up.state)
    after = await wrote(store, taken, done, SaveOutput(late, new=True))
    assert (after.status, after.outputs[1]) == (state, late)
    assert await store.open_ids(NOW) == []


async def test_a_decision_about_a_held_attempt_is_stored(store: Store) -> None:
    unclear = attempt(plain := generation(), state=AttemptState.UNKNOWN, ended_at=NOW)
    held = await store.create(replace(plain, attempts=(unclear,)))

    after = await wrote(store, held, SaveAttempt(replace(unclear, decision="resubmit"), unclear.state))

    assert (await stored(store, held.id)).attempts[0].decision == "resubmit"
    assert (await store.events(after.id))[-1].type == "attempt.decided"


FILE = StoredFile(
    id="file_1",
    key="alice",
    sha256="aa",
    facts=ImageFacts(content_type="image/png", bytes=9, width=4, height=3),
    created_at=NOW,
)


async def test_files_belong_to_a_key_and_are_stored_once(store: Store) -> None:
    two = replace(FILE, id="file_2", inline=False)
    other = replace(FILE, key="bob", sha256="bb")

    await store.create(generation(), (FILE, two))
    await store.create(generation(owner="bob"), (other,))
    await store.create(generation(), (replace(FILE, created_at=SOON),))

    assert await store.files(["file_1", "file_2", "file_3"], "alice") == {"file_1": FILE, "file_2": two}
    assert await store.files(["file_1", "file_2"], "bob") == {"file_1": other}
    assert await store.files([], "alice") == {}


@pytest.mark.parametrize("named", [True, False], ids=["by its name", "inline again"])
async def test_a_file_goes_with_the_last_generation_that_uses_it(store: Store, named: bool) -> None:
    use = {"named": ("file_1",)} if named else {"files": (FILE,)}
    first = await store.create(generation(status=Status.FAILED), (FILE,))
    second = await store.create(generation(status=Status.FAILED), **use)

    assert await store.delete(first.id, "alice", NOW)
    assert await store.files(["file_1"], "alice") == {"file_1": FILE}
    assert await store.delete(second.id, "alice", NOW)

    assert await store.files(["file_1"], "alice") == {}
    assert await store.named_blobs(["aa"]) == set()


@pytest.mark.parametrize("state", list(Status))
async def test_a_file_stays_as_long_as_its_generation_does(store: Store, state: Status) -> None:
    created = await store.create(generation(status=state), (FILE,))
    before = await store.files(["file_1"], "alice")

    await store.delete(created.id, "bob", NOW)
    assert await store.files(["file_1"], "alice") == before == {"file_1": FILE}
    await store.delete(created.id, "alice", NOW)

    assert await store.files(["file_1"], "alice") == ({} if state.terminal else before)


async def test_a_file_that_did_not_come_inline_outlives_every_generation(store: Store) -> None:
    uploaded = replace(FILE, inline=False)
    created = await store.create(generation(status=Status.FAILED), (uploaded,))

    assert await store.delete(created.id, "alice", NOW)

    assert await store.files(["file_1"], "alice") == {"file_1": uploaded}


async def test_the_same_file_of_another_key_stays(store: Store) -> None:
    first = await store.create(generation(status=Status.FAILED), (FILE, replace(FILE, id="file_2")))
    other = replace(FILE, key="bob")
    await store.create(generation(owner="bob", status=Status.FAILED), (other,))

    assert await store.delete(first.id, "alice", NOW)

    assert await store.files(["file_1", "file_2"], "alice") == {}
    assert await store.files(["file_1"], "bob") == {"file_1": other}
    assert await store.named_blobs(["aa"]) == {"aa"}


async def test_a_named_file_that_is_gone_refuses_the_create_whole(store: Store) -> None:
    """The file existed when the request was checked, and was deleted before the generation was stored."""
    key = Idempotency(key="k", digest=b"1")

    for owner, name in (("alice", "file_none"), ("bob", "file_1")):
        await store.create(generation(), (FILE,))
        before = await store.open_ids(NOW)
        with pytest.raises(InvalidImage, match=name):
            await store.create(generation(owner=owner), (), key, (name,))
        assert await store.open_ids(NOW) == before
    assert await store.recall("alice", key, SOON) is None


async def test_blobs_are_named_by_the_files_of_any_key(store: Store) -> None:
    await store.create(generation(), (FILE, replace(FILE, id="file_2", sha256="bb")))
    await store.create(generation(owner="bob"), (replace(FILE, key="bob", sha256="cc"),))

    assert await store.named_blobs(["aa", "bb", "cc", "dd", "a", ".aa.00"]) == {"aa", "bb", "cc"}
    assert await store.named_blobs([]) == set()


# -- events


async def test_each_transition_appends_its_event_in_order(store: Store) -> None:
    before, name = await submitting(store)
    await store.accept(name, [Task(ref=REF, slot=0)], SOON)
    before = await stored(store, before.id)
    current = before.attempt(name)
    filled = Output(index=0, status=Status.COMPLETED, attempt_id=name, artifact=Artifact(url="https://x/v.mp4"))
    await wrote(
        store,
        before,
        SaveAttempt(replace(current, tasks=(Task(ref=REF, slot=0, status=Status.IN_PROGRESS),)), current.state),
        SaveOutput(filled),
        SaveAttempt(replace(current, state=AttemptState.COMPLETED, billed=Billed.YES), current.state),
        status(before, Status.COMPLETED, provider="keevx"),
    )

    events = await store.events(before.id)

    assert [(event.type, event.data) for event in events] == [
        ("generation.queued", {}),
        ("attempt.reserved", {"attempt": name, "route": 0, "slots": [0]}),
        ("attempt.submitting", {"attempt": name}),
        ("attempt.accepted", {"attempt": name}),
        ("output.completed", {"index": 0, "attempt": name}),
        ("attempt.completed", {"attempt": name, "failure": None}),
        ("generation.completed", {"provider": "keevx"}),
    ]
    assert events[0].at == NOW
    assert {event.at for event in events[1:]} == {SOON}
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert await store.events(before.id, events[3].seq) == events[4:]
    assert await store.events("gen_none") == []


async def test_a_taken_number_is_never_given_to_a_later_event(store: Store) -> None:
    """A client that resumes after an event must not miss the next one."""
    gone = await ended(store)
    last = (await store.events(gone.id))[-1].seq
    assert await store.delete(gone.id, "alice", NOW)

    created = await store.create(generation())

    assert (await store.events(created.id))[0].seq > last


# -- fence


async def test_a_take_over_raises_the_fence_and_refuses_older_holders(store: Store) -> None:
    before, name = await reserved(store)

    (after,) = await store.take_over([before.id], LEASE)

    assert after == replace(before, fence=before.fence + 1, version=before.version + 1)
    assert await store.get(before.id) == after
    assert await store.write(before, [status(before, Status.FAILED)], SOON) is None
    assert await store.write(replace(before, version=after.version), [status(before, Status.FAILED)], SOON) is None
    assert await store.begin_submit(name, before.fence, SOON) is Permission.OVERTAKEN
    assert await store.get(before.id) == after, "nothing was written"
    assert await store.begin_submit(name, after.fence, SOON) is Permission.GRANTED


@pytest.mark.parametrize("state", [state for state in Status if state.terminal])
async def test_an_ended_generation_is_not_taken_over(store: Store, state: Status) -> None:
    created = await store.create(generation(status=state))

    assert await store.take_over([created.id], LEASE) == []
    assert await store.get(created.id) == created
    assert await store.take_over(["gen_none"], LEASE) == []


# -- begin_submit, accept


async def test_of_fifty_concurrent_submits_exactly_one_may_be_sent(store: Store) -> None:
    before, name = await reserved(store)

    tries = await asyncio.gather(*(store.begin_submit(name, before.fence, SOON) for _ in range(50)))

    assert sorted(tries) == [Permission.GRANTED] + [Permission.OVERTAKEN] * 49
    after = await stored(store, before.id)
    assert after.attempt(name) == replace(before.attempt(name), state=AttemptState.SUBMITTING, sent_at=SOON)
    assert after.version == before.version + 1


@pytest.mark.parametrize("state", [state for state in AttemptState if state is not AttemptState.RESERVED])
async def test_a_submit_begins_in_no_other_state(store: Store, state: AttemptState) -> None:
    before, name = await in_state(store, state)

    assert await store.begin_submit(name, before.fence, SOON) is Permission.OVERTAKEN
    assert await store.get(before.id) == before


@pytest.mark.parametrize("fence", [0, 2])
async def test_a_submit_needs_the_fence_of_now(store: Store, fence: int) -> None:
    before, name = await reserved(store)

    assert await store.begin_submit(name, fence, SOON) is Permission.OVERTAKEN
    assert await store.get(before.id) == before
    assert await store.begin_submit("att_none", 1, SOON) is Permission.OVERTAKEN


@pytest.mark.parametrize("state", [state for state in Status if state.terminal])
async def test_nothing_is_sent_for_a_generation_that_has_ended(store: Store, state: Status) -> None:
    """This holds also if its attempt is still reserved."""
    before, name = await reserved(store)
    after = await wrote(store, before, status(before, state))

    assert await store.begin_submit(name, after.fence, SOON) is Permission.OVERTAKEN
    assert await store.get(before.id) == after


@pytest.mark.parametrize("state", list(AttemptState))
async def test_a_task_is_accepted_from_every_state_in_which_it_may_exist(store: Store, state: AttemptState) -> None:
    before, name = await in_state(store, state)
    current = before.attempt(name)
    tasks = (Task(ref=REF, slot=0), Task(ref=TaskRef(id="t-2"), slot=1))

    version = await store.accept(name, tasks, SOON)

    after = await stored(store, before.id)
    if state is AttemptState.RESERVED:
        assert version is None
        assert after == before
    elif state in {AttemptState.SUBMITTING, AttemptState.UNKNOWN}:
        accepted = replace(
            current,
            state=AttemptState.ACCEPTED,
            tasks=tasks,
            accepted_at=SOON,
            ended_at=None,
            failure=None,
            billed=None,
        )
        assert after == replace(before, attempts=(accepted,), version=before.version + 1)
    else:
        named = [task.ref.id for task in after.attempt(name).tasks]
        assert named == list(dict.fromkeys([*(task.ref.id for task in current.tasks), REF.id, "t-2"]))
        assert after.attempt(name).state is (state if state is AttemptState.ABANDONED else AttemptState.ACCEPTED)
        assert after.version > before.version
    if state is not AttemptState.RESERVED:
        assert version == after.version
        assert await store.accept(name, tasks, LATER) == version, "a task is not accepted twice"
        assert await stored(store, before.id) == after
    assert await store.accept("att_none", tasks, SOON) is None


def reply_to(before: Generation, name: str, *refs: str) -> tuple[Generation, Sequence[Write]]:
    """The generation once a reply has named these tasks, and the writes that store it."""
    return accept(before, name, [TaskRef(id=ref) for ref in refs], SOON, UpstreamAnswer(status=200))


@pytest.mark.parametrize("refs", [("t-1",), ("t-1", "t-2", "t-3")])
async def test_the_usual_reply_stores_what_the_rules_say(store: Store, refs: tuple[str, ...]) -> None:
    before, name = await submitting(store)
    expected, writes = reply_to(before, name, *refs)

    version = await store.accept_expected(before, writes, SOON)

    after = await stored(store, before.id)
    assert after == replace(expected, version=before.version + 1)
    assert version == after.version
    assert after.provider == before.route(before.attempt(name)).provider
    newest = (await store.events(before.id))[-1]
    assert (newest.type, newest.data) == ("attempt.accepted", {"attempt": name})
    assert await store.task_claims.free_slots(name) == 0
    _, other_name = await submitting(store)
    with pytest.raises(Conflict, match=f"already belongs to the attempt {name}"):
        await store.task_claims.claim(other_name, [TaskRef(id="t-1")], SOON, "operator")


async def test_a_reply_that_meets_another_change_or_a_report_is_not_the_usual_one(store: Store) -> None:
    before, name = await submitting(store)
    writes = reply_to(before, name, "t-1")[1]
    assert await store.accept_expected(replace(before, version=before.version - 1), writes, SOON) is None
    assert await store.accept_expected(replace(before, fence=before.fence + 1), writes, SOON) is None
    await store.task_claims.claim(name, [TaskRef(id="t-9")], SOON, "callback")
    assert await store.accept_expected(before, writes, SOON) is None
    assert await stored(store, before.id) == before


async def test_a_reply_to_a_submit_that_was_ended_meanwhile_is_not_the_usual_one(store: Store) -> None:
    before, name = await submitting(store)
    ended = replace(before.attempt(name), state=AttemptState.UNKNOWN, billed=Billed.MAYBE, ended_at=SOON)
    after = await wrote(store, before, SaveAttempt(ended, AttemptState.SUBMITTING))
    writes = reply_to(before, name, "t-1")[1]
    assert await store.accept_expected(replace(before, version=after.version), writes, SOON) is None
    assert await stored(store, before.id) == after


async def test_the_revision_of_a_generation_is_read_alone(store: Store) -> None:
    before, _ = await submitting(store)
    assert await store.revision(before.id) == (before.fence, before.version)
    assert await store.revision("gen_none") is None


async def test_a_late_task_is_accepted_from_any_holder_and_after_the_end(store: Store) -> None:
    before, name = await submitting(store)
    (taken,) = await store.take_over([before.id], LEASE)
    assert taken is not None
    unknown = replace(taken.attempt(name), state=AttemptState.UNKNOWN, billed=Billed.MAYBE, ended_at=SOON)
    closed = await wrote(store, taken, SaveAttempt(unknown, AttemptState.SUBMITTING), status(taken, Status.CANCELLED))

    assert await store.accept(name, [Task(ref=REF, slot=0)], SOON) == closed.version + 1

    after = await stored(store, before.id)
    assert after.attempt(name).tasks == (Task(ref=REF, slot=0),)
    assert after.status is Status.CANCELLED


# -- write


async def test_a_write_against_an_older_version_changes_nothing(store: Store) -> None:
    old = await store.create(generation())
    new = await wrote(store, old, status(old, Status.IN_PROGRESS))
    events_before = await store.events(old.id)

    assert await store.write(old, [status(new, Status.FAILED), AddAttempt(attempt(old))], SOON) is None

    assert await store.get(old.id) == new
    assert await store.events(old.id) == events_before
    assert await store.write(generation(), [], SOON) is None


async def test_of_concurrent_writers_with_one_version_one_wins(store: Store) -> None:
    before = await store.create(generation())

    versions = await asyncio.gather(
        *(store.write(before, [AddAttempt(attempt(before, number))], SOON) for number in range(1, 21))
    )

    assert sorted(versions, key=str) == [before.version + 1] + [None] * 19
    assert len((await stored(store, before.id)).attempts) == 1


async def test_a_write_never_touches_another_generation(store: Store) -> None:
    before, name = await reserved(store)
    other = await store.create(generation())
    stolen = replace(before.attempt(name), state=AttemptState.REFUSED)

    with pytest.raises(IllegalMove):
        await store.write(other, [SaveAttempt(stolen, AttemptState.RESERVED)], SOON)

    assert await store.get(before.id) == before
    assert await store.get(other.id) == other


def illegal(now: Generation) -> dict[str, Write]:
    """Writes that the state of `now`, in progress with an accepted attempt and a filled output, does not allow."""
    existing = now.attempts[0]
    unknown = replace(existing, id="att_none")
    return {
        "attempt exists": AddAttempt(replace(existing, state=AttemptState.RESERVED)),
        "attempt number exists": AddAttempt(attempt(now, 1, id="att_other")),
        "new attempt is not reserved": AddAttempt(attempt(now, 2, state=AttemptState.ACCEPTED)),
        "attempt is in another state": SaveAttempt(
            replace(existing, state=AttemptState.REFUSED), AttemptState.SUBMITTING
        ),
        "move that the table does not have": SaveAttempt(replace(existing, state=AttemptState.UNKNOWN), existing.state),
        "back to submitting": SaveAttempt(replace(existing, state=AttemptState.SUBMITTING), AttemptState.RESERVED),
        "attempt does not exist": SaveAttempt(unknown, existing.state),
        "output exists": SaveOutput(Output(index=0), new=True),
        "output does not exist": SaveOutput(Output(index=5, status=Status.FAILED)),
        "output has ended": SaveOutput(Output(index=0, status=Status.FAILED)),
        "status is another": status(replace(now, status=Status.QUEUED), Status.FAILED),
        "status has ended": status(replace(now, status=Status.FAILED), Status.COMPLETED),
    }


async def followed(store: Store) -> Generation:
    before, name = await in_state(store, AttemptState.ACCEPTED)
    filled = Output(index=0, status=Status.COMPLETED, attempt_id=name)
    return await wrote(store, before, SaveOutput(filled), status(before, Status.IN_PROGRESS))


EXAMPLE = generation(attempts=(attempt(generation()),))


@pytest.mark.parametrize("case", illegal(EXAMPLE))
async def test_an_illegal_write_is_rolled_back_alone(store: Store, case: str) -> None:
    """The same transaction has the writes of others, before it and after it."""
    before = await followed(store)
    events_before = await store.events(before.id)
    others = [await store.create(generation()) for _ in range(4)]
    good: Write = SaveOutput(Output(index=1, extra=True), new=True)

    results = await asyncio.gather(
        *(store.write(other, [status(other, Status.FAILED)], SOON) for other in others[:2]),
        store.write(before, [good, illegal(before)[case]], SOON),
        *(store.write(other, [status(other, Status.FAILED)], SOON) for other in others[2:]),
        return_exceptions=True,
    )

    assert isinstance(results.pop(2), IllegalMove)
    assert results == [2, 2, 2, 2]
    assert await store.get(before.id) == before
    assert await store.events(before.id) == events_before
    assert [(await stored(store, other.id)).status for other in others] == [Status.FAILED] * 4
    assert await store.write(before, [good], SOON) == before.version + 1


@pytest.mark.parametrize("state", [state for state in Status if state.terminal])
async def test_an_ended_generation_does_not_move_again(store: Store, state: Status) -> None:
    before = await ended(store, state)

    for to in Status:
        with pytest.raises(IllegalMove):
            await store.write(before, [status(before, to)], SOON)

    assert await store.get(before.id) == before


@pytest.mark.parametrize("was", list(AttemptState))
async def test_an_attempt_makes_only_the_moves_of_the_table(store: Store, was: AttemptState) -> None:
    before, name = await in_state(store, was)
    for to in AttemptState:
        fresh = await stored(store, before.id)
        moved = SaveAttempt(replace(fresh.attempt(name), state=to), was)
        allowed = to is was or (to in ATTEMPT_MOVES[was] and to is not AttemptState.SUBMITTING)
        if not allowed:
            with pytest.raises(IllegalMove):
                await store.write(fresh, [moved], SOON)
            assert await store.get(before.id) == fresh
        else:
            other, _ = await in_state(store, was)
            current = other.attempts[0]
            await wrote(store, other, SaveAttempt(replace(current, state=to, variant="f"), was))


# -- idempotency


async def test_a_known_key_gives_the_first_generation_again(store: Store) -> None:
    keyed = Idempotency(key="k", digest=b"1")
    first = await store.create(generation(), (), keyed)

    again = await store.create(generation(SOON), (), keyed)

    assert again == first
    assert await store.open_ids(NOW) == [first.id]


async def test_a_known_key_gives_the_generation_as_it_is_now(store: Store) -> None:
    keyed = Idempotency(key="k", digest=b"1")
    first = await store.create(generation(), (), keyed)
    done = await wrote(store, first, status(first, Status.COMPLETED))

    assert await store.create(generation(SOON), (), keyed) == done


async def test_a_known_key_is_recalled_without_a_create(store: Store) -> None:
    keyed = Idempotency(key="k", digest=b"1")
    first = await store.create(generation(), (), keyed)

    assert await store.recall("alice", keyed, SOON) == first
    assert await store.recall("bob", keyed, SOON) is None
    assert await store.recall("alice", Idempotency(key="other", digest=b"1"), SOON) is None
    with pytest.raises(IdempotencyKeyReused):
        await store.recall("alice", Idempotency(key="k", digest=b"2"), SOON)


async def test_twenty_at_once_with_one_key_are_one_generation(store: Store) -> None:
    keyed = Idempotency(key="k", digest=b"1")

    answers = await asyncio.gather(*(store.create(generation(), (), keyed) for _ in range(20)))

    assert len({answer.id for answer in answers}) == 1
    assert len(await store.open_ids(NOW)) == 1


async def test_a_known_key_with_another_body_is_refused_and_leaves_nothing(store: Store) -> None:
    first = await store.create(generation(), (), Idempotency(key="k", digest=b"1"))

    with pytest.raises(IdempotencyKeyReused) as refused:
        await store.create(generation(SOON), (), Idempotency(key="k", digest=b"2"))

    assert refused.value.param == "Idempotency-Key"
    assert await store.open_ids(NOW) == [first.id]


async def test_the_same_idempotency_key_of_two_clients_is_two_keys(store: Store) -> None:
    keyed = Idempotency(key="k", digest=b"1")
    first = await store.create(generation(), (), keyed)
    second = generation(owner="bob")

    assert await store.create(second, (), replace(keyed, digest=b"2")) == second
    assert first.id != second.id


@pytest.mark.parametrize("state", [state for state in Status if state.terminal])
async def test_a_key_whose_generation_was_deleted_makes_no_other(store: Store, state: Status) -> None:
    keyed = Idempotency(key="k", digest=b"1")
    first = await store.create(generation(status=state), (), keyed)
    assert await store.delete(first.id, "alice", NOW)

    for at in (SOON, NOW + timedelta(hours=24)):
        with pytest.raises(GenerationDeleted, match="new key") as refused:
            await store.create(generation(at), (), keyed)
        assert refused.value.param == "Idempotency-Key"
        with pytest.raises(GenerationDeleted):
            await store.recall("alice", keyed, at)
        with pytest.raises(IdempotencyKeyReused):
            await store.recall("alice", replace(keyed, digest=b"2"), at)
    assert (await names(store), await store.open_ids(NOW)) == (([], False), [])
    assert await store.recall("bob", keyed, SOON) is None


async def test_a_key_whose_generation_was_deleted_is_forgotten_after_a_day(store: Store) -> None:
    keyed = Idempotency(key="k", digest=b"1")
    first = await store.create(generation(status=Status.FAILED), (), keyed)
    assert await store.delete(first.id, "alice", NOW)
    renewed = generation(LATER)

    assert await store.create(renewed, (), replace(keyed, digest=b"2")) == renewed


LATER = NOW + timedelta(hours=24, seconds=1)


async def test_a_key_is_forgotten_after_a_day_when_its_generation_has_ended(store: Store) -> None:
    first = await store.create(generation(), (), Idempotency(key="k", digest=b"1"))
    await wrote(store, first, status(first, Status.FAILED))
    within = await store.create(generation(LATER - timedelta(seconds=2)), (), Idempotency(key="k", digest=b"1"))
    assert within.id == first.id

    renewed = generation(LATER)

    assert await store.create(renewed, (), Idempotency(key="k", digest=b"2")) == renewed
    assert await store.create(generation(LATER), (), Idempotency(key="k", digest=b"2")) == renewed


async def test_a_key_is_kept_over_a_day_while_its_generation_is_open(store: Store) -> None:
    first = await store.create(generation(), (), Idempotency(key="k", digest=b"1"))

    assert await store.create(generation(LATER), (), Idempotency(key="k", digest=b"1")) == first
    with pytest.raises(IdempotencyKeyReused):
        await store.create(generation(LATER), (), Idempotency(key="k", digest=b"2"))


# -- a client's own retry


RETRY = Idempotency(digest=b"1", retry=True)
FIRST = Idempotency(digest=b"1")
HALF_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize("state", list(Status))
@pytest.mark.parametrize("after", [timedelta(0), timedelta(seconds=1), timedelta(minutes=10, seconds=1), HALF_HOUR])
async def test_a_retry_gives_what_an_equal_request_of_the_last_half_hour_made(
    store: Store, state: Status, after: timedelta
) -> None:
    made = await store.create(generation(status=state), (), FIRST)

    assert await store.recall("alice", RETRY, NOW + after) == made
    assert await store.create(generation(NOW + after), (), RETRY) == made


@pytest.mark.parametrize("second", [0, 1, 29, 59.5])
async def test_half_an_hour_is_thirty_minutes_wherever_it_begins(store: Store, second: float) -> None:
    begun = datetime(2026, 3, 2, 12, 0, tzinfo=UTC) + timedelta(seconds=second)
    made = await store.create(generation(begun), (), FIRST)

    assert await store.recall("alice", RETRY, begun + HALF_HOUR) == made
    assert await store.recall("alice", RETRY, begun + HALF_HOUR + timedelta(milliseconds=1)) is None
    renewed = generation(begun + HALF_HOUR + timedelta(milliseconds=1))
    assert await store.create(renewed, (), RETRY) == renewed


@pytest.mark.parametrize(
    ("key", "idempotency"),
    [
        ("alice", Idempotency(digest=b"1")),
        ("alice", Idempotency(digest=b"2", retry=True)),
        ("bob", RETRY),
        ("alice", Idempotency(digest=b"1", key="k", retry=True)),
    ],
    ids=["no retry", "another request", "another key", "by its own idempotency key"],
)
async def test_a_request_that_is_not_a_retry_makes_its_own_generation(
    store: Store, key: str, idempotency: Idempotency
) -> None:
    made = await store.create(generation(), (), FIRST)
    own = generation(SOON, owner=key)

    assert await store.recall(key, idempotency, SOON) is None
    assert await store.create(own, (), idempotency) == own
    assert own.id != made.id


async def test_a_generation_without_a_digest_is_equal_to_no_request(store: Store) -> None:
    await store.create(generation())

    assert await store.recall("alice", Idempotency(digest=b"", retry=True), SOON) is None


async def test_a_retry_repeats_the_newest_of_equal_requests(store: Store) -> None:
    moments = [NOW + timedelta(seconds=second) for second in (0, 20, 10)]
    made = [await store.create(generation(at), (), FIRST) for at in moments]

    assert await store.recall("alice", RETRY, NOW + timedelta(seconds=30)) == made[1]


async def test_a_retry_repeats_an_equal_request_that_was_stored_a_moment_later(store: Store) -> None:
    came = datetime(2026, 3, 2, 12, 0, 59, 999_000, tzinfo=UTC)
    made = await store.create(generation(came + timedelta(milliseconds=5)), (), FIRST)

    assert await store.recall("alice", RETRY, came) == made


async def test_a_retry_without_the_key_of_its_request_is_recognised(store: Store) -> None:
    made = await store.create(generation(), (), Idempotency(digest=b"1", key="k"))

    assert await store.recall("alice", RETRY, SOON) == made


async def test_twenty_retries_at_once_of_a_lost_request_make_one_generation(store: Store) -> None:
    answers = await asyncio.gather(*(store.create(generation(), (), RETRY) for _ in range(20)))

    assert len({answer.id for answer in answers}) == 1
    assert len(await store.open_ids(NOW)) == 1


async def test_a_retry_of_a_request_whose_generation_was_deleted_makes_no_other(store: Store) -> None:
    older = await store.create(generation(status=Status.FAILED), (), FIRST)
    newer = await store.create(generation(SOON, status=Status.FAILED), (), FIRST)
    assert await store.delete(newer.id, "alice", NOW)

    with pytest.raises(GenerationDeleted, match="new request"):
        await store.recall("alice", RETRY, SOON)
    with pytest.raises(GenerationDeleted):
        await store.create(generation(SOON + HALF_HOUR), (), RETRY)
    assert (await names(store))[0] == [older.id]
    assert await store.recall("bob", RETRY, SOON) is None
    renewed = generation(SOON + HALF_HOUR + timedelta(milliseconds=1))
    assert await store.create(renewed, (), RETRY) == renewed


async def test_of_two_equal_requests_the_newer_is_repeated_when_the_older_was_deleted(store: Store) -> None:
    older = await store.create(generation(status=Status.FAILED), (), FIRST)
    newer = await store.create(generation(SOON), (), FIRST)
    assert await store.delete(older.id, "alice", NOW)

    assert await store.recall("alice", RETRY, SOON) == newer


# -- forget


async def stored_keys(store: Store, at: datetime, *keys: str) -> list[str]:
    """Those of the idempotency keys that are still stored."""
    remaining = []
    for key in keys:
        try:
            recalled = await store.recall("alice", Idempotency(key=key, digest=b"other"), at)
        except IdempotencyKeyReused:
            remaining.append(key)
        else:
            assert recalled is None
    return remaining


@pytest.mark.parametrize("state", list(Status))
async def test_a_key_past_its_day_is_forgotten_unless_its_generation_is_open(store: Store, state: Status) -> None:
    await store.create(generation(status=state), (), Idempotency(key="k", digest=b"1"))
    await store.create(generation(SOON, status=state), (), Idempotency(key="newer", digest=b"1"))

    assert await store.forget(LATER, 10) == int(state.terminal)

    assert await stored_keys(store, NOW, "k", "newer") == (["newer"] if state.terminal else ["k", "newer"])
    assert await store.forget(LATER, 10) == 0


async def test_a_key_of_a_deleted_generation_is_forgotten_after_its_day(store: Store) -> None:
    made = await store.create(generation(status=Status.FAILED), (), Idempotency(key="k", digest=b"1"))
    assert await store.delete(made.id, "alice", NOW)

    # The digest, by which a retry without a key is recognised, is not deleted yet.
    assert await store.forget(NOW + HALF_HOUR, 10) == 0
    assert await store.forget(NOW + HALF_HOUR + timedelta(seconds=1), 10) == 1
    assert await stored_keys(store, NOW, "k") == ["k"]
    assert await store.forget(LATER, 10) == 1
    assert await stored_keys(store, NOW, "k") == []


async def test_a_deleted_generation_is_forgotten_when_no_retry_can_come(store: Store) -> None:
    made = await store.create(generation(status=Status.FAILED), (), FIRST)
    assert await store.delete(made.id, "alice", NOW)

    assert await store.forget(NOW + HALF_HOUR, 10) == 0
    with pytest.raises(GenerationDeleted):
        await store.recall("alice", RETRY, NOW + HALF_HOUR)
    assert await store.forget(NOW + HALF_HOUR + timedelta(seconds=1), 10) == 1
    assert await store.recall("alice", RETRY, NOW + HALF_HOUR) is None


async def test_at_most_limit_rows_are_forgotten_the_oldest_first(store: Store) -> None:
    for second in range(5):
        at = NOW + timedelta(seconds=second)
        await store.create(generation(at, status=Status.FAILED), (), Idempotency(key=f"k{second}", digest=b"1"))
    at = LATER + timedelta(seconds=10)

    assert await store.forget(at, 2) == 2
    assert await stored_keys(store, NOW, *(f"k{number}" for number in range(5))) == ["k2", "k3", "k4"]
    assert [await store.forget(at, 2) for _ in range(3)] == [2, 1, 0]


# -- durability


async def test_close_finishes_the_writes_that_wait(opener: Opener, tmp_path: Path) -> None:
    store = opener(tmp_path)
    created = [generation(NOW + timedelta(seconds=second)) for second in range(40)]
    waiting = [asyncio.ensure_future(store.create(wanted)) for wanted in created]
    await asyncio.sleep(0)

    await store.close()

    assert await asyncio.gather(*waiting) == created
    await _reopened(opener, tmp_path, created)


async def test_a_closed_store_refuses_every_write(opener: Opener, tmp_path: Path) -> None:
    store = opener(tmp_path)
    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.create(generation())
    with pytest.raises(StoreUnavailable):
        await store.get("gen_none")
    with pytest.raises(StoreUnavailable):
        await store.named_blobs(["aa"])
    with pytest.raises(StoreUnavailable):
        await store.forget(NOW, 1)
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def test_a_cancelled_caller_does_not_undo_its_write(opener: Opener, tmp_path: Path) -> None:
    store = opener(tmp_path)
    created = generation()
    waiting = asyncio.ensure_future(store.create(created))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await store.close()

    await _reopened(opener, tmp_path, [created])


async def test_every_kind_of_write_is_there_after_reopening(opener: Opener, tmp_path: Path) -> None:
    store = opener(tmp_path)
    expected = [(await in_state(store, state))[0] for state in AttemptState]
    expected.append(await ended(store))
    before, name = await submitting(store)
    await store.accept(name, [Task(ref=REF, slot=0)], SOON)
    await store.take_over([before.id], LEASE)
    expected.append(await stored(store, before.id))
    gone = await ended(store)
    assert await store.delete(gone.id, "alice", NOW)
    await store.close()

    await _reopened(opener, tmp_path, expected)


async def _reopened(opener: Opener, folder: Path, expected: Sequence[Generation]) -> None:
    store = opener(folder)
    page = await store.page(Query(key="alice", kind="video", limit=1000, order="asc"))
    assert {entry.id: entry for entry in page.data} == {entry.id: entry for entry in expected}
    await store.close()


async def test_ping_raises_nothing_while_writes_work(store: Store) -> None:
    pinged: Awaitable[None] = store.ping()

    await pinged


async def test_the_newest_moment_is_that_of_the_newest_entry_or_the_newest_note(opener: Opener, tmp_path: Path) -> None:
    async def newest_after(noted: datetime | None) -> datetime | None:
        if noted is not None:
            store.keep_time(noted)
        await store.close()
        reopened = opener(tmp_path)
        newest = reopened.at_start.newest
        await reopened.close()
        return newest

    store = opener(tmp_path)
    await store.create(generation())
    assert await newest_after(None) == NOW
    store = opener(tmp_path)
    noted = NOW.replace(microsecond=0) + timedelta(hours=1)
    # In a database that several gateways use, what they store says how late it is.
    newest = noted if (tmp_path / "ledger.db").exists() else NOW
    assert await newest_after(noted) == newest
    store = opener(tmp_path)
    assert await newest_after(NOW - timedelta(days=1)) == NOW


async def test_completions_are_those_of_the_newest_generations_in_the_order_of_their_ends(store: Store) -> None:
    made = []
    for number, seconds in enumerate((30.0, 10.0, 20.0)):
        done = attempt(
            owner := generation(NOW + timedelta(minutes=number)),
            state=AttemptState.COMPLETED,
            route=number % 2,
            accepted_at=NOW,
            ended_at=NOW + timedelta(seconds=seconds),
        )
        running = attempt(owner, 2, state=AttemptState.ACCEPTED, accepted_at=NOW)
        made.append(await store.create(replace(owner, attempts=(done, running))))

    assert [
        (completion.provider, completion.model, completion.seconds) for completion in await store.completions(10)
    ] == [
        ("foxapi", "k3", 10.0),
        ("keevx", "V", 20.0),
        ("keevx", "V", 30.0),
    ]
    assert [completion.seconds for completion in await store.completions(2)] == [10.0, 20.0]


async def test_unknown_attempts_are_listed_after_a_place_oldest_first(store: Store) -> None:
    made = []
    for minute, state in enumerate((Status.QUEUED, Status.COMPLETED, Status.IN_PROGRESS)):
        owner = generation(NOW + timedelta(minutes=minute), status=state)
        attempts = (
            attempt(owner, 1, state=AttemptState.UNKNOWN),
            attempt(owner, 2, state=AttemptState.ACCEPTED),
            attempt(owner, 3, state=AttemptState.UNKNOWN),
        )
        made.append(await store.create(replace(owner, attempts=attempts)))
    of = [(owner, f"att_{owner.id}_{number}") for owner in made for number in (1, 3)]

    assert await store.unknown_attempts(100) == of
    assert await store.unknown_attempts(100, open_only=True) == [*of[:2], *of[4:]]
    assert await store.unknown_attempts(3) == of[:3]
    for place, (owner, name) in enumerate(of):
        assert await store.unknown_attempts(100, AttemptCursor(owner.id, name)) == of[place + 1 :]
    await store.accept(of[0][1], [Task(ref=REF, slot=0)], SOON)
    assert [name for _, name in await store.unknown_attempts(100)] == [name for _, name in of[1:]]


async def test_the_place_of_an_attempt_follows_from_its_id() -> None:
    assert attempt_cursor(f"att_{'0' * 26}_12") == AttemptCursor(f"gen_{'0' * 26}", f"att_{'0' * 26}_12")
    for text in ("", "att_", f"att_{'0' * 26}", f"att_{'0' * 26}_0", f"gen_{'0' * 26}", f"att_{'o' * 26}_1"):
        assert attempt_cursor(text) is None


async def test_a_task_of_a_provider_belongs_to_one_attempt(store: Store) -> None:
    first, other = generation(), generation(NOW + timedelta(minutes=1))
    has = attempt(first, state=AttemptState.ACCEPTED, tasks=(Task(ref=TaskRef(id="é动\"'%"), slot=0),))
    elsewhere, lost = attempt(other, route=1, state=AttemptState.UNKNOWN), attempt(other, 2, state=AttemptState.UNKNOWN)
    await store.create(replace(first, attempts=(has, attempt(first, 2, state=AttemptState.UNKNOWN))))
    await store.create(replace(other, attempts=(elsewhere, lost)))
    await store.accept(f"att_{first.id}_2", [Task(ref=TaskRef(id="a"), slot=0)], SOON)

    for task, holder in (("é动\"'%", has.id), ("a", f"att_{first.id}_2")):
        with pytest.raises(Conflict, match=f"already belongs to the attempt {holder}") as refused:
            await store.task_claims.claim(lost.id, [TaskRef(id="b"), TaskRef(id=task)], SOON, "operator")
        assert refused.value.param == "task_id"
    assert await store.task_claims.claim(elsewhere.id, [TaskRef(id="a")], SOON, "operator") is ClaimResult.ADOPTED
    assert (
        await store.task_claims.claim(lost.id, [TaskRef(id="A"), TaskRef(id="a%")], SOON, "operator")
        is ClaimResult.ADOPTED
    )


async def test_of_several_attempts_that_claim_a_task_at_once_one_gets_it(store: Store) -> None:
    owner = generation(status=Status.COMPLETED)
    attempts = [attempt(owner, number, state=AttemptState.UNKNOWN) for number in range(1, 5)]
    await store.create(replace(owner, attempts=tuple(attempts)))

    async def claim(name: str) -> ClaimResult:
        return await store.task_claims.claim(name, [REF], SOON, "callback")

    results = await asyncio.gather(*(claim(candidate.id) for candidate in attempts), return_exceptions=True)
    assert [type(result) for result in results] == [ClaimResult, Conflict, Conflict, Conflict]
    after = await store.get(owner.id)
    assert after is not None
    assert [len(candidate.tasks) for candidate in after.attempts] == [1, 0, 0, 0]


async def test_a_task_is_free_again_when_its_holder_is_deleted(store: Store) -> None:
    holder, other = generation(status=Status.COMPLETED), generation(NOW + timedelta(minutes=1))
    done = attempt(holder, state=AttemptState.COMPLETED, tasks=(Task(ref=REF, slot=0),))
    await store.create(replace(holder, attempts=(done,)))
    await store.create(replace(other, attempts=(attempt(other, state=AttemptState.UNKNOWN),)))
    with pytest.raises(Conflict):
        await store.task_claims.claim(f"att_{other.id}_1", [REF], SOON, "callback")
    assert await store.delete(holder.id, holder.owner, NOW)
    assert await store.task_claims.claim(f"att_{other.id}_1", [REF], SOON, "callback") is ClaimResult.ADOPTED


ARCHIVED = ArchivedFile(
    name="gen/0-1.mp4", bytes=1, sha256="00", content_type="video/mp4", kept_until=NOW + timedelta(days=30)
)


async def archived(store: Store) -> Generation:
    """A completed generation whose file is archived."""
    output = Output(index=0, status=Status.COMPLETED, artifact=Artifact(url="https://x.example/1.mp4"))
    made = await store.create(generation(status=Status.COMPLETED, outputs=(output,)))
    assert await store.archived_files.announce(made.id, [ARCHIVED.name, "gen/0-1.jpg"], SOON)
    assert await store.write(made, [SaveArchivedFile(0, ARCHIVED)], NOW)
    return await stored(store, made.id)


async def set_thumbnail(store: Store, generation_id: str, *, index: int = 0, video: str = ARCHIVED.name) -> bool:
    return await store.archived_files.set_thumbnail(
        generation_id, index, video=video, thumbnail="gen/0-1.jpg", content_type="image/jpeg"
    )


async def test_a_thumbnail_is_added_once_to_the_file_that_it_was_drawn_from(store: Store) -> None:
    made = await archived(store)
    events = await store.events(made.id)
    assert not await set_thumbnail(store, made.id, video="gen/0-2.mp4")
    assert not await set_thumbnail(store, made.id, index=1)
    assert not await set_thumbnail(store, "gen_other")
    assert await stored(store, made.id) == made

    assert await set_thumbnail(store, made.id)
    with_thumbnail = replace(ARCHIVED, thumbnail="gen/0-1.jpg", thumbnail_type="image/jpeg")
    expected = replace(made, outputs=(replace(made.outputs[0], kept=with_thumbnail),), version=made.version + 1)
    assert await stored(store, made.id) == expected
    assert await store.events(made.id) == events
    assert await store.archived_files.expired(ARCHIVED.kept_until - timedelta(seconds=1), 10) == []
    assert len(await store.archived_files.expired(ARCHIVED.kept_until, 10)) == 2

    assert not await set_thumbnail(store, made.id)
    assert await stored(store, made.id) == expected


async def test_an_output_without_an_archived_file_gets_no_thumbnail(store: Store) -> None:
    made = await store.create(generation())
    assert not await set_thumbnail(store, made.id)
    assert await stored(store, made.id) == made


async def test_a_writer_that_does_not_know_of_the_thumbnail_has_to_read_again(store: Store) -> None:
    """It cannot overwrite the thumbnail, and its next write with the new version is accepted."""
    output = Output(index=0, status=Status.COMPLETED, artifact=Artifact(url="https://x.example/1.mp4"))
    made = await store.create(generation(outputs=(output, Output(index=1))))
    assert await store.archived_files.announce(made.id, [ARCHIVED.name, "gen/0-1.jpg"], SOON)
    assert await store.write(made, [SaveArchivedFile(0, ARCHIVED)], NOW)
    before = await stored(store, made.id)
    assert await set_thumbnail(store, made.id)
    ended = SaveOutput(replace(before.outputs[1], status=Status.COMPLETED))
    assert await store.write(before, [ended], NOW) is None
    again = await stored(store, made.id)
    assert await store.write(again, [ended], NOW) == again.version + 1
    assert (await stored(store, made.id)).outputs[0] == again.outputs[0]
