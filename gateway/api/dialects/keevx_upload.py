"""Keevx's upload of an image, whose envelope is another one than that of its tasks.

Source: the pages of Keevx's skills, which print `result.url` as what a create takes.
"""

from collections.abc import Mapping
from typing import Any, Literal

from litestar import post
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.dialects.dialect import Call
from gateway.api.dialects.keevx import code_of
from gateway.api.dialects.uploads import PURPOSE, upload_form, usable_url
from gateway.api.files import shown_filename
from gateway.api.web.answers import json_answer
from gateway.api.web.context import context_of
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo
from gateway.api.web.operation import BINARY, Operation
from gateway.api.web.small_body import INPUT_ERRORS

_FORM: Mapping[str, Any] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {**BINARY, "description": "JPEG, PNG, WebP, GIF or BMP; AVIF or TIFF, which are converted."}
    },
}


class KeevxFile(Struct, frozen=True, rename="camel"):
    """A stored file. A create takes the URL as an image."""

    url: str  # a create takes it as an image
    file_id: str  # `file_…`
    file_name: str  # as the client named it


class KeevxUploaded(Struct, frozen=True):
    """The answer to an upload."""

    code: Literal[0]  # always 0: an error has another
    success: Literal[True]  # always true: an error has false
    message: dict[str, str]  # `global`: "success"
    result: KeevxFile  # the file


class KeevxUploadError(Struct, frozen=True):
    """An error of an upload. `error` and `param` are the gateway's own stable code and the field at fault."""

    code: int  # the code that Keevx has for such an error
    success: Literal[False]  # always false
    message: dict[str, str]  # `global`: what is wrong
    result: None  # always null
    error: str  # stable; the table of errors of requests has all codes
    param: str | None  # the field at fault; null: none
    request_id: str  # names this request in the gateway's log


def upload_error(info: ErrorInfo) -> ErrorAnswer:
    """`{code, success: false, message: {global}}`, with the codes of videos."""
    code = code_of(info, "video")
    message = {"global": info.message}
    body = KeevxUploadError(code, False, message, None, info.code, info.param, info.request_id)  # noqa: FBT003  # Keevx's field
    return ErrorAnswer(body, info.status)


@post(
    "/keevx/v1/figure-resource/upload/file",
    status_code=200,
    error_format=upload_error,
    operation=Operation(
        id="keevxUploadFile",
        summary="Upload an image in Keevx's shape; a create takes the `result.url` of the answer as an image",
        form=_FORM,
        answer=KeevxUploaded,
        error_body=KeevxUploadError,
        errors=INPUT_ERRORS,
    ),
)
async def upload_file(request: Call) -> ASGIResponse:
    """Check an image, then store it."""
    context, key = await context_of(request)
    part = (await upload_form(request, context, _FORM["properties"]))["file"]
    name = shown_filename(part.filename or "")
    file = await context.files.add(part.content, key=key, filename=name, purpose=PURPOSE)
    result = KeevxFile(usable_url(request, context, file), file.id, file.filename)
    return json_answer(KeevxUploaded(0, True, {"global": "success"}, result))  # noqa: FBT003  # Keevx's field


HANDLERS = (upload_file,)
