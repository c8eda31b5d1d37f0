"""The OpenAPI document is complete and true. `conftest.py` compares every answer of the API tests with it as well."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.api.generations.foxapi_fields import OPTIONS
from gateway.api.generations.parameters import VIDEO_PARAMETERS
from gateway.api.openapi.errors import error_codes, failure_rows
from gateway.api.web.headers import COST
from gateway.domain.adapter.task import Status

from .results import keep, kept_generation
from .test_multipart import PNG

VIDEOS = "/v1/videos/generations"
# The document does not describe itself and the page that shows it.
UNDOCUMENTED = {"/mcp", "/openapi.json", "/docs", "/docs/docs.js", "/docs/docs.css"}


@pytest.fixture
async def document(gateway: Any) -> Any:
    response = await gateway.client.get("/openapi.json")
    assert response.headers["content-type"].startswith("application/json")
    return response.json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def inside(value: Any) -> Iterator[Any]:
    """All objects inside a document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for member in value:
            yield from inside(member)


async def test_every_route_is_documented_and_every_operation_is_served(gateway: Any, document: Any) -> None:
    served = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in gateway.application.litestar.routes
        for method in route.methods
        if method not in {"HEAD", "OPTIONS"}
    }
    documented = {(path, method.upper()) for path, method, _ in operations(document) if method != "head"}
    assert {route for route in served if route[0] not in UNDOCUMENTED} == documented
    assert {path for path, _ in served} >= UNDOCUMENTED


async def test_every_reference_leads_somewhere(document: Any) -> None:
    references = {node["$ref"] for node in inside(document) if "$ref" in node}
    assert references
    for reference in references:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


async def test_the_document_has_the_form_of_openapi_3_1(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert {"title", "version"} <= set(document["info"])
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for path, method, operation in operations(document):
        assert method in {"get", "head", "post", "patch", "delete"}
        assert operation["summary"]
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        for parameter in operation["parameters"]:
            assert parameter["in"] in {"path", "query", "header"}
            assert parameter["required"] is (parameter["in"] == "path")
            assert "type" in parameter["schema"]
        assert len({(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}) == len(
            operation["parameters"]
        )
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[2-5][0-9]{2}|default", status)
            assert response["description"]
            assert all("schema" in header or "$ref" in header for header in response["headers"].values())
        for scheme in operation.get("security", document["security"]):
            assert set(scheme) <= set(document["components"]["securitySchemes"])


async def test_every_operation_belongs_to_a_described_tag(document: Any) -> None:
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert all(described.values())
    shown = [*operations(document), *((name, "post", hook["post"]) for name, hook in document["webhooks"].items())]
    for path, method, operation in shown:
        assert len(operation["tags"]) == 1, f"{method} {path} needs `tag=`, or its path in `gateway.api.openapi.tags`"
        assert operation["tags"][0] in described
    assert {tag for *_, operation in shown for tag in operation["tags"]} == set(described)


async def test_every_field_and_parameter_is_described(document: Any) -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, inner in schema.get("properties", {}).items()
        if not inner.get("description")
    ]
    assert silent == [], "a field needs a comment beside it, which is its description"
    for path, _, operation in operations(document):
        assert all(parameter["description"] for parameter in operation["parameters"]), path


async def test_every_body_and_answer_has_a_schema_and_an_example_that_fits_it(document: Any) -> None:
    components = {"components": document["components"]}
    checked = 0
    for content in contents(document):
        for media_type, body in content.items():
            assert "schema" in body
            if media_type in {"application/json", "text/event-stream", "multipart/form-data"}:
                assert "example" in body, body
            if media_type == "application/json":
                validator = jsonschema_rs.Draft202012Validator({**components, **body["schema"]})
                errors = [str(error) for error in validator.iter_errors(body["example"])]
                assert not errors, errors
                checked += 1
    assert checked > 100


def contents(document: Any) -> Iterator[Any]:
    hooks = [hook["post"] for hook in document["webhooks"].values()]
    for operation in (*(operation for *_, operation in operations(document)), *hooks):
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            yield part.get("content", {})


async def test_no_word_of_a_schema_stops_a_generator(document: Any) -> None:
    nodes = list(inside(document["components"]["schemas"]))
    assert not [node for node in nodes if "prefixItems" in node or "patternProperties" in node]
    assert not [node for node in nodes if node.get("type") == "array" and not isinstance(node.get("items"), dict)]


async def test_the_server_is_the_configured_url_or_where_the_document_is(start: Any) -> None:
    plain = await start()
    (server,) = (await plain.client.get("/openapi.json")).json()["servers"]
    assert (
        urljoin("https://a.example/prefix/openapi.json", f"{server['url']}/v1/files")
        == "https://a.example/prefix/v1/files"
    )


async def test_a_configured_url_is_the_server(start: Any) -> None:
    gateway = await start('server.public_url = "https://video.example/prefix"')
    (server,) = (await gateway.client.get("/openapi.json")).json()["servers"]
    assert server["url"] == "https://video.example/prefix"


async def test_the_committed_document_is_the_served_one_but_for_its_servers(document: Any) -> None:
    committed = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text())
    assert {**document, "servers": committed["servers"]} == committed


