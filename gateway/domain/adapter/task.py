"""The state of a provider's task when it was read: pending, completed or failed."""

from enum import StrEnum

from msgspec import Struct

from gateway.domain.adapter.failure import FailureKind


class Status(StrEnum):
    """The public words for a generation, an output and a task."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """True if the status can no longer change."""
        return self not in _OPEN


_OPEN = frozenset({Status.QUEUED, Status.IN_PROGRESS})


class Artifact(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A file that a task made."""

    url: str  # http(s), as the provider wrote it; never trusted
    thumbnail_url: str | None = None
    content_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None  # pixels
    height: int | None = None
    needs_credential: bool = False  # the URL is below the provider's base URL and needs the provider's key


class Pending(Struct, tag="pending", tag_field="state", frozen=True, kw_only=True):
    """The task has not ended."""

    status: Status  # queued or in_progress
    raw_status: str  # the provider's own word
    progress: float | None = None  # 0.0 to 1.0; None: unknown
    result_missing: bool = False  # the provider says "done" without a file: polled again for the grace
    unknown_status: bool = False  # the word is in no table: logged and counted


class Completed(Struct, tag="completed", tag_field="state", frozen=True):
    """The task is done and has files."""

    artifacts: tuple[Artifact, ...]  # never empty


class Failed(Struct, tag="failed", tag_field="state", frozen=True, kw_only=True, gc=False):
    """The refusal of a call or the failure of a task, as a value."""

    kind: FailureKind
    message: str  # safe to show to a client: without keys, balances and URLs of the provider
    upstream_code: str | None = None  # the provider's own code
    elsewhere: bool = False  # `INVALID_REQUEST`: another provider may accept the same input
    of_model: bool = False  # only this model is concerned: the account's other models may work


TaskSnapshot = Pending | Completed | Failed


class TaskRef(Struct, frozen=True, omit_defaults=True, gc=False):
    """What an adapter needs to read a task again. It is stored as plain JSON."""

    id: str  # the provider's own id, escaped only when it is used in a path
    path: str = ""  # anything else that the adapter needs for the poll, in its own words
    first_poll_seconds: float | None = None  # the provider's own estimate; None: `Polling.first_poll_seconds`
