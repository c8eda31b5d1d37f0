"""`/mcp` over a port, with the client of the Python SDK: who is admitted, what is refused, and in which words."""

import asyncio
import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

import httpx
import mcp
import pytest
from mcp_types import Result
from msgspec.structs import replace

from gateway.api.generations.image_parameters import IMAGE_PARAMETERS
from gateway.api.generations.parameter import Holder
from gateway.api.generations.parameters import VIDEO_PARAMETERS
from gateway.api.generations.views import AttemptView, generation_view
from gateway.api.mcp import service
from gateway.api.mcp.results import generation_result
from gateway.api.mcp.tools import TOOLS, run
from gateway.api.openapi.sample_generations import LINKS

from ..mcp_clients import CancelTask, Params, State, Tasks, UpdateTask, connected, create_task, task
from ..traffic import SETTLE_SECONDS

MODEL = "foxapi/kling-v3-text-to-video"
BODY = {"model": MODEL, "prompt": "A beach."}
VERSION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])
Open = Callable[..., AbstractAsyncContextManager[mcp.Client]]


@pytest.fixture
def opened(served: Any) -> Open:
    """Opens clients of the gateway; by default with its key."""

    def client(key: str | None = None, **options: Any) -> AbstractAsyncContextManager[mcp.Client]:
        return connected(f"http://127.0.0.1:{served.port}/mcp", key or served.key, **options)

    return client


async def call(gateway: Any, method: str, *, client: Any = None, headers: Any = None, **params: Any) -> httpx.Response:
    """A request as a client of today's protocol sends it, without an SDK."""
    name = params.get("name") or params.get("taskId")
    own = {"mcp-protocol-version": VERSION, "mcp-method": method, **({} if name is None else {"mcp-name": name})}
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": META}}
    answer: httpx.Response = await (client or gateway.client).post(
        "/mcp", json=body, headers={**own, **(headers or {})}
    )
    return answer


class Wait(asyncio.Event):
    """The wait of one call for its generation: set when it has begun, so that a test can move the clock."""

    seconds = 0.0  # how long it was by the clock of the gateway, when it has ended


def waits(gateway: Any) -> Wait:
    """The next wait for a generation."""
    notifier, wait = gateway.application._notifier, Wait()
    listen = notifier.listen

    @contextmanager
    def heard(*arguments: Any, **named: Any) -> Iterator[Any]:
        with listen(*arguments, **named) as listener:
            began = gateway.clock._now
            wait.set()
            yield listener
            wait.seconds = (gateway.clock._now - began).total_seconds()

    notifier.listen = heard
    return wait


def assert_words_of_tools(value: object) -> None:
    """A caller of tools has no paths, headers or queries to follow."""
    assert not re.findall(r"[^ ]*/v1/(?!files)[^ ]*|Idempotency-Key|HTTP|[Hh]eader|\?\w+=", json.dumps(value)), value


def structured(result: Any) -> dict[str, Any]:
    """The structured content of a result without an error; its text must say the same."""
    assert not result.is_error, result
    assert json.loads(result.content[0].text) == result.structured_content
    content: dict[str, Any] = result.structured_content
    return content


def failed(result: Any, code: str, param: str | None = None) -> str:
    """The message of a result that is an error with this code and parameter."""
    assert result.is_error, result
    body = result.structured_content
    assert json.loads(result.content[0].text) == body
    assert (body["error"]["code"], body["error"]["param"]) == (code, param), body
    assert body["request_id"].startswith("req_")
    message: str = body["error"]["message"]
    return message


# --- what the server offers -------------------------------------------------------------------------------------------


async def test_a_client_of_today_finds_tools_and_tasks_and_nothing_else(opened: Open) -> None:
    async with opened() as client:
        assert client.protocol_version == VERSION
        assert client.server_info is not None
        assert client.server_info.name == "video-gateway"
        assert client.server_capabilities.model_dump(exclude_none=True) == {
            "tools": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        }
        assert "idempotency_key" in (client.instructions or "")


async def test_a_client_that_opens_with_initialize_gets_the_tools(opened: Open) -> None:
    async with opened(mode="legacy") as client:
        assert client.protocol_version == "2025-11-25"
        assert client.server_capabilities.model_dump(exclude_none=True) == {"tools": {}}
        assert {tool.name for tool in (await client.list_tools()).tools} == set(TOOLS)


