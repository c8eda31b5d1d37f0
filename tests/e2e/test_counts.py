"""What one operation costs, in counts: they do not depend on the machine, and they grow when a path grows.

Each operation is done several times, and the least that it took is compared with its bounds. When a change needs more
and is worth it, the bound is raised with that change. When a change needs less, the bound is lowered with it.
"""

import asyncio
import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_network
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec
import pytest

from ..asgi import scope_of
from .conftest import KEY, Gateway

ROOT = Path(__file__).parents[2]
OURS = (f"{ROOT}/gateway/", f"{ROOT}/providers/")
NOT_OURS = (f"{ROOT}/gateway/sandbox/",)
LIBRARIES = tuple(f"/site-packages/{name}/" for name in ("httpcore", "httpx", "litestar", "pyreqwest", "structlog"))
VIDEOS = "/v1/videos/generations"
BODY = msgspec.json.encode({"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."})
TIMES = 4


@dataclass(kw_only=True)
class Counts:
    """What an operation took."""

    statements: int = 0  # of SQL, those of transactions included
    commits: int = 0
    tasks: int = 0  # of asyncio, created by the gateway
    hand_overs: int = 0  # from the event loop to a thread, besides the commits
    decoded: int = 0  # replies of providers
    calls: int = 0  # of Python functions in the gateway and the libraries that it is built on


