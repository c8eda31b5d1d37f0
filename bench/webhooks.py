"""10,000 webhooks to a receiver that fails a third of the time: `bench/webhooks.py [COUNT]`, in 500s.

The gateway's own store, deliverer and fetcher send over real HTTP. The receiver is a separate process: it checks every
signature with the library of Standard Webhooks and remembers what it has acknowledged. The clock stops while there is
work and then jumps to the next try, so that 28 hours of retries take only the time of the work.
"""

import asyncio
import heapq
import itertools
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.app import Application
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Status
from gateway.domain.generation.lifecycle import cancel
from gateway.domain.generation.model import Generation, GenerationRequest, Output, Plan, Route
from gateway.domain.webhooks import Endpoint, SigningSecret
from gateway.ids import new_id
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

COUNT = 10_000
FAILS = 1 / 3
FAILS_MAX = 6  # how often the receiver fails one webhook at most; the schedule has eight tries
SECRETS = {"/own": "whsec_" + "b3du" * 8, "/endpoint": "whsec_" + "ZW5k" * 8}
STATUSES = (500, 503, 404, 302, 429, 0)  # of the failures; 0: the connection is closed without an answer


# --- the receiver, in its own process ---------------------------------------------------------------------------------


class Receiver:
    """Fails at random, and reports at the end what it received."""

    def __init__(self) -> None:
        self.random = random.Random(1)
        self.tries: Counter[tuple[str, str]] = Counter()
        self.acknowledged: Counter[tuple[str, str]] = Counter()
        self.unsigned = self.failed = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        if method == "GET":
            self.answer(writer, 200, json.dumps(self.seen()).encode())
        else:
            status = self.receive(path, headers, await reader.readexactly(int(headers["content-length"])))
            if status:
                self.answer(writer, status)
        await writer.drain()
        writer.close()

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> int:
        webhook = path, headers.get("webhook-id", "")
        if not is_signed(SECRETS[path], headers, body):
            self.unsigned += 1
        self.tries[webhook] += 1
        if self.random.random() < FAILS and self.tries[webhook] <= FAILS_MAX:
            self.failed += 1
            return self.random.choice(STATUSES)
        self.acknowledged[webhook] += 1
        return 204

    def answer(self, writer: asyncio.StreamWriter, status: int, body: bytes = b"") -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    def seen(self) -> dict[str, int]:
        return {
            "webhooks": len(self.tries),
            "tries": self.tries.total(),
            "failed": self.failed,
            "acknowledged": len(self.acknowledged),
            "acknowledged_again": self.acknowledged.total() - len(self.acknowledged),
            "unsigned": self.unsigned,
            "most_tries": max(self.tries.values(), default=0),
        }


