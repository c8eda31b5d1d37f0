"""Attacks on connections, for which a client needs no key, only the port.

`FLOODS` send as fast as they can over one connection, then 60 connections do so at once; `HOLDS` send almost nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain, cycle, islice, repeat

from .card import Row
from .measure import FREE_SECONDS, Target, costing

HOST = b"Host: localhost\r\n"
GET = b"GET /health/live HTTP/1.1\r\n" + HOST
POST = b"POST /v1/videos/generations HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = POST + b"Content-Length: 1000000000000\r\n\r\n"
LARGE_GET = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
WISH = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
BLOCK = 2**16
FLOOD_BYTES = 100_000_000
CONNECTIONS = 60
MINUTE = FREE_SECONDS + 5.0  # longer than any connection may be held


@dataclass(frozen=True)
class Attack:
    """What one connection sends, again and again until its budget is used up or the server ends the connection."""

    name: str
    sends: str  # for a reader: what is sent
    pieces: Callable[[], Iterator[bytes]]  # an endless or a short sequence; after a short one the connection is held
    pause: float = 0.0  # seconds between two pieces
    reads: bool = True  # False: the answers are left unread


@dataclass
class Sent:
    """What became of one connection."""

    count: int = 0  # bytes
    seconds: float = 0.0
    status: bytes = b""  # of the first answer; empty without one
    ended: bool = False  # by the server, before the limits of the run


def endless(start: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    """`start`, and then blocks of the piece without an end."""
    block = piece * max(1, BLOCK // len(piece))
    return partial(chain, [start], repeat(block))


def once(*pieces: bytes) -> Callable[[], Iterator[bytes]]:
    """These pieces; after them the connection is only held."""
    return partial(iter, pieces)


def drip(start: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    """`start`, and then a single piece after each pause."""
    return partial(chain, [start], repeat(piece))


# Each sends as fast as it can: what counts is memory, and the time in which others are not answered.
FLOODS = (
    Attack("many trailers", "chunked trailers without end", endless(CHUNKED + b"0\r\n", b"A: b\r\n")),
    Attack("large trailers", "trailers of 8 KB", endless(CHUNKED + b"0\r\n", b"A: " + b"x" * 8192 + b"\r\n")),
    Attack("a trailer without end", "one trailer", endless(CHUNKED + b"0\r\nA: ", b"x")),
    Attack("pipelined requests", "GETs, one after the other at once", endless(b"", GET + b"\r\n")),
    Attack("pipelined creates", "POSTs with a body", endless(b"", POST + b"Content-Length: 2\r\n\r\n{}")),
    Attack("pipelined, answers unread", "GETs, no answer is read", endless(b"", GET + b"\r\n"), reads=False),
    Attack("many tiny headers", "headers without end", endless(GET, b"A: b\r\n")),
    Attack("large headers", "headers of 8 KB", endless(GET, b"A: " + b"x" * 8192 + b"\r\n")),
    Attack("a header without end", "one header", endless(GET + b"A: ", b"x")),
    Attack("a path without end", "a request line", endless(b"GET /", b"x")),
    Attack("empty lines", "line ends before a request", endless(b"", b"\r\n")),
    Attack("a body after 401", "a body without end, without a key", endless(LONG, b"x")),
    Attack("large chunks after 401", "chunks of 64 KB", endless(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n")),
    Attack("tiny chunks", "chunks of one byte", endless(CHUNKED, b"1\r\nx\r\n")),
    Attack("a chunk extension without end", "the extension of one chunk", endless(CHUNKED + b"1;a=", b"x")),
    Attack(
        "many chunk extensions", "chunks with extensions of 1 KB", endless(CHUNKED, b"1;a=" + b"x" * 999 + b"\r\nx\r\n")
    ),
    Attack("upgrades", "requests that ask for HTTP/2", endless(b"", GET + WISH + b"\r\n")),
    Attack(
        "HTTP/2 frames", "the preface of HTTP/2, then frames", endless(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(9))
    ),
    Attack("garbage", "bytes that are not HTTP", endless(b"", b"\x16\x03\x01garbage")),
)
# Each sends almost nothing and holds its connection: what counts is when the connection ends.
HOLDS = (
    Attack("silent", "nothing", once()),
    Attack("half a head", "half a head", once(GET)),
    Attack("a slow head", "a byte of a header each second", drip(GET + b"A: ", b"x"), pause=1.0),
    Attack("an empty line after an answer", "a GET, and then a line end", once(GET + b"\r\n", b"\r\n"), pause=0.5),
    Attack("slow empty lines", "a GET, and then a line end each second", drip(GET + b"\r\n", b"\r\n"), pause=1.0),
    Attack("a byte after 401", "a byte of a body each second", drip(LONG, b"x"), pause=1.0),
    Attack("half a body after 401", "half a body", once(LONG + b"x")),
    Attack("idle after an answer", "a GET", once(GET + b"\r\n")),
    Attack("answers unread", "GETs of a large answer, which is not read", once(LARGE_GET * 2), reads=False),
)
ATTACKS = FLOODS + HOLDS


async def attack_once(
    attack: Attack, address: tuple[str, int], *, budget: int, seconds: float, hold: float | None = None
) -> Sent:
    """Attack over one connection: at most `budget` bytes and about `seconds`, or until the server ends it.

    After the last byte, the connection is held for `hold` seconds; without it, until `seconds` are over.
    """
    sent = Sent()
    began = time.monotonic()
    async with _connection(address) as (reader, writer):
        reading = asyncio.create_task(_read(reader, sent)) if attack.reads else None
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(seconds):
                for piece in attack.pieces():
                    if sent.count + len(piece) > budget or sent.ended:
                        break
                    writer.write(piece)
                    await writer.drain()
                    sent.count += len(piece)
                    await asyncio.sleep(attack.pause)
                async with asyncio.timeout(hold):
                    await (reading if reading is not None else _until_lost(writer))
        sent.ended = sent.ended or time.monotonic() - began < seconds
        if reading is not None:
            reading.cancel()
    sent.seconds = time.monotonic() - began
    return sent


async def _read(reader: asyncio.StreamReader, sent: Sent) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            sent.status = sent.status or chunk[9:12]
    sent.ended = True


async def _until_lost(writer: asyncio.StreamWriter) -> None:
    """Wait for a reset; a client that does not read learns of an end in no other way."""
    while True:
        writer.write(b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _connection(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address, limit=2**16)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def answers_of(every: list[Sent]) -> Counter[str]:
    """The statuses of the first answers."""
    return Counter(sent.status.decode() or "ended" for sent in every)


async def floods(target: Target) -> AsyncIterator[Row]:
    """Each flood over one connection, and then all of them over many, which come again when they are ended."""
    for attack in FLOODS:
        async with costing(target) as cost:
            sent = await attack_once(attack, target.address, budget=FLOOD_BYTES, seconds=20.0)
        yield Row(attack.name, f"{sent.count / 1e6:.1f} MB: {attack.sends}", cost, answers_of([sent]), is_flood=True)
    async with costing(target) as cost:
        every = await _again_and_again(target, seconds=8.0)
    size = sum(sent.count for sent in every) / 1e6
    what = f"{size:,.0f} MB over {len(every):,} connections, {CONNECTIONS} at once"
    yield Row("all of these", what, cost, answers_of(every))


async def _again_and_again(target: Target, seconds: float) -> list[Sent]:
    until = time.monotonic() + seconds
    every: list[Sent] = []

    async def flood(attack: Attack) -> None:
        while (left := until - time.monotonic()) > 0.1:
            with suppress(ConnectionError):
                every.append(await attack_once(attack, target.address, budget=3_000_000, seconds=left, hold=0.05))
            await asyncio.sleep(0.05)

    await asyncio.gather(*map(flood, islice(cycle(FLOODS), CONNECTIONS)))
    return every


async def holds(target: Target) -> AsyncIterator[Row]:
    """All holds at once, over many connections, until the gateway has ended each of them."""
    async with costing(target) as cost:
        every = await asyncio.gather(
            *(
                attack_once(attack, target.address, budget=3_000_000, seconds=MINUTE)
                for attack in islice(cycle(HOLDS), CONNECTIONS)
            )
        )
    ended = dict.fromkeys((attack.name for attack in HOLDS), 0.0)
    for attack, sent in zip(cycle(HOLDS), every, strict=False):
        ended[attack.name] = max(ended[attack.name], sent.seconds)
    cost.free_seconds = max(cost.free_seconds or MINUTE, *ended.values())
    note = "ended after: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in ended.items())
    faults = [f"{name} is still open after {MINUTE:.0f} s" for name, seconds in ended.items() if seconds >= MINUTE]
    yield Row(
        "held connections",
        f"almost nothing over {CONNECTIONS} connections",
        cost,
        answers_of(every),
        note=note,
        faults=faults,
    )
