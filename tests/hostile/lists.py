"""The attack on lists: many lists of a long history at once, with filters that match seldom or never.

A client with a key asks for them. Before lists had indexes, each looked at the whole history on the event loop, and
twenty at once stopped the health check for half a minute.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count, cycle

import httpx

VIDEOS = "/v1/videos/generations"
HEALTH_SECONDS = 0.01  # between two health checks
# Pairs that never match together are in it: the search between their indexes is as long as it can be.
FILTERS = (
    "model=no-such-model",
    "provider=no-such-provider",
    "created_before=1000000",
    "metadata[customer]=nobody",
    "metadata[project]=p1&metadata[customer]=c2&status=failed",
    "metadata[project]=p1&model=model-3&provider=keevx",
    "metadata[project]=p1&metadata[none]=1",
    "status=completed&metadata[project]=p1&order=asc",
    "status=failed&model=model-3",
    "&".join(f"metadata[project{n}]=p1" for n in range(16)),
)
EXHAUSTING = "metadata[project]=p{0}&metadata[customer]=c{1}"  # two that exclude each other in the history of `bench`


@dataclass
class Harm:
    """What an attack did, as it was seen from outside of the gateway."""

    answers: Counter[int] = field(default_factory=Counter)  # by status
    seconds: list[float] = field(default_factory=list)  # of each list
    health_seconds: list[float] = field(default_factory=list)  # of each health check meanwhile

    @property
    def health_p99(self) -> float:
        """The 99th percentile of the health checks, in seconds."""
        return percentile(self.health_seconds, 0.99)


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def many_lists(url: str, key: str, *, lists: int = 400, at_once: int = 20) -> Harm:
    """Read `lists` filtered lists, `at_once` of them at the same time, and check the health meanwhile.

    `url` is that of the gateway, `key` a client's. The answers have to be 200 or a 503 that says why.
    """
    harm = Harm()
    numbers, filters = count(), cycle((*FILTERS, EXHAUSTING))
    done = asyncio.Event()
    headers = {"authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=at_once)
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits) as client,
        httpx.AsyncClient(base_url=url, timeout=60) as probe,
    ):

        async def read() -> None:
            while (number := next(numbers)) < lists:
                began = time.perf_counter()
                answer = await client.get(f"{VIDEOS}?limit=100&{next(filters).format(number % 10, number % 997)}")
                harm.seconds.append(time.perf_counter() - began)
                harm.answers[answer.status_code] += 1
                if answer.status_code not in {200, 503}:
                    raise AssertionError(answer.text)

        async def check() -> None:
            while not done.is_set():
                began = time.perf_counter()
                (await probe.get("/health/live")).raise_for_status()
                harm.health_seconds.append(time.perf_counter() - began)
                await asyncio.sleep(HEALTH_SECONDS)

        checking = asyncio.create_task(check())
        await asyncio.gather(*(read() for _ in range(at_once)))
        done.set()
        await checking
    return harm
