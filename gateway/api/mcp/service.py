"""The methods of `/mcp`, on top of the service of `litestar-mcp`: discovery, the tools, and generations as tasks."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from litestar import Request
from litestar_mcp import MCPConfig, MCPRequestContext
from litestar_mcp.core.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, JSONRPCError, JSONRPCErrorException, JSONRPCRouter
from litestar_mcp.mcp.service import MCPHandlerService

from gateway.api.mcp.results import failure
from gateway.api.mcp.tasks import GenerationTasks
from gateway.api.mcp.tools import TASKS_EXTENSION, TOOLS, Call, run
from gateway.api.mcp.wording import for_tools
from gateway.api.web.context import admitted, context_of
from gateway.domain.clients import Scope
from gateway.domain.errors import GatewayError, InvalidParameter

NAME = "video-gateway"
VERSION = "2026-07-28"  # of the protocol
INSTRUCTIONS = (
    "This server buys videos and images from providers. Ask list_models what there is and quote_generation for the"
    " price, then create_generation with an idempotency_key, then wait_for_generation until the generation has ended."
)
_SERVER = "io.modelcontextprotocol/serverInfo"
Params = dict[str, Any]
Method = Callable[["GatewayService", Params, MCPRequestContext], Awaitable[dict[str, Any]]]


def server_info() -> dict[str, str]:
    """What the server calls itself."""
    return {"name": NAME, "version": version("video-gateway")}


class GatewayService(MCPHandlerService):
    """Answers one request. The methods of tasks are those of the base class, with generations as the tasks."""

    def __init__(self, config: MCPConfig, request: Request[Any, Any, Any]) -> None:
        """`request` is the one that is answered; raises `Unauthenticated` if it has no valid key."""
        self._gateway, self._key = admitted(request)
        self._request = request
        super().__init__(
            config=config,
            discovered_tools={},  # no handler of the HTTP API is a tool, a resource or a prompt
            discovered_resources={},
            discovered_prompts={},
            app_ref=request.app,
            registry=None,
            task_store=GenerationTasks(self._gateway, self._gateway.links(request)),
        )

    async def server_discover(self, params: Params, context: MCPRequestContext) -> dict[str, Any]:  # noqa: ARG002
        """What the server can do: tools and tasks, nothing else."""
        return {
            "supportedVersions": [VERSION],
            "capabilities": {"tools": {}, "extensions": {TASKS_EXTENSION: {}}},
            "instructions": INSTRUCTIONS,
        }

    async def tools_list(self, params: Params, context: MCPRequestContext) -> dict[str, Any]:  # noqa: ARG002
        """All tools on one page."""
        if params.get("cursor") is not None:
            raise _invalid("The list of tools has one page: leave out `cursor`.")
        return {"tools": [tool.listed(name) for name, tool in TOOLS.items()]}

    async def tools_call(self, params: Params, context: MCPRequestContext) -> dict[str, Any]:
        """The answer of a tool. What goes wrong in it is its result, because a model reads results alone."""
        name = params.get("name")
        tool = TOOLS.get(name) if isinstance(name, str) else None
        if tool is None:
            raise _invalid(f"There is no such tool. The tools are: {', '.join(TOOLS)}.")
        try:
            arguments = params.get("arguments")
            if arguments is not None and not isinstance(arguments, dict):
                raise InvalidParameter("`arguments` must be an object.", param="arguments")  # noqa: TRY301  # as below
            await context_of(self._request, "read" if tool.reads_only else "generate")
            call = Call(
                gateway=self._gateway, key=self._key, request=self._request, rpc=context, arguments=arguments or {}
            )
            return await run(tool, call)
        except Exception as error:  # noqa: BLE001  # a defect is logged and shown as 500 is, in the shape of a result
            return failure(self._request, error)


_SCOPES: dict[str, Scope] = {"tasks/get": "read", "tasks/update": "generate", "tasks/cancel": "generate"}
_METHODS: dict[str, Method] = {
    "server/discover": GatewayService.server_discover,
    "tools/list": GatewayService.tools_list,
    "tools/call": GatewayService.tools_call,
    "tasks/get": GatewayService.tasks_get,
    "tasks/update": GatewayService.tasks_update,
    "tasks/cancel": GatewayService.tasks_cancel,
}


def methods(config: MCPConfig) -> JSONRPCRouter:
    """All methods that `/mcp` has. Any other is answered with "method not found"."""
    router = JSONRPCRouter()
    for name, method in _METHODS.items():
        router.register(name, _answering(name, method, config))
    return router


def _answering(name: str, method: Method, config: MCPConfig) -> Callable[[Params, MCPRequestContext], Any]:
    async def answer(params: Params, context: MCPRequestContext) -> dict[str, Any]:
        if context.request is None:
            raise LookupError("a request of MCP came by another way than HTTP")
        try:
            if name in _SCOPES:
                await context_of(context.request, _SCOPES[name])
            result = await method(GatewayService(config, context.request), params, context)
        except GatewayError as error:
            code = INVALID_PARAMS if error.status < 500 else INTERNAL_ERROR
            data = {"code": error.code, "param": error.param}
            raise JSONRPCErrorException(JSONRPCError(code=code, message=for_tools(error.detail), data=data)) from error
        return {**result, "_meta": {_SERVER: server_info(), **result.get("_meta", {})}}

    return answer


def _invalid(message: str) -> JSONRPCErrorException:
    return JSONRPCErrorException(JSONRPCError(code=INVALID_PARAMS, message=message))
