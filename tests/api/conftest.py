"""A whole gateway with a stub of all providers, and clients that compare every answer with the OpenAPI document."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import apsw
import httpx
import msgspec
import pytest
import structlog
import uvicorn

from gateway.api.handlers import HANDLERS
from gateway.api.openapi import document as openapi
from gateway.api.web.operation import described
from gateway.app import Application
from gateway.configuration.bound import Source
from gateway.connection import OpenConnections, bounded
from gateway.domain.adapter.contract import Adapter
from gateway.domain.generation.model import Generation
from gateway.fetch.fetcher import FetchRefused, Posted
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

from ..traffic import SETTLE_SECONDS, Traffic

KEY = "vg_" + "a" * 40
OTHER_KEY = "vg_" + "b" * 40
PROVIDER_KEYS = {
    "FOXAPI_API_KEY": "fox-" + "1" * 20,
    "KEEVX_API_KEY": "keevx-" + "2" * 20,
    "KLING_RELAY_API_KEY": "relay-" + "3" * 20,
}
VIDEOS = "/v1/videos/generations"


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box of an MP4 file."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


# A video of five seconds, as far as the gateway reads it: its header.
FILE = (
    box(b"ftyp", b"mp42")
    + box(
        b"moov",
        box(b"mvhd", bytes(12), struct.pack(">II", 1000, 5000), bytes(80)),
        box(
            b"trak",
            box(b"tkhd", bytes(40), struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 2**30), bytes(8)),
            box(b"mdia", box(b"hdlr", bytes(8), b"vide", bytes(12))),
        ),
    )
    + box(b"mdat", b"a video" * 100)
)

ADAPTERS = load_adapters()
DOCUMENT = openapi.document()
SOMETIMES = {
    "Idempotent-Replayed",
    "Idempotent-Replayed-Because",
    "Retry-After",
    "openai-poll-after-ms",
    "Preference-Applied",
    "x-litellm-response-cost",
}  # documented headers that some answers lack
# A file that the provider serves has none of these, and a body of several ranges has them in its parts.
CONTENT_READS = {"readVideoContent", "readImageContent"}
OF_ARCHIVED_FILES = {"ETag", "Last-Modified", "Accept-Ranges", "Cache-Control", "Content-Length", "Content-Range"}
TYPES: dict[str, Any] = {
    structure.__name__: structure
    for operation in (route.operation for route in described(HANDLERS))
    for structure in (
        operation.answer,
        *operation.other_answers,
        operation.stream,
        operation.error_body,
        *operation.other_errors,
        openapi.ErrorAnswer,
    )
    if structure is not None
}


class ManualClock:
    """A clock that tests move. Each reading is a millisecond later, so that ids sort in the order of their creation."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 2, 12, tzinfo=UTC)
        self._timers: list[tuple[datetime, Callable[[], None]]] = []
        self.traffic = Traffic()

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        entry = (self._now + timedelta(seconds=seconds), callback)
        self._timers.append(entry)

        timers = self._timers

        class Timer:
            def cancel(self) -> None:
                with suppress(ValueError):
                    timers.remove(entry)

        return Timer()

    async def advance(self, seconds: float) -> None:
        """Let all tasks run until they wait, move the time, and let them run again."""
        await self.traffic.settle()
        self._now += timedelta(seconds=seconds)
        due = [entry for entry in self._timers if entry[0] <= self._now]
        self._timers[:] = [entry for entry in self._timers if entry[0] > self._now]
        for _, callback in due:
            callback()
        await self.traffic.settle()