async def test_every_error_code_is_in_the_document_with_its_remedy(document: Any) -> None:
    text = document["info"]["description"]
    for code in error_codes():
        assert f"| `{code.code}` | {code.status} | {code.meaning} | {code.remedy} |" in text
    for code, *_ in failure_rows():
        assert f"| `{code}` |" in text
    assert "Authorization: Bearer KEY" in text
    assert set(document["components"]["securitySchemes"]) == {"bearer", "admin", "token"}
    assert all(scheme["description"] for scheme in document["components"]["securitySchemes"].values())


async def test_what_needs_no_key_is_marked(document: Any) -> None:
    opened = {path for path, _, operation in operations(document) if operation.get("security") == []}
    lists = {f"{base}/videos/models" for base in ("/api/v1", "/openrouter/v1", "/v1")}
    assert opened == {"/callbacks/{provider}/{token}", "/health/live", "/health/ready", *lists}
    for _, _, operation in operations(document):
        assert ("401" in operation["responses"]) is (operation.get("security") != [])


async def test_an_operation_without_a_key_answers_as_its_security_says(gateway: Any, document: Any) -> None:
    async with gateway.client_of(None) as client:
        for path, method, operation in operations(document):
            security = operation.get("security", document["security"])
            response = await client.request(method, re.sub(r"{\w+}", "x", path), json={} if method != "head" else None)
            assert (response.status_code == 401) is (security != []), (method, path, response.text)
            if security == [{"admin": []}]:
                with_a_clients_key = await gateway.client.request(method, re.sub(r"{\w+}", "x", path))
                assert with_a_clients_key.status_code == 403, path


_CURSORS = {"/v1/files": "file_", "/v1/webhook_deliveries": "dlv_", "/v1/webhook_endpoints": "whe_"}


async def test_every_documented_query_parameter_is_accepted(gateway: Any, document: Any) -> None:
    values = {
        "integer": "1",
        "string": "x",
        "after": "gen_01JDKQ00000000000000000000",
        "before": "gen_01JDKQ00000000000000000000",
        "from": "2026-01-01",
        "to": "2099-01-01",
        "group_by": "day",
    }
    for path, method, operation in operations(document):
        if path.startswith("/v1/admin/"):
            continue  # they need an admin key; test_attempts.py has them
        for parameter in operation["parameters"]:
            if parameter["in"] != "query":
                continue
            schema, name = parameter["schema"], parameter["name"]
            value = schema["enum"][0] if "enum" in schema else values.get(name, values.get(schema["type"]))
            for start, prefix in _CURSORS.items():
                value = value.replace("gen_", prefix) if path.startswith(start) else value
            query = {name: value} if schema["type"] != "object" else {f"{name}[key]": "value"}
            response = await gateway.client.request(method, path.replace("{generation_id}", "x"), params=query)
            # Of a create only the query is right here: its body is missing.
            assert response.status_code in ({415} if name == "async" else {200, 404}), (path, name, response.text)


