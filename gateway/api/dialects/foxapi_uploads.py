"""FoxAPI's three uploads: as a file of a form, as base64 text, and by a URL that the gateway fetches.

Source: FoxAPI's pages of file uploads. The answer has a `url`, which a create takes as `image_url` and the like.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.dialects.dialect import Call
from gateway.api.dialects.foxapi import FoxErrorAnswer, error
from gateway.api.dialects.uploads import PURPOSE, upload_form, usable_url
from gateway.api.files import shown_filename
from gateway.api.generations.image_values import read_image
from gateway.api.generations.readers import read_boolean, read_text
from gateway.api.web.answers import json_answer
from gateway.api.web.context import Context, context_of
from gateway.api.web.error_format import ErrorAnswer, ErrorInfo
from gateway.api.web.moments import unix
from gateway.api.web.operation import BINARY, Operation
from gateway.api.web.small_body import INPUT_ERRORS, read_object
from gateway.domain.adapter.options import URL_MAX
from gateway.domain.errors import InvalidImage, InvalidParameter
from gateway.domain.parameters.spellings import is_blank, is_empty
from gateway.fetch.urls import url_fault
from gateway.media.image_header import LARGE
from gateway.store.files import StoredFile

NAME_MAX = 1024  # characters that are read of a file's name; the stored name is shorter
_EVICT = "true deletes your oldest files if there is no room for this one; without it no file is ever deleted for that"
_FORM: Mapping[str, Any] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {**BINARY, "description": "JPEG, PNG, WebP, GIF or BMP; AVIF or TIFF, which are converted."},
        "file_name": {"type": "string", "description": "Instead of the name that the file has in the form."},
        "auto_cleanup": {"type": "string", "enum": ["true", "false"], "description": f"{_EVICT}."},
    },
}


class FoxFile(Struct, frozen=True, kw_only=True):
    """A stored file."""

    id: str  # `file_…`
    filename: str  # as the client named it
    url: str  # anybody who has it can read the file until it expires; a create takes it as an image
    size: int  # bytes
    created: int  # Unix seconds
    expires_at: int | None  # Unix seconds


class FoxUploadBase64(Struct, frozen=True, kw_only=True):
    """An image as text."""

    file_data: str  # base64, or a data URL
    file_name: str | None = None  # the name of the file
    # true: delete your oldest files that no open generation uses, if room is needed; also `1` or a word
    auto_cleanup: bool | int | str | None = None


class FoxUploadUrl(Struct, frozen=True, kw_only=True):
    """An image that the gateway fetches at once."""

    url: str  # where the image is
    file_name: str | None = None  # the name of the file
    # true: delete your oldest files that no open generation uses, if room is needed; also `1` or a word
    auto_cleanup: bool | int | str | None = None


def upload_error(info: ErrorInfo) -> ErrorAnswer:
    """FoxAPI's form; a key that has no room for another file gets 403 there."""
    answer = error(info)
    return answer._replace(status=403) if info.code == "file_limit_reached" else answer


def _name(value: object, other: str) -> str:
    """The name of the file: `file_name` if it has one, else `other`."""
    if is_blank(value):
        return shown_filename(other)
    return shown_filename(read_text(value, "file_name", most=NAME_MAX))


def _evicts(value: object) -> bool:
    return False if is_blank(value) else read_boolean(value, "auto_cleanup")


async def _of_form(request: Call, context: Context, key: str) -> StoredFile:
    form = await upload_form(request, context, _FORM["properties"])
    texts = {name: part.text() for name, part in form.items() if name != "file"}
    name = _name(texts.get("file_name"), form["file"].filename or "")
    evict = _evicts(texts.get("auto_cleanup"))
    return await context.files.add(form["file"].content, key=key, filename=name, purpose=PURPOSE, evict=evict)


async def _of_base64(request: Call, context: Context, key: str) -> StoredFile:
    body = await read_object(request, context, FoxUploadBase64)
    name, evict = _name(body.get("file_name"), ""), _evicts(body.get("auto_cleanup"))
    data = body.get("file_data")
    if is_empty(data):
        message = "`file_data` is required: the image as base64 text, or as a data URL."
        raise InvalidParameter(message, param="file_data")
    try:
        content = await _decoded(data) if isinstance(data, str) else None
    except InvalidParameter:
        content = None  # its text names what a create takes besides
    if not isinstance(content, bytes):
        message = "`file_data` must be the image as base64 text, or as a data URL; an http URL goes to …/upload/url."
        raise InvalidImage(message, param="file_data")
    return await context.files.add(content, key=key, filename=name, purpose=PURPOSE, param="file_data", evict=evict)


async def _decoded(data: str) -> str | bytes | None:
    """The bytes in a text; a large one is decoded in a thread, because that would hold up every other request."""
    if len(data) <= LARGE:
        return read_image(data, "file_data")
    return await asyncio.to_thread(read_image, data, "file_data")


async def _of_url(request: Call, context: Context, key: str) -> StoredFile:
    body = await read_object(request, context, FoxUploadUrl)
    url = body.get("url")
    if is_empty(url):
        raise InvalidParameter("`url` is required: where the gateway fetches the image.", param="url")
    fault = url_fault(url, URL_MAX) if isinstance(url, str) else "must be a string"
    if not isinstance(url, str) or fault is not None:
        raise InvalidParameter(f"`url` {fault}.", param="url")
    other = url.partition("?")[0].partition("#")[0]
    name, evict = _name(body.get("file_name"), other), _evicts(body.get("auto_cleanup"))
    async with context.remote_images.fetched(url, "url", key, context.bodies) as content:
        return await context.files.add(content, key=key, filename=name, purpose=PURPOSE, param="url", evict=evict)


_READERS = {"stream": _of_form, "base64": _of_base64, "url": _of_url}
_BODIES: Mapping[str, type[Struct]] = {"base64": FoxUploadBase64, "url": FoxUploadUrl}


def _uploader(prefix: str, way: str) -> HTTPRouteHandler:
    body = _BODIES.get(way)

    @post(
        f"{prefix}/v1/files/upload/{way}",
        status_code=200,
        error_format=upload_error,
        operation=Operation(
            id=f"{'foxapiUpload' if prefix else 'upload'}{way.capitalize()}",
            summary="Upload an image in FoxAPI's shape; a create takes the `url` of the answer as an image",
            body=body,
            form=_FORM if body is None else None,
            answer=FoxFile,
            error_body=FoxErrorAnswer,
            errors=INPUT_ERRORS,
        ),
    )
    async def upload(request: Call) -> ASGIResponse:
        """Check an image, then store it."""
        context, key = await context_of(request)
        file = await _READERS[way](request, context, key)
        view = FoxFile(
            id=file.id,
            filename=file.filename,
            url=usable_url(request, context, file),
            size=file.facts.bytes,
            created=unix(file.created_at),
            expires_at=unix(file.expires_at),
        )
        return json_answer(view)

    return upload


HANDLERS = tuple(_uploader(prefix, way) for prefix in ("/foxapi", "") for way in _READERS)
