"""Ledgers that earlier versions wrote: this version opens them, says the same about them, and buys nothing again.

`record.py` beside this file made them. A ledger is added when the schema or the stored JSON changes, and none is
ever replaced: a user may come from any version.
"""

import base64
import gzip
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.app import Application
from gateway.domain.clients import key_digest, owner_of_key
from gateway.sandbox.media import Spec
from gateway.sandbox.state import Task
from gateway.store.sql.money_audit import audit_money
from gateway.store.sqlite.file import connect
from gateway.store.sqlite.jobs import SqliteTransaction, drive
from gateway.store.uploads import UploadKey

from ..e2e.conftest import KEY, Gateway, sandboxed
from ..e2e.receiver import Receiver, receiving
from .record import ADMIN_KEY, PLACES, VIDEOS, answers, configure

LEDGERS = sorted(path.name.removesuffix(".sql.gz") for path in Path(__file__).parent.glob("*.sql.gz"))
ENDED = {"completed", "failed", "cancelled", "expired"}
WORDS = {"message", "warnings"}  # texts for people: they may be written better


class Recorded:
    """A recorded ledger in the place of a new one: its gateway, not started yet, and what its version said about it."""

    def __init__(self, gateway: Gateway, receiver: Receiver, about: dict[str, Any]) -> None:
        self.gateway = gateway
        self.receiver = receiver
        self.about = about
        self.ids: dict[str, str] = about["made"]

    def before(self, label: str) -> Any:
        return self.about["answers"][f"{VIDEOS}/{self.ids[label]}"]

    async def start(self) -> None:
        await self.gateway.start()
        await self.gateway.traffic.settle()

    async def now(self, label: str) -> Any:
        return await self.gateway.get(self.ids[label])

    async def repeat(self, key: str) -> Any:
        """The answer to the same request with the same idempotency key."""
        body = self.about["keyed"][key]["body"]
        return await self.gateway.client.post(VIDEOS, json=body, headers={"idempotency-key": key})

    async def held(self) -> set[str]:
        async with self.gateway.client_of(ADMIN_KEY) as client:
            answer = await client.get("/v1/admin/attempts?state=held")
        return {attempt["generation"] for attempt in answer.json()["data"]}


@pytest_asyncio.fixture(params=LEDGERS)
async def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Recorded]:
    async with sandboxed(tmp_path) as gateway, receiving(gateway.clock.now) as receiver:
        places = {"sandbox": gateway.sandbox.url.removeprefix("http://"), "receiver": receiver.url.split("/")[2]}

        def read(text: str) -> str:
            for name, place in PLACES.items():
                text = text.replace(place, places[name])
            return text

        here = Path(__file__).parent
        about = json.loads(read((here / f"{request.param}.json").read_text()))
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            ledger.executescript(read(gzip.decompress((here / f"{request.param}.sql.gz").read_bytes()).decode()))
        for path, content in about["blobs"].items():
            blob = tmp_path / "artifacts" / path
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(base64.b64decode(content))
        gateway.clock.move_to(datetime.fromtimestamp(about["now"], UTC))
        for task in about["tasks"]:
            spec = Spec(**task.pop("spec"))
            gateway.sandbox.state.tasks[task["id"]] = Task(spec=spec, **task)
        configure(gateway)
        yield Recorded(gateway, receiver, about)


