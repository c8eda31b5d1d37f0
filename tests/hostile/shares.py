"""One client takes what it can of everything that is limited, while another client must be served.

The gateway has low limits (`LIMITS`), so that one process can fill each of them. Every attack is renewed as soon as the
gateway ends a part of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import httpx

from .card import Row
from .measure import costing
from .world import VIDEOS, WITH_KEYS, Gateway, create, ended

LIMITS = f"""{WITH_KEYS}
max_body_bytes = 1_000_000
max_bodies_bytes = 30_000_000
max_long_polls = 100
max_listeners = 100
max_downloads = 100
max_open_generations = 500
"""
SECONDS = 20.0  # in which the other client must have each answer
ROUNDS = 3  # how often it asks for each thing
PAUSE = 1.0  # seconds, of the attacker before it tries again
SLOW = "[[sandbox:any:submit:slow_task?seconds=600]] a cat"
RESULT_BYTES = 8_000_000  # more than the buffers of a connection

Attacker = Callable[[Gateway, httpx.AsyncClient, "Stage"], Awaitable[None]]


@dataclass
class Stage:
    """What both clients have before an attack begins."""

    running: str  # the attacker's generation that does not end
    link: str  # a public link to a file of `RESULT_BYTES`
    others: dict[str, Any] = field(default_factory=dict)  # a finished generation of the other client
    numbers: "count[int]" = field(default_factory=count)
    answers: Counter[str] = field(default_factory=Counter)  # what the attacker got


async def _body(gateway: Gateway, client: httpx.AsyncClient, stage: Stage) -> None:
    """Most of a body, and then nothing."""

    async def unfinished() -> AsyncIterator[bytes]:
        yield b"x" * 500_000
        await asyncio.Event().wait()

    await _note(stage, client.post(VIDEOS, content=unfinished(), headers={"content-type": "application/json"}))


async def _download(gateway: Gateway, client: httpx.AsyncClient, stage: Stage) -> None:
    """The beginning of a file, by a public link, without a key."""
    reader, writer = await asyncio.open_connection(*gateway.address, limit=2**12)
    try:
        writer.write(f"GET {stage.link} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        stage.answers[(await reader.readline())[9:12].decode() or "ended"] += 1
        while not reader.at_eof():
            await asyncio.sleep(1.0)
            await reader.read(2**10)
    finally:
        writer.transport.abort()


async def _stream(gateway: Gateway, client: httpx.AsyncClient, stage: Stage) -> None:
    async with client.stream("GET", f"{VIDEOS}/{stage.running}/events") as answer:
        stage.answers[str(answer.status_code)] += 1
        async for _ in answer.aiter_bytes():
            pass


async def _long_poll(gateway: Gateway, client: httpx.AsyncClient, stage: Stage) -> None:
    await _note(stage, client.get(f"{VIDEOS}/{stage.running}", params={"wait": 60}))


async def _dead_name(gateway: Gateway, client: httpx.AsyncClient, stage: Stage) -> None:
    """A generation whose webhook goes to a name that does not exist."""
    body = {"model": "kling_relay/kling-v1-6", "prompt": "a cat"}
    url = f"https://receiver-{next(stage.numbers)}.invalid/hook"
    await _note(stage, client.post(VIDEOS, json=body | {"webhook_url": url}))
    await asyncio.sleep(1.0)


async def _open_generation(gateway: Gateway, client: httpx.AsyncClient, stage: Stage) -> None:
    await _note(stage, client.post(VIDEOS, json={"model": "kling_relay/kling-v1-6", "prompt": SLOW}))


async def _note(stage: Stage, asking: Awaitable[httpx.Response]) -> None:
    stage.answers[str((await asking).status_code)] += 1


class Attack(NamedTuple):
    """What one client does, and how many callers do it at the same time."""

    name: str
    sends: str  # for a reader
    callers: int
    caller: Attacker


ATTACKS = (
    Attack("unfinished bodies", "99 bodies of 0.5 MB", 99, _body),
    Attack("slow downloads", "512 downloads over one public link", 512, _download),
    Attack("event streams", "300 streams of one generation", 300, _stream),
    Attack("long polls", "300 long polls of one generation", 300, _long_poll),
    Attack("webhooks to dead names", "creates by 20 callers, each with another name", 20, _dead_name),
    Attack("open generations", "creates by 20 callers that never end", 20, _open_generation),
)


@asynccontextmanager
async def _attacking(gateway: Gateway, stage: Stage, attacks: Sequence[Attack]) -> AsyncIterator[None]:
    """The callers of these attacks, each of which tries again until the end of the block."""

    async def again_and_again(client: httpx.AsyncClient, attacker: Attacker) -> None:
        while True:
            with suppress(httpx.TransportError, OSError):
                await attacker(gateway, client, stage)
            await asyncio.sleep(PAUSE)

    async with gateway.client() as client, AsyncExitStack() as stack:
        for attack in attacks:
            for _ in range(attack.callers):
                caller = asyncio.create_task(again_and_again(client, attack.caller))
                stack.push_async_callback(asyncio.gather, caller, return_exceptions=True)
                stack.callback(caller.cancel)
        await asyncio.sleep(PAUSE / 2)  # all of them have begun
        yield


class Other:
    """The other client: what it asks for, and how often it got that."""

    def __init__(self, client: httpx.AsyncClient, stage: Stage, hooks: "Hooks") -> None:
        self._client, self._stage, self._hooks = client, stage, hooks
        self.served: Counter[str] = Counter()
        self.longest = (0.0, "")
        self._asks = {
            "create": self._create,
            "read": partial(self._get, f"{VIDEOS}/{stage.others['id']}"),
            "list": partial(self._get, f"{VIDEOS}?limit=5"),
            "large body": self._large_body,
            "stream": self._stream,
            "long poll": self._long_poll,
            "download": partial(self._get, f"{VIDEOS}/{stage.others['id']}/content"),
        }
        self._running = ""

    async def ask(self, rounds: int) -> list[str]:
        """Ask for everything so often. Returns what it did not get."""
        try:
            self._running = await begun(self._client)
        except (httpx.HTTPError, TimeoutError) as error:
            return [f"no generation of its own: {error!r}"]
        for _ in range(rounds):
            for name, ask in self._asks.items():
                began = time.monotonic()
                with suppress(httpx.HTTPError, TimeoutError):
                    async with asyncio.timeout(SECONDS):
                        self.served[name] += await ask()
                self.longest = max(self.longest, (time.monotonic() - began, name))
        self.served["webhook"] += await self._hooks.came(rounds)
        await self._client.delete(f"{VIDEOS}/{self._running}")
        names = (*self._asks, "webhook")
        return [f"{name}: {self.served[name]} of {rounds}" for name in names if self.served[name] < rounds]

    async def _create(self) -> bool:
        await create(self._client, webhook_url=self._hooks.url)
        return True

    async def _get(self, path: str) -> bool:
        return (await self._client.get(path)).status_code == httpx.codes.OK

    async def _large_body(self) -> bool:
        """A body that needs a place. It is not JSON, so that nothing is bought."""
        answer = await self._client.post(VIDEOS, content=b"x" * 500_000, headers={"content-type": "application/json"})
        return answer.status_code == httpx.codes.BAD_REQUEST

    async def _stream(self) -> bool:
        async with self._client.stream("GET", f"{VIDEOS}/{self._running}/events") as answer:
            async for _ in answer.aiter_bytes():
                return answer.status_code == httpx.codes.OK
        return False

    async def _long_poll(self) -> bool:
        """A poll that waits its whole time: one that is turned away would return at once."""
        began = time.monotonic()
        answer = await self._client.get(f"{VIDEOS}/{self._running}", params={"wait": 1})
        return answer.status_code == httpx.codes.OK and time.monotonic() - began > 0.9


class Hooks:
    """A receiver of the other client's webhooks."""

    def __init__(self) -> None:
        self.url = ""
        self._count = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive webhooks."""
        server = await asyncio.start_server(self._receive, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        async with server:
            yield

    async def came(self, expected: int) -> int:
        """Wait until so many have come since the last call, for `SECONDS` at most. How many have."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS), self._changed:
                await self._changed.wait_for(lambda: self._count >= expected)
        came, self._count = self._count, 0
        return came

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        async with self._changed:
            self._count += 1
            self._changed.notify_all()


