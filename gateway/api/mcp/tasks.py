"""The Tasks extension of MCP: a generation is a task, and its id is the task's. The ledger is the only store."""

from datetime import datetime
from typing import Any

from litestar_mcp.mcp.tasks import MCPTaskStore, TaskLookupError, TaskRecord

from gateway.api.generations.public_ids import stored_id
from gateway.api.generations.views import generation_view
from gateway.api.mcp.results import generation_result
from gateway.api.web.context import Context
from gateway.api.web.links import Links
from gateway.domain.adapter.task import Status
from gateway.domain.errors import Conflict, NotFound
from gateway.domain.generation.model import Generation

# "failed" of the extension is for errors of JSON-RPC alone: a tool that ends with `isError` is "completed".
_WORDS = {Status.QUEUED: "working", Status.IN_PROGRESS: "working", Status.CANCELLED: "cancelled"}


class GenerationTasks(MCPTaskStore):
    """The generations of one request's key as the task store of `litestar-mcp`.

    The base class keeps records and runs tools by itself. Neither is used here: a generation is durable before its
    task is named, and the engine drives it. So tasks outlive the process, and `tasks/get` reads the ledger.
    """

    def __init__(self, gateway: Context, links: Links) -> None:
        """`links` makes the URLs for the client that asks."""
        super().__init__()
        self._gateway = gateway
        self._links = links

    async def get(self, task_id: str, owner_id: str | None) -> TaskRecord:
        """The task of a generation of this key; `TaskLookupError` if the key has no such generation."""
        try:
            return self.record(await self._gateway.generations.read(stored_id(task_id), _owner(owner_id)))
        except NotFound as error:
            raise TaskLookupError(error.detail) from error

    async def update(self, task_id: str, owner_id: str | None, input_responses: dict[str, Any]) -> None:  # noqa: ARG002  # as the base
        """Accept responses and ignore them, as the extension asks: no generation ever waits for its client."""
        await self.get(task_id, owner_id)

    async def cancel(self, task_id: str, owner_id: str | None) -> None:
        """Cancel the generation; nothing happens to one that has ended."""
        try:
            await self._gateway.generations.cancel(stored_id(task_id), _owner(owner_id))
        except NotFound as error:
            raise TaskLookupError(error.detail) from error
        except Conflict:
            return

    def record(self, generation: Generation) -> TaskRecord:
        """A generation as a task. The result of a task is what the tool `read_generation` answers."""
        status = _WORDS.get(generation.status, "completed")
        view = generation_view(generation, self._links, self._gateway.health.of)
        seconds = self._gateway.poll_advisor.seconds(generation)
        result = None
        if status == "completed":
            result = {
                **generation_result(view, is_error=generation.status is not Status.COMPLETED),
                "resultType": "complete",
            }
        return TaskRecord(
            task_id=generation.id,
            owner_id=generation.owner,
            status=status,
            created_at=generation.created_at,
            last_updated_at=_last_change(generation),
            ttl_ms=None,  # a generation stays until its client deletes it
            poll_interval_ms=None if seconds is None else round(seconds * 1000),
            status_message=f"The generation is {view.status}." if view.error is None else view.error.message,
            result=result,
        )


def _owner(owner_id: str | None) -> str:
    if owner_id is None:  # `entrance` sets it for every request
        raise TaskLookupError("The request has no owner.")
    return owner_id


def _last_change(generation: Generation) -> datetime:
    """The newest moment that the generation has of itself; progress has none."""
    moments = [generation.created_at, generation.completed_at]
    for attempt in generation.attempts:
        moments += [attempt.reserved_at, attempt.sent_at, attempt.accepted_at, attempt.ended_at]
    return max(moment for moment in moments if moment is not None)
