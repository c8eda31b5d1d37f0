"""What the OpenAPI document tells of paths that no client asks for: callbacks and health."""

from msgspec import UNSET, Struct, UnsetType

from gateway.api.openapi.operation import Operation
from gateway.api.web.small_body import Nothing


class Health(Struct, frozen=True, kw_only=True):
    """`ok`, or why not."""

    status: str
    reason: str | UnsetType = UNSET
    warnings: tuple[str, ...] | UnsetType = UNSET  # what an operator should look at, while the gateway is ready


OPERATIONS = (
    Operation(
        method="post",
        path="/callbacks/{provider}/{token}",
        id="callBack",
        summary="For providers alone, at the URL that came with a submit: something happened, a reason to look",
        any_body=True,
        answer=Nothing,
        errors=(404, 408, 503),
        open=True,
    ),
    Operation(method="get", path="/health/live", id="live", summary="Is it alive", answer=Health, open=True),
    Operation(
        method="get",
        path="/health/ready",
        id="ready",
        summary="Should it get traffic",
        answer=Health,
        errors=(503,),
        open=True,
    ),
)
