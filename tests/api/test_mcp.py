"""`/mcp` with the client of the Python SDK, over a port: what a client sees, and what was bought."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp
import pytest
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def client_of(gateway: Any, key: str | None, **options: Any) -> AsyncIterator[mcp.Client]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{gateway.port}/mcp", http_client=http)
        async with mcp.Client(transport, **options) as client:
            yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_smoke(served: Any, mode: str) -> None:
    async with client_of(served, served.key, mode=mode) as client:
        print(client.protocol_version, client.server_info, client.server_capabilities)
        tools = await client.list_tools()
        print([tool.name for tool in tools.tools])
        answer = await client.call_tool("list_models", {})
        assert not answer.is_error, answer
        answer = await client.call_tool("quote_generation", {"model": "kling", "prompt": "A beach."})
        assert not answer.is_error, answer
        print(answer.structured_content["summary"])
        answer = await client.call_tool("create_generation", {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach.", "idempotency_key": "a"})
        assert not answer.is_error, answer
        id = answer.structured_content["id"]
        answer = await client.call_tool("read_generation", {"id": id})
        assert not answer.is_error, answer
        answer = await client.call_tool("cancel_generation", {"id": id})
        assert not answer.is_error, answer
        answer = await client.call_tool("create_generation", {"model": "foxapi/kling-v3-text-to-video", "promt": "A beach."})
        print(answer)
