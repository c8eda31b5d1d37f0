"""The kinds of failure, what the gateway does about each, and what each may have cost."""

from enum import StrEnum


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
    ADAPTER_FAILED = "adapter_failed"  # our adapter raised: the fault of the gateway, not of the client


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
    FailureKind.ADAPTER_FAILED: Remedy.FALL_BACK,
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
    FailureKind.ADAPTER_FAILED: Billed.MAYBE,
}
# The stable public code of each kind, as clients read it in `error.code`.
PUBLIC_CODE = {kind: kind.value for kind in FailureKind} | {FailureKind.AMBIGUOUS: "submission_unknown"}
