"""`/openapi.json`, and `/docs`, which shows it to people on a page that loads nothing from other hosts.

These routes are not in the OpenAPI document.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, route
from litestar.datastructures import State
from litestar.enums import MediaType
from litestar.response.base import ASGIResponse

from gateway.api.openapi.document import document
from gateway.api.web.answers import GET
from gateway.api.web.context import Context
from gateway.api.web.request_log import BUILT_IN

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@route("/openapi.json", http_method=GET)
async def openapi(request: Request[Any, Any, State]) -> ASGIResponse:
    """Send the OpenAPI document. Any web page may read it."""
    context: Context = request.app.state.context
    request.scope["state"][BUILT_IN] = True  # to search its megabytes for secrets would delay other requests
    # Without a configured URL the paths begin where the document is, also behind a proxy that adds a prefix.
    return ASGIResponse(
        body=_document(context.public_url or "."),
        media_type=MediaType.JSON,
        headers={"access-control-allow-origin": "*"},
    )


@route("/docs", http_method=GET)
async def docs(request: Request[Any, Any, State]) -> ASGIResponse:
    """Send the page of the API reference. With a slash after the path, the page's relative links would lead nowhere."""
    if request.scope["raw_path"].endswith(b"/"):
        return ASGIResponse(status_code=308, headers={"location": "../docs"})
    headers = {"content-security-policy": _POLICY}
    return ASGIResponse(body=_page("docs.html"), media_type=MediaType.HTML, headers=headers)


@route("/docs/docs.js", http_method=GET)
async def docs_script() -> ASGIResponse:
    """Send the script of the API reference."""
    return ASGIResponse(body=_page("docs.js"), media_type="text/javascript")


@route("/docs/docs.css", http_method=GET)
async def docs_style() -> ASGIResponse:
    """Send the style sheet of the API reference."""
    return ASGIResponse(body=_page("docs.css"), media_type=MediaType.CSS)


@cache
def _document(server: str) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document(server)), indent=2)


@cache
def _page(name: str) -> bytes:
    return (files("gateway.api") / "static" / name).read_bytes()
