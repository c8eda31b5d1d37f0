"""Builds every service, one function for each package. A new service is added to the `build_…` of its package.

Each function gets what the earlier ones built, and returns one of the small values of `gateway/parts.py`.
`gateway/app.py` calls them in order.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import httpx

from gateway.api.dialects.webhook_formats import webhook_formats
from gateway.api.web.auth import Authenticator
from gateway.api.web.context import Context
from gateway.api.web.held_body import bodies_room
from gateway.api.web.links import Links
from gateway.artifacts.access import ResultAccess
from gateway.artifacts.archiver import Archiver
from gateway.artifacts.bucket import ArtifactBucket, bucket_of
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.result_download import ResultDownloads
from gateway.artifacts.store import ArtifactStore
from gateway.artifacts.thumbnails import Thumbnails
from gateway.clients.administration import Administration
from gateway.clients.directory import Directory, adoptions
from gateway.clients.rates import Rates
from gateway.clock import Clock, SystemClock, not_before
from gateway.domain.errors import ConfigurationError
from gateway.engine.driver import Driver
from gateway.engine.effects import Effects
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.ledger_clock import LedgerClock
from gateway.engine.old_rows import kept_for
from gateway.engine.poll import Poller
from gateway.engine.route_profiles import RouteProfiles
from gateway.engine.submit import Submitter
from gateway.engine.sweeper import Sweeper
from gateway.fetch.fetcher import Fetcher
from gateway.generations.budgets import budgets_of
from gateway.generations.catalog import Catalog
from gateway.generations.event_stream import EventStreamSource
from gateway.generations.notifier import Notifier
from gateway.generations.planner import Planner
from gateway.generations.poll_advice import PollAdvisor
from gateway.generations.service import Generations
from gateway.generations.unanswered import Unanswered
from gateway.inputs.blobs import Blobs
from gateway.inputs.library import FileLibrary, file_link
from gateway.inputs.prepare import InputPreparer
from gateway.inputs.provider_uploads import ProviderUploads
from gateway.inputs.remote_images import RemoteImages
from gateway.parts import (
    ArtifactParts,
    Base,
    ClientParts,
    EngineParts,
    GenerationParts,
    InputParts,
    ReconciliationParts,
    UpstreamParts,
    WebhookParts,
)
from gateway.reconciliation.adoption import Adoption
from gateway.reconciliation.callbacks import CallbackReceiver, CallbackUrls
from gateway.reconciliation.decisions import OperatorDecisions
from gateway.settings.load import Settings
from gateway.settings.secret_values import redactor_of
from gateway.sharing.room import Room
from gateway.store.files import FileLimits
from gateway.store.opening import open_store
from gateway.telemetry import Observer
from gateway.tokens import Signer
from gateway.upstream.client import Upstream
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider, accepting
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.signing import SigningKeys

if TYPE_CHECKING:
    from gateway.tracing import TraceObserver


def build_tracing(settings: Settings, clock: Clock) -> "TraceObserver | None":
    """What sends traces, if that is configured. Raises `ConfigurationError` without the extra that it needs."""
    tracing = settings.tracing
    if tracing.endpoint is None:
        return None
    try:
        from gateway.tracing import trace_observer  # noqa: PLC0415  # it takes 30 MB, and few need it
    except ImportError as error:
        raise ConfigurationError(
            "tracing.endpoint: the packages for it are missing; install `video-gateway[tracing]`, or remove the key"
        ) from error
    headers = {name: value.reveal() for name, value in tracing.headers.items()}
    return trace_observer(
        tracing.endpoint, headers, clock, sample_ratio=tracing.sample_ratio, service_name=tracing.service_name
    )


def build_base(settings: Settings, clock: Clock, observer: Observer, *, accept_clock: bool) -> Base:
    """Open the ledger. Raises `ConfigurationError`, or `ClockTrouble` where the clock does not fit the ledger."""
    store, hold = open_store(settings, clock, accept_clock=accept_clock, adopt=adoptions(settings))
    return Base(
        settings=settings,
        observer=observer,
        wall_clock=clock,
        clock=not_before(clock, store.newest_moment()),
        store=store,
        redactor=redactor_of(settings),
        signer=Signer(store.secret("tokens")),
        clients=Directory(settings, store.adopted()),
        notifier=Notifier(settings.server.max_long_polls, settings.server.max_listeners),
        sweep_hold=hold,
    )


def build_catalog(settings: Settings, providers: Mapping[str, Provider]) -> Catalog:
    """The models that can be asked for. This needs no ledger: a mistake in `[models]` is found before one is opened."""
    return Catalog(accepting(providers), settings)


def build_clients(base: Base) -> ClientParts:
    """What decides who may send a request, and what operators change about that."""
    return ClientParts(
        authenticator=Authenticator(base.clients, base.clock, open_to_all=base.settings.server.auth == "none"),
        rates=Rates(base.clock),
        administration=Administration(base.store.clients, base.clients, base.clock),
    )


def build_upstream(
    base: Base, providers: dict[str, Provider], transport: httpx.AsyncBaseTransport | None
) -> UpstreamParts:
    """The client for providers, and the health of their routes."""
    return UpstreamParts(
        providers=providers, client=Upstream(transport), health=Health(providers, base.clock, base.observer)
    )


def build_inputs(base: Base, upstream: UpstreamParts) -> InputParts:
    """Where images of clients are stored, and how providers get them."""
    settings = base.settings
    # Each purpose has a fetcher of its own, so that host names that no DNS server answers delay only one purpose.
    fetcher = Fetcher(settings.fetch.allow)
    blobs = Blobs(settings.artifacts.path / "inputs", base.clock, min_free_bytes=settings.artifacts.min_free_bytes)
    public_url = settings.server.public_url
    inputs = InputPreparer(
        store=base.store,
        blobs=blobs,
        uploading=ProviderUploads(base.store.uploads, upstream.client, base.clock),
        fetcher=fetcher,
        providers=upstream.providers,
        allow=settings.fetch.allow,
        link=partial(file_link, public_url, base.signer) if public_url else None,
        clock=base.clock,
    )
    files = FileLibrary(
        library=base.store.library,
        blobs=blobs,
        signer=base.signer,
        clock=base.clock,
        keep=timedelta(days=settings.files.keep_days),
        limits=FileLimits(settings.files.max_per_key, settings.files.max_bytes_per_key),
        adopted_by=base.clients.owners_before,
    )
    return InputParts(fetcher=fetcher, blobs=blobs, inputs=inputs, files=files, has_links=bool(public_url))


def build_artifacts(base: Base, upstream: UpstreamParts) -> ArtifactParts:
    """Where results are archived, and how clients get them."""
    settings = base.settings.artifacts
    fetcher = Fetcher(base.settings.fetch.allow)
    store = open_artifact_store(base.settings)
    thumbnails = Thumbnails(
        store=base.store,
        artifacts=store,
        clock=base.clock,
        enabled=settings.thumbnails,
        on_change=base.notifier.changed,
        observer=base.observer,
    )
    downloads = ResultDownloads(
        fetcher=fetcher, providers=upstream.providers, upstream=upstream.client, clock=base.clock
    )
    archiver = Archiver(
        store=base.store,
        artifacts=store,
        fetcher=fetcher,
        downloads=downloads,
        providers=upstream.providers,
        clock=base.clock,
        keep=timedelta(days=settings.keep_days),
        thumbnails=thumbnails,
        observer=base.observer,
    )
    access = ResultAccess(upstream.providers, upstream.client, downloads, store, base.clock, redirect=settings.redirect)
    return ArtifactParts(fetcher=fetcher, store=store, thumbnails=thumbnails, archiver=archiver, access=access)


def build_callback_urls(base: Base) -> CallbackUrls:
    """The URLs that providers are given to call back. The engine, reconciliation and the API use them."""
    return CallbackUrls(base.settings.server.public_url, base.signer, base.clock)


def build_engine(
    base: Base, upstream: UpstreamParts, inputs: InputParts, artifacts: ArtifactParts, callback_urls: CallbackUrls
) -> EngineParts:
    """What drives generations, and the two loops beside it: the sweeper and the ledger's clock."""
    profiles = RouteProfiles(upstream.providers, callback_urls.url)
    submitter = Submitter(
        store=base.store,
        upstream=upstream.client,
        inputs=inputs.inputs,
        health=upstream.health,
        profiles=profiles,
        clock=base.clock,
        observer=base.observer,
        callback_url=callback_urls.url,
    )
    poller = Poller(
        upstream=upstream.client,
        inputs=inputs.inputs,
        health=upstream.health,
        clock=base.clock,
        observer=base.observer,
    )
    effects = Effects(providers=upstream.providers, submitter=submitter, poller=poller, archiver=artifacts.archiver)
    new_driver = partial(
        Driver,
        store=base.store,
        effects=effects,
        profiles=profiles,
        health=upstream.health,
        notifier=base.notifier,
        clock=base.clock,
        observer=base.observer,
    )
    engine = EmbeddedEngine(base.store, base.clock, new_driver, open_max=base.settings.server.max_open_generations)
    sweeper = Sweeper(
        base.store,
        inputs.blobs,
        artifacts.store,
        base.clock,
        keep_purchases=timedelta(days=base.settings.retention.money_days),
        keep=kept_for(base.settings.retention),
        hold=base.sweep_hold,
    )
    drift = base.wall_clock.drift if isinstance(base.wall_clock, SystemClock) else timedelta
    return EngineParts(
        engine=engine, sweeper=sweeper, ledger_clock=LedgerClock(base.store.keep_time, base.clock, drift)
    )


