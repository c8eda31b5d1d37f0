"""Why FoxAPI refuses a call or fails a task."""

import re
from collections.abc import Mapping

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import json_or_none, mapping
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.refusals import ErrorReport, Mark, Refusals, Rule, kind_of_code
from gateway.domain.adapter.replies import (
    KIND_BY_STATUS,
    ErrorBody,
    by_code,
    error_body,
    names_task,
    phrases,
    succeeded,
)

# By `code` or `type`; source: "Error codes" and the clients of the sibling brand. `invalid_request_error` is sent with
# every kind of error, and `server_error` also with tasks that were started: for these two the HTTP status decides.
CODES = by_code(
    {
        FailureKind.CREDENTIAL_REFUSED: "authentication_error "
        "model_not_found model_not_supported",  # the model does not exist, or is not enabled for the key
        FailureKind.OUT_OF_CREDIT: "insufficient_quota quota_exceeded",
        FailureKind.RATE_LIMITED: "rate_limit_error",
        FailureKind.UNAVAILABLE: "no_compatible_channel no_available_model all_platforms_exhausted "
        "service_unavailable*",
        FailureKind.INVALID_REQUEST: "unsupported_advanced_options invalid_image_url invalid_file_type invalid_param "
        "model_rule_violation file_too_large_error",
        FailureKind.CONTENT_POLICY: "content_policy_violation",
    }
)
NOT_FOUND = "not_found"
OF_MODEL = frozenset({"model_not_found", "model_not_supported", "no_compatible_channel", "no_available_model"})
CLIENT_FAULTS = frozenset({"invalid_request_error", "validation_error"})
RULES = (
    # Only 503 is documented as "not accepted". After any other 5xx a task may have been started.
    Rule(kind=FailureKind.AMBIGUOUS, statuses=frozenset(range(500, 1000)) - {503}),
    Rule(by_code=CODES | {NOT_FOUND: FailureKind.TASK_LOST}, reading=True),
    Rule(by_code=CODES | {NOT_FOUND: FailureKind.UNAVAILABLE}, reading=False),
    Rule(kind=FailureKind.INVALID_REQUEST, statuses=range(200, 300)),  # `find_error` lets only CLIENT_FAULTS through
    Rule(kind=FailureKind.UNAVAILABLE, statuses={503}, phrases=phrases(r"\bno (?:available|compatible) channel")),
    # A 404 to a submit means a wrong base URL. A 404 to a read may come from any proxy: only `not_found` loses a task.
    # After a status that is not listed, a task may have been started.
    Rule(by_status=KIND_BY_STATUS | {404: FailureKind.UNAVAILABLE}),
)
TASK_CODES = by_code(  # codes of a failed task; any other code is a failure of the provider
    {
        FailureKind.CONTENT_POLICY: "content_policy_violation",
        FailureKind.INVALID_REQUEST: "invalid_parameters image_processing_error image_dimension_mismatch "
        "invalid_image_url",
        FailureKind.OUT_OF_CREDIT: "quota_exceeded",
    }
)
POLICY = phrases("policy|safety|sensitive|moderat|nsfw|prohibited", "审核|违规|敏感")
CLOUDFLARE = re.compile(r"\Aerror code: (\d+)\s*\Z")


def task_failure_kind(error: ErrorBody) -> FailureKind:
    """Why a task failed.

    The one documented code, `generation_failed`, names no reason: the page's own example of it refuses the content.
    """
    if error.code in {"", "generation_failed"} and POLICY.search(error.message):
        return FailureKind.CONTENT_POLICY
    return TASK_CODES.get(error.code, FailureKind.TASK_FAILED)


def find_error(reply: HttpReply) -> ErrorReport | None:
    """The error of a reply, or None if it reports none.

    A reply with HTTP 2xx has none if it has what was asked for: a `status` for a poll, an `id` or a `url` for other
    calls. It also has none if it names no documented error and no task: then its reader finds it unreadable.
    """
    body = json_or_none(reply)
    fields, reading = mapping(body), reply.method == "GET"
    if succeeded(reply) and any(fields.get(name) for name in (("status",) if reading else ("id", "url"))):
        return None
    inner = fields.get("error") or mapping(fields.get("data")).get("error")
    error = error_body({**fields, "error": inner}) if isinstance(body, Mapping) else _plain(body, reply)
    names = (error.code, error.type)
    documented = error.type in CLIENT_FAULTS or any(name == NOT_FOUND or kind_of_code(CODES, name) for name in names)
    starts_task = not reading and names_task(fields, fields.get("data"))
    if succeeded(reply) and not documented and not starts_task:  # `task_refs` or `from_upstream` finds it unreadable
        return None
    return ErrorReport(
        errors=((*names, str(reply.status)),),
        message=error.message,
        names_task=starts_task,
    )


def _plain(body: object, reply: HttpReply) -> ErrorBody:
    """The error in a plain text, such as Cloudflare's. A page of HTML has no message for a client."""
    words = body if isinstance(body, str) else reply.body.decode(errors="replace").strip()
    code = CLOUDFLARE.match(words)
    return ErrorBody(code[1] if code else "", "", "" if words[:1] in "<[" else words)


REFUSALS = Refusals(
    find=find_error,
    rules=RULES,
    elsewhere=Mark(codes=frozenset({"unsupported_advanced_options"})),
    of_model=Mark(codes=OF_MODEL),
)
