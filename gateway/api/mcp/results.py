"""The results of tools on the wire: structured content, the same as text, and errors in the words of the HTTP API."""

from typing import Any

import msgspec
from litestar import Request
from msgspec import Struct

from gateway.api.mcp.wording import for_tools
from gateway.api.web.error_format import openai_error, use_format
from gateway.api.web.errors import answer_to

Result = dict[str, Any]


def result_of(view: Struct, *, note: str | None = None, is_error: bool = False) -> Result:
    """The result of a tool whose answer is this wire structure.

    The same JSON comes once more as text, for clients that do not read structured content. `note` is added to both.
    """
    content = msgspec.to_builtins(view)
    return _result(content if note is None else {**content, "note": note}, is_error=is_error)


def failure(request: Request[Any, Any, Any], error: Exception) -> Result:
    """The result of a tool that raised: the body that the HTTP API answers with, marked as an error.

    Its messages name tools instead of paths. So a model reads `error.code`, `error.message` and `error.param`, and can
    mend its arguments.
    """
    use_format(request, openai_error)  # the path itself answers with errors of JSON-RPC
    answer = answer_to(request, error)
    body = msgspec.json.decode(answer.content)
    body["error"] = _for_tools(body["error"])
    if (seconds := answer.headers.get("Retry-After")) is not None:
        body["error"]["retry_after_seconds"] = int(seconds)
    return _result(body, is_error=True)


def _for_tools(value: Any) -> Any:
    """The same value with every text in it in the words of the tools."""
    if isinstance(value, str):
        return for_tools(value)
    if isinstance(value, list):
        return [_for_tools(item) for item in value]
    return {name: _for_tools(item) for name, item in value.items()} if isinstance(value, dict) else value


def _result(content: dict[str, Any], *, is_error: bool) -> Result:
    return {
        "content": [{"type": "text", "text": msgspec.json.encode(content).decode()}],
        "structuredContent": content,
        "isError": is_error,
    }
