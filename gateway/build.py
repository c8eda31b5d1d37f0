"""Builds every service, one function for each package. A new service is added to the `build_…` of its package.

Each function gets what the earlier ones built, and returns one of the small values of `gateway/parts.py`.
`gateway/app.py` calls them in order.
"""

from datetime import timedelta
from functools import partial

import httpx

from gateway.api.dialects.webhook_formats import webhook_formats
from gateway.api.web.auth import Authenticator
from gateway.api.web.links import Links
from gateway.artifacts.access import ResultAccess
from gateway.artifacts.archiver import Archiver
from gateway.artifacts.far_marker import FarMarker, marker_place
from gateway.artifacts.opening import open_artifact_store
from gateway.artifacts.result_download import ResultDownloads
from gateway.artifacts.thumbnails import Thumbnails
from gateway.clients.administration import Administration
from gateway.clients.directory import Directory, adoptions
from gateway.clients.rates import OwnRates
from gateway.clients.shared_rates import SharedRates
from gateway.clock import Clock, SystemClock, in_step, not_before
from gateway.configuration.bound import Bound
from gateway.engine.driver import Driver
from gateway.engine.effects import Effects
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.first_attempts import FirstAttempts
from gateway.engine.ledger_clock import LedgerClock
from gateway.engine.liveness import ALONE
from gateway.engine.membership import Membership
from gateway.engine.old_rows import kept_for
from gateway.engine.open_counts import OpenCounts
from gateway.engine.poll import Poller
from gateway.engine.port import Engine
from gateway.engine.replicated import ReplicatedEngine
from gateway.engine.route_profiles import RouteProfiles
from gateway.engine.submit import Submitter
from gateway.engine.sweeper import Sweeper
from gateway.engine.task_canceller import TaskCanceller
from gateway.engine.wake_ups import WakeUps
from gateway.fetch.fetcher import Fetcher
from gateway.generations.budgets import budgets_of
from gateway.generations.event_stream import EventStreamSource
from gateway.generations.notifier import Notifier
from gateway.generations.planner import Planner
from gateway.generations.poll_advice import PollAdvisor
from gateway.generations.service import Generations
from gateway.inputs.library import FileLibrary, file_link
from gateway.inputs.open_blobs import open_blobs
from gateway.inputs.prepare import InputPreparer
from gateway.inputs.provider_uploads import ProviderUploads
from gateway.live import Live
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
from gateway.reconciliation.restored import RestoredGenerations
from gateway.sharing.turns import Turns
from gateway.store.files import FileLimits
from gateway.store.lineage import Said
from gateway.store.opening import open_store
from gateway.telemetry import Observer
from gateway.tokens import Signer
from gateway.upstream.client import Upstream
from gateway.upstream.control import ProviderControl
from gateway.upstream.health import Health
from gateway.upstream.provider import changed_accounts
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.endpoints import WebhookEndpoints
from gateway.webhooks.signing import signing_keys


def build_base(
    live: Live[Bound], clock: Clock, observer: Observer, *, accept_clock: bool, said: Said | None = None
) -> Base:
    """Open the ledger. Raises `ConfigurationError`, or `ClockTrouble` where the clock does not fit the ledger."""
    settings = live.current.settings
    place = marker_place(settings)
    store, hold = open_store(
        settings,
        clock,
        observer,
        accept_clock=accept_clock,
        read_far=place.read,
        said=said,
        adopt=adoptions(settings),
    )
    clients = Directory(settings, store.at_start.adopted)
    clients.warn(settings)
    live.watch(lambda _, now: clients.renew(now.settings))
    return Base(
        live=live,
        settings=settings,
        fetch_allow=live.of(lambda now: now.settings.fetch.allow),
        observer=observer,
        wall_clock=clock,
        clock=not_before(in_step(clock, store.at_start.ahead), store.at_start.newest),
        store=store,
        far_marker=FarMarker(place),
        redactor=live.of(lambda now: now.redactor),
        signer=Signer(store.at_start.secrets["tokens"]),
        clients=clients,
        notifier=Notifier(settings.server.max_long_polls, settings.server.max_listeners),
        sweep_hold=hold,
    )