def schema_of(document: Any) -> Any:
    schema = document["components"]["schemas"]["CreateVideo"]
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["model"]
    return schema["properties"]


BASES: dict[str, dict[str, Any]] = {
    "reference_images": {"model": "keevx/KL", "reference_images": ["https://a.example/1.png"]},
    "image": {"model": "foxapi/kling-v3-image-to-video", "image": "https://a.example/1.png"},
    "text": {"model": "kling_relay/kling-v1"},
}
EXAMPLES: dict[str, Any] = {
    "model": "auto",
    "prompt": "A dog.",
    "image": "https://a.example/2.png",
    "last_image": "https://a.example/2.png",
    "reference_images": ["https://a.example/2.png"],
    "duration": 5,
    "resolution": "720p",
    "aspect_ratio": "16:9",
    "size": "1280x720",
    "n": 2,
    "generate_audio": False,
    "negative_prompt": "rain",
    "seed": 1,
    "fps": 24,
    "cfg_scale": 0.5,
    "mode": "std",
    "provider_options": {"kling_relay": {"external_task_id": "x"}},
    "adapt": "nearest",
    "fallback": ["kling"],
    "deadline_seconds": 60,
    "max_cost": 1.5,
    "webhook_url": "https://a.example/hook",
    "metadata": {"a": "b"},
    "user": "u",
    "stream": False,
    "response_format": "url",
}
IMAGES = {"image": {"image": ...}, "last_image": BASES["image"], "reference_images": {"model": "keevx/KL"}}
KNOWN_ONLY = {"seed", "fps", "max_cost"}  # valid, but no built-in model supports them or has a price: 422, not 400


async def test_every_documented_field_is_accepted_under_all_its_names(gateway: Any, document: Any) -> None:
    properties = {name: schema for name, schema in schema_of(document).items() if name not in OPTIONS}
    aliases = {
        name: re.fullmatch(r"Another name of `(\w+)`\.", schema.get("description", ""))
        for name, schema in properties.items()
    }
    plain = {name for name, alias in aliases.items() if not alias} - {"width", "height"}
    assert plain == set(EXAMPLES)
    for name, alias in aliases.items():
        meant = alias[1] if alias else name
        body: dict[str, Any] = {"prompt": "A beach.", **BASES["text"], **IMAGES.get(meant, {})}
        if meant == "image":
            body = {"prompt": "A beach.", "model": BASES["image"]["model"]}
        if name in {"width", "height"}:
            body |= {"width": 1280, "height": 720}
        else:
            body[name] = EXAMPLES[meant]
        response = await gateway.client.post(VIDEOS, json=body)
        assert response.status_code == (422 if meant in KNOWN_ONLY else 200), (name, response.text)


async def test_the_documented_defaults_are_used(gateway: Any, document: Any) -> None:
    properties = schema_of(document)
    documented = {name: schema["default"] for name, schema in properties.items() if schema.get("default") is not None}
    plain = {"n": 1, "fallback": True, "deadline_seconds": 3600}
    assert documented == {**plain, "generate_count": 1, "fallbacks": True}
    absent, given_explicitly = [
        (await gateway.stored((await gateway.create(**body))["id"])).request for body in ({}, plain)
    ]
    assert absent == given_explicitly


