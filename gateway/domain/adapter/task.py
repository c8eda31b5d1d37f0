"""What a provider's task is at one reading: pending, completed or failed."""

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
        """True when nothing can change any more."""
        return self not in _OPEN


_OPEN = frozenset({Status.QUEUED, Status.IN_PROGRESS})


class Artifact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a task made."""

    url: str  # http(s), as the provider named it; data to hand on, never trusted
    thumbnail_url: str | None = None
    content_type: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    needs_credential: bool = False  # the url is below the provider's base URL and wants the provider's key


class Pending(Struct, tag="pending", tag_field="state", frozen=True, kw_only=True):
    """Not at its end yet."""

    status: Status  # queued or in_progress
    raw_status: str  # the upstream's own word
    progress: float | None = None  # 0.0 to 1.0; None where the upstream gives none
    result_missing: bool = False  # the upstream says "done" and names no file: polled again for a grace
    unknown_status: bool = False  # a word that no table has: logged and counted


class Completed(Struct, tag="completed", tag_field="state", frozen=True):
    """Done, with its files."""

    artifacts: tuple[Artifact, ...]  # never empty


class Failed(Struct, tag="failed", tag_field="state", frozen=True, kw_only=True):
    """A refusal or a failure, as a value."""

    kind: FailureKind
    message: str  # safe to show to a client: no key, no balance, no upstream URL
    upstream_code: str | None = None
    elsewhere: bool = False  # the limit is this provider's alone: another may take the same input
    of_model: bool = False  # it concerns this model alone: the account's others may well work


TaskSnapshot = Pending | Completed | Failed


class TaskRef(Struct, frozen=True, omit_defaults=True):
    """What an adapter must remember of a task to read it again; plain JSON."""

    id: str  # the upstream's own id
    path: str = ""  # whatever else the adapter needs to build the poll, in its own words
    first_poll_seconds: float | None = None  # the upstream's own estimate, where it gives one