class Body(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


class StubUpstream:
    """All three providers in one: accepts every submit, and reports every task in the state `word`."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.word = "processing"  # the state of every task: processing, completed, failed
        self.refuse: httpx.Response | None = None  # the answer to every submit, instead of accepting it
        self.url = "https://cdn.example/result.mp4"
        self.withheld = False  # True: the gateway cannot fetch the file at `url`
        self.content = FILE  # the bytes of every result
        self.failing: frozenset[str] = frozenset()  # ids of tasks that fail whatever `word` is
        self.file: Callable[[], httpx.Response] = self.whole  # the answer where a file needs the provider's key

    def whole(self) -> httpx.Response:
        """An answer with the whole file, whose body can be read once."""
        headers = {"content-type": "video/mp4", "content-length": str(len(self.content))}
        return httpx.Response(200, stream=Body(self.content), headers=headers)

    @property
    def submits(self) -> list[httpx.Request]:
        """The calls that would cost money."""
        return [request for request in self.requests if request.method == "POST" and "upload" not in request.url.path]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        host, path = request.url.host, request.url.path
        if path.endswith("/content"):
            return self.file()
        if "upload" in path:
            return httpx.Response(200, json={"result": {"url": "https://cdn.example/in.png"}, "data": {}})
        if request.method == "POST":
            return self.refuse or self._accepted(host, len(self.submits))
        return self._task(host, path)

    @asynccontextmanager
    async def fetch(self, url: str, **_: Any) -> AsyncIterator[Any]:
        """Replaces the guarded fetcher: it gets the file at `self.url`, and refuses every other URL."""
        if self.withheld or url != self.url:
            raise FetchRefused(f"{url} is not for the gateway")

        async def chunks() -> AsyncIterator[bytes]:
            yield self.content

        yield SimpleNamespace(host="stub", status=200, is_whole=True, headers={}, raw=chunks, chunks=chunks)

    def _accepted(self, host: str, number: int) -> httpx.Response:
        if "keevx" in host:
            count = json.loads(self.requests[-1].content).get("generate_count", 1)
            return httpx.Response(
                200, json={"code": 0, "data": {"task_ids": [f"task-{number}-{at}" for at in range(count)]}}
            )
        if "foxapi" in host:
            return httpx.Response(200, json={"id": f"task-{number}", "status": "pending"})
        return httpx.Response(200, json={"code": 0, "data": {"task_id": f"task-{number}"}})

    def _task(self, host: str, path: str) -> httpx.Response:
        task = path.rpartition("/")[2]
        if "keevx" in host:
            words = {"processing": "PROCESSING", "completed": "SUCCEEDED", "failed": "FAILED"}
            word = "failed" if task in self.failing and self.word == "completed" else self.word
            name = "image_url" if "image_generate" in path else "video_url"
            data = {"task_id": task, "status": words[word], name: self.url, "error_message": "It broke."}
            return httpx.Response(200, json={"code": 0, "data": data})
        if "foxapi" in host:
            results = [{"url": self.url}] if self.word == "completed" else None
            error = {"code": "service_error", "message": "It broke."} if self.word == "failed" else None
            return httpx.Response(200, json={"id": task, "status": self.word, "results": results, "error": error})
        words = {"processing": "IN_PROGRESS", "completed": "SUCCESS", "failed": "FAILURE"}
        data = {"task_id": task, "status": words[self.word], "fail_reason": "It broke." * (self.word == "failed")}
        return httpx.Response(200, json={"code": "success", "data": data})


class Gateway:
    """A running gateway, and helpers that tests use on it."""

    def __init__(self, application: Application, upstream: StubUpstream, clock: ManualClock) -> None:
        self.application = application
        self.upstream = upstream
        self.clock = clock
        self.client = self.client_of(KEY)
        self.other = self.client_of(OTHER_KEY)
        self.key = KEY
        self.port = 0  # set by the fixture `served`

    def client_of(self, key: str | None, base_url: str = "http://gateway.test") -> httpx.AsyncClient:
        """A client that checks every answer against the OpenAPI document."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(self.application.asgi, raise_app_exceptions=True)
        hooks: Any = {"response": [check_documented]}
        return httpx.AsyncClient(transport=transport, base_url=base_url, headers=headers, event_hooks=hooks)

    async def create(self, client: httpx.AsyncClient | None = None, **body: Any) -> dict[str, Any]:
        """Create a generation from a valid body; `body` changes fields, and the value `...` removes one."""
        body = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach.", **body}
        body = {name: value for name, value in body.items() if value is not ...}
        response = await (client or self.client).post(VIDEOS, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def finish(self, word: str = "completed") -> None:
        """Let every task end in this state, and run until its file is archived or no longer expected."""
        self.upstream.word = word
        for _ in range(50):
            await self.clock.advance(40)
            left = [await self.stored(name) for name in await self.application.store.open_ids(self.clock.now())]
            if all(generation.status.terminal and generation.outputs[0].artifact is not None for generation in left):
                return
        pytest.fail("the generations do not end")

    async def begin(self, generation_id: str) -> None:
        """Run until the provider is working on this generation."""
        for _ in range(50):
            await self.clock.advance(10)
            if (await self.stored(generation_id)).status == "in_progress":
                return
        pytest.fail("the generation does not begin")

    async def until_busy(self) -> None:
        """Run until a write is handed to the thread of the ledger, or other work to another thread."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while not self.clock.traffic.under_way:  # noqa: ASYNC110  # a counter, without an event for its start
                await asyncio.sleep(0)

    async def stored(self, generation_id: str) -> Generation:
        """The generation in the ledger."""
        generation = await self.application.store.get(generation_id)
        assert generation is not None
        return generation

    def rows(self) -> Mapping[str, int]:
        """The number of rows in each table that clients fill."""
        tables = ("generations", "attempts", "files", "idempotency_keys")
        # Not `sqlite3`, another copy of the library: when it closes the file, the locks of the store on it are dropped.
        with closing(apsw.Connection(str(self.application.settings.database.path))) as database:
            return {table: database.execute(f"select count(*) from {table}").get for table in tables}  # noqa: S608  # no text from outside

    async def raw(self, *parts: bytes, pause: float = 0, half_close: bool = False) -> list["Answer"]:
        """All answers to these bytes, sent over a new socket."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                with suppress(ConnectionError):  # the server has answered and closed before it read everything
                    writer.write(part)
                    await writer.drain()
                await asyncio.sleep(pause)
            if half_close:
                writer.write_eof()
            received = b""
            with suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(5):
                    while chunk := await reader.read(65536):
                        received += chunk
                        if is_complete(received):
                            break
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        return list(answers_in(received))


class Answer:
    """A response as it was received from the socket."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status_code = status
        self.headers = headers
        self.content = body

    def json(self) -> Any:
        return json.loads(self.content)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def is_complete(received: bytes) -> bool:
    received = received.removeprefix(CONTINUE)
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0])


def answers_in(received: bytes) -> Iterator[Answer]:
    received = received.removeprefix(CONTINUE)
    while received:
        head, separator, rest = received.partition(b"\r\n\r\n")
        assert separator, received[:200]
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", len(rest)))
        yield Answer(int(first.split()[1]), headers, rest[:size])
        received = rest[size:]


async def check_documented(response: httpx.Response) -> None:
    """Fail for an answer with a status, header, media type or field that the OpenAPI document does not have."""
    await response.aread()
    operation = operation_of(response.request.method, response.request.url.path)
    if operation is None:
        return
    responses = operation["responses"]
    documented = responses.get(str(response.status_code)) or responses["default"]
    content = documented.get("content", {})
    if not content:
        assert response.content == b""
        return
    sometimes = SOMETIMES | OF_ARCHIVED_FILES if operation["operationId"] in CONTENT_READS else SOMETIMES
    for name in documented["headers"]:
        assert name in sometimes or name in response.headers, name
    media_type = response.headers["content-type"].partition(";")[0]
    described = content.get(media_type, content.get(media_type.partition("/")[0] + "/*"))
    assert described is not None, (response.status_code, media_type)
    schema = described.get("schema", {})
    if response.request.method != "HEAD":
        references = [entry["$ref"] for entry in schema.get("oneOf", [schema]) if "$ref" in entry]
        kinds = [TYPES[reference.rpartition("/")[2]] for reference in references]
        assert not kinds or any(_is_of(kind, response) for kind in kinds), (kinds, response.content)


def _is_of(kind: Any, response: httpx.Response) -> bool:
    """Whether an answer has the fields of a structure and no others."""
    try:
        read = msgspec.json.decode(response.content, type=kind)
    except msgspec.ValidationError:
        return False
    return bool(json.loads(msgspec.json.encode(read)) == response.json())


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """The documented operation of a request; None if it is not documented."""
    templates = sorted(DOCUMENT["paths"].items(), key=lambda item: item[0].count("{"))  # literal words win
    for template, operations in templates:
        wanted, parts = template.split("/"), path.split("/")
        if template.endswith("{name}"):  # the name of a model can contain slashes
            parts = [*parts[: len(wanted) - 1], "/".join(parts[len(wanted) - 1 :])]
        fits = len(wanted) == len(parts) and all(
            (other.strip("/") if part.startswith("{") else part == other)
            for part, other in zip(wanted, parts, strict=True)
        )
        if fits and method.lower() in operations:
            operation: dict[str, Any] = operations[method.lower()]
            return operation
    return None


@pytest.fixture
def check_error() -> Callable[..., str]:
    """Checks an error answer and returns its message."""
    return error_message


def error_message(response: Any, status: int, code: str, param: str | None = None, *, hidden: bool = False) -> str:
    """Check the status and the shape of an error answer; return its message."""
    assert response.status_code == status, response.content
    assert response.headers["content-type"].partition(";")[0] == "application/json"
    body = response.json()
    assert set(body) == {"error", "request_id"}
    further = {"routes"} if code == "unsupported_parameter" else set()
    further |= {"budget", "reserves_usd"} if code == "budget_exceeded" and not hidden else set()
    further |= {"generation_id"} & set(body["error"])
    assert set(body["error"]) == {"message", "type", "param", "code"} | further
    assert response.headers["x-request-id"] == body["request_id"]
    assert (body["error"]["code"], body["error"]["param"]) == (code, param), body
    message = body["error"]["message"]
    assert isinstance(message, str)
    assert message
    return message


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Prints nothing, and undoes what other tests have configured."""
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )
    yield
    structlog.reset_defaults()


Start = Callable[..., Any]


@asynccontextmanager
async def running(application: Application) -> AsyncIterator[None]:
    """Run the lifespan in one task, because the framework must enter and leave it in the same task."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with application.litestar.lifespan():
            started.set()
            await stop.wait()

    task = asyncio.create_task(live())
    begun = asyncio.create_task(started.wait())
    await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
    begun.cancel()
    try:
        yield
    finally:
        stop.set()
        await task


MEMORY = Path("/dev/shm")  # noqa: S108  # flushing to a disk would take most of the time


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts gateways: `toml` is the configuration, `environ` the environment; without `keys` no key is needed.

    `adapters` and `upstream` replace the providers, which are three that the stub answers for.
    """
    async with AsyncExitStack() as stack:
        place = MEMORY if MEMORY.is_dir() else None  # noqa: ASYNC240  # one call at the start, which does not block
        folder = Path(stack.enter_context(TemporaryDirectory(dir=place)))

        async def begin(
            toml: str = "",
            *,
            environ: Mapping[str, str] | None = None,
            keys: bool = True,
            adapters: Mapping[str, Adapter] = ADAPTERS,
            upstream: StubUpstream | None = None,
        ) -> Gateway:
            variables = {**PROVIDER_KEYS, "VIDEO_GATEWAY_ARTIFACTS": str(folder / "artifacts")}
            variables["VIDEO_GATEWAY_DATABASE_URL"] = f"sqlite:///{folder / 'test.db'}"
            if keys:
                variables |= {"TEST_KEY": KEY, "TEST_OTHER_KEY": OTHER_KEY}
                toml = f'server.api_keys = ["env:TEST_KEY", "env:TEST_OTHER_KEY"]\n{toml}'
            (folder / "gateway.toml").write_text(f"artifacts.thumbnails = false\n{toml}")
            settings = load(folder / "gateway.toml", {**variables, **(environ or {})}, adapters)
            upstream, clock = upstream or StubUpstream(), ManualClock()
            source = Source(path=folder / "gateway.toml", environ={**variables, **(environ or {})}, adapters=adapters)
            application = Application(
                settings, adapters=adapters, clock=clock, transport=httpx.MockTransport(upstream), source=source
            )
            for fetcher in (application.input_fetcher, application.result_fetcher):
                fetcher.get = upstream.fetch  # type: ignore[method-assign]  # tests have no network
            clock.traffic.count_threads(application)
            await stack.enter_async_context(running(application))
            gateway = Gateway(application, upstream, clock)
            await stack.enter_async_context(gateway.client)
            await stack.enter_async_context(gateway.other)
            return gateway

        yield begin


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    """A gateway with all three providers and two client keys."""
    gateway: Gateway = await start()
    return gateway


@pytest.fixture
async def notified(gateway: Any) -> AsyncIterator[Any]:
    """A gateway with a stub of all receivers: every POST of a webhook is answered with `status`, at first 200."""

    async def post(url: str, *, content: bytes, headers: Mapping[str, str], **_: Any) -> Posted:
        gateway.posted.append(url)
        gateway.bodies.append(content)
        gateway.headers.append(dict(headers))
        await gateway.answers.wait()
        return Posted(gateway.status, {})

    gateway.posted, gateway.bodies, gateway.headers = [], [], []
    gateway.status, gateway.answers = 200, asyncio.Event()
    gateway.answers.set()
    gateway.application.webhook_fetcher.post = post
    yield gateway
    gateway.answers.set()  # a delivery that still waits for its answer would delay the stop until its time-out


@pytest.fixture
async def served(gateway: Gateway) -> AsyncIterator[Gateway]:
    """The gateway on a port, served by the same server as in production."""
    async for listening_gateway in serve(gateway):
        yield listening_gateway


async def serve(gateway: Gateway) -> AsyncIterator[Gateway]:
    config = uvicorn.Config(
        gateway.application.asgi,
        http=bounded(OpenConnections(1000), gateway.application.refusing),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gateway.port = listening.getsockname()[1]
        await server.startup(sockets=[listening])
        try:
            yield gateway
        finally:
            server.force_exit = True
            await server.shutdown(sockets=[listening])


@pytest.fixture
async def untouched(gateway: Any) -> AsyncIterator[Any]:
    """A gateway that must be unchanged at the end of the test: no row, no file, no call to a provider."""
    yield gateway
    await gateway.clock.traffic.settle()
    assert set(gateway.rows().values()) == {0}
    assert not list(gateway.application.settings.artifacts.path.rglob("*.*"))
    assert gateway.upstream.requests == []
