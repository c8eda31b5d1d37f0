"""The attacks of `bodies.py` and `lists.py` by a client with a key, and costly replies of a provider."""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from itertools import groupby

import httpx

from .bodies import BODIES, IMAGES, REPLIES, TEXTS, Body, small_bomb_of_webp
from .card import Row
from .lists import many_lists
from .measure import costing
from .world import KEYS, VIDEOS, Gateway, create, ended, until

LARGEST = 28 * 2**20 - 200_000  # bytes of a body, a little less than a gateway reads by default
IMAGE_BYTES = 5 * 2**20
REPLY_BYTES = 1_000_000
AT_ONCE = 20


async def bodies(gateway: Gateway, size: int = LARGEST) -> AsyncIterator[Row]:
    """Each body of `BODIES`, one after the other; a row for each door."""
    for door, group in groupby(BODIES.items(), lambda entry: entry[0].partition(":")[0]):
        answers: Counter[str] = Counter()
        slowest = (0.0, "")
        sent = count = 0
        async with costing(gateway) as cost, gateway.client() as client:
            for name, body in group:
                content = body.make(size)
                began = time.monotonic()
                answers[await _status(client, body, content)] += 1
                slowest = max(slowest, (time.monotonic() - began, name))
                sent, count = sent + len(content), count + 1
        note = f"slowest: {slowest[1]}, {slowest[0]:.1f} s"
        yield Row(f"bodies, {door}", f"{count} bodies, {sent / 1e6:,.0f} MB", cost, answers, note=note, with_key=True)


async def images(gateway: Gateway) -> AsyncIterator[Row]:
    """Many creates at once with each kind of costly image, and with each kind of costly text of one."""
    kinds = {name: _data_url(make(IMAGE_BYTES)) for name, make in IMAGES.items() if name != "WebP of many pixels"}
    texts = {name: make(IMAGE_BYTES).decode() for name, make in TEXTS.items()}
    yield await _creates(gateway, "costly images", _in_turn(kinds.values()))
    yield await _creates(gateway, "costly texts of images", _in_turn(texts.values()))
    yield await _creates(gateway, "WebP of 34 bytes, 100 megapixels", [_data_url(small_bomb_of_webp(10_000))] * AT_ONCE)
    bombs = [_data_url(small_bomb_of_webp(4_995 + number)) for number in range(5)]
    yield await _creates(gateway, "WebP of 34 bytes, 25 megapixels", _in_turn(bombs))


async def _creates(gateway: Gateway, name: str, images: Iterable[str]) -> Row:
    contents = [
        json.dumps({"model": "kling", "prompt": "a cat", "image": image, "adapt": "nearest"}).encode()
        for image in images
    ]
    async with costing(gateway) as cost, gateway.client() as client:
        headers = {"content-type": "application/json"}
        answers = await asyncio.gather(*(client.post(VIDEOS, content=content, headers=headers) for content in contents))
        made = [answer.json() for answer in answers if answer.is_success]
        ends = Counter([(await ended(client, each))["status"] for each in made])
    what = f"{len(contents)} creates at once, {sum(map(len, contents)) / 1e6:,.1f} MB"
    note = ", ".join(f"{count} {status}" for status, count in ends.items())
    return Row(name, what, cost, Counter(str(answer.status_code) for answer in answers), note=note, with_key=True)


async def replies(gateway: Gateway, size: int = REPLY_BYTES) -> AsyncIterator[Row]:
    """Each reply of `REPLIES` to a poll of one of ten tasks, and one of 8 MB of numbers; the tasks must still end."""
    async with gateway.client() as client:
        await gateway.fault("slow_task", "submit", seconds=8)
        made = [await create(client) for _ in range(10)]
        async with costing(gateway) as cost:
            for make in REPLIES.values():
                await gateway.fault("reply", "poll", 1, text=make(size).decode())
            await gateway.fault(
                "reply", "poll", 1, text=REPLIES["a task with numbers with exponents"](8 * size).decode()
            )
            await until(gateway.all_happened, 60)
        await gateway.no_faults()
        statuses = Counter([(await ended(client, each))["status"] for each in made])
    completed, failed = statuses["completed"], statuses["failed"]
    says_failed = sum(b'"failed"' in make(100) for make in REPLIES.values())  # so clearly that it ends a task
    note = f"{completed} tasks completed, {failed} failed as a reply said"
    is_sound = completed + failed == len(made) and failed <= says_failed
    faults = [] if is_sound else [f"the tasks ended as {dict(statuses)}"]
    yield Row(
        "replies to polls", f"{len(REPLIES) + 1} replies of {size / 1e6:.0f} to 8 MB", cost, note=note, faults=faults
    )


async def lists(gateway: Gateway, count: int = 400) -> AsyncIterator[Row]:
    """Filtered lists of the long history that the ledger of this gateway has."""
    async with costing(gateway) as cost:
        harm = await many_lists(gateway.url, KEYS["ATTACKER_KEY"], lists=count, at_once=AT_ONCE)
    answers = Counter({str(status): number for status, number in harm.answers.items()})
    yield Row("lists that search", f"{count} lists, {AT_ONCE} at once", cost, answers, with_key=True)


async def _status(client: httpx.AsyncClient, body: Body, content: bytes) -> str:
    """The status of the answer, or `ended` if the gateway has ended the connection instead."""
    headers = {"content-type": body.content_type, "accept": "application/json, text/event-stream"}
    try:
        answer = await client.post(body.path, content=content, headers=headers)
    except httpx.TransportError:
        return "ended"
    return str(answer.status_code)


def _in_turn(values: Iterable[str]) -> list[str]:
    every = list(values)
    return [every[number % len(every)] for number in range(AT_ONCE)]


def _data_url(content: bytes) -> str:
    return f"data:image/x;base64,{base64.b64encode(content).decode()}"