RANGES = [
    ("n", 0, 5),
    ("duration", 0, 3601),
    ("seed", -1, 2**63),
    ("fps", 0, 121),
    ("deadline_seconds", 59, 86401),
    ("width", 0, 100_000),
    ("prompt", None, "x" * 20_001),
    ("negative_prompt", None, "x" * 20_001),
    ("user", None, "x" * 257),
    ("mode", None, "x" * 33),
    ("model", "", "x" * 257),
    ("metadata", None, {str(at): "" for at in range(17)}),
    ("fallback", None, ["x"] * 17),
    ("reference_images", None, ["https://a.example/1.png"] * 17),
]


@pytest.mark.parametrize(("name", "under", "over"), RANGES, ids=[case[0] for case in RANGES])
async def test_the_documented_limits_are_enforced(
    gateway: Any, document: Any, name: str, under: Any, over: Any
) -> None:
    documented = {key: value for node in inside(schema_of(document)[name]) for key, value in node.items()}
    if isinstance(over, int):
        assert (documented["minimum"], documented["maximum"]) == (under + 1, over - 1)
    else:
        longest = (
            documented.get("maxLength")
            if isinstance(over, str)
            else documented.get("maxItems", documented.get("maxProperties"))
        )
        if name == "fallback":
            longest = next(node["maxItems"] for node in inside(schema_of(document)[name]) if "maxItems" in node)
        assert longest == len(over) - 1
    for value in (under, over):
        if value is not None:
            response = await gateway.client.post(VIDEOS, json={"model": "auto", "prompt": "A.", name: value})
            assert response.status_code == 400
            assert response.json()["error"]["param"] == name


FORM_EXAMPLES = {
    "reference_images": EXAMPLES["image"],
    "fallback": "kling",
    "generate_audio": "false",
    "stream": "false",
    "provider_options": json.dumps(EXAMPLES["provider_options"]),
    "metadata": json.dumps(EXAMPLES["metadata"]),
}


async def test_every_documented_form_field_is_accepted(gateway: Any, document: Any) -> None:
    form = document["components"]["schemas"]["CreateVideoForm"]
    assert not [name for name in form["properties"] if "[" in name], "a field has one name in a form"
    assert set(form["properties"]) == set(document["components"]["schemas"]["CreateVideo"]["properties"]) - set(OPTIONS)
    for name in form["properties"]:
        meant = VIDEO_PARAMETERS.aliases.get(name, name)
        value = FORM_EXAMPLES.get(meant, EXAMPLES.get(meant))
        first = {"image": EXAMPLES["image"]} if meant == "last_image" else {}
        sides = {"width": 1280, "height": 720} if meant in {"width", "height"} else {name: value}
        sent = [(key, (None, str(value))) for key, value in {"model": "auto", "prompt": "A.", **first, **sides}.items()]
        response = await gateway.client.post(f"{VIDEOS}/quote", files=sent)
        assert response.status_code == 200, (name, response.text)


async def test_no_field_of_a_form_is_null(untouched: Any, document: Any, check_error: Any) -> None:
    form = document["components"]["schemas"]["CreateVideoForm"]
    assert {"type": "null"} not in list(inside(form))
    for name in ("seed", "duration", "generate_audio", "size", "metadata"):
        sent = {"model": "auto", "prompt": "A.", name: "null"}
        response = await untouched.client.post(VIDEOS, files=[(key, (None, value)) for key, value in sent.items()])
        check_error(response, 400, "invalid_parameter", name)


async def test_every_header_of_a_file_is_documented(gateway: Any, document: Any) -> None:
    generation = kept_generation((await gateway.stored((await gateway.create())["id"])).owner, gateway.clock.now(), PNG)
    await keep(gateway.application, generation, PNG, b"")
    path = f"{VIDEOS}/{generation.id}/content"
    operation = document["paths"][f"{VIDEOS}/{{generation_id}}/content"]
    tag = (await gateway.client.head(path)).headers["etag"]
    for method, headers, status in (
        ("get", {}, 200),
        ("head", {}, 200),
        ("get", {"range": "bytes=0-1"}, 206),
        ("get", {"if-none-match": tag}, 304),
        ("head", {"if-none-match": tag}, 304),
        ("get", {"range": "bytes=99999-"}, 416),
    ):
        response = await gateway.client.request(method, path, headers=headers)
        assert response.status_code == status
        documented = {name.lower() for name in operation[method]["responses"][str(status)]["headers"]}
        of_every_answer = {
            "content-type",
            "x-content-type-options",
            *(["content-length", "cache-control"] if status == 416 else []),
        }
        documented -= {COST}  # this generation has no price
        assert documented == set(response.headers) - of_every_answer, (method, status)


