"""What every store must do with webhooks: add them with an end, give each to one sender at a time, note each try."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.adapter.request import TextInput
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
    DeliveryTry,
    Endpoint,
    SigningSecret,
    receiver,
)
from gateway.ids import new_id
from gateway.store.port import Store
from gateway.store.sql import webhooks as sqlite_webhooks
from gateway.store.sqlite.open import open_sqlite
from gateway.store.webhooks import TEST_LIFE, Claim, DeliveryQuery, is_delivery

from .ledgers import KINDS, opener_of

NOW = datetime(2026, 3, 2, 12, 0, 0, 123456, tzinfo=UTC)
LEASE = NOW + timedelta(seconds=25)
HOOK = "https://hook.example/a"
URLS = (HOOK, "https://hook.example/b", "https://other.example/", "http://10.1.2.3:99/")
DAY = timedelta(days=1)


@pytest_asyncio.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = opener_of(request, NOW)(tmp_path)
    yield store
    await store.close()


def generation(key: str = "alice", url: str | None = HOOK, at: datetime = NOW) -> Generation:
    return Generation(
        id=new_id("gen_", at),
        owner=key,
        kind="video",
        request=GenerationRequest(model="hero", input=TextInput(), prompt="a fox", webhook_url=url),
        plan=Plan(routes=(Route(provider="keevx", model="V", capability_name="V"),)),
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
    """A generation that has ended, and so has added its deliveries."""
    created = await store.create(generation(at=at, **made))
    assert await store.write(created, [end(status)], at) is not None
    return created


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
    """The receivers of a key, each with the time of its first due delivery."""
    return await store.webhooks.receivers(key, NOW + DAY, 100)


def answered(status: int = 200, at: datetime = NOW) -> DeliveryTry:
    return DeliveryTry(at=at, duration_seconds=0.5, status=status)


# --- endpoints --------------------------------------------------------------------------------------------------------


async def test_an_endpoint_is_read_as_it_was_stored_by_its_owner_only(store: Store) -> None:
    secrets = (SigningSecret("whsec_2"), SigningSecret("whsec_1", LEASE))
    made = await endpoint(store, events=EVENTS[:2], secrets=secrets, disabled="gone")
    plain = await endpoint(store, description=None)

    assert await store.webhooks.endpoint(made.id, "alice") == made
    assert await store.webhooks.endpoint(made.id, "bob") is None
    assert await store.webhooks.endpoints("alice") == sorted((made, plain), key=lambda stored: stored.id)
    assert await store.webhooks.endpoints("bob") == []


async def test_a_key_has_a_limited_number_of_endpoints(store: Store) -> None:
    made = [await endpoint(store) for _ in range(ENDPOINTS_MAX)]

    assert not await store.webhooks.add_endpoint(replace(made[0], id="whe_more"))
    await endpoint(store, key="bob")
    assert await store.webhooks.remove_endpoint(made[0].id, "alice")
    await endpoint(store)


async def test_only_its_owner_changes_or_removes_an_endpoint(store: Store) -> None:
    made = await endpoint(store)

    assert (
        await store.webhooks.change_endpoint(made.id, "bob", lambda before: replace(before, url="https://b/")) is None
    )
    assert not await store.webhooks.remove_endpoint(made.id, "bob")
    assert await store.webhooks.endpoints("alice") == [made]

    changed = await store.webhooks.change_endpoint(made.id, "alice", lambda before: replace(before, events=("x",)))
    assert changed == replace(made, events=("x",)) == await store.webhooks.endpoint(made.id, "alice")


async def test_pending_deliveries_follow_an_endpoint_to_its_new_url(store: Store) -> None:
    made = await endpoint(store)
    await ended(store, url=None)

    await store.webhooks.change_endpoint(made.id, "alice", lambda before: replace(before, url="http://10.1.2.3:99/"))

    assert [delivery.url for delivery in await deliveries(store)] == ["http://10.1.2.3:99/"]
    assert await waiting(store) == [("10.1.2.3:99", NOW)]


async def test_pending_deliveries_of_a_disabled_endpoint_are_dead(store: Store) -> None:
    made = await endpoint(store)
    other = await endpoint(store)
    await ended(store, url=None)

    await store.webhooks.change_endpoint(made.id, "alice", lambda before: replace(before, disabled="requested"))
    states = {delivery.endpoint_id: (delivery.state, delivery.next_at is None) for delivery in await deliveries(store)}
    assert states == {made.id: (DeliveryState.DEAD, True), other.id: (DeliveryState.PENDING, False)}

    await store.webhooks.remove_endpoint(other.id, "alice")
    assert [delivery.endpoint_id for delivery in await deliveries(store)] == [made.id]


# --- deliveries are added with the end --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in Status if status.terminal])
async def test_every_end_is_announced_to_the_url_and_to_every_endpoint_that_wants_it(
    store: Store, status: Status
) -> None:
    everything = await endpoint(store)
    some = await endpoint(store, events=(f"video.generation.{status}",))
    await endpoint(store, events=tuple(event for event in EVENTS if not event.endswith(status)))
    await endpoint(store, disabled="requested")
    await endpoint(store, key="bob")
    due = asyncio.Event()
    store.webhooks.on_due(due.set)

    made = await ended(store, status)

    added = await deliveries(store)
    assert {delivery.endpoint_id for delivery in added} == {None, everything.id, some.id}
    assert {delivery.url for delivery in added} == {HOOK, everything.url}
    for delivery in added:
        assert is_delivery(delivery.id)
        assert (delivery.event_id, delivery.type) == (
            made.id.replace("gen_", "evt_"),
            f"video.generation.{status}",
        )
        assert (delivery.generation_id, delivery.created_at, delivery.next_at) == (made.id, NOW, NOW)
        assert (delivery.state, delivery.retries, delivery.tries) == (DeliveryState.PENDING, 0, ())
        assert await store.webhooks.delivery(delivery.id, "alice") == delivery
        assert await store.webhooks.delivery(delivery.id, "bob") is None
    assert due.is_set()
    assert await deliveries(store, "bob") == []


async def test_a_change_that_is_not_an_end_or_was_not_made_adds_no_delivery(store: Store) -> None:
    await endpoint(store)
    before = await store.create(generation())
    due = asyncio.Event()
    store.webhooks.on_due(due.set)

    await store.write(before, [replace(end(), status=Status.IN_PROGRESS, completed_at=None)], NOW)
    assert await store.write(before, [replace(end(), was=Status.IN_PROGRESS)], NOW) is None
    after = await store.get(before.id)
    assert after is not None
    gone = Attempt(id="att_x", number=1, route=0, slots=(0,), state=AttemptState.NOT_SENT, reserved_at=NOW)
    with pytest.raises(IllegalMove):
        await store.write(
            after, [replace(end(), was=Status.IN_PROGRESS), SaveAttempt(gone, was=AttemptState.RESERVED)], NOW
        )

    assert await deliveries(store) == []


async def test_an_end_without_deliveries_does_not_wake_the_deliverer(store: Store) -> None:
    await endpoint(store, key="bob")
    due = asyncio.Event()
    store.webhooks.on_due(due.set)

    await ended(store, url=None)
    assert not due.is_set()
    await ended(store)
    assert due.is_set()


async def test_deliveries_are_deleted_with_their_generation(store: Store) -> None:
    gone, other = await ended(store), await ended(store)

    await store.delete(gone.id, "alice", NOW)

    assert [delivery.generation_id for delivery in await deliveries(store)] == [other.id]


# --- claims and notes -------------------------------------------------------------------------------------------------


async def test_a_claimed_delivery_is_not_claimed_again_until_the_claim_expires(store: Store) -> None:
    made = await endpoint(store, url=HOOK)
    await ended(store)

    first = await claim(store)
    assert {(claimed.delivery.endpoint_id, claimed.secrets, claimed.until) for claimed in first} == {
        (None, (), LEASE),
        (made.id, made.secrets, LEASE),
    }
    assert await claim(store) == []
    assert await waiting(store) == [("hook.example:443", LEASE)]
    assert len(await claim(store, at=LEASE)) == 2


async def test_two_claims_at_once_get_different_deliveries(store: Store) -> None:
    for _ in range(6):
        await ended(store)

    taken = await asyncio.gather(claim(store, limit=4), claim(store, limit=4))

    assert sorted(map(len, taken)) == [2, 4]
    assert len({claimed.delivery.id for some in taken for claimed in some}) == 6


async def test_a_claim_has_a_limit_for_each_receiver_and_takes_the_longest_due_first(store: Store) -> None:
    late = await ended(store, at=NOW + timedelta(seconds=2))
    early = await ended(store)
    await ended(store, at=NOW + timedelta(seconds=3))
    await ended(store, url="https://other.example/")
    soon = NOW + timedelta(seconds=2)

    assert await waiting(store) == [("hook.example:443", NOW), ("other.example:443", NOW)]
    claims = await store.webhooks.claim({("alice", "hook.example:443"): 2, ("bob", "hook.example:443"): 5}, soon, LEASE)
    assert [claimed.delivery.generation_id for claimed in claims] == [early.id, late.id]
    assert (await store.webhooks.receivers("alice", soon, 9)) == [("other.example:443", NOW)]
    assert await store.webhooks.next_due(soon) == NOW + timedelta(seconds=3)


async def test_each_key_is_listed_with_its_own_first_due_time(store: Store) -> None:
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
async def test_after_any_changes_each_receiver_has_the_time_of_its_first_delivery(store: Store, seed: int) -> None:
    draw = random.Random(seed)
    owners = {(await endpoint(store, key=key, url=url)).id: key for key in ("alice", "bob") for url in URLS}
    left: list[Generation] = []

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
                left.append(await ended(store, key=draw.choice(("alice", "bob")), url=draw.choice(URLS), at=at))
            case "try":
                await try_one(at)
            case "move":
                changes: dict[str, Any] = {"url": draw.choice(URLS), "disabled": draw.choice((None, None, "requested"))}
                await store.webhooks.change_endpoint(*an_endpoint(), lambda before, by=changes: replace(before, **by))
            case "delete" if left:
                gone = left.pop(draw.randrange(len(left)))
                await store.delete(gone.id, gone.owner, NOW)
            case "remove" if len(owners) > 2 and draw.random() < 0.3:
                endpoint_id, key = an_endpoint()
                await store.webhooks.remove_endpoint(endpoint_id, key)
                del owners[endpoint_id]
            case "again":
                key = draw.choice(("alice", "bob"))
                if listed := await deliveries(store, key):
                    with contextlib.suppress(Conflict):
                        await store.webhooks.redeliver(draw.choice(listed).id, key, at)

        for key in ("alice", "bob"):
            first: dict[str, datetime] = {}
            for delivery in await deliveries(store, key):
                if delivery.next_at is not None:
                    first[receiver(delivery.url)] = min(
                        delivery.next_at, first.get(receiver(delivery.url), delivery.next_at)
                    )
            assert dict(await store.webhooks.receivers(key, at + 9 * DAY, 100)) == first


async def test_a_try_is_stored_with_the_new_state_of_its_delivery(store: Store) -> None:
    await ended(store)
    (held,) = await claim(store)

    after = await store.webhooks.note(held, answered(503), retry_after_seconds=60)
    assert after is not None
    assert after.next_at == NOW + timedelta(seconds=60.5)
    assert (after.tries, after.retries) == ((answered(503),), 1)
    assert await store.webhooks.delivery(held.delivery.id, "alice") == after

    (held,) = await claim(store, at=after.next_at)
    failed = DeliveryTry(at=after.next_at, duration_seconds=1, error="no answer")
    after = await store.webhooks.note(held, failed, final=True)
    assert after is not None
    assert (after.state, after.tries) == (DeliveryState.DEAD, (answered(503), failed))
    assert await waiting(store) == []


async def test_a_try_of_a_deleted_delivery_is_not_stored(store: Store) -> None:
    gone = await ended(store)
    (held,) = await claim(store)
    await store.delete(gone.id, "alice", NOW)

    assert await store.webhooks.note(held, answered()) is None


async def test_a_late_note_changes_the_state_only_if_the_try_succeeded(store: Store) -> None:
    """The claim has expired, and another sender has claimed the delivery since."""
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


async def test_an_answer_of_410_disables_the_endpoint_and_ends_its_pending_deliveries(store: Store) -> None:
    made = await endpoint(store, url=HOOK)
    for _ in range(2):
        await ended(store, url=None)
    await ended(store)
    (held, *_) = [claimed for claimed in await claim(store) if claimed.delivery.endpoint_id == made.id]

    await store.webhooks.note(held, answered(410))

    disabled = await store.webhooks.endpoint(made.id, "alice")
    assert disabled is not None
    assert disabled.disabled == "gone"
    states = [(delivery.endpoint_id is None, delivery.state) for delivery in await deliveries(store)]
    assert sorted(states) == [*[(False, DeliveryState.DEAD)] * 3, (True, DeliveryState.PENDING)]


async def test_an_answer_of_410_from_a_generations_own_url_ends_that_delivery_only(store: Store) -> None:
    await ended(store)
    await ended(store)
    held, _ = await claim(store)

    await store.webhooks.note(held, answered(410))

    assert sorted(delivery.state for delivery in await deliveries(store)) == [DeliveryState.DEAD, DeliveryState.PENDING]


@pytest.mark.parametrize("status", [200, 410])
async def test_an_ended_delivery_is_sent_again_on_request(store: Store, status: int) -> None:
    await ended(store)
    (held,) = await claim(store)
    done = await store.webhooks.note(held, answered(status))
    assert done is not None
    due = asyncio.Event()
    store.webhooks.on_due(due.set)

    assert await store.webhooks.redeliver(done.id, "bob", LEASE) is None
    again = await store.webhooks.redeliver(done.id, "alice", LEASE)

    assert again == replace(done, state=DeliveryState.PENDING, next_at=LEASE, retries=0)
    assert due.is_set()
    (held,) = await claim(store, at=LEASE)
    assert held.delivery.event_id == done.event_id


async def test_a_redelivery_goes_to_the_current_url_of_an_enabled_endpoint(store: Store) -> None:
    made = await endpoint(store)
    await ended(store, url=None)
    (held,) = await claim(store, "all.example:443")
    await store.webhooks.note(held, answered())
    await store.webhooks.change_endpoint(made.id, "alice", lambda before: replace(before, url=HOOK))

    again = await store.webhooks.redeliver(held.delivery.id, "alice", NOW)
    assert again is not None
    assert (again.url, await waiting(store)) == (HOOK, [("hook.example:443", NOW)])

    await store.webhooks.change_endpoint(made.id, "alice", lambda before: replace(before, disabled="requested"))
    with pytest.raises(Conflict, match="disabled"):
        await store.webhooks.redeliver(held.delivery.id, "alice", NOW)


async def test_a_redelivery_that_is_requested_during_a_failing_try_stays_due(store: Store) -> None:
    await ended(store)
    (held,) = await claim(store)
    await store.webhooks.redeliver(held.delivery.id, "alice", NOW)

    after = await store.webhooks.note(held, answered(500))

    assert after is not None
    assert (after.next_at, after.retries, len(after.tries)) == (NOW, 0, 1)


# --- tests, lists, retention ------------------------------------------------------------------------------------------


async def test_a_test_is_a_delivery_and_expires(store: Store) -> None:
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
    assert [delivery.id for delivery in left if delivery.generation_id is None] == [waiting.id]
    assert len(left) == 2


async def test_an_endpoint_has_at_most_one_pending_test(store: Store) -> None:
    made, other = await endpoint(store), await endpoint(store)
    await ended(store, url=None)  # another pending delivery of the endpoint does not count

    async def ask(of: Endpoint = made) -> Delivery | None:
        return await store.webhooks.add_test(of.id, "alice", "evt_1", NOW)

    results = await asyncio.gather(*(ask() for _ in range(5)), return_exceptions=True)
    (added,) = (result for result in results if isinstance(result, Delivery))
    refused = [str(result) for result in results if isinstance(result, Conflict)]
    assert refused == [f"A test of this endpoint is still under way: GET /v1/webhook_deliveries/{added.id}."] * 4
    assert await ask(other) is not None

    held = next(claimed for claimed in await claim(store, "all.example:443") if claimed.delivery.id == added.id)
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


async def test_at_most_limit_tests_expire_at_once(store: Store) -> None:
    made = await endpoint(store)
    for number in range(3):
        assert await store.webhooks.add_test(made.id, "alice", f"evt_{number}", NOW) is not None
        (held,) = await claim(store, "all.example:443")
        await store.webhooks.note(held, answered(500))

    assert [await store.webhooks.expire(NOW + TEST_LIFE + DAY, 2) for _ in range(3)] == [2, 1, 0]


async def test_a_claim_looks_at_the_endpoint_as_it_is_now(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash may come between the change of an endpoint and that of its pending deliveries."""
    moved, closed = await endpoint(store), await endpoint(store, url="https://closed.example/hook")
    await ended(store, url=None)

    async def crash(*_: Any) -> None:
        return None

    monkeypatch.setattr(store.webhooks, "_change_pending", crash)
    new_url = "https://new.example/hook"
    await store.webhooks.change_endpoint(moved.id, "alice", lambda before: replace(before, url=new_url))
    await store.webhooks.change_endpoint(closed.id, "alice", lambda before: replace(before, disabled="requested"))
    assert [claim.delivery.url for claim in await claim(store, "all.example:443")] == [new_url]
    assert await claim(store, "closed.example:443") == []
    assert [delivery.state for delivery in await deliveries(store, endpoint_id=closed.id)] == ["dead"]
    assert [name for name, _ in await waiting(store)] == ["all.example:443"]


