"""What the OpenAPI document tells of attempts, which operators decide about."""

from gateway.api.attempt_views import AdminAttempt, AdminAttemptList
from gateway.api.attempts import STATES, AttachTask
from gateway.api.openapi.operation import PAGE, Operation
from gateway.api.web.small_body import Nothing

_ATTEMPTS = "/v1/admin/attempts"
OPERATIONS = (
    Operation(
        method="get",
        path=_ATTEMPTS,
        id="listAttempts",
        summary="List submits of all keys that got no clear answer, oldest first; needs an admin key",
        query={
            "state": {
                "type": "string",
                "enum": list(STATES),
                "default": STATES[0],
                "description": "`held`: those that an operator is to decide about",
            },
            "limit": PAGE["limit"],
            "after": PAGE["after"],
        },
        answer=AdminAttemptList,
        errors=(400, 503),
    ),
    Operation(
        method="get",
        path=_ATTEMPTS + "/{attempt_id}",
        id="readAttempt",
        summary="Read an attempt; needs an admin key",
        answer=AdminAttempt,
        errors=(400, 404, 503),
    ),
    Operation(
        method="post",
        path=_ATTEMPTS + "/{attempt_id}/attach",
        id="attachTask",
        summary="Attach the task that an unknown attempt did start; needs an admin key",
        body=AttachTask,
        answer=AdminAttempt,
        errors=(400, 404, 408, 409, 413, 415, 503),
    ),
    *(
        Operation(
            method="post",
            path=f"{_ATTEMPTS}/{{attempt_id}}/{name}",
            id=f"{name}Attempt",
            summary=summary,
            body=Nothing,
            body_required=False,
            answer=AdminAttempt,
            errors=(400, 404, 408, 409, 413, 415, 503),
        )
        for name, summary in (
            ("fail", "Let a held attempt fail; needs an admin key"),
            ("resubmit", "Send a held attempt once more, after its quarantine; needs an admin key"),
        )
    ),
)
