"""A gateway that uses the sandbox, both on one clock that only the test moves."""

import asyncio
import heapq
import io
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
import structlog
from PIL import Image

from gateway.app import Application
from gateway.domain.generation.model import Generation
from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock as SandboxClock
from gateway.settings.load import (
    ArtifactSettings,
    DatabaseSettings,
    FetchSettings,
    ModelSettings,
    ProviderSettings,
    Secret,
    ServerSettings,
    Settings,
)
from gateway.settings.sections import KlingKey
from gateway.settings.toml import Identifier
from gateway.telemetry import Observer
from gateway.upstream.registry import load_adapters

from ..traffic import SETTLE_SECONDS, Traffic

T0 = 1_763_700_000
KEY, OTHER_KEY = "vg_test-key-number-one", "vg_test-key-number-two"
PROVIDERS = ("keevx", "kling_relay", "foxapi")
UPSTREAM_KEY = "sk-upstream-{}-key"
IMAGE_URL = "https://example.com/first.jpg"
STEPS_MAX = 400
PATIENCE_SECONDS = 20.0  # of real time, for the reply of a provider


class ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Implements the gateway's `Clock`, and moves the clock of the sandbox with it."""

    def __init__(self, sandbox: SandboxClock, idle: Callable[[], Awaitable[None]]) -> None:
        self._sandbox = sandbox
        self._idle = idle
        self._now = datetime.fromtimestamp(T0, UTC)
        self._timers: list[tuple[datetime, int, ManualTimer]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._now + timedelta(seconds=seconds), next(self._order), timer))
        return timer

    @property
    def next_at(self) -> datetime | None:
        """The time of the next timer; `None` without one."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def move_to(self, moment: datetime) -> None:
        """Move both clocks to this time, and call the timers that are due."""
        self._sandbox.advance((moment - self._now).total_seconds())
        self._now = moment
        while (due := self.next_at) is not None and due <= moment:
            _, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()

    def move_on(self, seconds: float) -> None:
        """Move both clocks by this time in one step."""
        self.move_to(self._now + timedelta(seconds=seconds))

    async def run_until(self, predicate: Callable[[], Awaitable[bool]], steps: int = STEPS_MAX) -> None:
        """Move from timer to timer until the predicate is true."""
        for _ in range(steps):
            await self._idle()
            if await predicate():
                return
            moment = self.next_at
            assert moment is not None, "no timer is left"
            self.move_to(max(moment, self._now))
        raise AssertionError(f"not reached in {steps} steps, at {self._now}")

    async def run_for(self, seconds: float, steps: int = STEPS_MAX) -> None:
        """Move by this time, from timer to timer."""
        end = self._now + timedelta(seconds=seconds)
        for _ in range(steps):
            await self._idle()
            moment = self.next_at
            if moment is None or moment > end:
                self.move_to(end)
                await self._idle()
                return
            self.move_to(max(moment, self._now))
        raise AssertionError(f"more than {steps} steps")


class CountingTransport(httpx.AsyncBaseTransport):
    """A transport that reports its exchanges to `Traffic`, up to the end of the body."""

    def __init__(self, inner: httpx.AsyncBaseTransport, traffic: Traffic) -> None:
        self._inner = inner
        self._traffic = traffic

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        provider = request.url.path.split("/")[1]
        self._traffic.begin()
        self._traffic.waits_for[provider] += 1
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            self._done(provider)
            raise
        response.stream = _CountedBody(response.stream, lambda: self._done(provider))
        return response

    def _done(self, provider: str) -> None:
        self._traffic.waits_for[provider] -= 1
        self._traffic.end()

    async def aclose(self) -> None:
        await self._inner.aclose()


class _CountedBody(httpx.AsyncByteStream):
    def __init__(self, inner: Any, done: Callable[[], None]) -> None:
        self._inner = inner
        self._done: Callable[[], None] | None = done

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
        if self._done is not None:
            self._done()
            self._done = None


STORE_WRITES = ("create", "delete", "take_over", "begin_submit", "accept", "write")


ADAPTERS = load_adapters()


class Gateway:
    """One gateway on one database. It can be stopped, crash, and be started again."""

    def __init__(self, folder: Path, sandbox: SandboxServer, sandbox_clock: SandboxClock) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.traffic = Traffic()
        self.clock = ManualClock(sandbox_clock, self.traffic.settle)
        self.writes: Counter[str] = Counter()  # writing calls of the store, by name
        self.providers: dict[str, dict[str, Any]] = {name: {} for name in PROVIDERS}
        self.models: dict[str, ModelSettings] = {}
        self.patience: dict[str, float] = {}  # seconds of real time to wait for a reply, by provider
        self.adapters = dict(ADAPTERS)
        self.drain_seconds = 35.0
        self.public_url: str | None = "https://gw.example"
        self.fetch_allow: tuple[Any, ...] = ()  # networks
        self.kling_keys: dict[str, str] = {}  # access key → secret key
        self.accept_clock = False
        self.said: Literal["restored", "moved"] | None = None  # about the ledger
        self.observers: tuple[Observer, ...] = ()  # besides the log
        self.thumbnails = False  # whether thumbnails are drawn
        self.app: Application
        self.client: httpx.AsyncClient
        self._lifespan: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def settings(self) -> Settings:
        urls = self.sandbox.base_urls()
        return Settings(
            server=ServerSettings(
                api_keys=(Secret.of(KEY), Secret.of(OTHER_KEY)),
                kling_keys=tuple(
                    KlingKey(access_key=Identifier.of(access), secret_key=Secret.of(secret))
                    for access, secret in self.kling_keys.items()
                ),
                auth="keys",
                drain_seconds=self.drain_seconds,
                public_url=self.public_url,
            ),
            database=DatabaseSettings(url=f"sqlite:///{self.folder / 'ledger.db'}"),
            artifacts=ArtifactSettings(url=f"file:{self.folder / 'artifacts'}", thumbnails=self.thumbnails),
            providers={
                name: ProviderSettings(
                    **{
                        "api_key": Secret.of(UPSTREAM_KEY.format(name)),
                        "base_url": urls[changes.get("adapter", name)],
                        "submit_timeout_seconds": self.patience.get(name, PATIENCE_SECONDS),
                        **changes,
                    }
                )
                for name, changes in self.providers.items()
            },
            models=self.models,
            fetch=FetchSettings(allow=self.fetch_allow),
        )

    def route(self, *routes: str, **changes: Any) -> None:
        """Give the model `m` these routes."""
        self.models["m"] = ModelSettings(routes=routes, **changes)

    async def start(self) -> "Gateway":
        """Start the gateway with the settings as they are now."""
        self.app = app = Application(
            self.settings(),
            adapters=self.adapters,
            clock=self.clock,
            accept_clock=self.accept_clock,
            said=self.said,
            observers=self.observers,
        )
        for name, provider in self.app.providers.items():
            self.app.providers[name] = replace(provider, read_timeout_seconds=self.patience.get(name, PATIENCE_SECONDS))
        app.upstream._reused = CountingTransport(app.upstream._reused, self.traffic)
        app.upstream._fresh = CountingTransport(app.upstream._fresh, self.traffic)
        app.upstream._files = CountingTransport(app.upstream._files, self.traffic)
        for name in STORE_WRITES:
            self.replace_in_store(name, lambda call: call)
        self.replace_in_store("claim", lambda call: call, app.store.task_claims)
        self.traffic.count_threads(app)
        inputs = app._inputs
        watched = [(app._thumbnails, "_draw"), (inputs._converter, "convert")]
        for owner, name in [*watched, (inputs, "_fetch_once"), (app.webhook_fetcher, "post")]:
            setattr(owner, name, self.traffic.counting(getattr(owner, name)))
        started = asyncio.Event()
        self._stop = asyncio.Event()
        self._lifespan = asyncio.create_task(self._live(started))
        await asyncio.wait([self._lifespan, asyncio.create_task(started.wait())], return_when="FIRST_COMPLETED")
        if self._lifespan.done():
            await self._lifespan
        self.client = self.client_of(KEY)
        return self

    def client_of(self, key: str | None) -> httpx.AsyncClient:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app=self.app.asgi)  # type: ignore[arg-type]  # two names of one protocol
        return httpx.AsyncClient(transport=transport, base_url="https://gw.example", headers=headers)

    def replace_in_store(self, name: str, change: Callable[[Any], Any], part: Any = None) -> None:
        """Replace a method of the store, or of a part of it, and count its calls."""
        part = part or self.app.store
        call = change(getattr(part, name))

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.writes[name] += 1
            return await call(*args, **kwargs)

        setattr(part, name, self.traffic.counting(counted))

    async def _live(self, started: asyncio.Event) -> None:
        async with self.app._lifespan(self.app.litestar):
            started.set()
            await self._stop.wait()

    async def stop(self) -> None:
        """Stop the gateway as SIGTERM does."""
        self._stop.set()
        if self._lifespan is not None:
            await self._lifespan
            self._lifespan = None

    async def crash(self) -> None:
        """Abandon everything at once, as if the process was killed: nothing more is sent, read or stored."""
        tasks = list(self.app.engine._tasks.values())
        effects = [task for drive in self.app.engine._drivers.values() for task in drive._running]
        for task in (*tasks, *effects):
            task.cancel()
        await asyncio.gather(*tasks, *effects, return_exceptions=True)
        await self.stop()

    async def restart(self) -> None:
        """Stop the gateway as SIGTERM does, then start it again."""
        await self.stop()
        await self.start()

    async def post(self, **body: Any) -> dict[str, Any]:
        """Create a generation; the answer."""
        answer = await self.client.post("/v1/videos/generations", json={"prompt": "A beach.", **body})
        assert answer.status_code == 200, answer.text
        return self.json(answer)

    async def get(self, generation_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/videos/generations/{generation_id}")
        assert answer.status_code == 200, answer.text
        return self.json(answer)

    async def stored(self, generation_id: str) -> Generation:
        generation = await self.app.store.get(generation_id)
        assert generation is not None
        return generation

    async def finish(self, generation_id: str, steps: int = STEPS_MAX) -> dict[str, Any]:
        """Move the clock until a generation has ended; the generation as the API shows it then."""

        async def ended() -> bool:
            return (await self.stored(generation_id)).status.terminal

        await self.clock.run_until(ended, steps)
        await self.traffic.settle()
        return await self.get(generation_id)

    async def make(self, **body: Any) -> dict[str, Any]:
        """Create a generation and move the clock until it has ended."""
        return await self.finish((await self.post(**body))["id"])

    async def until_state(self, generation_id: str, *states: str) -> Generation:
        """Move the clock until the newest attempt is in one of the states."""

        async def reached() -> bool:
            attempts = (await self.stored(generation_id)).attempts
            return bool(attempts) and attempts[-1].state in states

        await self.clock.run_until(reached)
        return await self.stored(generation_id)

    async def until_found(self, generation_id: str) -> None:
        """Move the clock until the generation has a file that is not archived yet."""

        async def has_unarchived_file() -> bool:
            outputs = (await self.stored(generation_id)).outputs
            return any(output.artifact is not None and output.kept is None for output in outputs)

        await self.clock.run_until(has_unarchived_file)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Run the event loop until the condition is true, without moving the clock."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while not reached():  # noqa: ASYNC110  # what is waited for happens in other programs' code: no event
                await asyncio.sleep(0)

    def received(self, provider: str, operation: str = "submit") -> int:
        """How many calls of an operation the sandbox received."""
        return self.sandbox.state.received[provider, operation]

    def started(self, provider: str) -> int:
        """How many tasks the sandbox started, which a provider would bill."""
        return self.sandbox.state.started[provider]

    @property
    def paid(self) -> dict[str, int]:
        """How many tasks each provider started."""
        return {name: self.started(name) for name in PROVIDERS if self.started(name)}

    @property
    def submits(self) -> dict[str, int]:
        """How many submits each provider received."""
        return {name: self.received(name) for name in PROVIDERS if self.received(name)}

    @staticmethod
    def json(answer: httpx.Response) -> dict[str, Any]:
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
def events() -> Iterator[list[Mapping[str, Any]]]:
    """What is logged."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
async def sandbox_options() -> dict[str, Any]:
    """Settings of the sandbox. A test overrides them with `pytest.mark.parametrize`."""
    return {}


@asynccontextmanager
async def sandboxed(folder: Path, **options: Any) -> AsyncIterator[Gateway]:
    """A running sandbox, and a gateway for it that is not started yet."""
    clock = SandboxClock(T0)
    async with SandboxServer(clock=clock, max_short_side=90, **options) as sandbox:
        gateway = Gateway(folder, sandbox, clock)
        sandbox.app._callbacks.client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(503)))
        try:
            yield gateway
        finally:
            await gateway.stop()


@pytest.fixture
async def idle(
    tmp_path: Path, sandbox_options: dict[str, Any], events: list[Mapping[str, Any]]
) -> AsyncIterator[Gateway]:
    """A gateway that the test configures and starts itself."""
    async with sandboxed(tmp_path, **sandbox_options) as gateway:
        yield gateway


@pytest.fixture
async def gateway(idle: Gateway) -> Gateway:
    """A running gateway that uses a running sandbox."""
    return await idle.start()


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A small image that every provider accepts."""
    out = io.BytesIO()
    Image.new("RGB", (400, 320), (30, 90, 160)).save(out, "JPEG")
    return out.getvalue()
