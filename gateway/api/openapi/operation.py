"""What the OpenAPI document tells of one method of one path."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class Operation(Struct, frozen=True, kw_only=True):
    """One method of one path."""

    method: str
    path: str
    id: str
    summary: str
    answer: type | None = None  # None: the bytes of a file
    stream: type | None = None  # in place of an answer: the data of each event of a stream
    media_types: Sequence[str] = ("video/*", "application/octet-stream")  # of the bytes of a file
    body: type | None = None
    any_body: bool = False  # in its place: whatever comes, or nothing
    form: Mapping[str, Any] | None = None  # the schema of a body that is a form; beside `body`, the same as a form
    query: Mapping[str, Mapping[str, Any]] = {}
    headers: Mapping[str, str] = {}  # request headers: name → description
    answer_headers: Mapping[str, str] = {}  # of a 200: name → description
    other_headers: Mapping[int, Mapping[str, str]] = {}  # the same of answers with another status
    errors: Sequence[int] = ()  # besides 401 and 403, which every operation has that needs a key
    open: bool = False  # needs no key
    token: bool = False  # a signed token in its query will do in place of a key
    body_required: bool = True


REF = "#/components/schemas/{name}"
BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
PAGE: Mapping[str, Mapping[str, Any]] = {  # of every list
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    "after": {"type": "string", "description": "the last id of the page before"},
    "before": {"type": "string", "description": "the first id of the page behind"},
    "order": {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
}
