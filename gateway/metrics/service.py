"""`Metrics`: counts events, and writes everything in the format that a scrape asks for."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

import structlog
from prometheus_client import CollectorRegistry, Metric, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from gateway.metrics.counting import CountingObserver
from gateway.metrics.labels import HasModels, Labels
from gateway.metrics.loop_lag import LoopLag
from gateway.metrics.series import Series
from gateway.telemetry import Event

log = structlog.get_logger()
DISK_SECONDS = 2.0  # how long a scrape waits for the figures of the disk; without an answer it leaves them out
OPEN_METRICS = "application/openmetrics-text"
OPEN_METRICS_TYPE = f"{OPEN_METRICS}; version=1.0.0; charset=utf-8"
PLAIN_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Source = Callable[[], Iterable[Metric]]


class _Families(Collector):
    """Metrics that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Metrics:
    """Implements `Observer`. What is read at a scrape comes from sources, which the composition root adds."""

    def __init__(self, providers: Callable[[], Mapping[str, HasModels]], is_model: Callable[[str], bool]) -> None:
        """`providers` are those of the present configuration; `is_model` says whether it has a model of this name."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        series = Series(self._registry)
        series.begin((name, model) for name, provider in providers().items() for model in provider.models)
        self.labels = Labels(providers, is_model)
        self._counting = CountingObserver(series, self.labels)
        self.loop_lag = LoopLag(series.loop_lag[()].observe)
        self._sources: list[Source] = []
        self._disk_sources: list[Source] = []
        self._disk: asyncio.Future[list[Metric]] | None = None  # a reading that is under way
        self._turn = asyncio.Lock()  # one scrape at a time: each holds all of its text in memory

    def observe(self, event: Event) -> None:
        """See `Observer`."""
        self._counting.observe(event)

    def add(self, *sources: Source, disk: bool = False) -> None:
        """Add sources of figures. They are called on the event loop, or on a thread if they may wait for a `disk`."""
        (self._disk_sources if disk else self._sources).extend(sources)

    async def scrape(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text, and its content type: OpenMetrics if the header `accept` asks for it.

        Figures of the event loop are read on it at once. Writing the text takes longer, and runs on a thread.
        """
        async with self._turn:
            disk = await self._read_disk()
            figures = _read(self._sources)
            families = _Families(chain(self._registry.collect(), figures, disk))
            if OPEN_METRICS in accept:
                return await asyncio.to_thread(openmetrics.generate_latest, families), OPEN_METRICS_TYPE
            return await asyncio.to_thread(generate_latest, families), PLAIN_TYPE

    async def _read_disk(self) -> list[Metric]:
        """The figures of the disk; none while it does not answer."""
        if self._disk is None:
            self._disk = asyncio.ensure_future(asyncio.to_thread(_read, self._disk_sources))
        done, _ = await asyncio.wait([self._disk], timeout=DISK_SECONDS)
        if not done:
            return []
        figures, self._disk = self._disk.result(), None
        return figures


def _read(sources: Iterable[Source]) -> list[Metric]:
    return list(chain.from_iterable(map(_safely, sources)))


def _safely(source: Source) -> Iterator[Metric]:
    """What one source gives. A source that raises must not hide the others from those who look for its fault."""
    try:
        yield from source()
    except Exception:  # a defect of one figure, which is logged
        log.exception("metrics_source_failed", source=getattr(source, "__qualname__", type(source).__name__))
