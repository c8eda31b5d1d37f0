"""`/metrics`: what Prometheus reads. On the main port it needs an admin key; `[metrics]` opens a port without one."""

from typing import Any

from litestar import Request, route
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from gateway.api.web.answers import GET
from gateway.api.web.context import admin_context_of
from gateway.api.web.errors import refuse_all
from gateway.api.web.headers import header
from gateway.api.web.operation import Operation
from gateway.domain.errors import ForbiddenHost, GatewayError, MethodNotAllowed, NotFound
from gateway.domain.keyless_access import is_own_host
from gateway.metrics.service import OPEN_METRICS, Metrics

PATH = "/metrics"


@route(
    PATH,
    http_method=GET,
    operation=Operation(
        id="metrics",
        summary="Read the metrics in the format of Prometheus, or OpenMetrics if `Accept` has it; needs an admin key",
        media_types=("text/plain", OPEN_METRICS),
    ),
)
async def metrics(request: Request[Any, Any, State]) -> ASGIResponse:
    """Answer a scrape."""
    return await _answer(admin_context_of(request).metrics, header(request, "accept"))


async def _answer(metrics: Metrics, accept: str | None) -> ASGIResponse:
    body, content_type = await metrics.scrape(accept or "")
    return ASGIResponse(body=body, headers={"content-type": content_type})


class MetricsPort:
    """The application of the port that is for Prometheus and health checks alone. Nothing here needs a key."""

    def __init__(self, metrics: Metrics, health: ASGIApp, *, loopback: bool) -> None:
        """`health` answers paths below `/health/`. On a `loopback` address only names of this machine are answered.

        Without that rule a web page could make its own name resolve to this machine (DNS rebinding) and read figures.
        """
        self._metrics = metrics
        self._health = health
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == ScopeType.HTTP:
            await self._http(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        if (error := self._refusal(scope, headers.get(b"host", b""))) is not None:
            await refuse_all(error)(scope, receive, send)
        elif scope["path"] == PATH:
            answer = await _answer(self._metrics, headers.get(b"accept", b"").decode("latin-1"))
            await answer(scope, receive, send)
        else:
            await self._health(scope, receive, send)

    def _refusal(self, scope: HTTPScope, host: bytes) -> GatewayError | None:
        if self._loopback and not is_own_host(host.decode("latin-1")):
            return ForbiddenHost(
                "The port of the metrics answers to localhost and loopback addresses alone; set metrics.host to another"
                " address to be called by another name."
            )
        if scope["path"] != PATH and not scope["path"].startswith("/health/"):
            return NotFound("This port has only `/metrics`, `/health/live` and `/health/ready`.")
        if scope["method"] not in {"GET", "HEAD"}:
            return MethodNotAllowed("This path does not have this HTTP method; it has GET, HEAD.")
        return None