async def test_paths_without_keys_document_their_own_errors(document: Any) -> None:
    paths = document["paths"]
    called = paths["/callbacks/{provider}/{token}"]["post"]
    assert called["requestBody"] == {
        "required": False,
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
    refs = {
        status: answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for status, answer in called["responses"].items()
    }
    assert refs == {"200": "Nothing", **dict.fromkeys(("404", "408", "503", "default"), "ErrorAnswer")}
    unready = paths["/health/ready"]["get"]["responses"]["503"]["content"]["application/json"]["schema"]
    assert unready == {"$ref": "#/components/schemas/Health"}


async def test_all_names_of_events_are_documented(document: Any) -> None:
    names = document["components"]["schemas"]["EventView"]["properties"]["type"]["enum"]
    ends = [f"generation.{status}" for status in Status]
    more = ["generation.output.completed", "generation.output.failed", "generation.progress"]
    assert sorted(names) == sorted(f"{kind}.{name}" for kind in ("video", "image") for name in (*ends, *more))


def typed(properties: Any) -> st.SearchStrategy[Any]:
    """Bodies that are often nearly valid."""
    words = st.sampled_from(
        [
            "auto",
            "kling",
            "keevx/V",
            "720p",
            "16/9",
            "1280x720",
            "5s",
            "nearest",
            "std",
            "",
            " ",
            "file_x",
            "1e999",
            "no",
        ]
    )
    urls = st.sampled_from(
        ["https://a.example/1.png", "http://a", "data:image/png;base64,", "data:,", "https://\ud800"]
    )
    text = words | urls | st.text(max_size=20)
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1, 4, 5, 5.0, 60])
    leaf = st.none() | st.booleans() | numbers | text
    values = st.recursive(
        leaf,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["keevx", "image_url", "url", "file_id", "a"]) | st.text(max_size=5), inner, max_size=3
            )
        ),
        max_leaves=6,
    )
    names = st.sampled_from(sorted(properties)) | st.text(max_size=12)
    usual = st.fixed_dictionaries(
        {"model": st.sampled_from(["auto", "kling", "keevx/V", "kling_relay/kling-v1", "x"]), "prompt": text}
    )
    return st.builds(
        lambda base, more: {**base, **more}, usual | st.just({}), st.dictionaries(names, values, max_size=5)
    )


ANY_BODY = st.deferred(
    lambda: typed(dict.fromkeys([*EXAMPLES, "seconds", "width", "height", "image_urls", "fallbacks"]))
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=ANY_BODY)
@example(body={"model": "auto", "prompt": "A.", "image": {"image_url": {"image_url": 1}}})
@example(body={"model": "auto", "prompt": "A.", "size": "٣x٣"})
@example(body={"model": "auto", "prompt": "A.", "cfg_scale": 10**400})
async def test_every_body_is_accepted_or_refused_with_a_reason(gateway: Any, body: Any) -> None:
    before = gateway.rows()["generations"]
    content = json.dumps(body).encode()
    response = await gateway.client.post(VIDEOS, content=content, headers={"content-type": "application/json"})
    assert response.status_code in {200, 400, 404, 413, 415, 422}, response.text
    if response.status_code == 200:
        assert response.json()["status"] == "queued"
    else:
        assert response.json()["error"]["message"]
    assert gateway.rows()["generations"] - before == (response.status_code == 200)
