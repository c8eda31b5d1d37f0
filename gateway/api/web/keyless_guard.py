"""Refuses what other web pages, other machines and proxies send to a gateway without client keys."""

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.api.web.context import Context
from gateway.domain.errors import GatewayError
from gateway.domain.keyless_access import check_keyless


class KeylessGuard(ASGIMiddleware):
    """Comes before every handler and before all other middleware, so that no body is read before it has decided."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass a request on, or raise the error that refuses it; the error gets the form of the path's dialect."""
        if (error := refusal_of(scope)) is not None:
            raise error
        await next_app(scope, receive, send)


def refusal_of(scope: Scope) -> GatewayError | None:
    """Why a gateway without client keys refuses this request, whatever its path is; None if it does not.

    It has an answer also for a path that does not exist, which no middleware sees.
    """
    context: Context | None = scope["litestar_app"].state.get("context")
    if context is None or not context.authenticator.is_open or scope["type"] != ScopeType.HTTP:
        return None
    try:
        check_keyless(scope["method"], scope["scheme"], scope["headers"])
    except GatewayError as error:
        return error
    return None
