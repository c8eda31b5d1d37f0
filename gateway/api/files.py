"""`/v1/files`: input images, uploaded once and then named by their id. The shapes are those of OpenAI's files."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from litestar import Controller, Request, delete, post, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.generations.views import Deleted
from gateway.api.web.answers import GET, SANDBOX_TEXT, file_headers, json_answer
from gateway.api.web.client import note_link
from gateway.api.web.context import Context, context_of, key_beside_token
from gateway.api.web.json_body import read_body
from gateway.api.web.lists import Listed
from gateway.api.web.moments import unix
from gateway.api.web.multipart import Part, parts_of
from gateway.api.web.operation import BINARY, PAGE, Operation, page_of
from gateway.api.web.query import Params, path_id
from gateway.api.web.small_body import INPUT_ERRORS
from gateway.api.web.streaming import Streamed
from gateway.domain.errors import InvalidForm, InvalidParameter, UnknownParameter
from gateway.store.files import StoredFile, is_file_id
from gateway.tokens import TOKEN_MAX

Purpose = Literal["vision", "user_data"]
PURPOSES: tuple[Purpose, ...] = ("vision", "user_data")  # those of OpenAI's purposes that are for inputs
LIST_MAX = 10_000  # as at OpenAI, and more files than one key may have
FILENAME_MAX = 255  # characters
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
Call = Request[Any, Any, State]
_UPLOAD: Mapping[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "additionalProperties": False,
    "properties": {
        "file": {**BINARY, "description": "JPEG, PNG, WebP, GIF or BMP; AVIF or TIFF, which are converted."},
        "purpose": {"type": "string", "enum": list(PURPOSES), "description": "Both mean the same."},
        ANCHOR: {"type": "string", "enum": ["created_at"]},
        SECONDS: {
            "type": "integer",
            "minimum": 3600,
            "description": "The time until the file expires; at most `files.keep_days`, which is the default.",
        },
    },
}


class FileView(Struct, frozen=True, kw_only=True):
    """An uploaded image."""

    id: str  # names the file in requests
    object: Literal["file"] = "file"  # the kind of this object
    bytes: int  # the size of the file
    created_at: int  # Unix seconds
    expires_at: int | None  # Unix seconds: then the file is deleted
    filename: str  # as it was uploaded
    purpose: str  # as it was uploaded
    status: Literal["processed"] = "processed"  # a file can be used at once
    content_type: str  # the media type, by the bytes
    width: int  # pixels
    height: int  # pixels


class FileList(Listed[FileView], frozen=True, kw_only=True):
    """A page of files."""


class FileController(Controller):
    """Handlers of `/v1/files`."""

    path = "/v1/files"

    @post(
        status_code=200,
        operation=Operation(
            id="uploadFile",
            summary="Upload an image, which requests can name by its id until it expires; each upload makes a new file,"
            " because an Idempotency-Key is ignored",
            form=_UPLOAD,
            answer=FileView,
            errors=INPUT_ERRORS,
        ),
    )
    async def upload(self, request: Call) -> ASGIResponse:
        """Check an image, then store it."""
        context, key = await context_of(request)
        Params.of(request).done()
        raw = await read_body(request, context.max_body_bytes)
        fields = _fields(await parts_of(raw, request))
        del raw  # it may be as large as the limit of a body, and the parts are copies of it
        file = fields["file"]
        stored = await context.files.add(
            file.content,
            key=key,
            filename=shown_filename(file.filename or ""),
            purpose=_purpose(fields.get("purpose")),
            seconds=_seconds(fields),
        )
        return json_answer(file_view(stored))

    @route(
        http_method=GET,
        operation=Operation(
            id="listFiles",
            summary="List your own files, newest first",
            query={
                "limit": {**PAGE["limit"], "maximum": LIST_MAX, "default": LIST_MAX},
                "after": page_of("file_")["after"],
                "order": PAGE["order"],
                "purpose": {"type": "string", "enum": list(PURPOSES)},
            },
            answer=FileList,
            errors=(400, 503),
        ),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List the files of the caller's key."""
        context, key = await context_of(request)
        params = Params.of(request)
        limit = params.limit(LIST_MAX, most=LIST_MAX)
        order = params.order()
        after = params.cursor("after", is_file_id, "a file")
        purpose = params.choice("purpose", PURPOSES)
        params.done()
        page = await context.files.page(key, limit=limit, order=order, after=after, purpose=purpose)
        return json_answer(FileList.of(map(file_view, page.data), has_more=page.has_more))

    @route(
        "/{file_id:str}",
        http_method=GET,
        operation=Operation(
            id="readFile", summary="Read the facts about a file", answer=FileView, errors=(400, 404, 503)
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read the facts about one file, without its bytes."""
        context, key = await context_of(request)
        Params.of(request).done()
        return json_answer(file_view(await context.files.get(path_id(request, "file_id"), key)))

    @delete(
        "/{file_id:str}",
        status_code=200,
        operation=Operation(
            id="deleteFile",
            summary="Delete a file; 409 while an open generation uses it",
            answer=Deleted,
            errors=(400, 404, 409, 503),
        ),
    )
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete a file that no open generation uses."""
        context, key = await context_of(request)
        Params.of(request).done()
        file_id = path_id(request, "file_id")
        await context.files.delete(file_id, key)
        return json_answer(Deleted(id=file_id, object="file"))

    @route(
        "/{file_id:str}/content",
        http_method=GET,
        operation=Operation(
            id="readFileContent",
            summary="Download the image",
            answer_headers={
                "Content-Length": "in bytes",
                "Content-Disposition": "a name for the file",
                "Content-Security-Policy": SANDBOX_TEXT,
            },
            media_types=("image/*",),
            token=True,
            errors=(400, 404, 410, 503),
        ),
    )
    async def content(self, request: Call) -> ASGIResponse:
        """Send the bytes to a caller that has the key of the file, or a token for it."""
        context: Context = request.app.state.context
        file_id = path_id(request, "file_id")
        params = Params.of(request)
        token = params.text("token", longest=TOKEN_MAX)
        file = None if token is None else await context.files.admitted(file_id, token)
        if file is None:
            file = await context.files.get(file_id, await key_beside_token(request, context, token))
        else:
            note_link(request, file.key, file.id)
        params.done()
        chunks = await context.files.content(file)
        headers = {
            **file_headers(file.facts.content_type, file.filename or file.id, inline=True),
            "content-length": str(file.facts.bytes),
        }
        if request.method == HttpMethod.HEAD:
            return ASGIResponse(headers=headers, is_head_response=True)
        return Streamed(context, chunks, headers)


def file_view(file: StoredFile) -> FileView:
    """The public object of an uploaded file."""
    return FileView(
        id=file.id,
        bytes=file.facts.bytes,
        created_at=unix(file.created_at),
        expires_at=unix(file.expires_at),
        filename=file.filename,
        purpose=file.purpose,
        content_type=file.facts.content_type,
        width=file.facts.width,
        height=file.facts.height,
    )


def _fields(parts: Sequence[Part]) -> dict[str, Part]:
    """The fields of an upload by their names; `file` is always one of them."""
    fields: dict[str, Part] = {}
    for part in parts:
        name = "file" if part.name == "file[]" else part.name
        if name not in _UPLOAD["properties"]:
            names = ", ".join(_UPLOAD["properties"])
            raise UnknownParameter(
                f"`{part.shown}` is not a field of this request. The fields are: {names}.", param=part.shown
            )
        if name in fields:
            raise InvalidForm(f"The form has the field `{name}` twice; send it once.", param=name)
        fields[name] = part
    if "file" not in fields:
        raise InvalidParameter("`file` is required: the image, as a file of the form.", param="file")
    if fields["file"].filename is None and isinstance(fields["file"].image(), str):
        raise InvalidParameter("`file` must be a file of the form, not text.", param="file")
    return fields


def _purpose(part: Part | None) -> Purpose:
    text = None if part is None else part.text()
    for purpose in PURPOSES:
        if text == purpose:
            return purpose
    fault = "`purpose` is required" if text is None else "This `purpose` is not supported"
    raise InvalidParameter(f"{fault}: send {' or '.join(PURPOSES)}.", param="purpose")


def _seconds(fields: dict[str, Part]) -> int | None:
    """The seconds after which the file expires; None where the client says nothing about it."""
    if ANCHOR not in fields and SECONDS not in fields:
        return None
    if ANCHOR not in fields or fields[ANCHOR].text() != "created_at":
        raise InvalidParameter(f"`{ANCHOR}` must be created_at.", param=ANCHOR)
    text = fields[SECONDS].text() if SECONDS in fields else ""
    if re.fullmatch(r"[0-9]{1,10}", text) is None:
        raise InvalidParameter(f"`{SECONDS}` must be a whole number of seconds.", param=SECONDS)
    return int(text)


def shown_filename(sent: str) -> str:
    """The file name without the folders of the client's disk and without control characters; may be empty."""
    name = re.split(r"[/\\]", sent)[-1]
    return "".join(letter for letter in name if letter.isprintable())[:FILENAME_MAX].strip()
