"""A restored ledger buys nothing by itself: a copy of the file, a backup, a snapshot with its own marker."""

import shutil
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.lineage import RESTORED, Marker
from gateway.domain.money.account import account
from gateway.store.sqlite import lineage
from gateway.store.sqlite.marker import marker_path, read_marker, write_marker

from .conftest import IMAGE_URL, Gateway

FOX, KEEVX, RELAY = "foxapi/kling-v3-image-to-video", "keevx/V", "kling_relay/kling-v1"
ADMIN_KEY = "vg_test-key-of-an-operator"
HELD = "/v1/admin/restored"


async def with_operator(idle: Gateway) -> Gateway:
    """Start a gateway that has the key of an operator, and a model with two routes."""
    gateway, usual = idle, idle.settings

    def settings() -> Any:
        plain = usual()
        secret = plain.server.api_keys[0].of(ADMIN_KEY)
        return replace(plain, server=replace(plain.server, admin_keys=(secret,)))

    gateway.settings = settings  # type: ignore[method-assign]  # the usual ones, and a key of an operator
    gateway.route(KEEVX, RELAY)
    gateway.fetch_allow = (ip_network("127.0.0.0/8"),)  # the files of the sandbox
    return await gateway.start()


@pytest_asyncio.fixture
async def gateway(idle: Gateway) -> Gateway:
    return await with_operator(idle)


def ledger(gateway: Gateway) -> Path:
    return gateway.folder / "ledger.db"


def copy_of(gateway: Gateway) -> Path:
    """A consistent copy of the ledger as it is now."""
    copy = gateway.folder / "copy.db"
    source = apsw.Connection(str(ledger(gateway)))
    source.execute("vacuum into ?", (str(copy),))
    source.close()
    return copy


def put_back(gateway: Gateway, copy: Path) -> None:
    """Put a copy in the place of the ledger, as an operator does who knows nothing of markers."""
    for end in ("-wal", "-shm"):
        ledger(gateway).with_name(f"ledger.db{end}").unlink(missing_ok=True)
    shutil.copyfile(copy, ledger(gateway))


