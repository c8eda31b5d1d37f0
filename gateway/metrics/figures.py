"""The figures that are read at a scrape. Each function gives metrics of what it is given; none scans generations."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from gateway.domain.health.circuit import VERDICT, CircuitState, Verdict
from gateway.engine.open_counts import OpenCounts
from gateway.engine.port import Engine
from gateway.inputs.disk_room import DiskRoom
from gateway.live import Live
from gateway.log import dropped_lines
from gateway.metrics.labels import NONE, Labels
from gateway.metrics.series import PREFIX
from gateway.sharing.limiter import FairQueue
from gateway.sharing.room import Room
from gateway.store.port import Store
from gateway.upstream.health import Health

ACCOUNT = "*"  # the label `model` of the circuit of a whole account


def gauge(name: str, text: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    """A family of gauges: for each series the values of its labels, and its value."""
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for of_labels, value in values:
        family.add_metric(of_labels, value)
    return family


def program(version: str) -> Iterator[Metric]:
    """Which gateway this is, and what its log has lost."""
    info = InfoMetricFamily(f"{PREFIX}_build", "The version of the gateway.")
    info.add_metric((), {"version": version})
    yield info
    dropped = CounterMetricFamily(
        f"{PREFIX}_log_dropped_lines", "Lines of the log that were dropped, because nobody read standard error."
    )
    dropped.add_metric((), dropped_lines())
    yield dropped


def open_generations(counts: OpenCounts, engine: Engine, open_max: Live[int], labels: Labels) -> Iterator[Metric]:
    """The open generations by place."""
    places: dict[tuple[str, ...], int] = {(NONE, "untaken"): engine.untaken}
    for place, count in counts.read().items():
        at = labels.provider(place.provider), place.state.value
        places[at] = places.get(at, 0) + count
    yield gauge(
        "open_generations",
        "Open generations by what they wait for. `untaken`: this start has not taken them over yet.",
        places.items(),
        "provider",
        "state",
    )
    yield gauge("open_generations_limit", "At most so many are open.", [((), open_max.current)])
    yield gauge(
        "driven_generations",
        "Generations with a driver, also ended ones with a task that is still read or a file to copy.",
        [((), engine.driven)],
    )


def replicas(store: Store, engine: Engine) -> Iterator[Metric]:
    """This gateway among the replicas of the ledger."""
    standing = engine.standing
    yield gauge(
        "replicas",
        "Gateways on the ledger that live and do not stop, with this one, as its last heartbeat saw them.",
        [((), standing.replicas)],
    )
    yield gauge(
        "heartbeat_age_seconds",
        "Time since the last heartbeat that the ledger took. From 10 on, this gateway submits nothing.",
        [((), standing.heartbeat_age)],
    )
    counts: tuple[tuple[str, str, int], ...] = (
        ("heartbeats_failed", "Heartbeats that the ledger did not take.", standing.heartbeats_failed),
        ("declared_dead", "How often the ledger has declared this gateway dead while it ran.", standing.declared_dead),
        ("signals_lost", "How often the connection for signals of other gateways was lost.", store.signals.losses),
    )
    for name, text, count in counts:
        family = CounterMetricFamily(f"{PREFIX}_{name}", text)
        family.add_metric((), count)
        yield family
    moved = CounterMetricFamily(
        f"{PREFIX}_handed_over_generations",
        "Generations that this gateway has handed over, its own or those of a dead one.",
        labels=("cause",),
    )
    for cause, count in standing.handed_over.items():
        moved.add_metric((cause,), count)
    yield moved


def providers(health: Health, labels: Labels) -> Iterator[Metric]:
    """The circuits, and the limits of concurrency."""
    states, needing = [], []
    for provider, model, state, reason in health.circuit_states():
        route = (labels.provider(provider), ACCOUNT) if model is None else labels.route(provider, model)
        states += [((*route, each.value), float(each is state)) for each in CircuitState]
        if reason is not None and VERDICT[reason] is Verdict.BROKEN:
            needing.append(((*route, reason.value), 1.0))
    yield gauge(
        "circuit_state",
        "1 for the state that a circuit has. Model `*`: the circuit of the account.",
        dict(states).items(),
        "provider",
        "model",
        "state",
    )
    yield gauge(
        "circuit_needs_operator",
        "1 while a circuit is open for a reason that does not go away by itself, such as a refused key.",
        dict(needing).items(),
        "provider",
        "model",
        "kind",
    )
    queues: list[tuple[tuple[str, str], FairQueue]] = [
        *(((name, "submit"), queue) for name, queue in health.submits.items()),
        *(((name, "read"), queue) for name, queue in health.reads.items()),
    ]
    figures: tuple[tuple[str, str, Callable[[FairQueue], int]], ...] = (
        ("provider_calls_active", "Calls that run.", lambda queue: queue.active),
        ("provider_calls_waiting", "Calls that wait for a place.", lambda queue: queue.waiting),
        ("provider_calls_limit", "Calls that may run at once now; fewer after a 429.", lambda queue: queue.limit),
    )
    for name, text, read in figures:
        yield gauge(name, text, [(at, read(queue)) for at, queue in queues], "provider", "call")


def rooms(named: Mapping[str, Room]) -> Iterator[Metric]:
    """The places that clients hold. Those of `request_bodies` are bytes."""
    used = [((name,), float(room.taken)) for name, room in named.items()]
    most = [((name,), float(room.capacity)) for name, room in named.items()]
    yield gauge("places_used", "Places that clients hold; of request_bodies: bytes.", used, "room")
    yield gauge("places_limit", "Places that there are; of request_bodies: bytes.", most, "room")


def connections(number: int, limit: int) -> Iterator[Metric]:
    """The connections of the main port."""
    yield gauge("connections_open", "Connections of clients.", [((), number)])
    yield gauge("connections_limit", "Connections that get an answer other than 503.", [((), limit)])


def unfollowed(by_provider: Mapping[str, int]) -> Iterator[Metric]:
    """The open generations that nobody polls."""
    yield gauge(
        "unfollowed_generations",
        "Open generations at the start whose provider has no key, so that their tasks are not polled.",
        # The name may come from the ledger: there are as many as were configured at any time.
        [((name,), float(count)) for name, count in by_provider.items()],
        "provider",
    )


def warnings(of_health: Callable[[], Sequence[str]]) -> Iterator[Metric]:
    """What the health check shows beside an `ok`."""
    yield gauge("health_warnings", "Warnings that /health/ready shows for operators.", [((), len(of_health()))])


def work(store: Store, sending: Callable[[], int]) -> Iterator[Metric]:
    """What waits to be stored or is being sent."""
    yield gauge("store_waiting_writes", "Writes that wait for the next transaction.", [((), store.waiting_writes)])
    yield gauge("deliveries_sending", "Webhooks that are being sent.", [((), sending())])


def disks(store: Store, named: Mapping[str, Callable[[], DiskRoom]]) -> Iterator[Metric]:
    """What may wait for a disk."""
    yield gauge("store_log_bytes", "Size of the ledger's write-ahead log.", [((), store.log_bytes())])
    read = {name: room() for name, room in named.items()}
    free = [((name,), float(room.free)) for name, room in read.items()]
    floor = [((name,), float(room.floor)) for name, room in read.items()]
    yield gauge("disk_free_bytes", "Free bytes of the disk.", free, "disk")
    yield gauge("disk_floor_bytes", "With less free on the disk of the artifacts, images are refused.", floor, "disk")