async def test_a_ping_of_an_older_client_is_answered(gateway: Any) -> None:
    answer = await gateway.client.post("/mcp", json={"jsonrpc": "2.0", "id": "p", "method": "ping"})
    assert answer.json() == {"jsonrpc": "2.0", "id": "p", "result": {}}


@pytest.mark.parametrize(("wanted", "given"), [("2025-06-18", "2025-06-18"), ("1999-01-01", "2025-11-25")])
async def test_initialize_answers_with_a_version_that_both_have(gateway: Any, wanted: str, given: str) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": wanted}}
    answer = await gateway.client.post("/mcp", json=body)
    assert (answer.status_code, answer.json()["result"]["protocolVersion"]) == (200, given)


async def test_a_notification_is_accepted_and_not_answered(gateway: Any) -> None:
    answer = await gateway.client.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (answer.status_code, answer.content) == (202, b"")


async def test_the_tools_are_described_without_paths(gateway: Any) -> None:
    answer = await call(gateway, "tools/list")
    assert_words_of_tools(answer.json()["result"])
    create = next(tool for tool in answer.json()["result"]["tools"] if tool["name"] == "create_generation")
    assert "list_models lists them" in json.dumps(create["inputSchema"]["properties"]["model"])


@ERAS
async def test_exactly_these_tools_are_listed(opened: Open, mode: str) -> None:
    async with opened(mode=mode) as client:
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == [
        *("list_models", "quote_generation", "create_generation"),
        *("wait_for_generation", "read_generation", "cancel_generation"),
    ]
    hints = {tool.name: tool.annotations for tool in tools}
    assert [name for name, hint in hints.items() if hint and hint.destructive_hint] == ["cancel_generation"]
    assert [name for name, hint in hints.items() if hint and not hint.read_only_hint] == [
        "create_generation",
        "cancel_generation",
    ]


async def test_the_arguments_of_a_create_are_those_of_the_table(opened: Open) -> None:
    async with opened() as client:
        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
    create, quote = schemas["create_generation"], schemas["quote_generation"]
    rows = [*VIDEO_PARAMETERS.rows, *IMAGE_PARAMETERS.rows]
    names = {row.name for row in rows if row.target.holder not in {Holder.NOTHING, Holder.ANSWER}}
    assert set(create["properties"]) == {"kind", *names, "idempotency_key"}
    assert (set(quote["properties"]), quote["additionalProperties"]) == ({"kind", "model", "prompt"}, True)
    fields = create["properties"]
    assert fields["quality"]["description"].startswith("Only for an image.")
    assert fields["duration"]["description"].startswith("Only for a video.")
    assert fields["n"]["description"] == "For a video. The number of outputs. For an image. The number of images."
    assert (fields["n"]["type"], fields["n"]["maximum"]) == ("integer", 8), "what images may have"
    assert (fields["image"]["type"], fields["reference_images"]["items"]) == ("string", {"type": "string"})
    assert fields["fallback"]["type"] == ["boolean", "array"]
    assert all("description" in field for field in fields.values())
    assert create["required"] == quote["required"] == ["model"]
    assert create["additionalProperties"] is False
    assert "null" not in json.dumps(fields), "an absent argument says the same"
    seconds = schemas["wait_for_generation"]["properties"]["seconds"]
    assert "20 seconds" in seconds["description"]
    assert "maximum" not in seconds, "a longer wait is capped, so a client must not refuse it"


async def test_the_list_of_tools_is_short(gateway: Any) -> None:
    answer = await call(gateway, "tools/list")
    assert len(answer.content) < 15_000, "every model that uses the tools reads it"


async def test_models_are_listed_in_short_and_a_model_in_detail(start: Any) -> None:
    models = "\n".join(f'kling-v9-{number} = {{like = "kling-v3-text-to-video"}}' for number in range(60))
    gateway = await start(f"[providers.foxapi.models]\n{models}")

    async def listed(**arguments: Any) -> tuple[dict[str, Any], int]:
        answer = await call(gateway, "tools/call", name="list_models", arguments=arguments)
        content: dict[str, Any] = answer.json()["result"]["structuredContent"]
        return content, len(answer.content)

    first, size = await listed()
    assert len(first["data"]) == 40
    assert size < 25_000
    last = first["data"][-1]["id"]
    assert f"after {last}" in first["note"]
    rest, _ = await listed(after=last)
    assert "after" not in rest["note"]
    every = [model["id"] for model in first["data"] + rest["data"]]
    assert every == [model["id"] for model in (await gateway.client.get("/v1/models")).json()["data"]]
    (short,) = [model for model in first["data"] if model["id"] == MODEL]
    assert (short["makes"], short["inputs"], short["routes"]) == (["video"], ["text"], 1)
    detail, size = await listed(model="auto")
    assert (len(detail["data"][0]["routes"]), size < 20_000) == (8, True)
    assert "first 8 of " in detail["note"]
    refused, _ = await listed(after="nobody")
    assert refused["error"]["param"] == "after"