def build_upstream(base: Base, transport: httpx.AsyncBaseTransport | None) -> UpstreamParts:
    """The accounts, the client for providers, and the health of their routes."""
    providers = dict(base.live.current.providers)
    health = Health(providers, base.clock, base.observer)
    health.set_holds(base.store.at_start.holds)

    def change(before: Bound, after: Bound) -> None:
        providers.clear()
        providers.update(after.providers)
        health.reconfigure(before.providers, after.providers)

    base.live.watch(change)
    return UpstreamParts(providers=providers, client=Upstream(transport), health=health)


def build_clients(base: Base) -> ClientParts:
    """What decides who may send a request, and what operators change about that."""
    shared = base.store.request_rates
    return ClientParts(
        authenticator=Authenticator(base.clients, base.clock, open_to_all=base.settings.server.auth == "none"),
        rates=OwnRates(base.clock) if shared is None else SharedRates(shared),
        administration=Administration(base.store.clients, base.clients, base.clock),
    )


def build_inputs(base: Base, upstream: UpstreamParts) -> InputParts:
    """Where images of clients are stored, and how providers get them."""
    settings = base.settings
    # Each purpose has a fetcher of its own, so that host names that no DNS server answers delay only one purpose.
    fetcher = Fetcher(base.fetch_allow)
    artifacts = base.live.of(lambda now: now.settings.artifacts)
    blobs = open_blobs(artifacts, base.clock, has_others=base.store.replicas is not None)
    public_url = settings.server.public_url
    inputs = InputPreparer(
        store=base.store,
        blobs=blobs,
        uploading=ProviderUploads(base.store.uploads, upstream.client, base.clock),
        fetcher=fetcher,
        providers=upstream.providers,
        allow=base.fetch_allow,
        link=partial(file_link, public_url, base.signer) if public_url else None,
        clock=base.clock,
    )
    files = FileLibrary(
        library=base.store.library,
        blobs=blobs,
        signer=base.signer,
        clock=base.clock,
        keep=base.live.of(lambda now: timedelta(days=now.settings.files.keep_days)),
        limits=base.live.of(
            lambda now: FileLimits(now.settings.files.max_per_key, now.settings.files.max_bytes_per_key)
        ),
        adopted_by=base.clients.owners_before,
    )
    return InputParts(fetcher=fetcher, blobs=blobs, inputs=inputs, files=files, has_links=bool(public_url))


def build_artifacts(base: Base, upstream: UpstreamParts) -> ArtifactParts:
    """Where results are archived, and how clients get them."""
    fetcher = Fetcher(base.fetch_allow)
    store = open_artifact_store(base.settings)
    thumbnails = Thumbnails(
        store=base.store,
        artifacts=store,
        clock=base.clock,
        enabled=base.live.of(lambda now: now.settings.artifacts.thumbnails),
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
        keep=base.live.of(lambda now: timedelta(days=now.settings.artifacts.keep_days)),
        thumbnails=thumbnails,
        observer=base.observer,
    )
    redirect = base.live.of(lambda now: now.settings.artifacts.redirect)
    access = ResultAccess(upstream.providers, upstream.client, downloads, store, base.clock, redirect=redirect)
    return ArtifactParts(fetcher=fetcher, store=store, thumbnails=thumbnails, archiver=archiver, access=access)


def build_callback_urls(base: Base) -> CallbackUrls:
    """The URLs that providers are given to call back. The engine, reconciliation and the API use them."""
    return CallbackUrls(base.settings.server.public_url, base.signer, base.clock)


