"""The services that handlers use. The composition root puts them into the application's state.

A reload of the configuration puts another value there. A request that has one keeps it, and so sees one configuration.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import State

from gateway.api.web.auth import Authenticator
from gateway.api.web.client import OPERATOR, note_client
from gateway.api.web.headers import header
from gateway.api.web.links import Links
from gateway.api.web.rate_headers import count
from gateway.artifacts.access import ResultAccess
from gateway.clients.administration import Administration
from gateway.clients.directory import Directory
from gateway.clients.rates import Rates
from gateway.clock import Clock
from gateway.configuration.reloader import Reloader
from gateway.domain.clients import Scope
from gateway.domain.errors import InvalidToken, Unauthenticated
from gateway.domain.public_addresses import Network
from gateway.generations.catalog import Catalog
from gateway.generations.poll_advice import PollAdvisor
from gateway.generations.service import Generations
from gateway.inputs.library import FileLibrary
from gateway.inputs.remote_images import RemoteImages
from gateway.metrics.service import Metrics
from gateway.reconciliation.callbacks import CallbackReceiver, CallbackUrls
from gateway.reconciliation.decisions import OperatorDecisions
from gateway.reconciliation.restored import RestoredGenerations
from gateway.sharing.room import Room
from gateway.store.purchases import Purchases
from gateway.store.usage import Usage
from gateway.tokens import Signer
from gateway.upstream.control import ProviderControl
from gateway.upstream.health import Health
from gateway.webhooks.endpoints import WebhookEndpoints

_READS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All services, and the values of the configuration that the API needs."""

    generations: Generations
    artifacts: ResultAccess
    attempts: OperatorDecisions
    restored: RestoredGenerations
    purchases: Purchases
    usage: Usage
    callback_urls: CallbackUrls
    callbacks: CallbackReceiver
    webhooks: WebhookEndpoints
    catalog: Catalog
    health: Health
    control: ProviderControl
    metrics: Metrics
    poll_advisor: PollAdvisor
    authenticator: Authenticator
    clients: Directory
    rates: Rates
    administration: Administration
    signer: Signer
    files: FileLibrary
    remote_images: RemoteImages
    bodies: Room  # what all requests together hold in memory
    downloads: Room
    reloader: Reloader
    health_warnings: Callable[[], list[str]]  # problems that do not stop the traffic, for operators
    ready: Callable[[], Awaitable[str | None]]  # why the gateway should get no traffic; None if it should
    clock: Clock
    fetch_allow: Sequence[Network]  # networks that webhook URLs may lead to besides the public ones
    trusted_origins: Sequence[str]  # of web pages that may call with a key, the gateway's own among them
    max_body_bytes: int
    blocking_seconds: float  # how long a create of images waits for its result
    public_url: str | None
    started_at: int  # Unix seconds

    def base_url(self, request: Request[Any, Any, State] | None) -> str:
        """What the gateway's own URLs begin with: `server.public_url`, else the scheme and host of the request."""
        if self.public_url is not None or request is None:
            return self.public_url or ""
        return f"{request.scope['scheme']}://{header(request, 'host') or ''}"

    def public_path(self, path: str) -> str:
        """A path of the gateway as its clients write it: with the prefix of `server.public_url`, if that has one."""
        return urlsplit(self.public_url or "").path + path

    def links(self, request: Request[Any, Any, State] | None) -> Links:
        """The maker of the gateway's own URLs of results, for the client that sent this request."""
        return Links(self.base_url(request), self.signer, self.clients.sees)

    def operator_links(self, request: Request[Any, Any, State]) -> Links:
        """The same for an operator, who sees everything of every client, also what the client itself may not see."""
        return Links(self.base_url(request), self.signer)


async def context_of(request: Request[Any, Any, State], needs: Scope | None = None) -> tuple[Context, str]:
    """The services and the owner id of the caller.

    `needs` is the scope that the key must have; without it, `read` for a read and `generate` for everything else.
    Raises `Unauthenticated` without a valid key, `ScopeMissing`, and `RequestsPerMinuteReached`. A request counts once,
    however often it asks.
    """
    context: Context = request.app.state.context
    owner = await _admit(request, context, needs or ("read" if request.scope["method"] in _READS else "generate"))
    return context, owner


async def any_scope(request: Request[Any, Any, State]) -> tuple[Context, str]:
    """The same for a request whose scope is only known when its body is read: `context_of` is called again then."""
    context: Context = request.app.state.context
    return context, await _admit(request, context, None)


def admitted(request: Request[Any, Any, State]) -> tuple[Context, str]:
    """The same for a request that was counted before."""
    context: Context = request.app.state.context
    return context, context.authenticator.caller_of(request, None).client.owner


async def _admit(request: Request[Any, Any, State], context: Context, needs: Scope | None) -> str:
    caller = context.authenticator.caller_of(request, needs)
    owner = caller.client.owner
    note_client(request, owner)
    await count(request.scope, context.rates, owner, caller.client.limits.requests_per_minute)
    return owner


async def key_beside_token(request: Request[Any, Any, State], context: Context, token: str | None) -> str:
    """The owner id of the caller, for a request whose token, if it has one, was not valid.

    Without a valid key, raises `InvalidToken` if there was a token, else `Unauthenticated`.
    """
    try:
        return await _admit(request, context, "read")
    except Unauthenticated as error:
        if token is None:
            raise
        raise InvalidToken(
            "The token in the URL does not belong to this file, or has expired. Read the generation again to get a URL"
            " with a new token, or send your key as `Authorization: Bearer KEY`."
        ) from error


def admin_context_of(request: Request[Any, Any, State]) -> Context:
    """The services, for an operator; raises `Unauthenticated` or `AdminRequired` for any other caller."""
    context: Context = request.app.state.context
    context.authenticator.check_admin(request)
    note_client(request, OPERATOR)
    return context