def same(before: Any, after: Any, where: str = "") -> list[str]:
    """Where the later answer lacks or changes what the earlier one says; it may say more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            fault
            for name, value in before.items()
            if name not in WORDS and not (name == "key" and "client" in after)  # its name since clients have names
            for fault in (same(value, after[name], f"{where}.{name}") if name in after else [f"{where}.{name} is gone"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            fault for n, pair in enumerate(zip(before, after, strict=True)) for fault in same(*pair, f"{where}[{n}]")
        ]
    return [] if before == after else [f"{where}: {before!r} became {after!r}"]


async def test_every_answer_means_the_same(recorded: Recorded) -> None:
    """The engine does not run, so the answers are about what is stored."""
    gateway = recorded.gateway
    gateway.app = Application(gateway.settings(), adapters=gateway.adapters, clock=gateway.clock)
    try:
        after = await answers(gateway, list(recorded.ids.values()))
    finally:
        await gateway.app.store.close()
    assert same(recorded.about["answers"], after) == []
    [copy] = gateway.folder.glob("ledger.db.schema-*")
    with closing(sqlite3.connect(copy)) as ledger:
        [(schema,)] = ledger.execute("select max(number) from schema_migrations")
        assert copy.name == f"ledger.db.schema-{schema}", "the way back to the version before"
        assert ledger.execute("select count(*) from generations").fetchone()[0] == len(recorded.ids)
    assert {entry["status"] for entry in after[f"{VIDEOS}?limit=100"]["data"]} == {
        "queued",
        "in_progress",
        "completed",
        "failed",
        "cancelled",
    }


async def test_open_generations_end_and_nothing_is_bought_again(recorded: Recorded) -> None:
    gateway = recorded.gateway
    await recorded.start()
    for label in ("found", "running", "running-two", "queued"):
        assert (await gateway.finish(recorded.ids[label]))["status"] == "completed", label
    assert gateway.paid == {"kling_relay": 1}, "only the queued one had still to be bought"
    assert gateway.submits == {"kling_relay": 1}
    assert len((await recorded.now("running-two"))["data"]) == 2

    await gateway.clock.run_for(2000)
    abandoned = (await gateway.stored(recorded.ids["abandoned"])).attempts[0]
    assert (abandoned.state, abandoned.billed) == ("completed", "yes"), "its task was followed to its end"
    for label, generation_id in recorded.ids.items():
        if recorded.before(label)["status"] in ENDED:
            assert (await gateway.get(generation_id))["status"] == recorded.before(label)["status"], label
    assert gateway.paid == {"kling_relay": 1}
    with closing(connect(gateway.folder / "ledger.db")) as ledger:
        assert set(ledger.execute("select distinct key from generations")) == {(owner_of_key(key_digest(KEY)),)}
        assert ledger.execute("select count(*) from generations").get == len(recorded.ids)
        assert drive(audit_money(SqliteTransaction(ledger))) == []
        settled = dict(ledger.execute("select generation_id, settled from accounts"))
    for label in ("completed", "several", "uploaded"):
        cost = recorded.before(label)["usage"]["cost_usd"] or 0  # the oldest ledgers were recorded without prices
        assert settled.get(recorded.ids[label], 0) == round(cost * 1e6), label


async def test_an_unclear_submit_stays_held(recorded: Recorded) -> None:
    gateway = recorded.gateway
    await recorded.start()
    await gateway.clock.run_for(300)
    assert await recorded.held() == {recorded.ids["held"], recorded.ids["submitting"]}
    for label in ("held", "submitting"):
        assert (await recorded.now(label))["status"] == "queued"
        assert len((await gateway.stored(recorded.ids[label])).attempts) == 1
    assert gateway.paid.get("foxapi") is gateway.paid.get("keevx") is None


async def test_a_repeated_request_gives_the_generation_that_it_made(recorded: Recorded) -> None:
    await recorded.start()
    for key in ("done", "running"):
        again = await recorded.repeat(key)
        assert (again.status_code, again.json().get("id", again.text)) == (200, recorded.about["keyed"][key]["id"])
    deleted = await recorded.repeat("deleted")
    assert (deleted.status_code, deleted.json()["error"]["code"]) == (409, "generation_deleted")


async def test_pending_deliveries_are_sent_once_more(recorded: Recorded) -> None:
    await recorded.start()
    await recorded.gateway.clock.run_for(30)
    deliveries = recorded.about["answers"]["/v1/webhook_deliveries?limit=100"]["data"]
    pending = {delivery["id"] for delivery in deliveries if delivery["state"] == "pending"}
    listed = (await recorded.gateway.client.get("/v1/webhook_deliveries?limit=100")).json()["data"]
    assert len(pending) == 2
    assert {delivery["state"] for delivery in listed if delivery["id"] in pending} == {"succeeded"}
    announced = [request for request in recorded.receiver.requests if request.data["id"] == recorded.ids["announced"]]
    assert {request.path for request in announced} == {"/hook", "/other"}
    assert len(announced) == 2


async def test_a_link_that_was_handed_out_still_opens_its_file(recorded: Recorded) -> None:
    await recorded.start()
    for label in ("completed", "uploaded"):
        [output] = recorded.before(label)["data"]
        stored = (await recorded.gateway.stored(recorded.ids[label])).outputs[0].kept
        assert stored is not None
        file = recorded.gateway.folder / "artifacts" / "results" / stored.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0" * output["bytes"])
        async with recorded.gateway.client_of(None) as client:
            answer = await client.get(output["url"])
        assert (answer.status_code, len(answer.content)) == (200, output["bytes"])


async def test_inputs_are_not_uploaded_again(recorded: Recorded) -> None:
    await recorded.start()
    store = recorded.gateway.app.store
    with closing(sqlite3.connect(recorded.gateway.folder / "ledger.db")) as ledger:
        uploads = ledger.execute("select account, sha256, recipe, url from uploads").fetchall()
    assert len(uploads) == 3
    for account, sha256, recipe, url in uploads:
        key = UploadKey(account=account, sha256=sha256, recipe=recipe)
        assert await store.uploads.find(key, recorded.gateway.clock.now()) == url
