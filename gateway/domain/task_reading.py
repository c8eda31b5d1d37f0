"""What a provider's reply means, by the adapter's own tables first and by the shared vocabulary where they end.

The engine reads every reply to a submit with `read_submit` and every reply to a poll with `read_poll`, so that what one
provider was seen to say is understood of all of them, third-party adapters included.
"""

from msgspec import Struct

from gateway.domain.adapter import Adapter, HttpCall, HttpReply
from gateway.domain.errors import UnreadableReply
from gateway.domain.reading import failed
from gateway.domain.task import Failed, FailureKind, TaskRef, TaskSnapshot


class PollRefused(Struct, frozen=True):
    """A poll that was answered without a reading: it says nothing about the task, unless its kind is `TASK_LOST`."""

    failure: Failed | None  # None: the HTTP status alone says that this is no reading

    @property
    def not_found(self) -> bool:
        """Whether the provider says that it knows no such task."""
        return self.failure is not None and self.failure.kind is FailureKind.TASK_LOST


def read_submit(adapter: Adapter, call: HttpCall, reply: HttpReply) -> Failed | tuple[TaskRef, ...]:
    """Why a submit was refused, or the tasks that it started, at least one. What is not clear is `AMBIGUOUS`."""
    refusal = adapter.classify(reply)
    if refusal is not None and refusal.kind is not FailureKind.AMBIGUOUS:
        return refusal
    try:
        return adapter.task_refs(call, reply)
    except UnreadableReply:
        return refusal or failed(FailureKind.AMBIGUOUS)


def read_poll(
    adapter: Adapter,
    reply: HttpReply,
    base_url: str,  # noqa: ARG001  # relative links are resolved against it
    kind: str = "video",  # noqa: ARG001  # of the files that are looked for
) -> TaskSnapshot | PollRefused:
    """What a task is by the reply to a poll. Raises `UnreadableReply` where nobody can tell."""
    refusal = adapter.classify(reply)
    if refusal is not None or not 200 <= reply.status < 300:
        return PollRefused(refusal)
    return adapter.from_upstream(reply)
