"""Lets scripts of named origins call the gateway from a browser (CORS), with a client key."""

from collections.abc import Iterable

from litestar.enums import HttpMethod, ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gateway.domain.keyless_access import origin_of
from gateway.live import Live
from gateway.settings.load import ServerSettings

# Headers of answers that a script on another origin may read, besides the few that every script may read.
EXPOSED = (
    "accept-ranges, allow, content-disposition, content-range, content-security-policy, etag, idempotent-replayed,"
    " idempotent-replayed-because, location, openai-poll-after-ms, preference-applied, retry-after, www-authenticate,"
    " x-litellm-response-cost, x-ratelimit-limit-requests, x-ratelimit-remaining-requests,"
    " x-ratelimit-reset-requests, x-request-id"
)
PREFLIGHT_SECONDS = 600  # for which a browser need not ask again
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"


class CrossOrigin:
    """ASGI middleware: lets pages of the named origins read all answers, also errors, and answers their preflights."""

    def __init__(self, app: ASGIApp, origins: Live[tuple[str, ...]]) -> None:
        """`origins` are as browsers send them, such as `https://app.example.com`."""
        self._app = app
        self._origins = origins.of(lambda names: frozenset(name.encode() for name in names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; without configured origins it is passed on as it is."""
        origins = self._origins.current
        if scope["type"] != ScopeType.HTTP or not origins:
            await self._app(scope, receive, send)
            return
        origin = _value(scope["headers"], b"origin")
        allowed = origin if origin in origins else None
        # Also without an allowed origin: a cache must not give the answer of one origin to another.
        headers = [(b"vary", b"Origin")]
        if allowed is not None:
            headers.append((b"access-control-allow-origin", allowed))
        if allowed is not None and _is_preflight(scope):
            await _answer_preflight(scope, send, headers)
            return
        if allowed is not None:
            headers.append((b"access-control-expose-headers", EXPOSED.encode()))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(line for line in headers if line[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _value(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The only header of this name; None for none, or for several."""
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None


def _is_preflight(scope: HTTPScope) -> bool:
    return scope["method"] == HttpMethod.OPTIONS and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


async def _answer_preflight(scope: HTTPScope, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    """Allow what the page asks for: whether its request is good is decided by its key, its path and its body."""
    wanted = _value(scope["headers"], b"access-control-request-headers")
    lines = [
        *headers,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode()),
        *([] if wanted is None else [(b"access-control-allow-headers", wanted)]),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": lines})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def trusted_origins(server: ServerSettings) -> tuple[str, ...]:
    """The origins of web pages that may call the gateway: those that are configured, and its own."""
    return (*server.cors_origins, *([origin_of(server.public_url)] if server.public_url else []))
