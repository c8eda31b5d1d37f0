"""The examples of the OpenAPI document: a client can send them, and gets what they show."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from gateway.api.openapi.document import document

from ..cases import every

ULID = "[0-9A-HJKMNP-TV-Z]{26}"
DOCUMENT = document()
# Beginning of a path → what ids of generations look like in its answers. The longest beginning counts.
IDS = {
    "/v1/videos/generations": "gen_",
    "/v1/images": "gen_",
    "/v1/videos": "video_",
    "/api/v1/videos": "or_",
    "/openrouter/": "or_",
    "/xai/v1/videos": "xai_",
    "/xai/v1/images": "gen_",
    "/foxapi/v1/videos": "task-unified-",
    "/foxapi/v1/tasks": "task-unified-",
    "/v1/tasks": "task-unified-",
    "/kling/": "task_",
    "/v1/videos/text2video": "task_",
    "/v1/videos/image2video": "task_",
    "/v1/video/generations": "task_",
    "/keevx/v1/image_to_video": "i2v-",
    "/keevx/v1/image_generate": "i2is-",
    "/v1/files": "file_",
    "/v1/webhook_endpoints": "whe_",
    "/v1/webhook_deliveries": "dlv_",
    "/v1/admin/attempts": "att_",
    "/v1/admin/purchases": "att_",
}
OTHER = {"sharedListVideoModels", "openrouterListVideoModels", "openrouterPrefixedListVideoModels", "klingRootCosts"}
# These give a test, or a delivery, whatever their path begins with.
PREFIX_OF = {"testWebhookEndpoint": "dlv_"}
CREATES = (
    "createVideoGeneration",
    "createImageGeneration",
    "editImage",
    "openrouterCreateVideo",
    "openrouterPrefixedCreateVideo",
    "openaiCreateVideo",
    "xaiCreateVideo",
    "xaiCreateImages",
    "xaiEditImages",
    "foxapiCreateVideo",
    "klingTextVideoCreate",
    "klingImageVideoCreate",
    "klingRootTextVideoCreate",
    "klingRootImageVideoCreate",
    "newApiCreateVideo",
    "keevxCreateVideo",
    "keevxCreateImage",
    "quoteVideoGeneration",
    "quoteImageGeneration",
    "createWebhookEndpoint",
    "uploadBase64",
    "foxapiUploadBase64",
)


def operations() -> Iterator[tuple[str, str, Any]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def bodies() -> Iterator[Any]:
    for path, _, operation in operations():
        for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
            if operation["operationId"] in CREATES:
                yield pytest.param(path, media_type, body["example"], id=f"{operation['operationId']}-{media_type}")


def test_every_create_is_tried() -> None:
    creates = {
        operation["operationId"]
        for path, method, operation in operations()
        if method == "post" and "requestBody" in operation and "{" not in path
    }
    refused = {"varyImage"} | {f"{name}Video" for name in ("openaiEdit", "openaiExtend", "xaiEdit", "xaiExtend")}
    # The example of a file alone is its name, and that of a URL needs a network.
    files = {"uploadFile", "uploadStream", "foxapiUploadStream", "keevxUploadFile", "uploadUrl", "foxapiUploadUrl"}
    of_operators = {"createClient", "releaseAllRestored", "reloadConfiguration"}
    others = {*refused, *files, *of_operators, "openaiCreateVideoCharacter"}
    assert creates - others == set(CREATES)


@pytest.mark.parametrize(("path", "media_type", "example"), list(bodies()))
async def test_a_client_can_send_the_example_of_a_create(
    gateway: Any, path: str, media_type: str, example: Any
) -> None:
    query = {"async": "true"} if "/images/" in path and not path.endswith("/quote") else {}
    if media_type == "application/json":
        response = await gateway.client.post(path, json=example, params=query)
    else:
        shown = {name: value[0] if isinstance(value, list) else value for name, value in example.items()}
        parts = {name: (None, str(value)) for name, value in shown.items()}
        response = await gateway.client.post(path, files=parts, params=query)
    assert response.status_code in {200, 202}, response.text
    if path.endswith("/quote"):
        assert response.json()["routes"], "a create would be refused"


def answers() -> Iterator[Any]:
    for path, _, operation in operations():
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if status.startswith("2") and media_type == "application/json":
                    yield pytest.param(path, operation, content, id=f"{operation['operationId']}-{status}")


def ids(value: Any) -> Iterator[str]:
    """The ids of the objects in an answer, without those inside a generation."""
    if not isinstance(value, dict):
        return
    for name in ("id", "request_id", "task_id"):
        if name in value and not str(value[name]).startswith("req_"):
            yield value[name]
    yield from value.get("task_ids", ())
    data = value.get("data")
    for member in data if isinstance(data, list) else [data]:
        yield from ids(member)


@every(("path", "operation", "content"), list(answers()))
def test_the_ids_in_the_example_of_an_answer_are_those_of_the_dialect(path: str, operation: Any, content: Any) -> None:
    start = max((start for start in IDS if path.startswith(start)), key=len, default=None)
    if start is None or operation["operationId"] in OTHER or "/files/" in path:
        return
    prefix = PREFIX_OF.get(operation["operationId"], IDS[start])
    shown = list(ids(content["example"]))
    quoted = path.endswith(("/quote", "costs"))
    assert shown or quoted or operation["operationId"] == "xaiReadVideo", content["example"]
    for shown_id in shown:
        alias = shown_id.startswith("xai_") and operation["operationId"] == "createVideoGeneration"
        deleted = operation["operationId"].startswith("delete")
        assert re.fullmatch(rf"({prefix}){ULID}{'_1' * (prefix == 'att_')}", shown_id) or alias or deleted, (
            path,
            shown_id,
        )


@every(("path", "operation", "content"), list(answers()))
def test_the_example_of_an_answer_is_consistent(path: str, operation: Any, content: Any) -> None:
    text = json.dumps(content["example"])
    assert '"beach"' not in text, "a text of no meaning"
    for value in objects(content["example"]):
        status = value.get("status", value.get("task_status"))
        if status in {"queued", "pending", "submitted", "PENDING", "GENERATING"}:
            assert value.get("completed_at") is None
            assert not value.get("url")
        if "completed_at" in value and status in {"completed", "cancelled"}:
            assert value["completed_at"] > value["created_at"]
    if operation["responses"].get("202") and path.startswith("/xai/"):
        examples = [
            operation["responses"][status]["content"]["application/json"]["example"] for status in ("200", "202")
        ]
        assert [example["status"] for example in examples] == ["done", "pending"]


def objects(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from objects(member)


def test_the_example_of_every_error_has_the_form_of_the_dialect() -> None:
    components = {"components": DOCUMENT["components"]}
    for path, method, operation in operations():
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if content is not None and not status.startswith("2"):
                validator = jsonschema_rs.Draft202012Validator({**components, **content["schema"]})
                assert validator.is_valid(content["example"]), (path, method, status, content["example"])
                assert '"beach"' not in json.dumps(content["example"]), (path, status)
