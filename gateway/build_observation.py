"""Builds what observes the gateway beside its log: the traces, and the figures that metrics read at a scrape."""

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.api.web.context import Context
from gateway.clock import Clock
from gateway.domain.errors import ConfigurationError
from gateway.inputs.disk_room import DiskRoom, disk_room
from gateway.live import Live
from gateway.metrics import figures
from gateway.parts import Base, EngineParts, UpstreamParts, WebhookParts
from gateway.settings.load import Settings

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


def add_figures(
    base: Base, *, upstream: UpstreamParts, engine: EngineParts, webhooks: WebhookParts, context: Context
) -> None:
    """What metrics show beside the counts of events. A new figure is one line here and its function in `figures.py`."""
    settings, metrics, labels = base.settings, context.metrics, context.metrics.labels
    rooms = {
        "long_polls": base.notifier.long_polls,
        "event_streams": base.notifier.streams,
        "downloads": context.downloads,
        "request_bodies": context.bodies,
    }
    folders = {"artifacts": settings.artifacts.path}
    if settings.database.path is not None:
        folders["ledger"] = settings.database.path.parent
    min_free = base.live.of(lambda now: now.settings.artifacts.min_free_bytes)
    disks = {name: partial(_disk_room, folder, min_free) for name, folder in folders.items()}
    metrics.add(
        partial(figures.program, version("video-gateway")),
        partial(
            figures.open_generations,
            engine.open_counts,
            engine.engine,
            base.live.of(lambda now: now.settings.server.max_open_generations),
            labels,
        ),
        partial(figures.replicas, base.store, engine.engine),
        partial(figures.providers, upstream.health, labels),
        partial(figures.rooms, rooms),
        partial(figures.work, base.store, lambda: webhooks.deliverer.sending),
    )
    metrics.add(partial(figures.disks, base.store, disks), disk=True)


def _disk_room(folder: Path, min_free_bytes: Live[int | None]) -> DiskRoom:
    return disk_room(folder, min_free_bytes.current)
