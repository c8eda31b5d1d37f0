"""Clients of `/mcp` from the Python SDK, with and without the Tasks extension."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import httpx2
import mcp
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Request, RequestParams, Result
from pydantic import ConfigDict, Field

TASKS = "io.modelcontextprotocol/tasks"


@asynccontextmanager
async def connected(
    url: str, key: str | None, transport: httpx2.AsyncBaseTransport | None = None, **options: Any
) -> AsyncIterator[mcp.Client]:
    """A client that has opened its connection; `options` are those of `mcp.Client`."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, transport=transport) as http,
        mcp.Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield client


class Created(Result):
    """The answer to a call that became a task."""

    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"] = Field(alias="resultType")
    task_id: str = Field(alias="taskId")
    status: str
    ttl_ms: int | None = Field(alias="ttlMs")
    poll_interval_ms: int | None = Field(alias="pollIntervalMs")


class State(Result):
    """The answer to `tasks/get`."""

    model_config = ConfigDict(extra="allow")
    task_id: str = Field(alias="taskId")
    status: str
    result: dict[str, Any] | None = None


class Params(RequestParams):
    task_id: str = Field(serialization_alias="taskId")
    input_responses: dict[str, Any] | None = Field(default=None, serialization_alias="inputResponses")


class GetTask(Request[Params, Literal["tasks/get"]]):
    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/get"] = "tasks/get"
    params: Params


class UpdateTask(Request[Params, Literal["tasks/update"]]):
    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/update"] = "tasks/update"
    params: Params


class CancelTask(Request[Params, Literal["tasks/cancel"]]):
    name_param: ClassVar[str | None] = "taskId"
    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: Params


async def _unresolved(_: Created, __: ClaimContext) -> Any:
    raise AssertionError("tests read tasks themselves")


class Tasks(ClientExtension):
    """Makes a client declare the Tasks extension. The SDK has none of its own yet."""

    identifier = TASKS

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=_unresolved)]


async def create_task(client: mcp.Client, **arguments: Any) -> Created:
    """Call `create_generation`, which must become a task."""
    created = await client.session.call_tool("create_generation", arguments, allow_claimed=True)
    assert isinstance(created, Created), created
    return created


async def task(client: mcp.Client, task_id: str) -> State:
    """The task as it is now."""
    return await client.session.send_request(GetTask(params=Params(task_id=task_id)), State)