async def test_very_many_attempts_are_cut(served: Any) -> None:
    made = await served.create()
    view = generation_view(await served.stored(made["id"]), LINKS)
    attempt = AttemptView(**dict.fromkeys(AttemptView.__struct_fields__))  # type: ignore[arg-type]  # names count
    many = replace(view, attempts=tuple(replace(attempt, number=number) for number in range(1, 101)))
    content = generation_result(many, note="Look.")["structuredContent"]
    assert [shown["number"] for shown in content["attempts"]] == list(range(93, 101))
    assert content["note"] == "Look. The first 92 attempts are left out here."


async def test_an_idempotency_key_in_a_header_is_refused_for_a_create_alone(gateway: Any) -> None:
    headers = {"idempotency-key": "order-1"}
    refused = await call(gateway, "tools/call", name="create_generation", arguments=BODY, headers=headers)
    error = refused.json()["result"]["structuredContent"]["error"]
    assert (error["code"], error["param"]) == ("invalid_parameter", "idempotency_key")
    listed = await call(gateway, "tools/call", name="list_models", arguments={}, headers=headers)
    assert listed.json()["result"]["isError"] is False
    assert (await gateway.client.get("/v1/videos/generations")).json()["data"] == []


@pytest.mark.parametrize(
    "method", ["resources/list", "resources/read", "prompts/list", "completion/complete", "nobody"]
)
async def test_no_other_method_exists(gateway: Any, method: str) -> None:
    answer = await call(gateway, method, uri="litestar://openapi", headers={"mcp-name": "litestar://openapi"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == -32601


async def test_no_stream_of_notifications_is_opened(gateway: Any) -> None:
    answer = await call(gateway, "subscriptions/listen", notifications={})
    assert (answer.status_code, answer.json()["error"]["code"], answer.json()["id"]) == (404, -32601, 7)


async def test_an_unknown_tool_is_refused_with_the_names_of_all(opened: Open) -> None:
    async with opened() as client:
        with pytest.raises(mcp.MCPError, match="read_generation"):
            await client.call_tool("delete_everything", {})


# --- who is admitted --------------------------------------------------------------------------------------------------

STRANGERS = pytest.mark.parametrize("authorization", [None, "Bearer vg_wrong", "Basic eA=="])


@STRANGERS
@pytest.mark.parametrize("method", ["server/discover", "initialize", "tools/list", "tools/call", "tasks/get", "ping"])
async def test_a_stranger_gets_401_for_every_method(untouched: Any, authorization: str | None, method: str) -> None:
    stranger = untouched.client_of(None)
    headers = {} if authorization is None else {"authorization": authorization}
    answer = await call(
        untouched, method, client=stranger, headers=headers, name="create_generation", arguments=BODY, taskId="gen_1"
    )
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    body = answer.json()
    assert (body["jsonrpc"], body["id"], body["error"]["data"]["code"]) == ("2.0", None, "invalid_api_key")
    assert body["error"]["data"]["request_id"] == answer.headers["x-request-id"]


async def test_a_stranger_is_refused_before_the_body_is_read(served: Any) -> None:
    head = b"POST /mcp HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    (answer,) = await served.raw(head)
    assert answer.status_code == 401


@ERAS
async def test_the_client_shows_why_its_key_is_refused(opened: Open, mode: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(mcp.MCPError, match="API key is not known"), flatten_subgroups=True):
        async with opened("vg_wrong", mode=mode):
            pass


async def test_an_admin_key_is_no_key_for_tools(start: Any) -> None:
    gateway = await start('server.admin_keys = ["env:ADMIN"]', environ={"ADMIN": "vg_" + "c" * 40})
    async with gateway.client_of("vg_" + "c" * 40) as admin:
        answer = await call(gateway, "tools/list", client=admin)
    assert (answer.status_code, "admin key" in answer.json()["error"]["message"]) == (401, True)


async def test_a_web_page_cannot_use_a_gateway_without_keys(start: Any) -> None:
    gateway = await start(keys=False)
    assert (await call(gateway, "tools/list", headers={"host": "evil.example"})).status_code == 403
    local = {"host": "localhost"}
    assert (await call(gateway, "tools/list", headers=local)).status_code == 200
    assert (await call(gateway, "tools/list", headers={**local, "origin": "https://evil.example"})).status_code == 403


async def test_a_page_of_the_public_url_is_admitted(start: Any) -> None:
    gateway = await start('server.public_url = "https://videos.example/api"')
    assert (await call(gateway, "tools/list", headers={"origin": "https://videos.example"})).status_code == 200
    assert (await call(gateway, "tools/list", headers={"origin": "https://other.example"})).status_code == 403


async def test_another_key_sees_no_generation_of_this_one(served: Any, opened: Open) -> None:
    made = await served.create()
    other = served.other.headers["authorization"].removeprefix("Bearer ")
    async with opened(other, extensions=[Tasks()]) as client:
        for tool in ("read_generation", "wait_for_generation", "cancel_generation"):
            failed(await client.call_tool(tool, {"id": made["id"]}), "not_found", "id")
        with pytest.raises(mcp.MCPError, match="does not exist"):
            await task(client, made["id"])
        with pytest.raises(mcp.MCPError, match="does not exist"):
            await client.session.send_request(CancelTask(params=Params(task_id=made["id"])), State)
    assert (await served.stored(made["id"])).status == "queued"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_only_post_is_answered(gateway: Any, check_error: Any, method: str) -> None:
    answer = await gateway.client.request(method, "/mcp")
    check_error(answer, 405, "method_not_allowed")


async def test_options_names_the_methods(gateway: Any) -> None:
    answer = await gateway.client_of(None).options("/mcp")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")


# --- bodies that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "headers", "status", "codes"),
    [
        (b"{", {}, 400, (-32700, "invalid_json")),
        (b"[]", {}, 400, (-32700, "invalid_json")),
        (b"", {}, 400, (-32700, "invalid_json")),
        (b'{"a":' * 70 + b"1" + b"}" * 70, {}, 400, (-32700, "invalid_json")),
        (b'{"a": 1e999}', {}, 400, (-32600, "invalid_parameter")),
        (b"{}", {"content-type": "text/plain"}, 415, (-32600, "unsupported_media_type")),
        (b"{}", {"content-encoding": "gzip"}, 415, (-32600, "unsupported_media_type")),
        (b" " * 2_000_000, {}, 413, (-32600, "body_too_large")),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_in_words_of_json_rpc(
    start: Any, content: bytes, headers: dict[str, str], status: int, codes: tuple[int, str]
) -> None:
    gateway = await start("server.max_body_bytes = 1_000_000")
    own = {"content-type": "application/json", **headers}
    answer = await gateway.client.post("/mcp", content=content, headers=own)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["data"]["code"]) == (status, *codes)
    assert error["message"]


async def test_large_bodies_count_for_the_limit_of_all(start: Any) -> None:
    gateway = await start("server.max_bodies_bytes = 1_000_000\nserver.max_body_bytes = 1_000_000")
    gateway.application.asgi._bodies.taken = 600_000  # as if other clients were sending large bodies
    answer = await gateway.client.post("/mcp", content=b" " * 500_000, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["data"]["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("headers", "code"),
    [({"mcp-method": "tools/call"}, -32020), ({"mcp-protocol-version": "2024-11-05"}, -32020)],
)
async def test_headers_that_contradict_the_body_are_refused(gateway: Any, headers: dict[str, str], code: int) -> None:
    answer = await call(gateway, "tools/list", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize("request_id", [None, True, 1.5, {}, []])
async def test_an_id_of_another_type_is_refused(gateway: Any, request_id: object) -> None:
    for method in ("tools/list", "initialize"):
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {}}
        answer = await gateway.client.post("/mcp", json=body)
        assert answer.json()["error"]["code"] == -32600, method


@pytest.mark.parametrize("method", [True, 1.5, {}, ["tools/list"]])
async def test_a_method_of_another_type_is_refused(gateway: Any, method: object) -> None:
    answer = await gateway.client.post("/mcp", json={"jsonrpc": "2.0", "id": 1, "method": method})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize("body", [{}, {"jsonrpc": "2.0"}, {"jsonrpc": "2.0", "id": 1}, {"method": None}])
async def test_a_body_that_is_no_message_is_refused(gateway: Any, body: object) -> None:
    answer = await gateway.client.post("/mcp", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32600)


async def test_an_older_client_reads_every_error_in_an_answer_with_200(gateway: Any) -> None:
    for method, params in (("resources/list", {}), ("tools/call", {"name": "nobody"}), ("tools/call", {"name": 7})):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await gateway.client.post("/mcp", json=body)
        assert (answer.status_code, answer.json()["id"], "error" in answer.json()) == (200, 1, True)


# --- arguments that are refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "param"),
    [
        ("create_generation", {}, "invalid_parameter", "model"),
        ("create_generation", {"model": MODEL, "promt": "x"}, "unknown_parameter", "promt"),
        ("create_generation", {**BODY, "duration": 0}, "invalid_parameter", "duration"),
        ("create_generation", {**BODY, "kind": "song"}, "invalid_parameter", "kind"),
        ("create_generation", {**BODY, "kind": 3}, "invalid_parameter", "kind"),
        ("create_generation", {**BODY, "kind": "image"}, "unsupported_parameter", "model"),
        ("create_generation", {**BODY, "kind": "image", "duration": 5}, "unknown_parameter", "duration"),
        (
            "create_generation",
            {**BODY, "kind": "image", "response_format": "b64_json"},
            "invalid_parameter",
            "response_format",
        ),
        ("create_generation", {**BODY, "output_format": "png"}, "unknown_parameter", "output_format"),
        ("create_generation", {**BODY, "model": "nobody"}, "model_not_found", "model"),
        ("create_generation", {**BODY, "resolution": "sharp"}, "invalid_parameter", "resolution"),
        ("create_generation", {**BODY, "duration": 3600}, "unsupported_parameter", "duration"),
        ("create_generation", {**BODY, "idempotency_key": ""}, "invalid_parameter", "idempotency_key"),
        ("create_generation", {**BODY, "idempotency_key": "k" * 256}, "invalid_parameter", "idempotency_key"),
        ("create_generation", {**BODY, "idempotency_key": "a\nb"}, "invalid_parameter", "idempotency_key"),
        ("create_generation", {**BODY, "idempotency_key": 7}, "invalid_parameter", "idempotency_key"),
        ("create_generation", {**BODY, "webhook_url": "http://127.0.0.1/"}, "invalid_parameter", "webhook_url"),
        ("create_generation", {**BODY, "image": "aGVsbG8="}, "invalid_image", "image"),
        ("quote_generation", {**BODY, "kind": "song"}, "invalid_parameter", "kind"),
        ("quote_generation", {"prompt": "x"}, "invalid_parameter", "model"),
        ("wait_for_generation", {}, "invalid_parameter", "id"),
        ("wait_for_generation", {"id": 7}, "invalid_parameter", "id"),
        ("wait_for_generation", {"id": "x" * 101}, "invalid_parameter", "id"),
        ("wait_for_generation", {"id": "gen_1"}, "not_found", "id"),
        ("wait_for_generation", {"id": "gen_1", "seconds": -1}, "invalid_parameter", "seconds"),
        ("wait_for_generation", {"id": "gen_1", "seconds": "soon"}, "invalid_parameter", "seconds"),
        ("wait_for_generation", {"id": "gen_1", "timeout": 5}, "unknown_parameter", "timeout"),
        ("read_generation", {"id": "gen_1"}, "not_found", "id"),
        ("read_generation", {"generation_id": "gen_1"}, "unknown_parameter", "generation_id"),
        ("cancel_generation", {"id": "gen_1"}, "not_found", "id"),
        ("cancel_generation", {"id": ""}, "invalid_parameter", "id"),
        ("list_models", {"model": "nobody"}, "model_not_found", "model"),
        ("list_models", {"kind": "song"}, "invalid_parameter", "kind"),
        ("list_models", {"page": 2}, "unknown_parameter", "page"),
    ],
)
async def test_a_bad_argument_is_an_error_that_names_it(
    untouched: Any, tool: str, arguments: dict[str, Any], code: str, param: str
) -> None:
    answer = await call(untouched, "tools/call", name=tool, arguments=arguments)
    assert answer.status_code == 200, answer.text
    result = answer.json()["result"]
    assert result["isError"] is True
    body = result["structuredContent"]
    assert json.loads(result["content"][0]["text"]) == body
    assert (body["error"]["code"], body["error"]["param"]) == (code, param), body
    assert body["request_id"] == answer.headers["x-request-id"]
    assert ("routes" in body["error"]) == (code == "unsupported_parameter")
    assert_words_of_tools(body)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({**BODY, "kind": "image"}, "makes videos: use create_generation with the kind `video`"),
        ({"model": "keevx/image", "prompt": "x"}, "makes images: use create_generation with the kind `image`"),
        ({**BODY, "kind": "image", "duration": 5}, "create_generation with the kind `video` makes videos"),
        ({**BODY, "stream": True}, "wait_for_generation"),
        ({"model": "zzz", "prompt": "x"}, "list_models lists the models"),
    ],
)
async def test_a_refusal_names_the_tool_that_helps(untouched: Any, arguments: dict[str, Any], words: str) -> None:
    """The HTTP API names a path there."""
    answer = await call(untouched, "tools/call", name="create_generation", arguments=arguments)
    body = answer.json()["result"]["structuredContent"]
    assert words in json.dumps(body["error"])
    assert_words_of_tools(body)