def build_webhooks(base: Base) -> WebhookParts:
    """The endpoints of clients, and what sends to them."""
    settings = base.settings.webhooks
    fetcher = Fetcher(base.settings.fetch.allow)
    configured = (settings.secret, settings.previous_secret)
    keys = SigningKeys(
        [key.reveal() for key in configured if key is not None],
        base.store.secret("webhooks"),
        base.clients.owners_before,
    )
    links = Links(base.settings.own_url, base.signer, base.clients.sees)
    deliverer = Deliverer(
        store=base.store,
        poster=fetcher,
        keys=keys,
        formats=webhook_formats(links),
        clock=base.clock,
        wall_clock=base.wall_clock,
        timeout_seconds=settings.timeout_seconds,
        observer=base.observer,
        redactor=base.redactor,
    )
    endpoints = WebhookEndpoints(store=base.store.webhooks, keys=keys, clock=base.clock, deliverer=deliverer)
    return WebhookParts(fetcher=fetcher, deliverer=deliverer, endpoints=endpoints)


def build_reconciliation(base: Base, upstream: UpstreamParts, engine: EngineParts) -> ReconciliationParts:
    """What takes callbacks of providers and decisions of operators."""
    adoption = Adoption(
        store=base.store,
        providers=upstream.providers,
        drivers=engine.engine,
        notifier=base.notifier,
        clock=base.clock,
    )
    callbacks = CallbackReceiver(
        store=base.store,
        providers=upstream.providers,
        adoption=adoption,
        drivers=engine.engine,
        clock=base.clock,
    )
    attempts = OperatorDecisions(
        store=base.store, adoption=adoption, drivers=engine.engine, notifier=base.notifier, clock=base.clock
    )
    return ReconciliationParts(callbacks=callbacks, attempts=attempts)


