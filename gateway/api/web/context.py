"""The services that handlers use. The composition root builds them once and puts them into the application's state."""

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
from gateway.artifacts.access import ResultAccess
from gateway.clock import Clock
from gateway.domain.errors import InvalidToken, Unauthenticated
from gateway.domain.public_addresses import Network
from gateway.generations.catalog import Catalog
from gateway.generations.poll_advice import PollAdvisor
from gateway.generations.service import Generations
from gateway.generations.unanswered import Unanswered
from gateway.inputs.library import FileLibrary
from gateway.inputs.remote_images import RemoteImages
from gateway.reconciliation.callbacks import CallbackReceiver, CallbackUrls
from gateway.reconciliation.decisions import OperatorDecisions
from gateway.sharing.room import Room
from gateway.store.purchases import Purchases
from gateway.store.usage import Usage
from gateway.tokens import Signer
from gateway.upstream.health import Health
from gateway.webhooks.endpoints import WebhookEndpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """All services, and the values of the configuration that the API needs."""

    generations: Generations
    artifacts: ResultAccess
    attempts: OperatorDecisions
    purchases: Purchases
    usage: Usage
    callback_urls: CallbackUrls
    callbacks: CallbackReceiver
    webhooks: WebhookEndpoints
    catalog: Catalog
    health: Health
    poll_advisor: PollAdvisor
    authenticator: Authenticator
    signer: Signer
    files: FileLibrary
    remote_images: RemoteImages
    bodies: Room  # what all requests together hold in memory
    unanswered: Unanswered
    downloads: Room
    health_warnings: Callable[[], list[str]]  # problems that do not stop the traffic, for operators
    ready: Callable[[], Awaitable[str | None]]  # why the gateway should get no traffic; None if it should
    clock: Clock
    fetch_allow: Sequence[Network]  # networks that webhook URLs may lead to besides the public ones
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
        return Links(self.base_url(request), self.signer)


def context_of(request: Request[Any, Any, State]) -> tuple[Context, str]:
    """The services and the id of the caller's key; raises `Unauthenticated` without a valid key."""
    context: Context = request.app.state.context
    key = context.authenticator.key_of(request)
    note_client(request, key)
    return context, key


def key_beside_token(request: Request[Any, Any, State], context: Context, token: str | None) -> str:
    """The id of the caller's key, for a request whose token, if it has one, was not valid.

    Without a valid key, raises `InvalidToken` if there was a token, else `Unauthenticated`.
    """
    try:
        key = context.authenticator.key_of(request)
    except Unauthenticated as error:
        if token is None:
            raise
        raise InvalidToken(
            "The token in the URL does not belong to this file, or has expired. Read the generation again to get a URL"
            " with a new token, or send your key as `Authorization: Bearer KEY`."
        ) from error
    note_client(request, key)
    return key


def admin_context_of(request: Request[Any, Any, State]) -> Context:
    """The services, for an operator; raises `Unauthenticated` or `AdminRequired` for any other caller."""
    context: Context = request.app.state.context
    context.authenticator.check_admin(request)
    note_client(request, OPERATOR)
    return context
