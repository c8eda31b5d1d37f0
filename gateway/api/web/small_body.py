"""Bodies of a few fields: one object, which has no others than its kind."""

from collections.abc import Mapping
from typing import Any

from litestar import Request
from msgspec import Struct

from gateway.api.web.context import Context
from gateway.api.web.headers import header
from gateway.api.web.json_body import parse_json, read_body
from gateway.api.web.query import Params
from gateway.domain.errors import UnknownParameter


class Nothing(Struct, frozen=True, kw_only=True):
    """An empty object, which may be left out."""


async def read_object(
    request: Request[Any, Any, Any], context: Context, kind: type[Struct], *, required: bool = True
) -> Mapping[str, object]:
    """The fields that came, unchecked but for their names; none where no body is `required` and none came."""
    Params.of(request).done()
    raw = await read_body(request, context.max_body_bytes)
    if not raw and not required:
        return {}
    body = parse_json(raw, header(request, "content-type"), header(request, "content-encoding"))
    known = kind.__struct_fields__
    for name in body:
        if name not in known:
            told = f"Known are {', '.join(known)}." if known else "The body must be empty."
            raise UnknownParameter(f"There is no field `{name[:64]}`. {told}", param=name[:64])
    return body