def is_signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether the library accepts the signature at the time of the gateway's clock."""
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)

    class Then(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:  # noqa: ARG003  # the library asks for UTC, as it is here
            return moment

    with patch("standardwebhooks.webhooks.datetime", Then):
        try:
            Webhook(secret).verify(body, headers, json_parse=False)
        except WebhookVerificationError:
            return False
    return True


async def receive() -> None:
    server = await asyncio.start_server(Receiver().handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- the gateway ------------------------------------------------------------------------------------------------------


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class JumpingClock:
    """Implements `Clock`: its time changes only by `move_to`."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._timers: list[tuple[datetime, int, Timer]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (self._now + timedelta(seconds=seconds), next(self._order), timer))
        return timer

    def move_to(self, moment: datetime) -> None:
        self._now = max(moment, self._now)
        while self._timers and self._timers[0][0] <= self._now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


def application(folder: Path, clock: JumpingClock) -> Application:
    config = folder / "bench.toml"
    config.write_text(
        f"""
        [server]
        api_keys = ["env:KEY"]
        [database]
        url = "sqlite:///{folder}/bench.db"
        [artifacts]
        url = "file:{folder}/artifacts"
        [fetch]
        allow = ["127.0.0.0/8"]
        [webhooks]
        secret = "env:SECRET"
        [providers.foxapi]
        api_key = "env:KEY"
        """
    )
    environ = {"KEY": "bench-key-0123456789abcdef", "SECRET": SECRETS["/own"]}
    return Application(load(config, environ, load_adapters()), clock=clock)


async def end(app: Application, url: str) -> None:
    """Create a generation and end it; both commits are durable."""
    now = app.clock.now()
    made = await app.store.create(
        Generation(
            id=new_id("gen_", now),
            owner="bench",
            kind="video",
            request=GenerationRequest(model="auto", input=TextInput(), prompt="A beach.", webhook_url=url),
            plan=Plan(routes=(Route(provider="foxapi", model="k", capability_name="k"),)),
            status=Status.QUEUED,
            created_at=now,
            deadline_at=now + timedelta(hours=1),
            outputs=(Output(index=0),),
            fence=1,
        )
    )
    await app.store.write(made, cancel(made, now), now)


class Claiming:
    """Claims deliveries, and shows whether a claim is running."""

    def __init__(self, claim: Callable[..., Awaitable[Any]]) -> None:
        self._claim = claim
        self.under_way = 0

    async def __call__(self, *args: Any) -> Any:
        self.under_way += 1
        try:
            return await self._claim(*args)
        finally:
            self.under_way -= 1


async def deliver(port: int, count: int) -> tuple[float, float, float]:
    """Deliver everything; seconds of wall time, seconds of CPU of this process, hours by the gateway's clock."""
    clock = JumpingClock()
    with tempfile.TemporaryDirectory() as folder:
        app = application(Path(folder), clock)
        started = clock.now()
        async with app.litestar.lifespan():
            endpoint = Endpoint(
                id="whe_1",
                key="bench",
                url=f"http://127.0.0.1:{port}/endpoint",
                events=("*",),
                secrets=(SigningSecret(SECRETS["/endpoint"]),),
                created_at=started,
            )
            assert await app.store.webhooks.add_endpoint(endpoint)
            claiming = Claiming(app.store.webhooks.claim)
            app.store.webhooks.claim = claiming  # type: ignore[method-assign, assignment]  # the real method, observed
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(0, count // 2, 250):
                await asyncio.gather(*(end(app, f"http://127.0.0.1:{port}/own") for _ in range(250)))
            while True:
                await asyncio.sleep(0.005)
                if claiming.under_way or app._deliverer._sending:  # noqa: SLF001  # the clock must not move now
                    continue
                waiting = await app.store.webhooks.keys()
                if not waiting:
                    break
                clock.move_to(min(at for _, at in waiting))
            spent = time.perf_counter() - wall, time.process_time() - cpu
            return *spent, (clock.now() - started).total_seconds() / 3600


async def seen(port: int) -> dict[str, int]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    answer = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    figures: dict[str, int] = json.loads(answer)
    return figures


async def run(count: int) -> int:
    """Deliver `count` webhooks and print the result; the exit code."""
    server = await asyncio.create_subprocess_exec(sys.executable, __file__, "receive", stdout=asyncio.subprocess.PIPE)
    assert server.stdout is not None
    port = int(await server.stdout.readline())
    try:
        wall, cpu, hours = await deliver(port, count)
        figures = await seen(port)
    finally:
        server.terminate()
        await server.wait()
    good = figures["webhooks"] == figures["acknowledged"] == count and not figures["unsigned"]
    print(f"{count:,} webhooks, {figures['tries']:,} tries, of which the receiver failed {figures['failed']:,}")
    print(f"acknowledged at least once: {figures['acknowledged']:,}; twice: {figures['acknowledged_again']}")
    print(f"unsigned, or wrongly: {figures['unsigned']}; most tries of one: {figures['most_tries']}")
    print(f"{wall:.1f} s, {hours:.1f} h by the gateway's clock; {figures['tries'] / wall:,.0f} tries/s")
    print(f"CPU of a try, with its share of creating and ending: {cpu / figures['tries'] * 1e6:,.0f} µs")
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


def main() -> None:
    """Run as the receiver or as the gateway."""
    if sys.argv[1:] == ["receive"]:
        asyncio.run(receive())
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sys.exit(asyncio.run(run(int(sys.argv[1]) if sys.argv[1:] else COUNT)))


if __name__ == "__main__":
    main()
