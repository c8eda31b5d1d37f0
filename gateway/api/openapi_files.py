"""What the OpenAPI document tells of uploaded files, and of forms."""

from collections.abc import Mapping
from typing import Any

from gateway.api.create import ALIASES
from gateway.api.files import ANCHOR, LIST_MAX, PURPOSES, SECONDS, FileList, FileView
from gateway.api.operation import PAGE, Operation
from gateway.api.views import Deleted

_FILES = "/v1/files"
_FILE: Mapping[str, Any] = {"type": "string", "format": "binary"}
_IMAGE: Mapping[str, Any] = {"anyOf": [{"type": "string"}, _FILE]}
_MEMBERS = {"image_url": "a URL, a data URL or base64", "file_id": "the id of an uploaded file"}
_PAIR = r"^metadata\[[\s\S]{1,64}\]$"
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
        answer_headers={"Content-Length": "in bytes", "Content-Disposition": "a name for the file"},
        media_types=("image/*",),
        token=True,
        errors=(400, 404, 410, 503),
    ),
)


def create_form(body: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a create request as a form, from that of the same as JSON: every field as text, images as files."""
    properties: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for name, schema in body["properties"].items():
        told = _without_null(schema)
        match ALIASES.get(name, name):
            case "image" | "last_image":
                properties[name] = {**told, **_IMAGE}
                for member, text in _MEMBERS.items():
                    properties[f"{name}[{member}]"] = {"type": "string", "description": f"`{name}` as {text}."}
            case "reference_images":
                properties[name] = properties[f"{name}[]"] = {**told, "items": _IMAGE}
            case "fallback":
                properties[name] = properties[f"{name}[]"] = told
            case "provider_options":
                properties[name] = {"type": "string", "contentMediaType": "application/json"}
            case "metadata":
                pairs[_PAIR] = {**told["additionalProperties"], "description": "A pair of `metadata`, of 16 at most."}
            case _:
                properties[name] = told
    return {
        **body,
        "title": CREATE_FORM,
        "description": "A create request as a form: the fields of the JSON body as text, images as files or text. What"
        " is to be absent is left out: no text means `null`.",
        "properties": properties,
        "patternProperties": pairs,
    }


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a field that is given."""
    told = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) == 1:
        return {**kinds[0], **told}
    return {**told, "anyOf": kinds} if kinds else told
