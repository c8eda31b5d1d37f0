"""Each path of another API belongs to the group of that API, also the paths that only look like our own."""

import pytest

from gateway.api.openapi.tags import tag_of
from gateway.api.web.operation import Described, Operation

from ....cases import every

PATHS = {
    "/v1/videos/generations/{generation_id}/cancel": "Videos",
    "/v1/images/edits": "Images",
    "/v1/videos": "OpenAI videos",
    "/v1/videos/{generation_id}/remix": "OpenAI videos",
    "/v1/videos/text2video": "Kling",
    "/v1/videos/image2video/{generation_id}": "Kling",
    "/kling/v1/videos/text2video": "Kling",
    "/v1/video/generations/{generation_id}": "new-api",
    "/api/v1/videos": "OpenRouter",
    "/openrouter/v1/videos/models": "OpenRouter",
    "/v1/videos/models": "OpenRouter",
    "/xai/v1/videos/{generation_id}": "xAI",
    "/keevx/v1/figure-resource/upload/file": "Keevx",
    "/foxapi/v1/tasks/{generation_id}": "FoxAPI",
    "/v1/tasks/{generation_id}": "FoxAPI",
    "/v1/files/upload/stream": "FoxAPI",
    "/v1/files/{file_id}": "Files",
    "/mcp": "MCP",
}


@every(("path", "tag"), PATHS.items(), ids=PATHS)
def test_the_longest_beginning_of_a_path_decides_its_group(path: str, tag: str) -> None:
    assert tag_of(Described("get", path, Operation(id="x", summary="X"))) == tag


def test_a_path_without_a_group_has_none() -> None:
    assert tag_of(Described("get", "/v2/videos", Operation(id="x", summary="X"))) is None


def test_an_operation_can_name_another_group() -> None:
    named = Operation(id="x", summary="X", tag="Files")
    assert tag_of(Described("get", "/v1/videos", named)) == "Files"


def test_a_group_that_does_not_exist_is_refused() -> None:
    wrong = Operation(id="readIt", summary="X", tag="file")
    with pytest.raises(LookupError, match="readIt has the tag 'file'"):
        tag_of(Described("get", "/v1/videos", wrong))
