"""Records a ledger with generations in every state, and the answers that the API gives about them.

Run it in a checkout of the version whose ledger is wanted, with this file copied into its `tests/ledgers`:

    LEDGER_NAME=2025-11-schema-7 python -m pytest tests/ledgers/record.py

It writes `NAME.sql.gz`, the ledger as SQL, and `NAME.json`: the time at which the gateway stopped, the answers, the
requests that were sent with an idempotency key, the images that clients sent, and the tasks of the sandbox. Addresses
of this machine are replaced by the names in `PLACES`. The random numbers have a seed, so that the files hold no real
secret.
"""

import base64
import gzip
import io
import json
import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import asdict
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image

from gateway.domain.routing.price import Price
from gateway.settings.load import ProviderModel

from ..e2e.conftest import IMAGE_URL, KEY, Gateway, sandboxed
from ..e2e.receiver import Receiver, receiving

FOX, FOX_IMAGE = "foxapi/kling-v3-text-to-video", "foxapi/kling-v3-image-to-video"
KEEVX, RELAY = "keevx/V", "kling_relay/kling-v1"
ADMIN_KEY = "vg_test-key-of-an-operator"
VIDEOS = "/v1/videos/generations"
PLACES = {"sandbox": "sandbox.test:80", "receiver": "receiver.test:80"}
READ = (
    f"{VIDEOS}?limit=100",
    "/v1/files",
    "/v1/webhook_endpoints",
    "/v1/webhook_deliveries?limit=100",
    "/v1/webhook_secret",
    "/v1/admin/attempts?state=held",
    "/v1/admin/attempts?state=unknown",
    "/v1/admin/purchases",
)


def image(shade: int) -> str:
    """A data URL of a small PNG, another one for each shade."""
    out = io.BytesIO()
    Image.new("RGB", (320, 320), (shade, 90, 160)).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def configure(gateway: Gateway) -> None:
    """Give a gateway the models and keys that the recorded generations use."""
    plain = gateway.settings
    for provider, model in (FOX.split("/"), FOX_IMAGE.split("/"), KEEVX.split("/"), RELAY.split("/")):
        models = gateway.providers[provider].setdefault("models", {})
        models[model] = ProviderModel(prices=(Price(per_clip=0.25),))

    def settings() -> Any:
        usual = plain()
        secret = usual.server.api_keys[0].of(ADMIN_KEY)
        fetch = replace(usual.fetch, allow=(ip_network("127.0.0.0/8"),))  # the receiver of webhooks
        return replace(usual, server=replace(usual.server, admin_keys=(secret,)), fetch=fetch)

    gateway.settings = settings  # type: ignore[method-assign]  # the usual ones, and more
    for name, routes, changes in (
        ("both", (KEEVX, RELAY), {}),
        ("falls-back", (FOX_IMAGE, KEEVX), {"on_ambiguous": "fall_back"}),
        ("holds", (FOX_IMAGE, KEEVX), {"on_ambiguous": "hold"}),
        ("gives-up", (FOX, RELAY), {"attempt_timeout_seconds": 60.0}),
    ):
        gateway.route(*routes, **changes)
        gateway.models[name] = gateway.models.pop("m")


async def answers(gateway: Gateway, ids: list[str]) -> dict[str, Any]:
    """What the API says of all that the ledger holds, by path."""
    said = {}
    for path in (*READ, *(f"{VIDEOS}/{generation}" for generation in ids)):
        async with gateway.client_of(ADMIN_KEY if "/admin/" in path else KEY) as client:
            answer = await client.get(path)
        if answer.status_code == 404 and path.endswith("/purchases"):
            continue  # a version before purchases were kept
        assert answer.status_code == 200, answer.text
        said[path] = answer.json()
    return said