async def test_an_endpoint_changes_and_goes_with_any_number_of_deliveries(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_webhooks, "_BATCH", 2)
    made, other = await endpoint(store), await endpoint(store, url="https://other.example/hook")
    for _ in range(5):
        await ended(store, url=None)
    new_url = "https://new.example/hook"
    await store.webhooks.change_endpoint(made.id, "alice", lambda before: replace(before, url=new_url))
    assert {delivery.url for delivery in await deliveries(store, endpoint_id=made.id)} == {new_url}
    assert await store.webhooks.remove_endpoint(made.id, "alice")
    assert not await store.webhooks.remove_endpoint(made.id, "alice")
    assert await deliveries(store, endpoint_id=made.id) == []
    await store.webhooks.change_endpoint(other.id, "alice", lambda before: replace(before, disabled="requested"))
    assert [delivery.state for delivery in await deliveries(store)] == ["dead"] * 5
    assert await waiting(store) == []


async def test_pages_go_both_ways_and_filters_apply(store: Store) -> None:
    made = await endpoint(store)
    ends = [await ended(store, at=NOW + timedelta(seconds=number)) for number in range(3)]
    newest = list(await deliveries(store))
    assert [delivery.created_at for delivery in newest] == sorted(
        (delivery.created_at for delivery in newest), reverse=True
    )
    ids = [delivery.id for delivery in newest]

    async def page(**query: Any) -> tuple[list[str], bool]:
        listed = await store.webhooks.page(DeliveryQuery(key="alice", limit=2, **query))
        return [delivery.id for delivery in listed.data], listed.has_more

    assert await page() == (ids[:2], True)
    assert await page(after=ids[1]) == (ids[2:4], True)
    assert await page(after=ids[3]) == (ids[4:], False)
    assert await page(before=ids[4]) == (ids[2:4], True)
    assert await page(order="asc") == (ids[:3:-1], True)
    assert await page(order="asc", after=ids[1]) == ([ids[0]], False)
    assert await page(order="asc", before=ids[1]) == (ids[3:1:-1], True)

    assert {delivery.generation_id for delivery in await deliveries(store, endpoint_id=made.id)} == {
        ended_one.id for ended_one in ends
    }
    assert len(await deliveries(store, generation_id=ends[0].id)) == 2
    (held, *_) = await claim(store)
    await store.webhooks.note(held, answered())
    assert [delivery.id for delivery in await deliveries(store, state=DeliveryState.SUCCEEDED)] == [held.delivery.id]
    assert len(await deliveries(store, state=DeliveryState.PENDING)) == 5


@pytest.mark.parametrize(
    ("filters", "index"),
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
async def test_a_page_is_read_along_the_index_for_its_filters(
    tmp_path: Path, filters: dict[str, Any], place: dict[str, Any], index: str
) -> None:
    store = open_sqlite(tmp_path / "ledger.db", NOW)
    reader = store._reader
    made: list[tuple[Any, ...]] = []

    async def remember(*statement: Any) -> list[Any]:
        made.append(statement)
        return []

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reader, "all", remember)
        await store.webhooks.page(DeliveryQuery(key="alice", limit=9, **filters, **place))
    ((sql, values),) = made
    plan = [row[-1] for row in await reader.all(f"explain query plan {sql}", values)]
    await store.close()

    assert len(plan) == 1  # without sorting
    assert f"INDEX {index} (" in plan[0]
