"""`/v1/files`: input images, uploaded once. The shape is that of OpenAI's files."""

import re
from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import quote

from litestar import Controller, Request, delete, post, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.response.base import ASGIResponse
from msgspec import Struct

from gateway.api.generations.views import Deleted
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import Context, context_of, key_beside_token
from gateway.api.web.json_body import read_body
from gateway.api.web.lists import Listed
from gateway.api.web.multipart import Part, parts_of
from gateway.api.web.query import Params
from gateway.api.web.streaming import Streamed
from gateway.domain.errors import InvalidForm, InvalidParameter, UnknownParameter
from gateway.store.files import StoredFile, is_file_id
from gateway.tokens import TOKEN_MAX

Purpose = Literal["vision", "user_data"]
PURPOSES: tuple[Purpose, ...] = ("vision", "user_data")  # those of OpenAI's that mean an input
LIST_MAX = 10_000  # as OpenAI has it, and more than a key may have
FILENAME_MAX = 255  # characters
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_FIELDS = ("file", "purpose", ANCHOR, SECONDS)
Call = Request[Any, Any, State]


class FileView(Struct, frozen=True, kw_only=True):
    """An uploaded image."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    content_type: str
    width: int
    height: int


class FileList(Listed[FileView], frozen=True, kw_only=True):
    """A page of files."""


class FileController(Controller):
    """Upload, list, read, delete, and the bytes."""

    path = "/v1/files"

    @post(status_code=200)
    async def upload(self, request: Call) -> ASGIResponse:
        """Keep an image, which is looked at before anything is stored."""
        context, key = context_of(request)
        Params.of(request).done()
        raw = await read_body(request, context.max_body_bytes)
        fields = _fields(await parts_of(raw, request))
        del raw
        file = fields["file"]
        stored = await context.files.add(
            file.content,
            key=key,
            filename=_filename(file.filename or ""),
            purpose=_purpose(fields.get("purpose")),
            seconds=_seconds(fields),
        )
        return json_answer(file_view(stored))

    @route(http_method=GET)
    async def page(self, request: Call) -> ASGIResponse:
        """List the key's own files."""
        context, key = context_of(request)
        params = Params.of(request)
        limit = params.whole("limit", 1, LIST_MAX) or LIST_MAX
        order = params.order()
        after = params.cursor("after", is_file_id, "a file")
        purpose = params.choice("purpose", PURPOSES)
        params.done()
        page = await context.files.page(key, limit=limit, order=order, after=after, purpose=purpose)
        return json_answer(FileList.of(map(file_view, page.data), has_more=page.has_more))

    @route("/{file_id:str}", http_method=GET)
    async def read(self, request: Call) -> ASGIResponse:
        """Read one."""
        context, key = context_of(request)
        Params.of(request).done()
        return json_answer(file_view(await context.files.get(_id(request), key)))

    @delete("/{file_id:str}", status_code=200)
    async def remove(self, request: Call) -> ASGIResponse:
        """Delete one that no open generation uses."""
        context, key = context_of(request)
        Params.of(request).done()
        await context.files.delete(_id(request), key)
        return json_answer(Deleted(id=_id(request), object="file"))

    @route("/{file_id:str}/content", http_method=GET)
    async def content(self, request: Call) -> ASGIResponse:
        """Hand over the bytes, to the key of the file or to whoever has a token for it."""
        context: Context = request.app.state.context
        params = Params.of(request)
        token = params.text("token", longest=TOKEN_MAX)
        file = None if token is None else await context.files.admitted(_id(request), token)
        if file is None:
            file = await context.files.get(_id(request), key_beside_token(request, context, token))
        params.done()
        chunks = await context.files.content(file)
        headers = {
            "content-type": file.facts.content_type,
            "content-length": str(file.facts.bytes),
            "content-disposition": _disposition(file),
        }
        if request.method == HttpMethod.HEAD:
            return ASGIResponse(headers=headers, is_head_response=True)
        return Streamed(context, chunks, headers)


def file_view(file: StoredFile) -> FileView:
    """The public object of an uploaded file."""
    return FileView(
        id=file.id,
        bytes=file.facts.bytes,
        created_at=int(file.created_at.timestamp()),
        expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
        filename=file.filename,
        purpose=file.purpose,
        content_type=file.facts.content_type,
        width=file.facts.width,
        height=file.facts.height,
    )


def _fields(parts: Sequence[Part]) -> dict[str, Part]:
    """The fields of an upload by their names, a `file` that is one among them."""
    fields: dict[str, Part] = {}
    for part in parts:
        name = "file" if part.name == "file[]" else part.name
        if name not in _FIELDS:
            raise UnknownParameter(
                f"`{part.shown}` is not a field of this request. The fields are: {', '.join(_FIELDS)}.",
                param=part.shown,
            )
        if name in fields:
            raise InvalidForm(f"The field `{name}` is there twice.", param=name)
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
    told = "`purpose` is required" if text is None else "`purpose` is not one that files have here"
    raise InvalidParameter(f"{told}: send {' or '.join(PURPOSES)}.", param="purpose")


def _seconds(fields: dict[str, Part]) -> int | None:
    """After how long the file is to expire, `None` where nothing was said."""
    if ANCHOR not in fields and SECONDS not in fields:
        return None
    if ANCHOR not in fields or fields[ANCHOR].text() != "created_at":
        raise InvalidParameter(f"`{ANCHOR}` must be created_at.", param=ANCHOR)
    text = fields[SECONDS].text() if SECONDS in fields else ""
    if re.fullmatch(r"[0-9]{1,10}", text) is None:
        raise InvalidParameter(f"`{SECONDS}` must be a whole number of seconds.", param=SECONDS)
    return int(text)


def _filename(given: str) -> str:
    """The name without the folders of a client's disk and without what no name should have; "" when none is left."""
    name = re.split(r"[/\\]", given)[-1]
    return "".join(letter for letter in name if letter.isprintable())[:FILENAME_MAX].strip()


def _disposition(file: StoredFile) -> str:
    """RFC 6266: a plain name for all, and the real one where the plain one is not it."""
    name = file.filename or file.id
    plain = "".join(letter if letter.isascii() and letter not in '"\\%' else "_" for letter in name)
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'inline; filename="{plain}"{encoded}'


def _id(request: Call) -> str:
    found: str = request.path_params["file_id"]
    return found
