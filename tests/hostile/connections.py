"""Attacks on connections, for which a client needs no key, only the port.

`python -m tests.hostile.connections URL PID` runs all of them against a gateway on this machine: first 100 MB on one
connection, then 60 connections at once, and prints a line for each.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, repeat

from .measure import Attack, Target, measure, row

HOST = b"Host: localhost\r\n"
GET = b"GET /health/live HTTP/1.1\r\n" + HOST
POST = b"POST /v1/videos/generations HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = POST + b"Content-Length: 1000000000000\r\n\r\n"
LARGE_GET = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
WISH = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
BLOCK = 2**16


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


async def run(target: Target) -> None:
    """All attacks: what 100 MB on one connection cost, and then 60 connections at once."""
    quiet = Attack("nothing, for comparison", "nothing", once())
    print(row(await measure(quiet, target, seconds=3.0)), flush=True)  # noqa: T201  # the report of a command
    for attack in FLOODS:
        print(row(await measure(attack, target)), flush=True)  # noqa: T201  # as above
    for attack in ATTACKS:
        outcome = await measure(attack, target, connections=60, budget=3_000_000, seconds=5.0)
        print("60x", row(outcome), flush=True)  # noqa: T201  # as above


if __name__ == "__main__":
    asyncio.run(run(Target(sys.argv[1], int(sys.argv[2]))))
