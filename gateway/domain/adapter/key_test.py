"""Reads what the reply to a free call proves about the key of an account: for `Adapter.read_probe`. Pure."""

from http import HTTPStatus

from gateway.domain.adapter.contract import HttpReply, KeyTest, KeyVerdict
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed

OPEN = "whether the account has credit, and which models it may use"  # what a read of a task cannot prove


def key_test(reply: HttpReply, failure: Failed | None, *, proof: str | None, leaves_open: str = OPEN) -> KeyTest:
    """The verdict on a reply.

    `failure` is what the adapter's `classify` says of it. `proof` says why the reply can only have been given to a
    valid key, as a sentence without a full stop; `None` if it may have been given to anybody. A 403 says nothing about
    the key: it may be about the address of the caller, and a proxy in front of the provider may have sent it.
    """
    if proof is not None:
        return KeyTest(verdict=KeyVerdict.ACCEPTED, detail=f"{proof}; not proven: {leaves_open}")
    code = f"HTTP {reply.status}" + (f", {failure.upstream_code}" if failure and failure.upstream_code else "")
    is_refused = failure is not None and failure.kind is FailureKind.CREDENTIAL_REFUSED
    if is_refused and reply.status != HTTPStatus.FORBIDDEN:
        return KeyTest(verdict=KeyVerdict.REFUSED, detail=code)
    return KeyTest(verdict=KeyVerdict.UNPROVEN, detail=code)


def by_missing_task(reply: HttpReply, failure: Failed | None) -> KeyTest:
    """The verdict on the reply to the poll of a task that does not exist: it is said to a valid key alone."""
    is_missing = failure is not None and failure.kind is FailureKind.TASK_LOST
    proof = "the provider looked for a task that does not exist, and did not find it" if is_missing else None
    return key_test(reply, failure, proof=proof)