class Recorder:
    """Makes generations, and remembers what the repeat of a request needs."""

    def __init__(self, gateway: Gateway, receiver: Receiver) -> None:
        self.gateway = gateway
        self.receiver = receiver
        self.made: dict[str, str] = {}  # ids by label
        self.keyed: dict[str, Any] = {}  # requests and ids by idempotency key

    async def call(self, method: str, path: str, **options: Any) -> Any:
        answer = await self.gateway.client.request(method, path, **options)
        assert answer.status_code == 200, answer.text
        await self.gateway.traffic.settle()
        return answer.json()

    async def create(self, label: str, key: str | None = None, **body: Any) -> str:
        headers = {} if key is None else {"idempotency-key": key}
        body = {"prompt": f"A beach, {label}.", **body}
        self.made[label] = (await self.call("POST", VIDEOS, json=body, headers=headers))["id"]
        if key is not None:
            self.keyed[key] = {"body": body, "id": self.made[label]}
        return self.made[label]

    async def finish(self, label: str, key: str | None = None, **body: Any) -> None:
        await self.gateway.finish(await self.create(label, key, **body))

    def fault(self, provider: str, fault: str, operation: str = "submit", times: int | None = 1, **args: Any) -> None:
        self.gateway.sandbox.fault(provider, operation, fault, times, **args)

    async def make_ended(self) -> None:
        content = base64.b64decode(image(1).partition(",")[2])
        file = {"file": ("first.png", content)}
        uploaded = await self.call("POST", "/v1/files", files=file, data={"purpose": "vision"})
        for endpoint in ({"description": "all events"}, {"events": ["*"]}):
            added = await self.call("POST", "/v1/webhook_endpoints", json={"url": self.receiver.url, **endpoint})
        await self.call("PATCH", f"/v1/webhook_endpoints/{added['id']}", json={"disabled": True})

        await self.finish("completed", "done", model=FOX, metadata={"a": "1"})
        await self.finish("several", model=KEEVX, n=2, image=image(2))
        await self.finish("uploaded", model=RELAY, image=uploaded["id"], webhook_url=self.receiver.url)
        self.fault("keevx", "fail", message="no reason")
        self.fault("kling_relay", "fail", message="no reason")
        await self.finish("failed", model="both", image=IMAGE_URL)
        self.fault("foxapi", "close_after_accept")
        await self.finish("fell-back", model="falls-back", image=IMAGE_URL)
        self.fault("foxapi", "slow_task", seconds=2000)
        await self.finish("abandoned", model="gives-up")
        await self.finish("deleted", "deleted", model=FOX)
        await self.call("DELETE", f"{VIDEOS}/{self.made.pop('deleted')}")
        await self.gateway.until_state(await self.create("cancelled", model=FOX), "accepted")
        await self.call("POST", f"{VIDEOS}/{self.made['cancelled']}/cancel")

    async def make_open(self) -> None:
        self.fault("foxapi", "close_after_accept")
        await self.gateway.until_state(await self.create("held", model="holds", image=IMAGE_URL), "unknown")
        self.fault("keevx", "slow_task", seconds=600)
        await self.create("running", "running", model=KEEVX, image=image(3))
        self.fault("kling_relay", "slow_task", seconds=600)
        await self.create("running-two", model=RELAY, n=2, image=IMAGE_URL)
        await self.gateway.clock.run_for(20)
        self.fault("keevx", "502_html", "result", times=None)
        await self.gateway.until_found(await self.create("found", model=KEEVX, image=IMAGE_URL))
        self.receiver.fail(500)
        await self.create("announced", model=FOX, webhook_url=self.receiver.url.replace("/hook", "/other"))
        await self.call("POST", f"{VIDEOS}/{self.made['announced']}/cancel")
        self.fault("kling_relay", "429", times=None)
        await self.create("queued", model=RELAY, image=image(4))
        self.fault("foxapi", "hang")
        self.gateway.traffic.slow.add("foxapi")
        await self.gateway.until_state(await self.create("submitting", model="holds", image=image(5)), "submitting")

    async def about(self) -> dict[str, Any]:
        """What a test of the ledger needs beside it."""
        artifacts = self.gateway.folder / "artifacts"
        blobs = [path for path in (artifacts / "inputs").rglob("*") if path.is_file()]
        tasks = [asdict(task) for task in self.gateway.sandbox.state.tasks.values()]
        for task in tasks:
            task |= {"fate": None, "shown": None, "request": {}}
            task["spec"]["image"] = None
        return {
            "now": self.gateway.clock.now().timestamp(),
            "made": self.made,
            "keyed": self.keyed,
            "tasks": tasks,
            "blobs": {str(path.relative_to(artifacts)): base64.b64encode(path.read_bytes()).decode() for path in blobs},
            "answers": await answers(self.gateway, list(self.made.values())),
        }


async def test_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", Random(7).randbytes)
    monkeypatch.setattr(secrets, "token_bytes", Random(8).randbytes)
    here, name = Path(__file__).parent, os.environ["LEDGER_NAME"]
    async with sandboxed(tmp_path) as gateway, receiving(gateway.clock.now) as receiver:
        configure(gateway)
        recorder = Recorder(gateway, receiver)
        await gateway.start()
        await recorder.make_ended()
        await recorder.make_open()
        about = await recorder.about()
        await gateway.crash()

        with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
            dump = "\n".join(ledger.iterdump()) + "\n"
        assert str(tmp_path) not in dump
        places = {gateway.sandbox.url.removeprefix("http://"): "sandbox", receiver.url.split("/")[2]: "receiver"}

        def placed(text: str) -> str:
            for place, label in places.items():
                text = text.replace(place, PLACES[label])
            return text

        (here / f"{name}.json").write_text(placed(json.dumps(about, indent=1, sort_keys=True)) + "\n")
        (here / f"{name}.sql.gz").write_bytes(gzip.compress(placed(dump).encode(), mtime=0))