async def test_a_quote_names_tools_in_the_reasons_of_routes(untouched: Any) -> None:
    answer = await call(untouched, "tools/call", name="quote_generation", arguments={**BODY, "kind": "image"})
    quote = answer.json()["result"]["structuredContent"]
    assert "create_generation with the kind `video`" in quote["left_out"][0]["reasons"][0]["message"]
    assert "create_generation with the kind `video`" in quote["summary"][0]
    assert_words_of_tools(quote)


@pytest.mark.parametrize("arguments", [[], "x", 7])
async def test_arguments_that_are_no_object_are_refused(untouched: Any, arguments: object) -> None:
    answer = await call(untouched, "tools/call", name="create_generation", arguments=arguments)
    assert answer.json()["result"]["structuredContent"]["error"]["param"] == "arguments"


async def test_a_limit_says_when_to_call_again(start: Any) -> None:
    gateway = await start("server.max_open_generations = 1")
    await gateway.create()
    answer = await call(gateway, "tools/call", name="create_generation", arguments=BODY)
    error = answer.json()["result"]["structuredContent"]["error"]
    assert (error["code"], error["retry_after_seconds"] > 0) == ("overloaded", True)


async def test_a_defect_shows_nothing_of_itself(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("postgres://user:secret@host")

    monkeypatch.setattr(gateway.application.litestar.state.context.generations, "read", broken)
    answer = await call(gateway, "tools/call", name="read_generation", arguments={"id": "gen_1"})
    assert answer.json()["result"]["structuredContent"]["error"]["code"] == "internal"
    assert "secret" not in answer.text


# --- creates ----------------------------------------------------------------------------------------------------------


@ERAS
async def test_a_create_answers_at_once_with_the_generation(served: Any, opened: Open, mode: str) -> None:
    async with opened(mode=mode) as client:
        made = structured(await client.call_tool("create_generation", {**BODY, "n": 2, "duration": "5s"}))
    assert (made["object"], made["status"], len(made["data"])) == ("video.generation", "queued", 2)
    assert "wait_for_generation" in made.pop("note")
    assert made == (await served.client.get(f"/v1/videos/generations/{made['id']}")).json() | {
        key: made[key] for key in ("status", "attempts", "provider", "provider_model", "usage") if key in made
    }
    assert (await served.stored(made["id"])).kind == "video"


async def test_null_arguments_are_absent(served: Any, opened: Open) -> None:
    async with opened() as client:
        structured(await client.call_tool("create_generation", {**BODY, "idempotency_key": None, "kind": None}))
        structured(await client.call_tool("list_models", {"model": None}))


async def test_an_image_comes_as_base64(served: Any, opened: Open) -> None:
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    arguments = {"model": "kling", "image": base64.b64encode(png).decode(), "prompt": "A beach.", "adapt": "nearest"}
    async with opened() as client:
        quote = structured(await client.call_tool("quote_generation", arguments))
    assert any("pixels" in line or "image" in line for line in quote["summary"])


async def test_a_repeat_with_the_key_is_the_same_generation(served: Any, opened: Open) -> None:
    async with opened() as client:
        first = structured(await client.call_tool("create_generation", {**BODY, "idempotency_key": "order 1"}))
        again = structured(await client.call_tool("create_generation", {**BODY, "idempotency_key": " order 1 "}))
        other = await client.call_tool("create_generation", {**BODY, "prompt": "A lake.", "idempotency_key": "order 1"})
        over_http = await served.client.post(
            "/v1/videos/generations", json=BODY, headers={"idempotency-key": "order 1"}
        )
    assert again["id"] == first["id"]
    assert "nothing was bought" in again["note"]
    assert "idempotency_key" in failed(other, "idempotency_key_reused", "idempotency_key")
    assert over_http.json()["id"] == first["id"], "a create over HTTP is the same create"
    assert served.rows()["generations"] == 1


async def test_a_create_goes_on_when_its_client_leaves(
    served: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.application.store
    begun, left, released = asyncio.Event(), asyncio.Event(), asyncio.Event()
    create = store.create

    async def slow(*arguments: Any, **named: Any) -> Any:
        begun.set()
        await released.wait()
        return await create(*arguments, **named)

    async def watched(*arguments: Any) -> Any:
        try:
            return await run(*arguments)
        except asyncio.CancelledError:
            left.set()
            raise

    monkeypatch.setattr(store, "create", slow)
    monkeypatch.setattr(service, "run", watched)

    async def report(*_: Any) -> None:
        """With a callback for progress the answer is a stream, which ends when the client leaves."""

    async with opened() as client:
        leaving = asyncio.create_task(client.call_tool("create_generation", BODY, progress_callback=report))
        await begun.wait()
        leaving.cancel()
        await asyncio.wait([leaving])
        await left.wait()
        released.set()
        for _ in range(100):
            await served.clock.advance(1)
            if served.upstream.submits:
                break
    assert served.rows()["generations"] == 1
    assert len(served.upstream.submits) == 1


async def test_a_call_that_takes_too_long_is_answered_and_goes_on(
    served: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.application.store
    begun, released = asyncio.Event(), asyncio.Event()
    create = store.create

    async def slow(*arguments: Any, **named: Any) -> Any:
        begun.set()
        await released.wait()
        return await create(*arguments, **named)

    monkeypatch.setattr(store, "create", slow)
    arguments = {**BODY, "idempotency_key": "slow"}
    async with opened() as client:
        calling = asyncio.create_task(client.call_tool("create_generation", arguments))
        await begun.wait()
        await served.clock.advance(22)
        assert "idempotency_key" in failed(await calling, "overloaded")
        failed(await client.call_tool("create_generation", arguments), "idempotency_key_in_use")
        released.set()
        await served.clock.advance(1)
        again = structured(await client.call_tool("create_generation", arguments))
    assert "nothing was bought" in again["note"]
    assert served.rows()["generations"] == 1


# --- waits ------------------------------------------------------------------------------------------------------------


async def waiting(served: Any, calling: "asyncio.Task[Any]", step: float = 1) -> None:
    """Move the clock until the call is answered."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while not calling.done():
            await served.clock.advance(step)
            await asyncio.wait([calling], timeout=0.01)  # the answer comes over a socket, which has no clock


@ERAS
@pytest.mark.parametrize(("arguments", "seconds"), [({}, 20), ({"seconds": 60}, 20), ({"seconds": "5s"}, 5)])
async def test_a_wait_ends_in_time_and_says_that_it_was_shortened(
    served: Any, opened: Open, mode: str, arguments: dict[str, Any], seconds: int
) -> None:
    made = await served.create()
    await served.begin(made["id"])
    async with opened(mode=mode) as client:
        await client.list_tools()  # the client would do it later, to check the answer
        begun = waits(served)
        calling = asyncio.create_task(client.call_tool("wait_for_generation", {"id": made["id"], **arguments}))
        await begun.wait()
        await waiting(served, calling)
        answer = structured(await calling)
    assert seconds - 1 <= begun.seconds <= seconds + 1
    assert answer["status"] == "in_progress"
    assert "call wait_for_generation again" in answer["note"]
    assert ("at most 20 seconds, not 60" in answer["note"]) == (arguments.get("seconds") == 60)


async def test_a_wait_ends_with_the_generation_and_reports_its_progress(served: Any, opened: Open) -> None:
    made = await served.create()
    await served.begin(made["id"])
    reports: list[tuple[float, float | None]] = []

    async def report(progress: float, total: float | None, _: str | None) -> None:
        reports.append((progress, total))

    async with opened() as client:
        await client.list_tools()
        begun = waits(served)
        calling = asyncio.create_task(
            client.call_tool("wait_for_generation", {"id": made["id"]}, progress_callback=report)
        )
        await begun.wait()
        served.upstream.word = "completed"
        await waiting(served, calling)
        answer = structured(await calling)
        assert structured(await client.call_tool("wait_for_generation", {"id": made["id"]})) == answer
    assert answer["status"] == "completed"
    assert "note" not in answer
    assert reports[-1] == (100, 100)
    assert reports == sorted(set(reports)), "progress grows"


async def test_a_wait_of_no_seconds_reads(served: Any, opened: Open) -> None:
    made = await served.create()
    async with opened() as client:
        answer = structured(await client.call_tool("wait_for_generation", {"id": made["id"], "seconds": 0}))
    assert not (await served.stored(answer["id"])).status.terminal


async def test_a_stop_ends_the_waits(served: Any, opened: Open) -> None:
    made = await served.create()
    await served.begin(made["id"])
    async with opened() as client:
        await client.list_tools()
        begun = waits(served)
        calling = asyncio.create_task(client.call_tool("wait_for_generation", {"id": made["id"]}))
        await begun.wait()
        served.application.drain()
        async with asyncio.timeout(5):
            structured(await calling)


async def test_waits_count_as_long_polls(start: Any) -> None:
    gateway = await start("server.max_long_polls = 1")
    made = await gateway.create()
    await gateway.begin(made["id"])
    arguments = {"id": made["id"]}
    begun = waits(gateway)
    first = asyncio.create_task(call(gateway, "tools/call", name="wait_for_generation", arguments=arguments))
    await begun.wait()
    second = await call(gateway, "tools/call", name="wait_for_generation", arguments=arguments)
    assert second.json()["result"]["structuredContent"]["error"]["code"] == "overloaded"
    await gateway.clock.advance(20)
    assert (await first).json()["result"]["isError"] is False


# --- tasks ------------------------------------------------------------------------------------------------------------


async def test_a_create_is_a_task_for_a_client_with_the_extension(served: Any, opened: Open) -> None:
    async with opened(extensions=[Tasks()]) as client:
        created = await create_task(client, **BODY)
        stored = await served.stored(created.task_id)
        assert (created.status, created.ttl_ms) == ("working", None)
        assert (created.poll_interval_ms or 0) > 0
        assert (await task(client, stored.id)).status == "working"
        await served.finish()
        ended = await task(client, stored.id)
        view = structured(await client.call_tool("read_generation", {"id": stored.id}))
    assert ended.status == "completed"
    assert ended.result is not None
    assert (ended.result["isError"], ended.result["resultType"]) == (False, "complete")
    assert ended.result["structuredContent"] == view


async def test_a_failed_generation_is_a_completed_task_with_an_error_in_its_result(served: Any, opened: Open) -> None:
    async with opened(extensions=[Tasks()]) as client:
        created = await create_task(client, **BODY, fallback=False)
        await served.finish("failed")
        ended = await task(client, created.task_id)
    assert (ended.status, ended.model_extra and ended.model_extra["statusMessage"]) == ("completed", "It broke.")
    assert ended.result is not None
    assert ended.result["isError"] is True
    assert ended.result["structuredContent"]["error"]["code"] == "task_failed"


async def test_a_cancelled_task_is_a_cancelled_generation(served: Any, opened: Open) -> None:
    async with opened(extensions=[Tasks()]) as client:
        created = await create_task(client, **BODY)
        update = UpdateTask(params=Params(task_id=created.task_id, input_responses={"a": {}}))
        await client.session.send_request(update, Result)  # nothing was asked, so nothing happens
        cancel = CancelTask(params=Params(task_id=created.task_id))
        for _ in range(2):  # a task that has ended is acknowledged too
            await client.session.send_request(cancel, Result)
        assert (await task(client, created.task_id)).status == "cancelled"
    assert (await served.stored(created.task_id)).status == "cancelled"


async def test_tasks_of_generations_that_came_otherwise_are_read_too(served: Any, opened: Open) -> None:
    made = await served.create()
    async with opened(extensions=[Tasks()]) as client:
        assert (await task(client, made["id"])).status == "working"


async def test_every_id_of_a_generation_is_read(served: Any, opened: Open) -> None:
    made = await served.create()
    other_id = made["id"].replace("gen_", "xai_")
    async with opened(extensions=[Tasks()]) as client:
        assert structured(await client.call_tool("read_generation", {"id": other_id}))["id"] == made["id"]
        assert (await task(client, other_id)).task_id == made["id"]


async def test_a_client_without_the_extension_gets_no_task(gateway: Any) -> None:
    made = await gateway.create()
    answer = await call(gateway, "tasks/get", taskId=made["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32021)


@pytest.mark.parametrize("method", ["tasks/list", "tasks/result"])
async def test_methods_of_the_former_extension_do_not_exist(gateway: Any, method: str) -> None:
    answer = await call(gateway, method, taskId="gen_1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32601)
