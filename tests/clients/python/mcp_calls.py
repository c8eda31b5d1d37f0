"""The calls of the package `mcp` at `/mcp`: the tools by which an agent makes videos and images."""

import asyncio
import uuid
from typing import Any

import httpx2
from calls import KEY, PATIENCE, URL, call
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

WAVES = {"model": "kling", "prompt": "Waves roll in", "duration": 5}


async def calls(client: Client) -> None:
    async def tool(name: str, **arguments: Any) -> dict[str, Any]:
        answer = await client.call_tool(name, arguments)
        assert not answer.is_error, answer.content
        return answer.structured_content or {}

    with call("list_tools"):
        names = {each.name for each in (await client.list_tools()).tools}
        assert {"create_generation", "wait_for_generation", "read_generation", "cancel_generation"} <= names
    with call("call_tool: list_models"):
        assert await tool("list_models")
    with call("call_tool: quote_generation"):
        assert (await tool("quote_generation", **WAVES))["routes"]
    with call("call_tool: create_generation, twice with one key"):
        key = str(uuid.uuid4())
        video = await tool("create_generation", **WAVES, idempotency_key=key)
        assert (await tool("create_generation", **WAVES, idempotency_key=key))["id"] == video["id"]
    with call("call_tool: wait_for_generation"):
        ended = await tool("wait_for_generation", id=video["id"], seconds=PATIENCE)
        assert ended["status"] == "completed", ended
    with call("call_tool: read_generation"):
        assert (await tool("read_generation", id=video["id"]))["data"][0]["url"]
    with call("call_tool: create_generation, an image"):
        image = await tool("create_generation", kind="image", prompt="A lake")
        assert image["object"] == "image.generation"
    with call("call_tool: cancel_generation"):
        slow = {**WAVES, "prompt": "Waves [[sandbox:foxapi:task:slow_task?seconds=5]]"}
        made = await tool("create_generation", **slow)
        assert (await tool("cancel_generation", id=made["id"]))["status"] == "cancelled"
    with call("call_tool: create_generation, unknown model: refused"):
        answer = await client.call_tool("create_generation", {"model": "nobody/nothing", "prompt": "x"})
        assert answer.is_error


async def main() -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{URL}/mcp", http_client=http)) as client,
    ):
        await calls(client)


asyncio.run(main())
