"""Reads bodies that are one small JSON object of a known structure."""

from collections.abc import Mapping
from typing import Any

from litestar import Request
from msgspec import Struct

from gateway.api.web.context import Context
from gateway.api.web.headers import header
from gateway.api.web.json_body import parse_json, read_body
from gateway.api.web.query import NAME_SHOWN, Params
from gateway.domain.errors import UnknownParameter

BODY_ERRORS = (400, 408, 413, 415, 503)  # the statuses that reading a body can end in
INPUT_ERRORS = (*BODY_ERRORS, 507)  # of a body that may have images


class Nothing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty object, which may be left out."""


async def read_object(
    request: Request[Any, Any, Any], context: Context, kind: type[Struct], *, required: bool = True
) -> Mapping[str, object]:
    """The fields that the client sent; their names are those of `kind`, their values are not checked yet.

    Raises `UnknownParameter` for another name. Where a body is not `required`, no body is an empty object.
    """
    Params.of(request).done()
    raw = await read_body(request, context.max_body_bytes)
    if not raw and not required:
        return {}
    body = parse_json(raw, header(request, "content-type"), header(request, "content-encoding"))
    fields = kind.__struct_fields__
    for name in body:
        if name not in fields:
            remedy = f"The fields are: {', '.join(fields)}." if fields else "The body must be empty."
            shown = name[:NAME_SHOWN]
            raise UnknownParameter(f"`{shown}` is not a field of this request. {remedy}", param=shown)
    return body
