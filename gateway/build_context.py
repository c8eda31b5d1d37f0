"""Builds what the handlers of the API work with, of all that `gateway/build.py` has built."""

from collections.abc import Awaitable, Callable

from gateway.api.web.context import Context
from gateway.api.web.cross_origin import trusted_origins
from gateway.api.web.held_body import bodies_room
from gateway.configuration.bound import Bound
from gateway.configuration.reloader import Reloader
from gateway.inputs.remote_images import RemoteImages
from gateway.live import Live
from gateway.metrics.service import Metrics
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
from gateway.reconciliation.callbacks import CallbackUrls
from gateway.sharing.room import Room


def build_context(
    base: Base,
    *,
    clients: ClientParts,
    upstream: UpstreamParts,
    engine: EngineParts,
    inputs: InputParts,
    artifacts: ArtifactParts,
    webhooks: WebhookParts,
    reconciliation: ReconciliationParts,
    generations: GenerationParts,
    metrics: Metrics,
    callback_urls: CallbackUrls,
    reloader: Reloader,
    ready: Callable[[], Awaitable[str | None]],
    health_warnings: Callable[[], list[str]],
) -> Live[Context]:
    """What the handlers of the API work with. A request sees one value to its end: one configuration."""
    server = base.settings.server
    bodies = bodies_room(server.max_bodies_bytes)
    downloads = Room(server.max_downloads, f"{server.max_downloads:,} downloads are under way already.")
    remote_images = RemoteImages(inputs.fetcher)
    started_at = int(base.clock.now().timestamp())

    def context_with(now: Bound) -> Context:
        return Context(
            generations=generations.generations,
            artifacts=artifacts.access,
            attempts=reconciliation.attempts,
            restored=reconciliation.restored,
            purchases=base.store.purchases,
            usage=base.store.usage,
            callback_urls=callback_urls,
            callbacks=reconciliation.callbacks,
            catalog=now.catalog,
            webhooks=webhooks.endpoints,
            health=upstream.health,
            control=engine.control,
            metrics=metrics,
            poll_advisor=generations.poll_advisor,
            authenticator=clients.authenticator,
            clients=base.clients,
            rates=clients.rates,
            administration=clients.administration,
            signer=base.signer,
            files=inputs.files,
            remote_images=remote_images,
            bodies=bodies,
            downloads=downloads,
            reloader=reloader,
            ready=ready,
            health_warnings=health_warnings,
            clock=base.clock,
            fetch_allow=now.settings.fetch.allow,
            trusted_origins=trusted_origins(now.settings.server),
            max_body_bytes=now.settings.server.max_body_bytes,
            blocking_seconds=now.settings.server.blocking_seconds,
            public_url=server.public_url,
            started_at=started_at,
        )

    return base.live.of(context_with)