def build_generations(
    base: Base, catalog: Catalog, upstream: UpstreamParts, inputs: InputParts, engine: EngineParts
) -> GenerationParts:
    """What creates, reads, cancels and follows generations."""
    poll_advisor = PollAdvisor(upstream.providers, upstream.health, base.clock)
    generations = Generations(
        store=base.store,
        planner=Planner(
            base.store,
            catalog,
            upstream.health,
            base.clock,
            links=inputs.has_links,
            limits_of=base.clients.limits_of,
        ),
        blobs=inputs.blobs,
        files=inputs.files,
        drivers=engine.engine,
        notifier=base.notifier,
        clock=base.clock,
        poll_advisor=poll_advisor,
        observer=base.observer,
        on_delete=engine.sweeper.soon,
        budgets_of=budgets_of(base.clients.budgets_of, lambda: base.clients.budgets),
        limits_of=base.clients.create_limits_of,
        adopted_by=base.clients.adopted_by,
    )
    event_source = EventStreamSource(base.store, base.notifier, base.clock)
    return GenerationParts(generations=generations, poll_advisor=poll_advisor, event_source=event_source)


def build_context(
    base: Base,
    *,
    clients: ClientParts,
    catalog: Catalog,
    upstream: UpstreamParts,
    inputs: InputParts,
    artifacts: ArtifactParts,
    webhooks: WebhookParts,
    reconciliation: ReconciliationParts,
    generations: GenerationParts,
    callback_urls: CallbackUrls,
    ready: Callable[[], Awaitable[str | None]],
    health_warnings: Callable[[], list[str]],
) -> Context:
    """What the handlers of the API work with."""
    server = base.settings.server
    return Context(
        generations=generations.generations,
        artifacts=artifacts.access,
        attempts=reconciliation.attempts,
        purchases=base.store.purchases,
        usage=base.store.usage,
        callback_urls=callback_urls,
        callbacks=reconciliation.callbacks,
        catalog=catalog,
        webhooks=webhooks.endpoints,
        health=upstream.health,
        poll_advisor=generations.poll_advisor,
        authenticator=clients.authenticator,
        clients=base.clients,
        rates=clients.rates,
        administration=clients.administration,
        signer=base.signer,
        files=inputs.files,
        remote_images=RemoteImages(inputs.fetcher),
        bodies=bodies_room(server.max_bodies_bytes),
        unanswered=Unanswered(base.clock),
        downloads=Room(server.max_downloads, f"{server.max_downloads:,} downloads are under way already."),
        ready=ready,
        health_warnings=health_warnings,
        clock=base.clock,
        fetch_allow=base.settings.fetch.allow,
        max_body_bytes=server.max_body_bytes,
        blocking_seconds=server.blocking_seconds,
        public_url=server.public_url,
        started_at=int(base.clock.now().timestamp()),
    )


def open_artifact_store(settings: Settings) -> ArtifactStore:
    """The bucket or the folder in which results are archived, as configured."""
    if settings.artifacts.is_bucket:
        return ArtifactBucket(bucket_of(settings.artifacts), settings.artifacts.path)
    return ArtifactFolder(settings.artifacts.path)
