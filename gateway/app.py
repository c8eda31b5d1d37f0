"""The composition root: settings → store, HTTP client, services, engine → Litestar. The only place that builds."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import httpx
import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from gateway.api.docs import docs, docs_script, docs_style, openapi
from gateway.api.generations.event_feed import Feed
from gateway.api.generations.views import generation_view
from gateway.api.handlers import HANDLERS
from gateway.api.web.auth import Authenticator
from gateway.api.web.context import Context
from gateway.api.web.errors import EXCEPTION_HANDLERS, refuse_all
from gateway.api.web.json_body import Bodies
from gateway.api.web.links import Links
from gateway.api.web.methods import answer_options
from gateway.api.web.request_log import RequestLog
from gateway.artifacts.access import Artifacts
from gateway.artifacts.archiver import Keeper
from gateway.artifacts.bucket import ArtifactBucket, bucket_of
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.store import ArtifactStore
from gateway.artifacts.thumbnails import Thumbnails
from gateway.clock import Clock, SystemClock, not_before
from gateway.domain.adapter.contract import Adapter
from gateway.domain.errors import ConfigurationError, Overloaded, StoreUnavailable
from gateway.domain.ledger_clock import LedgerTime, SweepHold, clock_trouble, sweep_hold
from gateway.drain import drain_of
from gateway.engine.driver import Drive
from gateway.engine.effects import Effects
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.ledger_clock import Timekeeper
from gateway.engine.port import Engine
from gateway.engine.sweeper import Sweeper
from gateway.fetch.fetcher import Fetcher
from gateway.generations.catalog import Catalog
from gateway.generations.event_stream import Watching
from gateway.generations.notifier import Room, Signals
from gateway.generations.planner import Planner
from gateway.generations.poll_advice import PollHints
from gateway.generations.service import Generations
from gateway.inputs.blobs import Blobs
from gateway.inputs.library import Files, file_link
from gateway.inputs.prepare import Inputs
from gateway.inputs.provider_uploads import Uploading
from gateway.reconciliation.adoption import Adoption
from gateway.reconciliation.callbacks import Callbacks, CallbackUrls
from gateway.reconciliation.decisions import Attempts
from gateway.settings.load import Settings, is_loopback
from gateway.store.files import FileLimits
from gateway.store.port import Store
from gateway.store.sqlite.store import SqliteStore
from gateway.tokens import Signer
from gateway.upstream.client import Upstream
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider, accepting, bind
from gateway.upstream.registry import load_adapters
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.endpoints import Webhooks
from gateway.webhooks.signing import SigningKeys

log = structlog.get_logger()
CLOSING_SECONDS = 0.5
UNFOLLOWED_SHOWN = 20  # ids in the log, of each provider
UNFOLLOWED_REMEDY = (
    "the provider {provider} is not configured, or disabled without a key: tasks that it runs are not read, and are not"
    " bought elsewhere before their deadline. Start with its key; with enabled = false it gets no new work"
)
COMPLETIONS_LEARNT = 1000  # of the newest generations: how fast each provider has been


class Application:
    """One gateway. `asgi` is what a server runs; its lifespan starts the engine and drains it."""

    def __init__(
        self,
        settings: Settings,
        *,
        adapters: Mapping[str, Adapter] | None = None,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        accept_clock: bool = False,
    ) -> None:
        """Open the store and bind the providers; `ConfigurationError` says what does not fit.

        With `accept_clock` the system clock counts, however far it is from the ledger's newest moment.
        """
        self.settings = settings
        clock = clock or SystemClock()
        self.providers = providers_of(settings, adapters or load_adapters())
        drain = drain_of(settings, self.providers)
        self.drain_seconds = drain.seconds
        self.warnings = (*settings.warnings, *filter(None, [drain.warning]))
        catalog = Catalog(accepting(self.providers), settings)
        folder = settings.artifacts.path
        self.store, hold = open_store(settings, clock, accept_clock=accept_clock)
        self.clock = not_before(clock, self.store.newest_moment())
        signer = Signer(self.store.secret("tokens"))
        drift = clock.drift if isinstance(clock, SystemClock) else timedelta
        self._timekeeper = Timekeeper(self.store.keep_time, self.clock, drift)
        self.upstream = Upstream(transport)
        # One for each purpose: names that nobody answers for hold up their own kind alone.
        self.input_fetcher = Fetcher(settings.fetch.allow)
        self.result_fetcher = Fetcher(settings.fetch.allow)
        self.webhook_fetcher = Fetcher(settings.fetch.allow)
        self._signals = Signals(settings.server.max_long_polls, settings.server.max_listeners)
        self.artifact_store = open_artifact_store(settings)
        blobs = Blobs(folder / "inputs", self.clock)
        self._sweeper = Sweeper(
            self.store,
            blobs,
            self.artifact_store,
            self.clock,
            keep_purchases=timedelta(days=settings.retention.money_days),
            hold=hold,
        )
        link = partial(file_link, settings.server.public_url, signer) if settings.server.public_url else None
        inputs = self._inputs = Inputs(
            store=self.store,
            blobs=blobs,
            uploading=Uploading(self.store.uploads, self.upstream, self.clock),
            fetcher=self.input_fetcher,
            providers=self.providers,
            allow=settings.fetch.allow,
            link=link,
            clock=self.clock,
        )
        self.health = Health(self.providers, self.clock)
        callback_urls = CallbackUrls(settings.server.public_url, signer, self.clock)
        self._thumbnails = Thumbnails(
            store=self.store,
            artifacts=self.artifact_store,
            clock=self.clock,
            enabled=settings.artifacts.thumbnails,
            on_change=self._signals.changed,
        )
        self._keeper = Keeper(
            store=self.store,
            artifacts=self.artifact_store,
            fetcher=self.result_fetcher,
            providers=self.providers,
            upstream=self.upstream,
            clock=self.clock,
            keep=timedelta(days=settings.artifacts.keep_days),
            thumbnails=self._thumbnails,
        )
        effects = Effects(
            store=self.store,
            callback_url=callback_urls.url,
            providers=self.providers,
            upstream=self.upstream,
            inputs=inputs,
            keeper=self._keeper,
            health=self.health,
            clock=self.clock,
        )
        self.engine: Engine = EmbeddedEngine(
            self.store,
            self.clock,
            lambda: Drive(self.store, effects, self.health, self._signals, self.clock),
            spread_seconds=max(
                (model.polling.poll_seconds for one in self.providers.values() for model in one.models.values()),
                default=1.0,
            ),
            open_max=settings.server.max_open_generations,
        )
        configured = (settings.webhooks.secret, settings.webhooks.previous_secret)
        keys = SigningKeys([one.reveal() for one in configured if one is not None], self.store.secret("webhooks"))
        links = Links(own_url(settings), signer)
        self._deliverer = Deliverer(
            store=self.store,
            poster=self.webhook_fetcher,
            keys=keys,
            view=lambda generation: generation_view(generation, links),
            clock=self.clock,
            wall_clock=clock,
            timeout_seconds=settings.webhooks.timeout_seconds,
        )
        self._stopping_since: datetime | None = None
        self.unfollowed: dict[str, int] = {}  # by provider: the open generations that nobody could follow at the start
        adoption = Adoption(
            store=self.store,
            providers=self.providers,
            drivers=self.engine,
            signals=self._signals,
            clock=self.clock,
        )
        context = Context(
            generations=Generations(
                store=self.store,
                planner=Planner(self.store, catalog, self.health, self.clock, links=link is not None),
                blobs=blobs,
                drivers=self.engine,
                signals=self._signals,
                clock=self.clock,
                on_delete=self._sweeper.soon,
            ),
            artifacts=Artifacts(
                self.providers, self.upstream, self.artifact_store, self.clock, redirect=settings.artifacts.redirect
            ),
            attempts=Attempts(
                store=self.store,
                adoption=adoption,
                drivers=self.engine,
                signals=self._signals,
                clock=self.clock,
            ),
            purchases=self.store.purchases,
            callback_urls=callback_urls,
            callbacks=Callbacks(
                store=self.store,
                providers=self.providers,
                adoption=adoption,
                drivers=self.engine,
                clock=self.clock,
            ),
            catalog=catalog,
            webhooks=Webhooks(store=self.store.webhooks, keys=keys, clock=self.clock),
            health=self.health,
            hints=PollHints(self.providers, self.health, self.clock),
            authenticator=Authenticator(
                [key.reveal() for key in settings.server.api_keys],
                admin_keys=[key.reveal() for key in settings.server.admin_keys],
                open_to_all=settings.server.auth == "none",
            ),
            signer=signer,
            files=Files(
                library=self.store.library,
                blobs=blobs,
                signer=signer,
                clock=self.clock,
                keep=timedelta(days=settings.files.keep_days),
                limits=FileLimits(settings.files.max_per_key, settings.files.max_bytes_per_key),
            ),
            downloads=Room(settings.server.max_downloads, "downloads are under way"),
            ready=self._not_ready,
            health_warnings=self._health_warnings,
            clock=self.clock,
            fetch_allow=settings.fetch.allow,
            max_body_bytes=settings.server.max_body_bytes,
            public_url=settings.server.public_url,
            started_at=int(self.clock.now().timestamp()),
        )
        self.litestar = Litestar(
            route_handlers=[*HANDLERS, openapi, docs, docs_script, docs_style],
            exception_handlers=EXCEPTION_HANDLERS,
            lifespan=[self._lifespan],
            state=State(
                {"context": context, "feed": Feed(Watching(self.store, self._signals, self.clock), self.health.of)}
            ),
            openapi_config=None,  # ours is made from the wire structures: `api/openapi`
            logging_config=None,
            request_max_body_size=None,  # `read_body` counts, and answers in our own shape
        )
        answer_options(self.litestar)
        bodies = Bodies(settings.server.max_bodies_bytes)
        self.asgi = RequestLog(self.litestar, bodies, self.clock)
        refusal = refuse_all(Overloaded("Too many connections are open.", retry_after=5))
        self._refusal = RequestLog(refusal, bodies, self.clock)

    def drain(self) -> None:
        """Be seen as not ready and take nothing new from now on, answer whoever waits: the first step of a stop."""
        if self._stopping_since is None:
            self._stopping_since = self.clock.now()
            self._signals.close()
            self._deliverer.stop()
            self.engine.drain()

    async def drained(self, reserve_seconds: float) -> None:
        """Return when the submits in flight have ended, or what is left of the time but for this reserve is over."""
        await self.engine.stop(max(self._drain_seconds_left() - reserve_seconds, 0.0))

    async def refusing(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application for connections that there is no room for: they learn of the gateway's health alone."""
        is_health = scope["type"] == ScopeType.HTTP and scope["path"].startswith("/health/")
        await (self.asgi if is_health else self._refusal)(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        await self._warn_of_unfollowed()
        self.health.learn(await self.store.completions(COMPLETIONS_LEARNT))
        await self.engine.start()
        self._timekeeper.start()
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
            self._sweeper.stop()
            await self.engine.stop(self._drain_seconds_left())
            await asyncio.wait([sweeping, delivering], timeout=self._drain_seconds_left())
            sweeping.cancel()
            delivering.cancel()
            await asyncio.wait([sweeping, delivering])  # neither is to meet a store that is closed
            await self._inputs.close()
            self._keeper.close()
            await self._thumbnails.close()
            await self.upstream.close()
            for fetcher in (self.input_fetcher, self.result_fetcher, self.webhook_fetcher):
                await fetcher.close()
            await self.artifact_store.close()
            self._timekeeper.stop()
            await self.store.close()
            log.info("stopped")

    async def _warn_of_unfollowed(self) -> None:
        """Name the open generations whose tasks nobody reads, because their provider has no key."""
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

    def _drain_seconds_left(self) -> float:
        """What `drain` and the server's own stop have left of the time, less a little for closing the store."""
        since = self._stopping_since or self.clock.now()
        passed = (self.clock.now() - since).total_seconds()
        return max(self.drain_seconds - passed - CLOSING_SECONDS, 0.0)

    def _health_warnings(self) -> list[str]:
        return [
            f"{count} open generation(s) at {provider} cannot be followed: the provider has no key"
            for provider, count in self.unfollowed.items()
        ]

    async def _not_ready(self) -> str | None:
        if self._stopping_since is not None:
            return "the gateway is stopping"
        try:
            async with asyncio.timeout(5):
                await self.store.ping()
        except StoreUnavailable as error:
            return "the store cannot take writes" + (f": {error.reason}" if error.reason else "")
        except TimeoutError:
            return "the store cannot take writes: database.url: the disk does not answer"
        return None


def open_store(settings: Settings, clock: Clock, *, accept_clock: bool) -> tuple[Store, SweepHold | None]:
    """The ledger, and the hold for the sweeper where the clock is far ahead of it; `ClockTrouble` stops a start."""
    now = clock.now()
    hold: SweepHold | None = None

    def check_clock(ledger: LedgerTime) -> None:
        nonlocal hold
        trouble = clock_trouble(now, ledger)
        if trouble is not None and not accept_clock:
            raise trouble
        if trouble is not None:
            log.warning("clock_accepted", clock=trouble.clock.isoformat(), ledger=trouble.ledger.isoformat())
        elif not accept_clock and (hold := sweep_hold(now, ledger)) is not None:
            log.warning(
                "clock_ahead_of_ledger",
                clock=now.isoformat(),
                ledger=hold.ledger.isoformat(),
                detail="if the clock is wrong, set it and start again; nothing is removed by this time for a day",
            )

    store = SqliteStore.open(
        settings.database.path,
        now,
        check_clock=check_clock,
        keep_results=timedelta(days=settings.artifacts.keep_days) if accept_clock else None,
    )
    return store, hold


def own_url(settings: Settings) -> str:
    """What the gateway's URLs begin with where nobody has called by one: empty when only a proxy would know."""
    server = settings.server
    if server.public_url is not None or not is_loopback(server.host):
        return server.public_url or ""
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{server.port}"


def providers_of(settings: Settings, adapters: Mapping[str, Adapter]) -> dict[str, Provider]:
    """The providers that take work or are followed; none at all is an error, with the remedy."""
    providers = bind(settings, adapters)
    if not providers:
        names = ", ".join(f"{name.upper()}_API_KEY" for name in adapters)
        raise ConfigurationError(
            f"providers: none is configured; set one of {names}, or write a [providers.NAME] table"
        )
    return providers


def open_artifact_store(settings: Settings) -> ArtifactStore:
    """Where results are kept, as configured."""
    if settings.artifacts.is_bucket:
        return ArtifactBucket(bucket_of(settings.artifacts), settings.artifacts.path)
    return ArtifactFolder(settings.artifacts.path)
