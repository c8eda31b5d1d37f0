"""Answers in JSON, and the methods of a resource that is read."""

import msgspec
from litestar.enums import HttpMethod, MediaType
from litestar.response.base import ASGIResponse

GET = (HttpMethod.GET, HttpMethod.HEAD)  # the server leaves out the body of an answer to HEAD
_encode = msgspec.json.Encoder().encode


def json_answer(view: object, headers: dict[str, str] | None = None) -> ASGIResponse:
    """A wire structure as a JSON response."""
    return ASGIResponse(body=_encode(view), media_type=MediaType.JSON, headers=headers)
