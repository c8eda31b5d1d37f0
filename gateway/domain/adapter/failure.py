"""The kinds of failure, what the gateway does about each, and what each may have cost."""

from enum import StrEnum


class FailureKind(StrEnum):
    """Why a call was refused or a task failed. Adapters name the kind; `REMEDY` says what follows."""

    INVALID_REQUEST = "invalid_request"  # the client's parameters or images
    CONTENT_POLICY = "content_policy"  # the client's prompt or images
    CREDENTIAL_REFUSED = "credential_refused"  # the gateway's key, or what it may use
    OUT_OF_CREDIT = "out_of_credit"  # the gateway's account
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"  # certainly not accepted, for now
    AMBIGUOUS = "ambiguous"  # it may have been accepted: a task may exist and cost money
    TASK_FAILED = "task_failed"  # an accepted task, for the provider's own reasons
    TASK_LOST = "task_lost"  # the provider no longer has an accepted task
    TIMED_OUT = "timed_out"
    RESULT_MISSING = "result_missing"  # "done", but without a usable file
    ADAPTER_FAILED = "adapter_failed"  # our adapter raised: the fault of the gateway, not of the client


class Remedy(StrEnum):
    """What the gateway does next about a failure."""

    STOP = "stop"  # the same input fails anywhere
    FALL_BACK = "fall_back"  # try the next route; without one the generation fails
    FALL_BACK_OR_WAIT = "fall_back_or_wait"  # try the next route; on the last one wait and try again
    RECONCILE = "reconcile"  # a task may exist: the gateway does not send the work to this provider again by itself


class Reach(StrEnum):
    """Which other routes of a plan a failure rules out, because they would fail in the same way."""

    NONE = "none"
    ACCOUNT = "account"  # every route of the same account
    MODEL = "model"  # the same model at the other accounts of the same service: same adapter, same base URL


class Billed(StrEnum):
    """Whether the provider charged for an attempt or for one of its tasks."""

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
# An account is one key. What is wrong with a key, its credit or its limits says nothing about another key, so the other
# accounts of the same service are tried. What the service itself thinks of the request, it thinks for every key.
REACH = {
    FailureKind.INVALID_REQUEST: Reach.MODEL,
    FailureKind.CONTENT_POLICY: Reach.MODEL,
    FailureKind.CREDENTIAL_REFUSED: Reach.ACCOUNT,
    FailureKind.OUT_OF_CREDIT: Reach.ACCOUNT,
    FailureKind.RATE_LIMITED: Reach.NONE,
    FailureKind.UNAVAILABLE: Reach.NONE,
    FailureKind.AMBIGUOUS: Reach.ACCOUNT,  # a task may exist there: a second one would be paid twice
    FailureKind.TASK_FAILED: Reach.NONE,
    FailureKind.TASK_LOST: Reach.NONE,
    FailureKind.TIMED_OUT: Reach.NONE,
    FailureKind.RESULT_MISSING: Reach.NONE,
    FailureKind.ADAPTER_FAILED: Reach.MODEL,  # the same code would break on the same request again
}
# Whether a failed task was charged, once the submit had been accepted. A refused submit costs nothing.
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
# The kinds of a refused submit for which a provider may charge a fee: it has judged what the client sent.
FEE_ON_REFUSAL = frozenset({FailureKind.INVALID_REQUEST, FailureKind.CONTENT_POLICY})
# The failures that a provider reports of its own task. For the others nobody knows how far the task came, so the price
# of a failed task does not apply to them.
REPORTED_FAILURE = frozenset(
    {
        FailureKind.INVALID_REQUEST,
        FailureKind.CONTENT_POLICY,
        FailureKind.CREDENTIAL_REFUSED,
        FailureKind.RATE_LIMITED,
        FailureKind.UNAVAILABLE,
        FailureKind.TASK_FAILED,
    }
)
# The stable public code of each kind, as clients read it in `error.code`.
PUBLIC_CODE = {kind: kind.value for kind in FailureKind} | {FailureKind.AMBIGUOUS: "submission_unknown"}
# What each kind means, for clients and operators. The reference pages show these texts.
MEANING = {
    FailureKind.INVALID_REQUEST: "The provider refuses the parameters or the images.",
    FailureKind.CONTENT_POLICY: "The provider refuses the content.",
    FailureKind.CREDENTIAL_REFUSED: "The provider refuses the key of the account.",
    FailureKind.OUT_OF_CREDIT: "The account has no credit.",
    FailureKind.RATE_LIMITED: "The provider asks to wait.",
    FailureKind.UNAVAILABLE: "The provider cannot be reached, or cannot work now.",
    FailureKind.TASK_FAILED: "The task failed at the provider.",
    FailureKind.TASK_LOST: "The provider does not know its own task any more.",
    FailureKind.TIMED_OUT: "The task was not done before the time-out of the attempt.",
    FailureKind.RESULT_MISSING: "The task is done, but without a video that can be played or an image that decodes.",
    FailureKind.ADAPTER_FAILED: "The gateway's adapter for the provider broke: a defect of the gateway.",
    FailureKind.AMBIGUOUS: "A submit has no clear answer: a task may exist.",
}
REMEDY_TEXT = {
    Remedy.STOP: "The generation ends.",
    Remedy.FALL_BACK: "The next route is tried.",
    Remedy.FALL_BACK_OR_WAIT: "The next route is tried, or the same one later.",
    Remedy.RECONCILE: "The work is never sent to this provider again; `on_ambiguous` decides.",
}
