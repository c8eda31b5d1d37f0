"""A restored ledger buys nothing by itself: a copy of the file, a backup, a snapshot with its own marker."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.lineage import RESTORED, Marker
from gateway.store.sqlite.marker import write_marker

from .conftest import IMAGE_URL, KEY, Gateway

FOX, KEEVX, RELAY = "foxapi/kling-v3-image-to-video", "keevx/V", "kling_relay/kling-v1"
ADMIN_KEY = "vg_test-key-of-an-operator"
HELD = "/v1/admin/restored"


@pytest_asyncio.fixture
async def gateway(gateway: Gateway) -> AsyncIterator[Gateway]:
    usual = gateway.settings

    def settings() -> Any:
        plain = usual()
        secret = plain.server.api_keys[0].of(ADMIN_KEY)
        return replace(plain, server=replace(plain.server, admin_keys=(secret,)))

    gateway.settings = settings  # type: ignore[method-assign]  # the usual ones, and a key of an operator
    await gateway.restart()
    return gateway


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


async def warnings(gateway: Gateway) -> list[str]:
    answer = await gateway.client.get("/health/ready")
    return list(answer.json().get("warnings", ()))


async def worked_on_after_copy(gateway: Gateway) -> tuple[dict[str, str], Path]:
    """Generations of which a copy of the ledger knows less than was bought: their ids, and the copy."""
    gateway.route(KEEVX, RELAY)
    await gateway.restart()
    ids = {}
    gateway.sandbox.fault("keevx", "submit", "slow_task", None, seconds=600)
    ids["accepted"] = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
    await gateway.until_state(ids["accepted"], "accepted")
    gateway.sandbox.fault("keevx", "submit", "429", 1, retry_after=30)
    ids["repeats"] = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
    await gateway.until_state(ids["repeats"], "refused")
    gateway.sandbox.fault("keevx", "submit", "delayed", 1, seconds=20)
    gateway.traffic.slow.add("keevx")
    ids["submitting"] = (await gateway.post(model="m", image=IMAGE_URL))["id"]
    await gateway.until_state(ids["submitting"], "submitting")
    copy = copy_of(gateway)
    ids["later"] = (await gateway.post(model=RELAY, image=IMAGE_URL))["id"]
    for name in ("repeats", "submitting", "later"):
        await gateway.until_state(ids[name], "accepted")
    gateway.traffic.slow.clear()
    await gateway.crash()
    return ids, copy
