"""What the OpenAPI document tells of uploaded files, and of forms."""

from collections.abc import Mapping
from typing import Any

from gateway.api.create import ALIASES
from gateway.api.files import ANCHOR, LIST_MAX, PURPOSES, SECONDS, FileList, FileView
from gateway.api.operation import PAGE, Operation
from gateway.api.views import Deleted

_FILES = "/v1/files"
_FILE: Mapping[str, Any] = {"type": "string", "format": "binary"}
_IMAGES = frozenset({"image", "last_image", "reference_images"})
CREATE_FORM = "CreateVideoForm"
_UPLOAD: Mapping[str, Any] = {
    "type": "object",
    "required": ["file", "purpose"],
    "additionalProperties": False,
    "properties": {
        "file": {**_FILE, "description": "JPEG, PNG, WebP, GIF or BMP."},
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
        media_types=("image/*",),
        token=True,
        errors=(400, 404, 503),
    ),
)


def create_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a create request as a form, from that of the same as JSON: every field as text, images as files."""
    properties = {}
    for name, schema in body["properties"].items():
        match ALIASES.get(name, name):
            case "reference_images":
                told = {**schema, "anyOf": [{"type": "array", "items": {"anyOf": [{"type": "string"}, _FILE]}}]}
            case field if field in _IMAGES:
                told = {**schema, "anyOf": [{"type": "string"}, _FILE]}
            case "provider_options":
                told = {"type": "string", "contentMediaType": "application/json"}
            case "metadata":
                told = {**schema, "description": "As `metadata[key]`, a field a pair."}
            case _:
                told = schema
        properties[name] = {key: value for key, value in told.items() if key != "default"}
    return {**body, "title": CREATE_FORM, "properties": properties}
