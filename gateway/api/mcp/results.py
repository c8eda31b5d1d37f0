"""The results of tools on the wire: structured content, the same as text, and errors in the words of the HTTP API."""

from typing import Any

import msgspec
from litestar import Request
from msgspec import UNSET, Struct
from msgspec.structs import replace

from gateway.api.generations.views import GenerationView
from gateway.api.mcp.wording import for_tools
from gateway.api.web.error_format import openai_error, use_format
from gateway.api.web.errors import answer_to

Result = dict[str, Any]
ATTEMPTS_MAX = 8  # of a generation in one answer: some have a hundred


def result_of(view: Struct | dict[str, Any], *, note: str | None = None, is_error: bool = False) -> Result:
    """The result of a tool whose answer is this wire structure, or these members.

    The same JSON comes once more as text, for clients that do not read structured content. `note` is added to both.
    """
    content = msgspec.to_builtins(view)
    return _result(content if note is None else {**content, "note": note}, is_error=is_error)


def generation_result(view: GenerationView, *, note: str | None = None, is_error: bool = False) -> Result:
    """The result of a tool that answers with a generation; of very many attempts it has the newest."""
    older = 0 if view.attempts is UNSET else len(view.attempts) - ATTEMPTS_MAX
    if view.attempts is not UNSET and older > 0:
        left_out = f"The first {older} attempts are left out here."
        view, note = replace(view, attempts=view.attempts[older:]), f"{note} {left_out}" if note else left_out
    return result_of(view, note=note, is_error=is_error)


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
