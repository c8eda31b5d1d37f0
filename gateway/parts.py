"""What `gateway/build.py` builds: a value for each package, with what later ones, the API or a stop need of it."""

from dataclasses import dataclass

from gateway.api.web.auth import Authenticator
from gateway.artifacts.access import ResultAccess
from gateway.artifacts.archiver import Archiver
from gateway.artifacts.far_marker import FarMarker
from gateway.artifacts.store import ArtifactStore
from gateway.artifacts.thumbnails import Thumbnails
from gateway.clients.administration import Administration
from gateway.clients.directory import Directory
from gateway.clients.rates import Rates
from gateway.clock import Clock
from gateway.configuration.bound import Bound
from gateway.domain.ledger_clock import SweepHold
from gateway.domain.public_addresses import Network
from gateway.domain.redaction import Redactor
from gateway.engine.first_attempts import FirstAttempts
from gateway.engine.ledger_clock import LedgerClock
from gateway.engine.open_counts import OpenCounts
from gateway.engine.port import Engine
from gateway.engine.sweeper import Sweeper
from gateway.engine.wake_ups import WakeUps
from gateway.fetch.fetcher import Fetcher
from gateway.generations.event_stream import EventStreamSource
from gateway.generations.notifier import Notifier
from gateway.generations.poll_advice import PollAdvisor
from gateway.generations.service import Generations
from gateway.inputs.blobs import Blobs
from gateway.inputs.library import FileLibrary
from gateway.inputs.prepare import InputPreparer
from gateway.live import Live
from gateway.reconciliation.callbacks import CallbackReceiver
from gateway.reconciliation.decisions import OperatorDecisions
from gateway.reconciliation.restored import RestoredGenerations
from gateway.settings.load import Settings
from gateway.store.port import Store
from gateway.telemetry import Observer
from gateway.tokens import Signer
from gateway.upstream.client import Upstream
from gateway.upstream.control import ProviderControl
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.endpoints import WebhookEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every service may use."""

    live: Live[Bound]  # the configuration that counts now
    settings: Settings  # of the start, for what only a new start can change
    fetch_allow: Live[tuple[Network, ...]]
    observer: Observer
    wall_clock: Clock  # the machine's own, or the one of a test
    clock: Clock  # never before the newest moment of the ledger
    store: Store
    far_marker: FarMarker
    redactor: Live[Redactor]  # of every secret of the configuration
    signer: Signer
    clients: Directory
    notifier: Notifier
    sweep_hold: SweepHold | None  # while the clock may be wrong, another time decides what is removed


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientParts:
    """Who may call the gateway, beside the directory of clients in `Base`."""

    authenticator: Authenticator
    rates: Rates
    administration: Administration


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamParts:
    """The way to the providers."""

    providers: dict[str, Provider]  # the accounts now; a reload changes what is in it
    client: Upstream
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class InputParts:
    """The images of clients."""

    fetcher: Fetcher
    blobs: Blobs
    inputs: InputPreparer
    files: FileLibrary
    has_links: bool  # providers can read files from the gateway itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactParts:
    """The results."""

    fetcher: Fetcher
    store: ArtifactStore
    thumbnails: Thumbnails
    archiver: Archiver
    access: ResultAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """What drives generations and removes what is past its life."""

    engine: Engine
    first_attempts: FirstAttempts
    wake_ups: WakeUps
    control: ProviderControl
    open_counts: OpenCounts
    sweeper: Sweeper
    ledger_clock: LedgerClock


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookParts:
    """The deliveries to clients."""

    fetcher: Fetcher
    deliverer: Deliverer
    endpoints: WebhookEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationParts:
    """The ways by which an attempt gets a task that no reply has named."""

    callbacks: CallbackReceiver
    attempts: OperatorDecisions
    restored: RestoredGenerations


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParts:
    """What the API does with generations."""

    generations: Generations
    poll_advisor: PollAdvisor
    event_source: EventStreamSource
