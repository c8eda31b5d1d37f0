"""`/mcp` in front of the sandbox: an agent's way from a quote to a file, and how often it pays."""

import asyncio
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_network
from typing import Any

import httpx2
import mcp
import pytest

from ..mcp_clients import Tasks, connected, create_task, task
from .conftest import KEY, Gateway

BODY = {"model": "kling_relay/kling-v1", "prompt": "A beach.", "idempotency_key": "order-1"}
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


def opened(gateway: Gateway, **options: Any) -> AbstractAsyncContextManager[mcp.Client]:
    transport = httpx2.ASGITransport(app=gateway.app.asgi)  # type: ignore[arg-type]  # two names of one protocol
    return connected("https://gw.example/mcp", KEY, transport, **options)


async def answer_of(client: mcp.Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured content of a call that succeeds."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def waited(gateway: Gateway, client: mcp.Client, **arguments: Any) -> tuple[dict[str, Any], float]:
    """The answer of a wait while the clock moves, and how many seconds it took."""
    start = gateway.clock.now()
    calling = asyncio.create_task(answer_of(client, "wait_for_generation", **arguments))
    await gateway.until(lambda: gateway.app._notifier._listeners or calling.done())

    async def done() -> bool:
        return calling.done()

    await gateway.clock.run_until(done)
    return await calling, (gateway.clock.now() - start).total_seconds()


@pytest.mark.parametrize("sandbox_options", [{"total_seconds": 90.0}])
@ERAS
async def test_an_agent_gets_from_a_quote_to_a_file(idle: Gateway, mode: str) -> None:
    idle.fetch_allow = (ip_network("127.0.0.0/8"),)  # so that the gateway archives the files of the sandbox
    gateway = await idle.start()
    async with opened(gateway, mode=mode) as client:
        await client.list_tools()
        models = await answer_of(client, "list_models", model="kling_relay/kling-v1")
        assert [model["id"] for model in models["data"]] == ["kling_relay/kling-v1"]
        quote = await answer_of(client, "quote_generation", model="kling_relay/kling-v1", prompt="A beach.")
        assert [route["provider"] for route in quote["routes"]] == ["kling_relay"]
        assert gateway.paid == {}
        made = await answer_of(client, "create_generation", **BODY)
        calls = 0
        answer = made
        while answer["status"] in {"queued", "in_progress"}:
            answer, seconds = await waited(gateway, client, id=made["id"], seconds=3600)
            assert seconds <= 20
            calls += 1
        assert calls > 1, "the video takes longer than one call"
        assert answer["status"] == "completed"
        assert await answer_of(client, "read_generation", id=made["id"]) == answer
        refused = await client.call_tool("cancel_generation", {"id": made["id"]})
    assert refused.is_error
    assert refused.structured_content["error"]["code"] == "conflict"
    file = await gateway.client_of(None).get(answer["data"][0]["url"])
    assert (file.status_code, file.content[4:8]) == (200, b"ftyp")
    assert gateway.paid == {"kling_relay": 1}


@ERAS
async def test_creates_with_one_key_buy_once(gateway: Gateway, mode: str) -> None:
    async with opened(gateway, mode=mode) as client:
        await client.list_tools()
        at_once = await asyncio.gather(*(client.call_tool("create_generation", BODY) for _ in range(5)))
        made = await answer_of(client, "create_generation", **BODY)
        await gateway.finish(made["id"])
        again = await answer_of(client, "create_generation", **BODY)
    ids = {answer.structured_content["id"] for answer in at_once if not answer.is_error}
    codes = {answer.structured_content["error"]["code"] for answer in at_once if answer.is_error}
    assert ids == {made["id"]} == {again["id"]}
    assert codes <= {"idempotency_key_in_use"}
    assert gateway.paid == {"kling_relay": 1}
    assert gateway.submits == {"kling_relay": 1}


async def test_an_image_is_made_by_the_same_tools(idle: Gateway) -> None:
    idle.fetch_allow = (ip_network("127.0.0.0/8"),)
    gateway = await idle.start()
    body = {"kind": "image", "model": "auto", "prompt": "A beach.", "quality": "1K", "idempotency_key": "picture"}
    async with opened(gateway) as client:
        await client.list_tools()
        models = await answer_of(client, "list_models", kind="image")
        assert "keevx/image" in {model["id"] for model in models["data"]}
        assert "kling_relay/kling-v1" not in {model["id"] for model in models["data"]}
        quote = await answer_of(client, "quote_generation", **{**body, "idempotency_key": None})
        assert quote["routes"][0]["provider_model"] == "image"
        made = await answer_of(client, "create_generation", **body)
        answer = made
        while answer["status"] in {"queued", "in_progress"}:
            answer, _ = await waited(gateway, client, id=made["id"])
    assert (answer["object"], answer["status"]) == ("image.generation", "completed")
    assert answer["data"][0]["content_type"].startswith("image/")
    assert gateway.paid == {"keevx": 1}


async def test_a_repeat_after_a_restart_buys_nothing(gateway: Gateway) -> None:
    async with opened(gateway) as client:
        made = await answer_of(client, "create_generation", **BODY)
    await gateway.restart()
    async with opened(gateway) as client:
        again = await answer_of(client, "create_generation", **BODY)
        await gateway.finish(made["id"])
    assert again["id"] == made["id"]
    assert gateway.paid == {"kling_relay": 1}


async def test_a_cancel_before_the_submit_costs_nothing(gateway: Gateway) -> None:
    async with opened(gateway) as client:
        made = await answer_of(client, "create_generation", **BODY)
        cancelled = await answer_of(client, "cancel_generation", id=made["id"])
        await gateway.finish(made["id"])
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancellation"]["provider_started"] is bool(gateway.paid)


async def test_a_task_outlives_the_process_that_made_it(gateway: Gateway) -> None:
    async with opened(gateway, extensions=[Tasks()]) as client:
        created = await create_task(client, **BODY)
        assert (await task(client, created.task_id)).status == "working"
    await gateway.until_state(created.task_id, "accepted")
    await gateway.crash()
    await gateway.start()
    async with opened(gateway, extensions=[Tasks()]) as client:
        await gateway.finish(created.task_id)
        ended = await task(client, created.task_id)
    assert (ended.status, ended.result and ended.result["structuredContent"]["status"]) == ("completed", "completed")
    assert gateway.paid == {"kling_relay": 1}
