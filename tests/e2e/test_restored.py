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
from gateway.store.sqlite.marker import write_marker

from .conftest import IMAGE_URL, KEY, Gateway

FOX, KEEVX, RELAY = "foxapi/kling-v3-image-to-video", "keevx/V", "kling_relay/kling-v1"
ADMIN_KEY = "vg_test-key-of-an-operator"
HELD = "/v1/admin/restored"


@pytest_asyncio.fixture
async def gateway(idle: Gateway) -> Gateway:
    gateway, usual = idle, idle.settings

    def settings() -> Any:
        plain = usual()
        secret = plain.server.api_keys[0].of(ADMIN_KEY)
        return replace(plain, server=replace(plain.server, admin_keys=(secret,)))

    gateway.settings = settings  # type: ignore[method-assign]  # the usual ones, and a key of an operator
    gateway.route(KEEVX, RELAY)
    gateway.fetch_allow = (ip_network("127.0.0.0/8"),)  # the files of the sandbox
    return await gateway.start()


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
    return {one["id"]: one["attempts"][-1]["status"] for one in (await operator(gateway, "GET", HELD))["data"]}


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
