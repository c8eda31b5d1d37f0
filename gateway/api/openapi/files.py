"""What the OpenAPI document tells of uploaded files."""

from collections.abc import Mapping
from typing import Any

from gateway.api.files import ANCHOR, LIST_MAX, PURPOSES, SECONDS, FileList, FileView
from gateway.api.generations.views import Deleted
from gateway.api.openapi.operation import BINARY, PAGE, Operation

_FILES = "/v1/files"
_UPLOAD: Mapping[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "additionalProperties": False,
    "properties": {
        "file": {**BINARY, "description": "JPEG, PNG, WebP, GIF or BMP; AVIF or TIFF to be converted."},
        "purpose": {"type": "string", "enum": list(PURPOSES), "description": "Both mean the same."},
        ANCHOR: {"type": "string", "enum": ["created_at"]},
        SECONDS: {
            "type": "integer",
            "minimum": 3600,
            "description": "Until the file expires; at most `files.keep_days`, which is what counts when it is absent.",
        },
    },
}
OPERATIONS = (
    Operation(
        method="post",
        path=_FILES,
        id="uploadFile",
        summary="Upload an image, to be named by its id in requests until it expires; every upload makes a file of its"
        " own: an Idempotency-Key is not looked at",
        form=_UPLOAD,
        answer=FileView,
        errors=(400, 408, 413, 415, 503),
    ),
    Operation(
        method="get",
        path=_FILES,
        id="listFiles",
        summary="List your own files, newest first",
        query={
            "limit": {**PAGE["limit"], "maximum": LIST_MAX, "default": LIST_MAX},
            "after": PAGE["after"],
            "order": PAGE["order"],
            "purpose": {"type": "string", "enum": list(PURPOSES)},
        },
        answer=FileList,
        errors=(400, 503),
    ),
    Operation(
        method="get",
        path=_FILES + "/{file_id}",
        id="readFile",
        summary="Read what is known of a file",
        answer=FileView,
        errors=(400, 404, 503),
    ),
    Operation(
        method="delete",
        path=_FILES + "/{file_id}",
        id="deleteFile",
        summary="Delete a file; not while an open generation uses it",
        answer=Deleted,
        errors=(400, 404, 409, 503),
    ),
    Operation(
        method="get",
        path=_FILES + "/{file_id}/content",
        id="readFileContent",
        summary="Get the image itself",
        answer_headers={"Content-Length": "in bytes", "Content-Disposition": "a name for the file"},
        media_types=("image/*",),
        token=True,
        errors=(400, 404, 410, 503),
    ),
)
