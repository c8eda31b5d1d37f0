"""A provider quotes the gateway's key in its replies, in every shape of `secrets.py`, and the gateway must hide it."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from itertools import chain, product
from pathlib import Path

import httpx

from gateway.sandbox.echoes import SHAPES

from .card import Row
from .measure import costing
from .secrets import KEYS, PLACES, echoes, leaks
from .world import VIDEOS, gateway

AT_ONCE = 8
CREATE = {"model": "foxapi/kling-v3-text-to-video", "prompt": "waves", "fallback": False}


async def echoed(sandbox: str, folder: Path, keys: Iterable[str] = KEYS[1:4]) -> AsyncIterator[Row]:
    """A gateway for each key. What its client reads and what it logs is searched for every shape of the key."""
    for number, key in enumerate(keys):
        own = Path(tempfile.mkdtemp(dir=folder))
        every = list(product(PLACES, SHAPES))
        async with gateway(own, sandbox, provider_key=key) as target:
            for place, shape in every:
                await target.fault("reply", "submit", 1, **echoes(place, shape))
            turns = asyncio.Semaphore(AT_ONCE)
            async with costing(target) as cost, target.client() as client:
                answers = list(chain(*await asyncio.gather(*(_ask(client, turns) for _ in every))))
            left = await target.faults_left()
            await target.no_faults()
        shown = Counter(shape for answer in answers for shape in leaks(answer.text, key))
        logged = leaks((own / "gateway.log").read_text(), key)
        faults = [f"clients see the key as {', '.join(sorted(shown))}"] if shown else []
        faults += [f"the log shows the key as {', '.join(logged)}"] if logged else []
        faults += [f"{left} of the replies were not asked for"] if left else []
        yield Row(
            f"echoes of a key, {number + 1}",
            f"{len(every)} replies of a provider",
            cost,
            Counter(str(answer.status_code) for answer in answers),
            note=f"{shown.total()} of {len(answers)} answers and {len(logged)} shapes in the log show the key",
            faults=faults,
        )


async def _ask(client: httpx.AsyncClient, turns: asyncio.Semaphore) -> list[httpx.Response]:
    """Create a generation, and everything that its client can read of it."""
    async with turns:
        created = (await client.post(VIDEOS, json=CREATE)).raise_for_status()
        path = f"{VIDEOS}/{created.json()['id']}"
        return [created, await client.get(path, params={"wait": 10}), await client.get(f"{path}/events")]
