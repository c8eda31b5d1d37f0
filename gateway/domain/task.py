"""What a provider's task is at one reading, and what the gateway does about each kind of failure."""

from enum import StrEnum

from msgspec import Struct


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


class FailureKind(StrEnum):
    """The normal classes of what a provider, or the way to it, can refuse or break."""

    INVALID_REQUEST = "invalid_request"
    CONTENT_POLICY = "content_policy"
    CREDENTIAL_REFUSED = "credential_refused"
    OUT_OF_CREDIT = "out_of_credit"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    AMBIGUOUS = "ambiguous"
    TASK_FAILED = "task_failed"
    TASK_LOST = "task_lost"
    TIMED_OUT = "timed_out"
    RESULT_MISSING = "result_missing"


class Remedy(StrEnum):
    """What the gateway does next about a failure."""

    STOP = "stop"  # the same input fails anywhere
    FALL_BACK = "fall_back"  # the next route; none left: the generation fails
    FALL_BACK_OR_WAIT = "fall_back_or_wait"  # the next route; on the last one wait and try again
    RECONCILE = "reconcile"  # a task may exist: never sent to this provider again


class Billed(StrEnum):
    """Whether an attempt that delivered nothing was paid for."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


REMEDY = {
    FailureKind.INVALID_REQUEST: Remedy.STOP,
    FailureKind.CONTENT_POLICY: Remedy.STOP,
    FailureKind.CREDENTIAL_REFUSED: Remedy.FALL_BACK,
    FailureKind.OUT_OF_CREDIT: Remedy.FALL_BACK,
    FailureKind.RATE_LIMITED: Remedy.FALL_BACK_OR_WAIT,
    FailureKind.UNAVAILABLE: Remedy.FALL_BACK_OR_WAIT,
    FailureKind.AMBIGUOUS: Remedy.RECONCILE,
    FailureKind.TASK_FAILED: Remedy.FALL_BACK,
    FailureKind.TASK_LOST: Remedy.FALL_BACK,
    FailureKind.TIMED_OUT: Remedy.FALL_BACK,
    FailureKind.RESULT_MISSING: Remedy.FALL_BACK,
}

# What a failure of a task that had been accepted may have cost. A refused submit costs nothing.
TASK_BILLED = {
    FailureKind.INVALID_REQUEST: Billed.MAYBE,
    FailureKind.CONTENT_POLICY: Billed.MAYBE,
    FailureKind.CREDENTIAL_REFUSED: Billed.MAYBE,
    FailureKind.OUT_OF_CREDIT: Billed.NO,
    FailureKind.RATE_LIMITED: Billed.MAYBE,
    FailureKind.UNAVAILABLE: Billed.MAYBE,
    FailureKind.AMBIGUOUS: Billed.MAYBE,
    FailureKind.TASK_FAILED: Billed.MAYBE,
    FailureKind.TASK_LOST: Billed.MAYBE,
    FailureKind.TIMED_OUT: Billed.MAYBE,
    FailureKind.RESULT_MISSING: Billed.YES,
}

# The stable public code of each kind, as clients read it in `error.code`.
PUBLIC_CODE = {kind: kind.value for kind in FailureKind} | {FailureKind.AMBIGUOUS: "submission_unknown"}


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