async def operator(gateway: Gateway, method: str, path: str, **options: Any) -> Any:
    async with gateway.client_of(ADMIN_KEY) as client:
        answer = await client.request(method, path, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def held(gateway: Gateway) -> dict[str, str]:
    """The held generations, each with the state of its newest attempt."""
    return {entry["id"]: entry["attempts"][-1]["status"] for entry in (await operator(gateway, "GET", HELD))["data"]}


async def warnings(gateway: Gateway) -> list[str]:
    answer = await gateway.client.get("/health/ready")
    return list(answer.json().get("warnings", ()))


def copying(gateway: Gateway, when: str) -> Any:
    """Make the next submit copy the ledger: `before` its intent is stored, or `after` that."""

    def change(call: Any) -> Any:
        async def begin(*args: Any, **options: Any) -> Any:
            copy = gateway.folder / "copy.db"
            if when == "before" and not copy.exists():
                copy_of(gateway)
            version = await call(*args, **options)
            if when == "after" and not copy.exists():
                copy_of(gateway)
            return version

        return begin

    gateway.replace_in_store("begin_submit", change)


async def worked_on_after_copy(gateway: Gateway, when: str) -> dict[str, str]:
    """Generations of which a copy of the ledger knows less than was bought: their ids."""
    ids = {}
    gateway.sandbox.fault("keevx", "submit", "slow_task", None, seconds=100)
    ids["accepted"] = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
    await gateway.until_state(ids["accepted"], "accepted")
    gateway.sandbox.fault("kling_relay", "submit", "429", 1, retry_after=30)
    ids["repeats"] = (await gateway.post(model=RELAY, image=IMAGE_URL))["id"]
    await gateway.until_state(ids["repeats"], "refused")
    copying(gateway, when)
    ids["sent"] = (await gateway.post(model="m", image=IMAGE_URL))["id"]
    await gateway.until_state(ids["sent"], "accepted")
    ids["later"] = (await gateway.post(model=RELAY, image=IMAGE_URL))["id"]
    for name in ("repeats", "later"):
        await gateway.until_state(ids[name], "accepted", "completed")
    assert gateway.paid == {"keevx": 2, "kling_relay": 2}
    await gateway.crash()
    return ids


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_copy_in_the_place_of_the_ledger_buys_nothing_until_it_is_released(gateway: Gateway, when: str) -> None:
    ids = await worked_on_after_copy(gateway, when)
    bought = gateway.paid
    put_back(gateway, gateway.folder / "copy.db")

    await gateway.start()
    await gateway.traffic.settle()
    assert any(
        "3 generation(s) buy nothing since an older ledger was restored" in line for line in await warnings(gateway)
    )
    listed = await held(gateway)
    states = {"accepted": "accepted", "repeats": "refused", "sent": "unknown"}
    assert listed == {ids[name]: state for name, state in states.items()}
    await gateway.clock.run_for(400)
    assert gateway.paid == bought, "nothing is bought again"
    assert (await gateway.finish(ids["accepted"]))["status"] == "completed", "a task that is stored is polled as usual"
    assert gateway.paid == bought

    await gateway.restart()
    assert set(await held(gateway)) == {ids["repeats"], ids["sent"]}, "and a second start changes nothing"
    new = await gateway.make(model=RELAY, image=IMAGE_URL)
    assert new["status"] == "completed", "new requests work as usual"
    bought = gateway.paid

    await operator(gateway, "POST", f"{HELD}/{ids['sent']}/release")
    await gateway.until_state(ids["sent"], "accepted")
    assert {name: count - bought.get(name, 0) for name, count in gateway.paid.items()} == {"keevx": 1, "kling_relay": 0}
    await operator(gateway, "POST", f"{HELD}/{ids['repeats']}/fail")
    assert (await gateway.get(ids["repeats"]))["status"] == "failed"
    assert await held(gateway) == {}
    assert await warnings(gateway) == []


async def test_without_the_markers_the_same_copy_is_seen_to_buy_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worked_on_after_copy(gateway, "before")
    bought = gateway.paid
    put_back(gateway, gateway.folder / "copy.db")
    monkeypatch.setattr(lineage, "verdict", lambda *_args, **_options: None)
    await gateway.start()
    await gateway.clock.run_for(200)
    assert sum(gateway.paid.values()) >= sum(bought.values()) + 2


@pytest.mark.parametrize("way", ["the marker, too", "no marker", "restored by the command", "said"])
async def test_every_way_to_an_older_ledger_is_noticed(gateway: Gateway, way: str) -> None:
    marker = marker_path(ledger(gateway))
    ids = await worked_on_after_copy(gateway, "before")
    if way == "the marker, too":  # as the snapshot of a volume has it; the artifacts are somewhere else
        before = read_marker(ledger(gateway))
        assert isinstance(before, Marker)
        position = apsw.Connection(str(gateway.folder / "copy.db")).execute(lineage.POSITION).get
        write_marker(ledger(gateway), replace(before, position=position))
    bought = gateway.paid
    put_back(gateway, gateway.folder / "copy.db")
    if way == "no marker":
        marker.unlink()
    elif way == "restored by the command":
        write_marker(ledger(gateway), Marker(lineage=RESTORED, position=0))
    elif way == "said":
        gateway.said = "restored"
    await gateway.start()
    await gateway.clock.run_for(200)
    assert gateway.paid == bought
    assert {ids["repeats"], ids["sent"]} <= set(await held(gateway)) | {ids["accepted"]}


async def test_a_kill_is_never_taken_for_a_restore(gateway: Gateway) -> None:
    for moment in ("reserved", "submitting", "accepted"):
        made = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
        if moment == "accepted":
            await gateway.until_state(made, "accepted")
        await gateway.crash()
        assert await gateway.start() is gateway
        assert await held(gateway) == {}, moment
    store = gateway.app.store
    marker = read_marker(ledger(gateway))
    assert marker == store.lineage.marker
    assert isinstance(marker, Marker)
    assert marker.position == apsw.Connection(str(ledger(gateway))).execute(lineage.POSITION).get


async def test_a_ledger_that_an_operator_has_moved_goes_on(gateway: Gateway) -> None:
    gateway.sandbox.fault("keevx", "submit", "429", 1, retry_after=30)
    made = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
    await gateway.until_state(made, "refused")
    await gateway.stop()
    put_back(gateway, copy_of(gateway))  # the same content in another file, and no marker came along
    marker_path(ledger(gateway)).unlink()
    gateway.said = "moved"
    await gateway.start()
    assert await held(gateway) == {}
    assert (await gateway.finish(made))["status"] == "completed"
    assert gateway.paid == {"keevx": 1}
    gateway.said = None
    await gateway.restart()
    assert gateway.app.store.lineage.copy is None, "it has a marker again"


async def test_no_submit_leaves_while_the_marker_cannot_be_written(gateway: Gateway) -> None:
    store: Any = gateway.app.store
    working = store._writer.after_commit

    def failing(connection: apsw.Connection, has_purchase: bool) -> None:
        if has_purchase:
            raise OSError(5, "Input/output error")
        working(connection, has_purchase)

    store._writer.after_commit = failing
    made = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
    await gateway.clock.run_for(60)
    waiting = await gateway.stored(made)
    assert [attempt.state for attempt in waiting.attempts] == ["not_sent", "reserved"]
    assert (account(waiting).settled, account(waiting).maybe, gateway.submits) == (0, 0, {})
    store._writer.after_commit = working
    assert (await gateway.finish(made))["status"] == "completed"
    assert gateway.submits == {"keevx": 1}
    assert account(await gateway.stored(made)).maybe == 0


async def test_what_a_client_or_a_provider_does_ends_the_wait(gateway: Gateway) -> None:
    ids = await worked_on_after_copy(gateway, "before")
    put_back(gateway, gateway.folder / "copy.db")
    await gateway.start()
    attempt = (await gateway.stored(ids["sent"])).attempts[-1]
    assert (attempt.state, attempt.billed) == ("unknown", "maybe")
    task = [task for task in gateway.sandbox.state.tasks.values() if task.provider == "keevx"][-1]
    bought = gateway.paid

    await operator(gateway, "POST", f"/v1/admin/attempts/{attempt.id}/attach", json={"task_id": task.id})
    assert (await gateway.finish(ids["sent"]))["status"] == "completed", "an attached task ends the wait"
    answer = await gateway.client.post(f"/v1/videos/generations/{ids['repeats']}/cancel")
    assert answer.json()["status"] == "cancelled"
    assert gateway.paid == bought
    async with gateway.client_of(ADMIN_KEY) as client:
        refused = await client.post(f"{HELD}/{ids['repeats']}/release")
        missing = await client.post(f"{HELD}/gen_none/fail")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    assert missing.status_code == 404


async def test_all_are_released_at_once(gateway: Gateway) -> None:
    ids = await worked_on_after_copy(gateway, "before")
    put_back(gateway, gateway.folder / "copy.db")
    await gateway.start()
    bought = gateway.paid
    assert (await operator(gateway, "POST", f"{HELD}/release"))["released"] == 3
    for name in ("accepted", "repeats", "sent"):
        assert (await gateway.finish(ids[name]))["status"] == "completed"
    assert {name: count - bought[name] for name, count in gateway.paid.items()} == {"keevx": 1, "kling_relay": 1}
