"""What the OpenAPI document tells of the bytes of results."""

from collections.abc import Mapping
from typing import Any

from gateway.api.openapi.operation import Operation

_PATH = "/v1/videos/generations/{generation_id}/content"
_QUERY: Mapping[str, Mapping[str, Any]] = {
    "index": {"type": "integer", "minimum": 0, "default": 0, "description": "of the output"},
    "variant": {"type": "string", "enum": ["video", "thumbnail"], "default": "video"},
    "download": {
        "type": "string",
        "enum": ["0", "1"],
        "default": "0",
        "description": "`1`: a browser is to save the file and not to show it",
    },
}
_CONDITIONS: Mapping[str, str] = {
    "If-None-Match": "ETags; 304 when the file has one of them",
    "If-Modified-Since": "a date; 304 when the file is no newer",
    "If-Match": "ETags; 412 when the file has none of them",
    "If-Unmodified-Since": "a date; 412 when the file is newer",
}
_KNOWN_BY: Mapping[str, str] = {
    "ETag": "what the bytes are known by: they never change; absent while the provider hands them over",
    "Last-Modified": "when the generation ended; absent likewise",
    "Accept-Ranges": "`bytes`; absent likewise, for then it comes whole",
    "Cache-Control": "for how long it may be used without asking; absent likewise",
}
_FILE: Mapping[str, str] = {
    **_KNOWN_BY,
    "Content-Length": "in bytes; absent where the provider does not say",
    "Content-Disposition": "a name for the file",
}
_ELSEWHERE = {"Location": "where the file is"}
OPERATIONS = (
    Operation(
        method="get",
        path=_PATH,
        id="readVideoContent",
        summary="Get the file of an output, all or parts of it, or be sent to where it is",
        query=_QUERY,
        headers={
            "Range": "`bytes=0-499`, and so on; several ranges give `multipart/byteranges`",
            "If-Range": "an ETag or a date; when the file is another one, all of it comes",
            **_CONDITIONS,
        },
        answer_headers=_FILE,
        other_headers={
            206: {
                **_FILE,
                "Content-Length": "of what is sent, in bytes",
                "Content-Range": "`bytes 0-499/1234`; of several ranges each part has its own",
            },
            302: _ELSEWHERE,
            304: _KNOWN_BY,
            416: {"Content-Range": "`bytes */1234`: how many the file has"},
        },
        media_types=("video/*", "image/*", "application/octet-stream"),
        errors=(206, 302, 304, 400, 404, 410, 412, 416, 502, 503),
        token=True,
    ),
    Operation(
        method="head",
        path=_PATH,
        id="headVideoContent",
        summary="Get the headers that the whole file of an output comes with",
        query=_QUERY,
        headers=_CONDITIONS,
        answer_headers=_FILE,
        other_headers={302: _ELSEWHERE, 304: _KNOWN_BY},
        media_types=(),
        errors=(302, 304, 400, 404, 410, 412, 502, 503),
        token=True,
    ),
)
