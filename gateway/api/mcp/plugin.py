"""`litestar-mcp` as the gateway uses it: its transport at `/mcp`, with our entrance and our methods."""

from litestar import Litestar, Router
from litestar.config.app import AppConfig
from litestar_mcp import LitestarMCP, MCPConfig

from gateway.api.mcp.entrance import Entrance, json_rpc_error
from gateway.api.mcp.service import NAME, methods
from gateway.api.web.error_format import OPT

PATH = "/mcp"
_LIST_MS = 300_000  # for so long a client may use the list of tools without asking again


class McpPlugin(LitestarMCP):
    """The plugin of the library, which by itself looks for tools, resources and prompts among all handlers."""

    def __init__(self) -> None:
        super().__init__(MCPConfig(base_path=PATH, name=NAME, cache_ttl_ms=_LIST_MS))

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Mount the transport with the entrance before it, and our methods in place of the library's."""
        config = super().on_app_init(app_config)
        router = config.route_handlers[-1]
        if not isinstance(router, Router):
            raise TypeError("litestar-mcp has not mounted its router last, so nothing would check keys at /mcp")
        router.middleware = [Entrance(), *router.middleware]
        router.opt[OPT] = json_rpc_error
        config.state["mcp_router"] = methods(self.config)  # the library makes its own only if the state has no other
        return config

    def on_startup(self, app: Litestar) -> None:
        """Discover nothing: the library would offer every handler that is marked for it, and replace our methods."""