def build_engine(
    base: Base, upstream: UpstreamParts, inputs: InputParts, artifacts: ArtifactParts, callback_urls: CallbackUrls
) -> EngineParts:
    """What drives generations, and the two loops beside it: the sweeper and the ledger's clock."""
    profiles = RouteProfiles(upstream.providers, callback_urls.are_sent)
    base.live.watch(lambda before, after: profiles.forget(changed_accounts(before.providers, after.providers)))
    replicas = base.store.replicas
    membership = None if replicas is None else Membership(replicas)
    submitter = Submitter(
        store=base.store,
        providers=upstream.providers,
        upstream=upstream.client,
        inputs=inputs.inputs,
        health=upstream.health,
        profiles=profiles,
        clock=base.clock,
        observer=base.observer,
        callback_url=callback_urls.url,
        liveness=membership or ALONE,
    )
    poller = Poller(
        upstream=upstream.client,
        inputs=inputs.inputs,
        health=upstream.health,
        clock=base.clock,
        observer=base.observer,
    )
    open_counts = OpenCounts()
    effects = Effects(
        providers=upstream.providers,
        submitter=submitter,
        poller=poller,
        canceller=TaskCanceller(upstream.client, upstream.health, base.clock),
        archiver=artifacts.archiver,
    )
    new_driver = partial(
        Driver,
        store=base.store,
        effects=effects,
        profiles=profiles,
        health=upstream.health,
        notifier=base.notifier,
        clock=base.clock,
        observer=base.observer,
        open_counts=open_counts,
        turns=Turns(),
    )
    open_max = base.live.of(lambda now: now.settings.server.max_open_generations)
    engine: Engine = (embedded := EmbeddedEngine(base.store, base.clock, new_driver, open_max=open_max))
    if replicas is not None and membership is not None:
        engine = ReplicatedEngine(embedded, membership, replicas, base.store.signals, base.clock)
    sweeper = Sweeper(
        base.store,
        inputs.blobs,
        artifacts.store,
        base.clock,
        keep_purchases=base.live.of(lambda now: timedelta(days=now.settings.retention.money_days)),
        keep=base.live.of(lambda now: kept_for(now.settings.retention)),
        hold=base.sweep_hold,
        by_turns=replicas is not None,
    )
    if isinstance(engine, ReplicatedEngine):
        engine.on_sweep = sweeper.take_turn
        engine.on_replicas = upstream.health.share_with
    drift = base.wall_clock.drift if isinstance(base.wall_clock, SystemClock) else timedelta
    control = ProviderControl(
        configured=base.live.of(lambda now: now.settings.providers),
        providers=upstream.providers,
        health=upstream.health,
        holds=base.store.holds,
        clock=base.clock,
        signals=base.store.signals,
        reconsider=engine.reconsider,
    )
    wake_ups = WakeUps(
        store=base.store,
        engine=engine,
        notifier=base.notifier,
        directory=base.clients,
        control=control,
        clock=base.clock,
    )
    first_attempts = FirstAttempts(profiles=profiles, health=upstream.health, clock=base.clock, observer=base.observer)
    return EngineParts(
        control=control,
        engine=engine,
        first_attempts=first_attempts,
        wake_ups=wake_ups,
        open_counts=open_counts,
        sweeper=sweeper,
        ledger_clock=LedgerClock(base.store.keep_time, base.clock, drift),
    )


def build_webhooks(base: Base) -> WebhookParts:
    """The endpoints of clients, and what sends to them."""
    fetcher = Fetcher(base.fetch_allow)
    root = base.store.at_start.secrets["webhooks"]
    keys = base.live.of(lambda now: signing_keys(now.settings.webhooks, root, base.clients.owners_before))
    links = Links(base.settings.own_url, base.signer, base.clients.sees)
    deliverer = Deliverer(
        store=base.store,
        poster=fetcher,
        keys=keys,
        formats=webhook_formats(links),
        clock=base.clock,
        wall_clock=base.wall_clock,
        timeout_seconds=base.live.of(lambda now: now.settings.webhooks.timeout_seconds),
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
    restored = RestoredGenerations(store=base.store, drivers=engine.engine, notifier=base.notifier, clock=base.clock)
    return ReconciliationParts(callbacks=callbacks, attempts=attempts, restored=restored)


def build_generations(base: Base, upstream: UpstreamParts, inputs: InputParts, engine: EngineParts) -> GenerationParts:
    """What creates, reads, cancels and follows generations."""
    poll_advisor = PollAdvisor(upstream.providers, upstream.health, base.clock)
    generations = Generations(
        store=base.store,
        planner=Planner(
            base.store, upstream.health, base.clock, links=inputs.has_links, limits_of=base.clients.limits_of
        ),
        blobs=inputs.blobs,
        files=inputs.files,
        drivers=engine.engine,
        first_attempts=engine.first_attempts,
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
