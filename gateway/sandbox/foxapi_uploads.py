"""FoxAPI's uploads: a form, base64 in JSON, or a URL to copy from."""

import base64
import binascii
import re
import secrets
import time
from urllib.parse import quote

from gateway.sandbox.inputs import UPLOADS, BadImageError
from gateway.sandbox.media import sniff
from gateway.sandbox.provider import Desk
from gateway.sandbox.state import State, Upload
from gateway.sandbox.wire import Reply, Request, json_reply

KEEP_SECONDS = 72 * 3600
FILE_BYTES = 50 * 1024 * 1024  # not documented; the limit of public clients
KINDS = frozenset({"jpeg", "png", "webp", "gif", "bmp"})
ID_PREFIX = "foxapi-"  # of the id of an upload to this provider


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": kind} | ({"code": code} if code else {})


async def upload(request: Request, desk: Desk, form: str) -> Reply:
    """Store one file for 72 hours."""
    state = desk.state
    try:
        data, name, cleanup = await _read(request, desk, form)
        kind = _kind(data)
        _make_room(state, len(data), cleanup=cleanup)
    except _RefusedError as refused:
        return json_reply({"error": refused.error}, refused.status)
    now = int(state.clock.now())
    file_id = secrets.token_hex(6)
    day = time.strftime("%Y%m%d", time.gmtime(now))
    key = f"{ID_PREFIX}{day}/{file_id}/{name}"
    state.uploads[key] = Upload(name, data, kind, now + KEEP_SECONDS)
    url = f"{state.settings.public_url or request.base}{UPLOADS}{quote(key)}"
    answer = {"id": f"file-{now}-{file_id[:6]}", "filename": name, "url": url, "size": len(data), "created": now}
    return json_reply(answer)


async def _read(request: Request, desk: Desk, form: str) -> tuple[bytes, str, bool]:
    if form == "stream":
        parts = request.form()
        if "file" not in parts:
            raise _RefusedError(422, "file is required")
        file, named = parts["file"], parts.get("file_name")
        cleanup = parts["auto_cleanup"].value != b"false" if "auto_cleanup" in parts else True
        return file.value, (named.value.decode(errors="replace") if named else file.filename) or "file", cleanup
    body = request.json()
    if body is None:
        raise _RefusedError(400, "Invalid JSON")
    source = body.get("file_data" if form == "base64" else "url")
    name, cleanup = body.get("file_name", "file"), body.get("auto_cleanup", True)
    if not isinstance(source, str) or not source or not isinstance(name, str) or not isinstance(cleanup, bool):
        raise _RefusedError(422, "file_data is required" if form == "base64" else "url is required")
    if form == "base64":
        try:
            return base64.b64decode(re.sub(r"^data:[^,]*,", "", source), validate=True), name, cleanup
        except binascii.Error:
            raise _RefusedError(422, "file_data is not valid base64") from None
    try:
        data = await desk.images.by_url(source, request.base, limit=FILE_BYTES, kinds=KINDS)
    except BadImageError as bad:
        if bad.reason == "too_large":
            raise _RefusedError(413, "File too large", "file_too_large_error") from None
        raise _RefusedError(422, "url is not accessible", code="invalid_image_url") from None
    return data or b"", name, cleanup  # empty: the sandbox cannot reach the URL and will draw a placeholder


def _kind(data: bytes) -> str:
    if len(data) > FILE_BYTES:
        raise _RefusedError(413, "File too large", "file_too_large_error")
    kind = sniff(data)
    if kind is None and data and data[4:8] != b"ftyp":
        raise _RefusedError(422, "Unsupported file type", code="invalid_file_type")
    return f"image/{kind}" if kind else "video/mp4"


def _make_room(state: State, size: int, *, cleanup: bool) -> None:
    """Make space in a full storage: with `cleanup` the oldest uploads are removed, else the new one is refused."""
    room = state.settings.foxapi_storage_bytes
    if room is None:
        return
    own = [key for key in state.uploads if key.startswith(ID_PREFIX)]
    used = sum(len(state.uploads[key].data) for key in own)
    while used + size > room and own:
        if not cleanup:
            raise _RefusedError(403, "Storage is insufficient")
        used -= len(state.uploads.pop(own.pop(0)).data)
