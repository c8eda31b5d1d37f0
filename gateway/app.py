"""One gateway: its services, which `gateway/build.py` builds, its application for a server, its start and its stop."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import httpx
import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from gateway.api.docs import docs, docs_script, docs_style, openapi
from gateway.api.generations.event_feed import Feed
from gateway.api.handlers import ERROR_FORMATS, HANDLERS
from gateway.api.mcp.plugin import McpPlugin
from gateway.api.metrics import MetricsPort
from gateway.api.web.cross_origin import CrossOrigin
from gateway.api.web.errors import EXCEPTION_HANDLERS, refuse_all
from gateway.api.web.head import with_sound_heads
from gateway.api.web.keyless_guard import KeylessGuard
from gateway.api.web.methods import answer_options
from gateway.api.web.request_log import RequestLog
from gateway.build import (
    build_artifacts,
    build_base,
    build_callback_urls,
    build_clients,
    build_engine,
    build_generations,
    build_inputs,
    build_reconciliation,
    build_upstream,
    build_webhooks,
)
from gateway.build_context import build_context
from gateway.build_observation import add_figures, build_tracing
from gateway.clock import Clock, SystemClock
from gateway.configuration.bound import Bound, Source, bound
from gateway.configuration.reloader import Reloader
from gateway.domain.adapter.contract import Adapter
from gateway.domain.errors import Overloaded, StoreUnavailable
from gateway.domain.keyless_access import is_loopback
from gateway.domain.replicas import SURE_SECONDS
from gateway.drain import drain_of
from gateway.engine.lineage_watch import LineageWatch
from gateway.inputs.disk_room import refuses_images
from gateway.live import Live
from gateway.log import dropped_lines
from gateway.log_observer import LogObserver
from gateway.metrics.figures import unfollowed, warnings
from gateway.metrics.service import Metrics
from gateway.settings.load import Settings
from gateway.settings.secret_values import too_short
from gateway.store.lineage import Said
from gateway.telemetry import Observer, Observers
from gateway.upstream.provider import accepting
from gateway.upstream.registry import load_adapters

log = structlog.get_logger()
SWEEPING_SECONDS = 1.0  # for the batch under way: a bucket that does not answer must not hold a stop up
CLOSING_SECONDS = 0.5  # the part of the time for a stop that is kept for closing the store
UNFOLLOWED_SHOWN = 20  # generation ids that are logged for each provider
UNFOLLOWED_REMEDY = (
    "the provider {provider} is not configured, or it is disabled without a key, so its tasks cannot be polled. No"
    " other route is paid for instead before their deadline. Start with its key; enabled = false keeps new work away"
)
FAULTS_SHOWN = 20  # of a configuration that was not reloaded, in the warnings of the readiness
COMPLETIONS_LEARNT = 1000  # so many of the newest generations tell at the start how fast each route is


def build_api() -> Litestar:
    """Register every handler. `Application` puts what they use, and its `lifespan`, into the state of the result."""
    litestar = Litestar(
        route_handlers=[*HANDLERS, openapi, docs, docs_script, docs_style],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lambda app: app.state.lifespan(app)],
        state=State({"error_formats": ERROR_FORMATS}),
        middleware=[KeylessGuard()],
        plugins=[McpPlugin()],
        openapi_config=None,  # `api/openapi` makes the document from the wire structures
        logging_config=None,
        request_max_body_size=None,  # `read_body` counts the bytes, and its refusal has the shape of every error
    )
    answer_options(litestar)
    return litestar


class Application:
    """One gateway. A server runs `asgi`; the lifespan of `litestar` starts the engine and drains it."""

    def __init__(
        self,
        settings: Settings,
        *,
        adapters: Mapping[str, Adapter] | None = None,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        accept_clock: bool = False,
        said: Said | None = None,
        observers: Sequence[Observer] = (),
        source: Source | None = None,
    ) -> None:
        """Open the ledger and build every service. Raises `ConfigurationError`, which names the keys and the remedies.

        `source` is where the settings are from, so that they can be read again; None: they cannot.

        With `accept_clock` the system clock is trusted, however far it is from the ledger's newest moment. `said` is
        what the operator says about the ledger. `observers` get every event of `gateway/telemetry.py`, after the log.
        """
        self.settings = settings
        self.live = Live(bound(settings, adapters or load_adapters()))
        drain = drain_of(settings, self.live.current.providers)
        self.drain_seconds = drain.seconds
        self.live.watch(self._adjust_drain)
        self.warnings = (*settings.warnings, *too_short(settings), *filter(None, [drain.warning]))
        clock = clock or SystemClock()
        self._tracing = build_tracing(settings, clock)
        self.metrics = Metrics(
            lambda: self.live.current.providers,
            lambda name: self.live.current.catalog.has(name),  # noqa: PLW0108  # a reload changes `current`
        )
        observer = Observers([LogObserver(), self.metrics, *observers, *filter(None, [self._tracing])])
        base = build_base(self.live, clock, observer, accept_clock=accept_clock, said=said)
        upstream = build_upstream(base, transport)
        inputs = build_inputs(base, upstream)
        artifacts = build_artifacts(base, upstream)
        callback_urls = build_callback_urls(base)
        engine = build_engine(base, upstream, inputs, artifacts, callback_urls)
        webhooks = build_webhooks(base)
        reconciliation = build_reconciliation(base, upstream, engine)
        generations = build_generations(base, upstream, inputs, engine)
        self.clock, self.store, self._notifier = base.clock, base.store, base.notifier
        self._lineage = LineageWatch(base.store, base.far_marker)
        self.clients = base.clients
        self.providers, self.upstream, self.health = upstream.providers, upstream.client, upstream.health
        self.input_fetcher, self._inputs, self._blobs = inputs.fetcher, inputs.inputs, inputs.blobs
        self.result_fetcher, self.artifact_store = artifacts.fetcher, artifacts.store
        self._archiver, self._thumbnails = artifacts.archiver, artifacts.thumbnails
        self.engine, self._sweeper, self._ledger_clock = engine.engine, engine.sweeper, engine.ledger_clock
        self._wake_ups = engine.wake_ups
        self.webhook_fetcher, self._deliverer = webhooks.fetcher, webhooks.deliverer
        self._stopping_since: datetime | None = None
        self.unfollowed: dict[str, int] = {}  # by provider: open generations that could not be polled at the start
        self.reloader = Reloader(self.live, source, base.clock)
        contexts = build_context(
            base,
            clients=build_clients(base),
            upstream=upstream,
            engine=engine,
            inputs=inputs,
            artifacts=artifacts,
            webhooks=webhooks,
            reconciliation=reconciliation,
            generations=generations,
            metrics=self.metrics,
            callback_urls=callback_urls,
            reloader=self.reloader,
            ready=self._not_ready,
            health_warnings=self._health_warnings,
        )
        context = contexts.current
        add_figures(base, upstream=upstream, engine=engine, webhooks=webhooks, context=context)
        self.metrics.add(lambda: unfollowed({**dict.fromkeys(self.providers, 0), **self.unfollowed}))
        self.metrics.add(lambda: warnings(self._health_warnings), disk=True)
        feed = Feed(generations.event_source, self.health.of)
        origins = self.live.of(lambda now: now.settings.server.cors_origins)
        self.litestar = build_api()
        self.litestar.state.update({"lifespan": self._lifespan, "context": context, "feed": feed})
        contexts.watch(lambda _, new: self.litestar.state.update({"context": new}))
        sound = with_sound_heads(self.litestar)
        handled = CrossOrigin(sound, origins)
        self.asgi = RequestLog(handled, context.bodies, self.clock, observer, base.redactor)
        refusal = CrossOrigin(refuse_all(Overloaded("Too many connections are open.", retry_after=5)), origins)
        port = MetricsPort(self.metrics, self.litestar, loopback=is_loopback(settings.metrics.host))
        self.metrics_asgi = RequestLog(with_sound_heads(port), context.bodies, self.clock, observer, base.redactor)
        self._refusal = RequestLog(refusal, context.bodies, self.clock, observer, base.redactor)

    def drain(self) -> None:
        """Report "not ready", accept nothing new and answer the clients that wait. This is the first step of a stop."""
        if self._stopping_since is None:
            self._stopping_since = self.clock.now()
            self._notifier.close()
            self._deliverer.stop()
            self.engine.drain()

    async def drained(self, reserve_seconds: float) -> None:
        """Wait until the submits in flight have ended, but leave `reserve_seconds` of the time for the stop."""
        await self.engine.stop(max(self._drain_seconds_left() - reserve_seconds, 0.0))

    async def refusing(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application for connections beyond `max_connections`: it refuses every request except health checks."""
        is_health = scope["type"] == ScopeType.HTTP and scope["path"].startswith("/health/")
        await (self.asgi if is_health else self._refusal)(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        try:
            await self._start()
        except StoreUnavailable as error:
            log.error("start_refused", problem=error.reason or error.detail)  # noqa: TRY400  # the reason is said
            raise
        self.metrics.loop_lag.start()
        sweeping = asyncio.create_task(self._sweeper.run(), name="sweeper")
        delivering = asyncio.create_task(self._deliverer.run(), name="deliverer")
        open_for_work = accepting(self.providers)
        log.info(
            "started",
            providers=list(open_for_work),
            followed_only=[name for name in self.providers if name not in open_for_work],
            drain_seconds=self.drain_seconds,
        )
        try:
            yield
        finally:
            self.drain()
            self.metrics.loop_lag.stop()
            self._sweeper.stop()
            await self.engine.stop(self._drain_seconds_left())
            await self._wake_ups.stop()
            await asyncio.wait([delivering], timeout=self._drain_seconds_left())
            await asyncio.wait([sweeping], timeout=min(SWEEPING_SECONDS, self._drain_seconds_left()))
            sweeping.cancel()
            delivering.cancel()
            await asyncio.wait([sweeping, delivering])  # both must have ended before the store is closed
            await self._inputs.close()
            await self._blobs.close()
            self._archiver.close()
            await self._thumbnails.close()
            await self.upstream.close()
            for fetcher in (self.input_fetcher, self.result_fetcher, self.webhook_fetcher):
                await fetcher.close()
            await self.artifact_store.close()
            self._ledger_clock.stop()
            await self._lineage.stop()
            await self.store.close()
            if self._tracing is not None:
                await asyncio.to_thread(self._tracing.close)
            log.info("stopped")

    async def _start(self) -> None:
        self._wake_ups.start()  # before what it concerns is read, so that no change is missed
        await self.clients.load(self.store.clients)
        await self._warn_about_unfollowed()
        self.health.learn(await self.store.completions(COMPLETIONS_LEARNT))
        await self._lineage.start()
        await self.engine.start()
        self._ledger_clock.start()

    async def _warn_about_unfollowed(self) -> None:
        """Log the open generations whose tasks cannot be polled, because their provider has no key."""
        by_provider: dict[str, list[str]] = {}
        for provider, generation_id in await self.store.unfollowed(list(self.providers)):
            by_provider.setdefault(provider, []).append(generation_id)
        for provider, ids in by_provider.items():
            log.warning(
                "generations_not_followed",
                provider=provider,
                count=len(ids),
                generations=ids[:UNFOLLOWED_SHOWN],
                detail=UNFOLLOWED_REMEDY.format(provider=provider),
            )
        self.unfollowed = {provider: len(ids) for provider, ids in by_provider.items()}

    def _adjust_drain(self, _: Bound, now: Bound) -> None:
        """Let a stop wait as long as is configured now.

        If nothing is configured, it never waits less than before: submits that began with a longer time may still be
        under way, and each may be paid.
        """
        drain = drain_of(now.settings, now.providers)
        if now.settings.server.drain_seconds is None:
            self.drain_seconds = max(self.drain_seconds, drain.seconds)
        else:
            self.drain_seconds = drain.seconds
        if drain.warning is not None:
            log.warning("configuration_warning", detail=drain.warning)

    def _drain_seconds_left(self) -> float:
        """How much of the time for a stop is left, without `CLOSING_SECONDS`."""
        since = self._stopping_since or self.clock.now()
        passed = (self.clock.now() - since).total_seconds()
        return max(self.drain_seconds - passed - CLOSING_SECONDS, 0.0)

    def _health_warnings(self) -> list[str]:
        """What an operator should look at although the gateway is ready."""
        warnings = [
            f"{count} open generation(s) at {provider} cannot be followed: the provider has no key"
            for provider, count in self.unfollowed.items()
        ]
        warnings += [
            f"the provider {name} is held since {hold.held_at:%Y-%m-%d %H:%M} UTC: it gets no new work"
            for name, hold in self.health.holds.items()
        ]
        warnings += filter(None, [self.store.at_start.warning])
        warnings += self._lineage.warnings()
        warnings += self._wake_ups.warnings()
        artifacts = self.live.current.settings.artifacts
        if full := refuses_images(artifacts):
            warnings.append(full)
        warnings += [
            f"the configuration was not reloaded: {fault}" for fault in self.reloader.state.faults[:FAULTS_SHOWN]
        ]
        if lines := dropped_lines():
            warnings.append(f"{lines} line(s) of the log were dropped, because standard error was not read fast enough")
        return warnings

    async def _not_ready(self) -> str | None:
        """Why the gateway should get no traffic; `None` if it is ready."""
        if self._stopping_since is not None:
            return "the gateway is stopping"
        if self.engine.halted is not None:
            return self.engine.halted
        if self.engine.standing.heartbeat_age >= SURE_SECONDS:
            return f"the store cannot take writes: PostgreSQL has stored no heartbeat for {SURE_SECONDS:.0f} s"
        try:
            async with asyncio.timeout(5):
                await self.store.ping()
                await self._lineage.look()
        except StoreUnavailable as error:
            return "the store cannot take writes" + (f": {error.reason}" if error.reason else "")
        except TimeoutError:
            return "the store cannot take writes: database.url: the database does not answer"
        return None
