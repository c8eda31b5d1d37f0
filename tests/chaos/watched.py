"""Clients that follow the events of generations, and what of it the auditor compares with the ledger."""

import asyncio
import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.domain.generation.event_names import ENDS, PUBLIC_EVENTS
from gateway.upstream.transport import ReqwestTransport

from .client import AGAIN_SECONDS, PATH, cancelled

SILENT_SECONDS = 20.0  # a stream without even a comment for so long is given up
EVENTS = "select generation_id, seq, type from events order by seq"


class Watchers:
    """Each follows one generation at a time at one gateway, and goes on at another one when its stream breaks."""

    def __init__(self, urls: Sequence[str], file: Path, seed: int, *, key: str, generations: Collection[str]) -> None:
        """`generations` are those that may be followed, whatever is in it at a moment. `file` gets what was seen."""
        self._urls = urls
        self._file = file.open("ab", buffering=0)
        self._random = random.Random(f"watchers {seed}")
        self._generations = generations
        self._http = httpx.AsyncClient(transport=ReqwestTransport(), headers={"authorization": f"Bearer {key}"})
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.broken = 0  # streams that broke, and calls for one without an answer

    def start(self, count: int) -> None:
        """Start so many."""
        self._tasks = [asyncio.create_task(self._live()) for _ in range(count)]

    async def stop(self, seconds: float) -> None:
        """Follow nothing new, and the old until its end."""
        self._stopping = True
        async with asyncio.timeout(seconds):
            await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        self._stopping = True
        await cancelled(self._tasks)
        await self._http.aclose()
        self._file.close()

    async def _live(self) -> None:
        while not self._stopping:
            if not self._generations:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            generation = self._random.choice(sorted(self._generations))
            seen: list[tuple[int, str]] = []
            while not await self._follow(generation, seen):  # noqa: ASYNC110  # it waits for a gateway that works
                await asyncio.sleep(AGAIN_SECONDS)
            self._file.write(msgspec.json.encode({"generation": generation, "events": seen}) + b"\n")

    async def _follow(self, generation: str, seen: list[tuple[int, str]]) -> bool:
        """Add what one stream brings; whether it was the last one."""
        url = f"{self._random.choice(self._urls)}{PATH}/{generation}/events"
        headers = {"last-event-id": str(seen[-1][0])} if seen else {}
        try:
            async with self._http.stream("GET", url, headers=headers, timeout=SILENT_SECONDS) as reply:
                if reply.status_code == 204:
                    return True
                number = None
                async for line in reply.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        number = int(value)
                    elif name == "event" and number is not None:
                        seen.append((number, value))
                        number = None
        except httpx.TransportError:
            self.broken += 1
            return False
        return False


def examine_watched(lines: Sequence[Mapping[str, Any]], events: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    """A sentence for each stream that left an event out, repeated one, or ended before the generation did.

    The end of the generation ends a stream. A late result has an event after that, which a stream may show or not.
    """
    public: dict[str, list[int]] = {}
    ended: dict[str, int] = {}
    for generation, number, kind in events:
        if kind in PUBLIC_EVENTS:
            public.setdefault(generation, []).append(number)
        if kind in ENDS:
            ended[generation] = number
    for line in lines:
        generation, numbers = line["generation"], [number for number, _ in line["events"]]
        if numbers != public.get(generation, [])[: len(numbers)]:
            yield f"watched: {generation} has the events {public.get(generation)}, a client saw {numbers}"
        elif ended.get(generation) not in numbers:
            yield f"watched: the stream of {generation} ended, and it has not"