async def shares(gateway: Gateway, rounds: int = ROUNDS) -> AsyncIterator[Row]:
    """Each attack of one client, then all at once, and what the other client got meanwhile."""
    async with against(gateway) as measure:
        for attack in ATTACKS:
            yield await measure(attack.name, attack.sends, [attack], rounds)
        yield await measure("all of one client", "all of these at once", ATTACKS, 1)


@asynccontextmanager
async def against(gateway: Gateway) -> AsyncIterator[Callable[..., Awaitable[Row]]]:
    """A function that measures some attacks as a row. The gateway has `LIMITS`."""
    hooks = Hooks()
    async with hooks.listening(), gateway.client() as client:
        stage = await _prepared(gateway, client)

        async def measure(name: str, sent: str, attacks: Sequence[Attack], rounds: int) -> Row:
            stage.answers = Counter()
            async with (
                costing(gateway) as cost,
                _attacking(gateway, stage, attacks),
                gateway.client("OTHER_KEY") as client,
            ):
                other = Other(client, stage, hooks)
                missed = await other.ask(rounds)
            total = f"{other.served.total()} of {rounds * 8} answers for the other client"
            note = f"{total}, longest {other.longest[0]:.1f} s ({other.longest[1]})"
            faults = [f"the other client got {', '.join(missed)}"] if missed else []
            return Row(name, sent, cost, stage.answers, note=note, faults=faults, with_key=True)

        yield measure


async def begun(client: httpx.AsyncClient) -> str:
    """The id of a new generation that is in progress, and stays so."""
    made = await create(client, SLOW)
    async with asyncio.timeout(SECONDS):
        while made["status"] != "in_progress":
            await asyncio.sleep(0.1)
            made = (await client.get(f"{VIDEOS}/{made['id']}")).raise_for_status().json()
    identifier: str = made["id"]
    return identifier


async def _finished(client: httpx.AsyncClient) -> dict[str, Any]:
    return await ended(client, await create(client))


async def _prepared(gateway: Gateway, attacker: httpx.AsyncClient) -> Stage:
    await gateway.fault("huge", "result", bytes=RESULT_BYTES)
    async with gateway.client("OTHER_KEY") as client:
        own, others = await asyncio.gather(*(_finished(each) for each in (attacker, client)))
    await gateway.no_faults()
    running = await begun(attacker)
    link = httpx.URL(own["data"][0]["url"])
    return Stage(running=running, link=link.raw_path.decode(), others=others)
