"""The clients of a chaos run: a fixed number of open generations, each created again until it is acknowledged."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.upstream.transport import ReqwestTransport

IMAGE = "https://example.com/first.jpg"
ANSWER_SECONDS = 2.5  # a create without an answer by then is repeated with its key, unless something else is said
WAIT_SECONDS = 3
AGAIN_SECONDS = 0.4
PATH = "/v1/videos/generations"
TERMINAL = frozenset({"completed", "failed", "cancelled", "expired"})
_PASSING = frozenset({409, 429, 500, 502, 503})


class Clients:
    """The clients; `wrong` lists answers that no client may ever get."""

    def __init__(
        self,
        urls: Sequence[str],
        acknowledged: Path,
        seed: int,
        *,
        key: str,
        deadline_seconds: int,
        held: float,
        webhook_url: Callable[[], str],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Each call goes to one of `urls`, with the API key `key`. Ends are announced to the URL of `webhook_url`."""
        self._urls = urls
        self._answer_seconds = answer_seconds
        self._webhook_url = webhook_url
        self._file = acknowledged.open("ab", buffering=0)
        self._random = random.Random(f"clients {seed}")
        self._deadline_seconds = deadline_seconds
        self._held = held
        self._numbers = itertools.count(1)
        self._http = httpx.AsyncClient(transport=ReqwestTransport(), headers={"authorization": f"Bearer {key}"})
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.only: str | None = None  # if set, the model of every new generation
        self.open: set[str] = set()
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []

    def start(self, count: int, generations: int | None = None) -> None:
        """Start `count` clients. Each runs until `stop`, or creates `generations`."""
        self._tasks = [asyncio.create_task(self._live(generations)) for _ in range(count)]

    def stop(self) -> None:
        """Create no further generations."""
        self._stopping = True

    async def finish(self, seconds: float) -> None:
        """Wait until every created generation has ended."""
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        self._stopping = True
        await cancelled(self._tasks)
        await self._http.aclose()
        self._file.close()

    async def _live(self, generations: int | None) -> None:
        made = 0
        while not self._stopping and made != generations:
            made += 1
            number = next(self._numbers)
            key, body = f"key-{number}", self._body(number)
            generation = await self._create(key, body)
            self.open.add(generation)
            if self._random.random() < 0.05 and await self._create(key, body) != generation:
                self.wrong.append(f"{key}: {generation}, and another one for the same key")
            if self._random.random() < 0.03:
                await asyncio.sleep(self._random.random() * 3)
                await self._call("POST", f"{PATH}/{generation}/cancel")
            await self._follow(generation)
            self.open.discard(generation)

    def _body(self, number: int) -> dict[str, Any]:
        body: dict[str, Any] = {"model": f"m{number % 4}", "prompt": f"Beach {number}", "image": IMAGE}
        body |= {"deadline_seconds": self._deadline_seconds, "webhook_url": self._webhook_url()}
        if self._random.random() < 0.1:
            body["n"] = 2
        if self._random.random() < self._held:
            body["model"] = "held"
        if self.only is not None:
            body["model"] = self.only
        return body

    async def _create(self, key: str, body: dict[str, Any]) -> str:
        """Create until it is acknowledged. A client cannot know whether the request or the answer was lost."""
        while True:
            reply = await self._call("POST", PATH, body, {"idempotency-key": key}, seconds=self._answer_seconds)
            if reply is None:
                self.counted["repeated"] += 1
                continue
            generation: str = reply["id"]
            create = {"key": key, "prompt": body["prompt"], "id": generation}
            self._file.write(msgspec.json.encode(create) + b"\n")
            return generation

    async def _follow(self, generation: str) -> None:
        while True:
            reply = await self._call("GET", f"{PATH}/{generation}?wait={WAIT_SECONDS}", seconds=WAIT_SECONDS + 3)
            if reply is not None and reply["status"] in TERMINAL:
                self.counted[reply["status"]] += 1
                return

    async def _call(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Any:
        """The answer; `None`, after a pause, if no answer came or the gateway asked to try later."""
        try:
            reply = await self._http.request(
                method, self._random.choice(self._urls) + path, json=body, headers=headers, timeout=seconds
            )
        except httpx.TransportError:
            self.counted["unanswered"] += 1
            await asyncio.sleep(AGAIN_SECONDS)
            return None
        if reply.status_code == 200:
            return reply.json()
        self.counted[str(reply.status_code)] += 1
        if reply.status_code not in _PASSING:
            self.wrong.append(f"{method} {path}: {reply.status_code} {reply.text}")
        await asyncio.sleep(AGAIN_SECONDS)
        return None


async def cancelled(tasks: Collection[asyncio.Task[None]]) -> None:
    """End these tasks. A request whose answer comes at the moment of a cancellation goes on, so it is repeated."""
    open_tasks = set(tasks)
    while open_tasks:
        for task in open_tasks:
            task.cancel()
        _, open_tasks = await asyncio.wait(open_tasks, timeout=1)
