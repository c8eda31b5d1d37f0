"""What every store promises of webhooks: stored with the end, claimed once, noted, gone with what they belong to."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.adapter.request import TextToVideo
from gateway.domain.adapter.task import Status
from gateway.domain.errors import Conflict
from gateway.domain.generation.model import Attempt, AttemptState, Generation, GenerationRequest, Output, Plan, Route
from gateway.domain.generation.transitions import IllegalMove, SaveAttempt, SaveStatus
from gateway.domain.webhooks import (
    ENDPOINTS_MAX,
    EVENTS,
    TEST,
    Delivery,
    DeliveryState,
    Endpoint,
    SigningSecret,
    Try,
    receiver,
)
from gateway.ids import new_id
from gateway.store.port import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.store.webhooks import TEST_LIFE, Claim, DeliveryQuery, is_delivery

NOW = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
LEASE = NOW + timedelta(seconds=25)
HOOK = "https://hook.example/a"
URLS = (HOOK, "https://hook.example/b", "https://other.example/", "http://10.1.2.3:99/")
DAY = timedelta(days=1)
OPENERS: dict[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore.open(folder / "ledger.db", NOW)}


@pytest_asyncio.fixture(params=OPENERS.values(), ids=OPENERS.keys())
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = request.param(tmp_path)
    yield store
    await store.close()


def generation(key: str = "alice", url: str | None = HOOK, at: datetime = NOW) -> Generation:
    return Generation(
        id=new_id("gen_", at),
        key=key,
        kind="video",
        request=GenerationRequest(model="hero", input=TextToVideo(), prompt="a fox", webhook_url=url),
        plan=Plan(routes=(Route(provider="keevx", model="V", row="V"),)),
        status=Status.QUEUED,
        created_at=at,
        deadline_at=at + timedelta(hours=1),
        outputs=(Output(index=0),),
        fence=1,
    )


def end(status: Status = Status.COMPLETED) -> SaveStatus:
    return SaveStatus(
        was=Status.QUEUED,
        status=status,
        progress=1.0,
        provider=None,
        provider_model=None,
        failure=None,
        completed_at=NOW,
    )


async def ended(store: Store, status: Status = Status.COMPLETED, at: datetime = NOW, **made: Any) -> Generation:
    """A generation that has ended; how many were told is for the test to see."""
    one = await store.create(generation(at=at, **made))
    assert await store.write(one, [end(status)], at) is not None
    return one


async def endpoint(store: Store, key: str = "alice", **changes: Any) -> Endpoint:
    made = Endpoint(
        id=new_id("whe_", NOW),
        key=key,
        url="https://all.example/hook",
        events=("*",),
        secrets=(SigningSecret("whsec_1"),),
        created_at=NOW,
        description="the shop",
    )
    made = replace(made, **changes)
    assert await store.webhooks.add_endpoint(made)
    return made


async def deliveries(store: Store, key: str = "alice", **query: Any) -> list[Delivery]:
    return list((await store.webhooks.page(DeliveryQuery(key=key, limit=100, **query))).data)


async def claim(store: Store, name: str = "hook.example:443", limit: int = 9, at: datetime = NOW) -> list[Claim]:
    return await store.webhooks.claim({("alice", name): limit}, at, at + (LEASE - NOW))


async def waiting(store: Store, key: str = "alice") -> list[tuple[str, datetime]]:
    """The receivers of a key, and when the first of each is due."""
    return await store.webhooks.receivers(key, NOW + DAY, 100)


def answered(status: int = 200, at: datetime = NOW) -> Try:
    return Try(at=at, duration_seconds=0.5, status=status)


# --- endpoints --------------------------------------------------------------------------------------------------------


async def test_an_endpoint_is_read_as_it_was_stored_and_by_its_owner_alone(store: Store) -> None:
    secrets = (SigningSecret("whsec_2"), SigningSecret("whsec_1", LEASE))
    made = await endpoint(store, events=EVENTS[:2], secrets=secrets, disabled="gone")
    plain = await endpoint(store, description=None)

    assert await store.webhooks.endpoint(made.id, "alice") == made
    assert await store.webhooks.endpoint(made.id, "bob") is None
    assert await store.webhooks.endpoints("alice") == sorted((made, plain), key=lambda one: one.id)
    assert await store.webhooks.endpoints("bob") == []


async def test_a_key_has_so_many_endpoints_at_most(store: Store) -> None:
    made = [await endpoint(store) for _ in range(ENDPOINTS_MAX)]

    assert not await store.webhooks.add_endpoint(replace(made[0], id="whe_more"))
    await endpoint(store, key="bob")
    assert await store.webhooks.remove_endpoint(made[0].id, "alice")
    await endpoint(store)


async def test_only_its_owner_changes_or_removes_an_endpoint(store: Store) -> None:
    made = await endpoint(store)

    assert await store.webhooks.change_endpoint(made.id, "bob", lambda one: replace(one, url="https://b/")) is None
    assert not await store.webhooks.remove_endpoint(made.id, "bob")
    assert await store.webhooks.endpoints("alice") == [made]

    changed = await store.webhooks.change_endpoint(made.id, "alice", lambda one: replace(one, events=("x",)))
    assert changed == replace(made, events=("x",)) == await store.webhooks.endpoint(made.id, "alice")


async def test_what_waits_follows_an_endpoint_to_its_new_url(store: Store) -> None:
    made = await endpoint(store)
    await ended(store, url=None)

    await store.webhooks.change_endpoint(made.id, "alice", lambda one: replace(one, url="http://10.1.2.3:99/"))

    assert [one.url for one in await deliveries(store)] == ["http://10.1.2.3:99/"]
    assert await waiting(store) == [("10.1.2.3:99", NOW)]


async def test_what_waits_is_given_up_with_its_endpoint(store: Store) -> None:
    made = await endpoint(store)
    other = await endpoint(store)
    await ended(store, url=None)

    await store.webhooks.change_endpoint(made.id, "alice", lambda one: replace(one, disabled="requested"))
    states = {one.endpoint_id: (one.state, one.next_at is None) for one in await deliveries(store)}
    assert states == {made.id: (DeliveryState.DEAD, True), other.id: (DeliveryState.PENDING, False)}

    await store.webhooks.remove_endpoint(other.id, "alice")
    assert [one.endpoint_id for one in await deliveries(store)] == [made.id]


# --- deliveries come with the end -------------------------------------------------------------------------------------


def wakes(store: Store) -> asyncio.Event:
    """Set as soon as the store says that something may be due."""
    woken = asyncio.Event()
    store.webhooks.subscribe(woken.set)
    return woken


@pytest.mark.parametrize("status", [status for status in Status if status.terminal])
async def test_every_end_is_told_to_the_url_and_to_every_endpoint_that_wants_it(store: Store, status: Status) -> None:
    everything = await endpoint(store)
    some = await endpoint(store, events=(f"video.generation.{status}",))
    await endpoint(store, events=tuple(one for one in EVENTS if not one.endswith(status)))
    await endpoint(store, disabled="requested")
    await endpoint(store, key="bob")
    woken = wakes(store)

    one = await ended(store, status)

    found = await deliveries(store)
    assert {delivery.endpoint_id for delivery in found} == {None, everything.id, some.id}
    assert {delivery.url for delivery in found} == {HOOK, everything.url}
    for delivery in found:
        assert is_delivery(delivery.id)
        assert (delivery.event_id, delivery.type) == (one.id.replace("gen_", "evt_"), f"video.generation.{status}")
        assert (delivery.generation_id, delivery.created_at, delivery.next_at) == (one.id, NOW, NOW)
        assert (delivery.state, delivery.retries, delivery.tries) == (DeliveryState.PENDING, 0, ())
        assert await store.webhooks.delivery(delivery.id, "alice") == delivery
        assert await store.webhooks.delivery(delivery.id, "bob") is None
    assert woken.is_set()
    assert await deliveries(store, "bob") == []


async def test_nothing_is_told_of_a_change_that_is_no_end_or_that_was_not_made(store: Store) -> None:
    await endpoint(store)
    one = await store.create(generation())

    await store.write(one, [replace(end(), status=Status.IN_PROGRESS, completed_at=None)], NOW)
    assert await store.write(one, [replace(end(), was=Status.IN_PROGRESS)], NOW) is None
    after = await store.get(one.id)
    assert after is not None
    gone = Attempt(id="att_x", number=1, route=0, slots=(0,), state=AttemptState.NOT_SENT, reserved_at=NOW)
    with pytest.raises(IllegalMove):
        await store.write(
            after, [replace(end(), was=Status.IN_PROGRESS), SaveAttempt(gone, was=AttemptState.RESERVED)], NOW
        )

    assert await deliveries(store) == []


async def test_an_end_that_nobody_is_told_of_wakes_nobody(store: Store) -> None:
    await endpoint(store, key="bob")
    woken = wakes(store)

    await ended(store, url=None)
    assert not woken.is_set()
    await ended(store)
    assert woken.is_set()


async def test_deliveries_go_with_their_generation(store: Store) -> None:
    one, other = await ended(store), await ended(store)

    await store.delete(one.id, "alice", NOW)

    assert [delivery.generation_id for delivery in await deliveries(store)] == [other.id]


# --- claims and notes -------------------------------------------------------------------------------------------------


async def test_a_claim_is_its_holders_until_it_runs_out(store: Store) -> None:
    made = await endpoint(store, url=HOOK)
    await ended(store)

    first = await claim(store)
    assert {(one.delivery.endpoint_id, one.secrets, one.until) for one in first} == {
        (None, (), LEASE),
        (made.id, made.secrets, LEASE),
    }
    assert await claim(store) == []
    assert await waiting(store) == [("hook.example:443", LEASE)]
    assert len(await claim(store, at=LEASE)) == 2


async def test_of_two_claims_at_once_each_gets_others(store: Store) -> None:
    for _ in range(6):
        await ended(store)

    taken = await asyncio.gather(claim(store, limit=4), claim(store, limit=4))

    assert sorted(map(len, taken)) == [2, 4]
    assert len({one.delivery.id for some in taken for one in some}) == 6


async def test_so_many_of_each_receiver_are_claimed_the_longest_due_first(store: Store) -> None:
    late = await ended(store, at=NOW + timedelta(seconds=2))
    early = await ended(store)
    await ended(store, at=NOW + timedelta(seconds=3))
    await ended(store, url="https://other.example/")
    soon = NOW + timedelta(seconds=2)

    assert await waiting(store) == [("hook.example:443", NOW), ("other.example:443", NOW)]
    found = await store.webhooks.claim({("alice", "hook.example:443"): 2, ("bob", "hook.example:443"): 5}, soon, LEASE)
    assert [one.delivery.generation_id for one in found] == [early.id, late.id]
    assert (await store.webhooks.receivers("alice", soon, 9)) == [("other.example:443", NOW)]
    assert await store.webhooks.next_due(soon) == NOW + timedelta(seconds=3)


async def test_keys_wait_beside_each_other(store: Store) -> None:
    late = NOW + timedelta(seconds=2)
    for key, url, at in (("bob", HOOK, late), ("alice", "https://z.example/", late), ("alice", HOOK, NOW)):
        await ended(store, key=key, url=url, at=at)

    assert await store.webhooks.keys() == [("alice", NOW), ("bob", late)]
    assert await store.webhooks.receivers("alice", late, 1) == [("hook.example:443", NOW)]
    assert await store.webhooks.receivers("bob", NOW, 9) == []
    assert [await store.webhooks.next_due(at) for at in (NOW - DAY, NOW, late)] == [NOW, late, None]
    (held,) = await store.webhooks.claim({("bob", "hook.example:443"): 9}, late, LEASE)
    assert held.delivery.key == "bob"


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_each_receiver_is_known_with_what_is_due_first(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    owners = {(await endpoint(store, key=key, url=url)).id: key for key in ("alice", "bob") for url in URLS}
    known: list[Generation] = []

    def an_endpoint() -> tuple[str, str]:
        return draw.choice(list(owners.items()))

    async def try_one(at: datetime) -> None:
        free = {(key, receiver(url)): draw.choice((1, 3)) for key in ("alice", "bob") for url in URLS}
        for held in await store.webhooks.claim(free, at, at + (LEASE - NOW)):
            status = draw.choice((None, 200, 500, 410) if draw.random() < 0.3 else (200, 500))
            if status is not None:
                await store.webhooks.note(held, answered(status, at))

    for step in range(60):
        at = NOW + timedelta(minutes=step)
        match draw.choice(("end", "end", "try", "try", "move", "delete", "remove", "again")):
            case "end":
                known.append(await ended(store, key=draw.choice(("alice", "bob")), url=draw.choice(URLS), at=at))
            case "try":
                await try_one(at)
            case "move":
                changes: dict[str, Any] = {"url": draw.choice(URLS), "disabled": draw.choice((None, None, "requested"))}
                await store.webhooks.change_endpoint(*an_endpoint(), lambda one, by=changes: replace(one, **by))
            case "delete" if known:
                gone = known.pop(draw.randrange(len(known)))
                await store.delete(gone.id, gone.key, NOW)
            case "remove" if len(owners) > 2 and draw.random() < 0.3:
                endpoint_id, key = an_endpoint()
                await store.webhooks.remove_endpoint(endpoint_id, key)
                del owners[endpoint_id]
            case "again":
                key = draw.choice(("alice", "bob"))
                if found := await deliveries(store, key):
                    with contextlib.suppress(Conflict):
                        await store.webhooks.redeliver(draw.choice(found).id, key, at)

        for key in ("alice", "bob"):
            first: dict[str, datetime] = {}
            for one in await deliveries(store, key):
                if one.next_at is not None:
                    first[receiver(one.url)] = min(one.next_at, first.get(receiver(one.url), one.next_at))
            assert dict(await store.webhooks.receivers(key, at + 9 * DAY, 100)) == first


async def test_a_try_is_kept_with_what_it_makes_of_the_delivery(store: Store) -> None:
    await ended(store)
    (held,) = await claim(store)

    after = await store.webhooks.note(held, answered(503), retry_after_seconds=60)
    assert after is not None
    assert after.next_at == NOW + timedelta(seconds=60.5)
    assert (after.tries, after.retries) == ((answered(503),), 1)
    assert await store.webhooks.delivery(held.delivery.id, "alice") == after

    (held,) = await claim(store, at=after.next_at)
    failed = Try(at=after.next_at, duration_seconds=1, error="no answer")
    after = await store.webhooks.note(held, failed, final=True)
    assert after is not None
    assert (after.state, after.tries) == (DeliveryState.DEAD, (answered(503), failed))
    assert await waiting(store) == []


async def test_a_try_of_what_is_deleted_is_not_kept(store: Store) -> None:
    one = await ended(store)
    (held,) = await claim(store)
    await store.delete(one.id, "alice", NOW)

    assert await store.webhooks.note(held, answered()) is None


async def test_a_late_note_changes_nothing_but_by_success(store: Store) -> None:
    """Its claim has run out, and another has the delivery by now."""
    await ended(store)
    (late,) = await claim(store)
    (held,) = await claim(store, at=LEASE)

    after = await store.webhooks.note(late, answered(500))
    assert after is not None
    assert (after.state, after.next_at, after.retries) == (DeliveryState.PENDING, held.until, 0)
    assert after.tries == (answered(500),)

    after = await store.webhooks.note(late, answered(200))
    assert after is not None
    assert (after.state, after.next_at) == (DeliveryState.SUCCEEDED, None)


async def test_gone_disables_the_endpoint_and_gives_up_what_waits(store: Store) -> None:
    made = await endpoint(store, url=HOOK)
    for _ in range(2):
        await ended(store, url=None)
    await ended(store)
    (held, *_) = [one for one in await claim(store) if one.delivery.endpoint_id == made.id]

    await store.webhooks.note(held, answered(410))

    found = await store.webhooks.endpoint(made.id, "alice")
    assert found is not None
    assert found.disabled == "gone"
    states = [(one.endpoint_id is None, one.state) for one in await deliveries(store)]
    assert sorted(states) == [*[(False, DeliveryState.DEAD)] * 3, (True, DeliveryState.PENDING)]


async def test_gone_of_a_generations_own_url_is_its_own_matter(store: Store) -> None:
    await ended(store)
    await ended(store)
    held, _ = await claim(store)

    await store.webhooks.note(held, answered(410))

    assert sorted(one.state for one in await deliveries(store)) == [DeliveryState.DEAD, DeliveryState.PENDING]


@pytest.mark.parametrize("status", [200, 410])
async def test_what_has_ended_is_sent_again_when_asked(store: Store, status: int) -> None:
    await ended(store)
    (held,) = await claim(store)
    done = await store.webhooks.note(held, answered(status))
    assert done is not None
    woken = wakes(store)

    assert await store.webhooks.redeliver(done.id, "bob", LEASE) is None
    again = await store.webhooks.redeliver(done.id, "alice", LEASE)

    assert again == replace(done, state=DeliveryState.PENDING, next_at=LEASE, retries=0)
    assert woken.is_set()
    (held,) = await claim(store, at=LEASE)
    assert held.delivery.event_id == done.event_id


async def test_a_redelivery_goes_to_where_the_endpoint_is_by_now_unless_it_is_disabled(store: Store) -> None:
    made = await endpoint(store)
    await ended(store, url=None)
    (held,) = await claim(store, "all.example:443")
    await store.webhooks.note(held, answered())
    await store.webhooks.change_endpoint(made.id, "alice", lambda one: replace(one, url=HOOK))

    again = await store.webhooks.redeliver(held.delivery.id, "alice", NOW)
    assert again is not None
    assert (again.url, await waiting(store)) == (HOOK, [("hook.example:443", NOW)])

    await store.webhooks.change_endpoint(made.id, "alice", lambda one: replace(one, disabled="requested"))
    with pytest.raises(Conflict, match="disabled"):
        await store.webhooks.redeliver(held.delivery.id, "alice", NOW)


async def test_what_is_asked_for_while_it_is_being_sent_is_sent_once_more_if_that_fails(store: Store) -> None:
    await ended(store)
    (held,) = await claim(store)
    await store.webhooks.redeliver(held.delivery.id, "alice", NOW)

    after = await store.webhooks.note(held, answered(500))

    assert after is not None
    assert (after.next_at, after.retries, len(after.tries)) == (NOW, 0, 1)


# --- tests, lists, retention ------------------------------------------------------------------------------------------


async def test_a_test_is_a_delivery_too_and_expires(store: Store) -> None:
    made = await endpoint(store)
    sent = await store.webhooks.add_test(made.id, "alice", "evt_1", NOW)
    assert sent is not None
    (held,) = await claim(store, "all.example:443")
    await store.webhooks.note(held, answered())
    waiting = await store.webhooks.add_test(made.id, "alice", "evt_2", NOW)
    assert waiting is not None
    await ended(store, url=None)
    assert (sent.type, sent.event_id, sent.generation_id, sent.endpoint_id) == (TEST, "evt_1", None, made.id)

    assert await store.webhooks.expire(NOW + TEST_LIFE, 10) == 0
    assert await store.webhooks.expire(NOW + TEST_LIFE + DAY, 10) == 1
    assert await store.webhooks.expire(NOW + TEST_LIFE + DAY, 10) == 0

    left = await deliveries(store)
    assert [one.id for one in left if one.generation_id is None] == [waiting.id]
    assert len(left) == 2


async def test_an_endpoint_has_one_test_under_way(store: Store) -> None:
    made, other = await endpoint(store), await endpoint(store)
    await ended(store, url=None)  # what else waits for it is in nobody's way

    async def ask(of: Endpoint = made) -> Delivery | None:
        return await store.webhooks.add_test(of.id, "alice", "evt_1", NOW)

    asked = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
    (added,) = (one for one in asked if isinstance(one, Delivery))
    refused = [str(one) for one in asked if isinstance(one, Conflict)]
    assert refused == [f"A test of this endpoint is still under way: GET /v1/webhook_deliveries/{added.id}."] * 4
    assert await ask(other) is not None

    held = next(one for one in await claim(store, "all.example:443") if one.delivery.id == added.id)
    with pytest.raises(Conflict):
        await ask()
    await store.webhooks.note(held, answered(500))
    assert await ask() is not None


async def test_only_an_enabled_endpoint_of_its_owner_is_tested(store: Store) -> None:
    made = await endpoint(store, disabled="gone")

    with pytest.raises(Conflict, match="enable it"):
        await store.webhooks.add_test(made.id, "alice", "evt_1", NOW)
    assert await store.webhooks.add_test(made.id, "bob", "evt_1", NOW) is None
    assert await deliveries(store) == []


async def test_so_many_tests_expire_at_once(store: Store) -> None:
    made = await endpoint(store)
    for number in range(3):
        assert await store.webhooks.add_test(made.id, "alice", f"evt_{number}", NOW) is not None
        (held,) = await claim(store, "all.example:443")
        await store.webhooks.note(held, answered(500))

    assert [await store.webhooks.expire(NOW + TEST_LIFE + DAY, 2) for _ in range(3)] == [2, 1, 0]


async def test_pages_go_both_ways_and_filters_hold(store: Store) -> None:
    made = await endpoint(store)
    ends = [await ended(store, at=NOW + timedelta(seconds=number)) for number in range(3)]
    newest = list(await deliveries(store))
    assert [one.created_at for one in newest] == sorted((one.created_at for one in newest), reverse=True)
    ids = [one.id for one in newest]

    async def page(**query: Any) -> tuple[list[str], bool]:
        found = await store.webhooks.page(DeliveryQuery(key="alice", limit=2, **query))
        return [one.id for one in found.data], found.has_more

    assert await page() == (ids[:2], True)
    assert await page(after=ids[1]) == (ids[2:4], True)
    assert await page(after=ids[3]) == (ids[4:], False)
    assert await page(before=ids[4]) == (ids[2:4], True)
    assert await page(order="asc") == (ids[:3:-1], True)
    assert await page(order="asc", after=ids[1]) == ([ids[0]], False)
    assert await page(order="asc", before=ids[1]) == (ids[3:1:-1], True)

    assert {one.generation_id for one in await deliveries(store, endpoint_id=made.id)} == {one.id for one in ends}
    assert len(await deliveries(store, generation_id=ends[0].id)) == 2
    (held, *_) = await claim(store)
    await store.webhooks.note(held, answered())
    assert [one.id for one in await deliveries(store, state=DeliveryState.SUCCEEDED)] == [held.delivery.id]
    assert len(await deliveries(store, state=DeliveryState.PENDING)) == 5


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "deliveries_of_key"),
        ({"state": DeliveryState.DEAD}, "deliveries_of_state"),
        ({"endpoint_id": "whe_1"}, "deliveries_of_endpoint"),
        ({"endpoint_id": "whe_1", "state": DeliveryState.DEAD}, "deliveries_of_endpoint_state"),
        ({"generation_id": "gen_1"}, "deliveries_of_generation"),
        ({"generation_id": "gen_1", "endpoint_id": "whe_1", "state": DeliveryState.DEAD}, "deliveries_of_generation"),
    ],
)
@pytest.mark.parametrize("place", [{}, {"after": "dlv_1"}, {"before": "dlv_1", "order": "asc"}])
async def test_a_page_is_read_along_an_index_that_has_what_was_asked_for(
    tmp_path: Path, asked: dict[str, Any], place: dict[str, Any], index: str
) -> None:
    store = SqliteStore.open(tmp_path / "ledger.db", NOW)
    reader = store._read
    made: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reader, "all", lambda *statement: made.append(statement) or [])
        await store.webhooks.page(DeliveryQuery(key="alice", limit=9, **asked, **place))
    ((sql, values),) = made
    plan = [row[-1] for row in reader.all(f"explain query plan {sql}", values)]
    await store.close()

    assert len(plan) == 1  # without sorting
    assert f"INDEX {index} (" in plan[0]