class Meter:
    """Counts what happens in this thread while it is on."""

    def __init__(self, gateway: Gateway) -> None:
        self._database: Any = gateway.app.store._database
        self._counted: Counter[str] = Counter()
        self._kinds: dict[CodeType, str] = {}

    @contextmanager
    def on(self) -> Iterator[Counts]:
        """The counts are complete at the end of the block."""
        loop: Any = asyncio.get_running_loop()
        connections = self._database.writer._connection, self._database.reader.connection
        hand_over, counts = loop.run_in_executor, Counts()
        self._counted.clear()
        for connection in connections:
            connection.exec_trace = self._statement
        loop.set_task_factory(self._task)
        loop.run_in_executor = self._counting(hand_over)
        sys.setprofile(self._call)
        try:
            yield counts
        finally:
            sys.setprofile(None)
            loop.run_in_executor = hand_over
            loop.set_task_factory(None)
            for connection in connections:
                connection.exec_trace = None
            for name, count in self._counted.items():
                setattr(counts, name, count)

    def _statement(self, _cursor: object, statement: str, _values: object) -> bool:
        self._counted["statements"] += 1
        self._counted["commits"] += statement.strip().lower() == "commit"
        return True

    def _task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        code = getattr(coroutine, "cr_code", None)
        self._counted["tasks"] += code is not None and self._kind(code) == "ours"
        return asyncio.Task(coroutine, loop=loop, **more)

    def _counting(self, hand_over: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self._counted["hand_overs"] += 1
            return hand_over(*args)

        return counted

    def _call(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        kind = self._kind(frame.f_code)
        if kind:
            self._counted["calls"] += 1
            self._counted["decoded"] += frame.f_code.co_qualname == "HttpReply.json"

    def _kind(self, code: CodeType) -> str:
        kind = self._kinds.get(code)
        if kind is None:
            file = code.co_filename
            kind = "ours" if file.startswith(OURS) and not file.startswith(NOT_OURS) else ""
            kind = kind or ("library" if any(part in file for part in LIBRARIES) else "")
            self._kinds[code] = kind
        return kind


BOUNDS = {
    "create, submitted and accepted": Counts(statements=24, commits=3, tasks=2, decoded=1, calls=1995),
    "poll that changes nothing": Counts(tasks=1, decoded=1, calls=620),
    "read by id": Counts(statements=1, calls=345),
    "list of one": Counts(statements=2, calls=370),
    # The file may come in more pieces on a busy machine, and each takes a hand-over and some calls.
    "finish with an archived file": Counts(statements=30, commits=3, tasks=3, hand_overs=8, decoded=1, calls=3000),
}
OPEN_BYTES_MAX = 8200  # that an open generation takes in our own objects
POLLED_BYTES_MAX = 256  # that a poll leaves behind: nothing may add up over thousands of polls


async def called(gateway: Gateway, method: str, path: str, body: bytes = b"", query: str = "") -> Any:
    """Call the application without a client, whose work would be counted."""
    headers = {
        "host": "gw.example",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await gateway.app.asgi(scope_of(method, path, headers, query=query), receive, send)
    assert messages[0]["status"] == 200, messages
    return msgspec.json.decode(b"".join(message.get("body", b"") for message in messages[1:]))


async def create(gateway: Gateway) -> str:
    made = await called(gateway, "POST", VIDEOS, BODY)
    await gateway.traffic.settle()
    return str(made["id"])


async def move_on(gateway: Gateway) -> None:
    """To the next timer, and until nothing is under way."""
    moment = gateway.clock.next_at
    assert moment is not None
    gateway.clock.move_to(moment)
    await gateway.traffic.settle()


async def least(meter: Meter, operation: Callable[[], Awaitable[Any]]) -> Counts:
    """The least of each count among several times of the same operation."""
    taken = []
    for _ in range(TIMES):
        with meter.on() as counts:
            await operation()
        taken.append(asdict(counts))
    return Counts(**{name: min(each[name] for each in taken) for name in taken[0]})


def compare(name: str, counts: Counts) -> None:
    bounds, taken = asdict(BOUNDS[name]), asdict(counts)
    grown = {kind: f"{taken[kind]}, at most {most}" for kind, most in bounds.items() if taken[kind] > most}
    assert not grown, f"{name} takes more than before: {grown}"


@pytest.mark.parametrize("sandbox_options", [{"total_seconds": 100_000.0}])
async def test_calls_and_polls_take_no_more_than_before(gateway: Gateway) -> None:
    await create(gateway)
    name = await create(gateway)
    meter = Meter(gateway)

    created = await least(meter, lambda: create(gateway))
    await move_on(gateway)
    polled = await least(meter, lambda: move_on(gateway))
    read = await least(meter, lambda: called(gateway, "GET", f"{VIDEOS}/{name}"))
    listed = await least(meter, lambda: called(gateway, "GET", VIDEOS, query="limit=1"))

    assert polled.decoded == 1, "this is not one poll"
    compare("create, submitted and accepted", created)
    compare("poll that changes nothing", polled)
    compare("read by id", read)
    compare("list of one", listed)


@pytest.mark.parametrize("sandbox_options", [{"plain_results": True}])
async def test_a_finish_takes_no_more_than_before(idle: Gateway) -> None:
    idle.fetch_allow = (ip_network("127.0.0.0/8"),)
    gateway = await idle.start()
    meter = Meter(gateway)
    taken = []
    for _ in range(TIMES):
        name = await create(gateway)
        await move_on(gateway)
        with meter.on() as counts:
            await gateway.clock.run_until(lambda name=name: ended(gateway, name))  # type: ignore[misc]
        taken.append(asdict(counts))

    compare("finish with an archived file", Counts(**{kind: min(each[kind] for each in taken) for kind in taken[0]}))


async def ended(gateway: Gateway, name: str) -> bool:
    return (await gateway.stored(name)).status.terminal


@pytest.mark.parametrize("sandbox_options", [{"total_seconds": 100_000.0}])
async def test_open_generations_take_no_more_memory_than_before(gateway: Gateway) -> None:
    await create(gateway)
    tracemalloc.start()
    try:
        opened = await left_behind(lambda: create(gateway), 4)
        await move_on(gateway)
        polled = await left_behind(lambda: move_on(gateway), 4)
    finally:
        tracemalloc.stop()

    assert opened <= OPEN_BYTES_MAX
    assert polled <= POLLED_BYTES_MAX


async def left_behind(operation: Callable[[], Awaitable[Any]], times: int) -> float:
    """Bytes that an operation allocates in our modules and does not free."""
    await operation()
    only = [tracemalloc.Filter(inclusive=True, filename_pattern=f"{part}*") for part in OURS]
    but = [tracemalloc.Filter(inclusive=False, filename_pattern=f"{part}*") for part in NOT_OURS]
    gc.collect()
    before = tracemalloc.take_snapshot().filter_traces([*only, *but])
    for _ in range(times):
        await operation()
    gc.collect()
    after = tracemalloc.take_snapshot().filter_traces([*only, *but])
    return sum(line.size_diff for line in after.compare_to(before, "filename")) / times
