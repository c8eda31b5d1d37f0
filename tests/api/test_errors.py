"""All errors have the same shape, also those of the framework; a wrong path is answered with the right one."""

import json
from typing import Any

import msgspec
import pytest
import structlog
from litestar import Litestar, Request, get, post
from litestar.exceptions import (
    HTTPException,
    PermissionDeniedException,
    ServiceUnavailableException,
    TooManyRequestsException,
)
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.testing import TestClient

from gateway.api.web.errors import EXCEPTION_HANDLERS, render
from gateway.domain import errors
from gateway.domain.errors import GatewayError, InvalidParameter, Overloaded, Unauthenticated

from .conftest import DOCUMENT, KEY

RAISED: list[Exception] = []


class Wanted(msgspec.Struct):
    count: int


@get("/raise/{token:str}")
async def fail(token: FromPath[str]) -> None:
    raise RAISED[-1]


@post("/typed", status_code=200)
async def typed(data: JSONBody[Wanted]) -> None:
    return None


@get("/query")
async def query(limit: FromQuery[int]) -> None:
    return None


def give_id(request: Request[Any, Any, Any]) -> None:
    if "x-give" in request.headers:
        request.scope["state"]["request_id"] = request.headers["x-give"]


@pytest.fixture
def client() -> Any:
    app = Litestar(
        [fail, typed, query],
        exception_handlers=EXCEPTION_HANDLERS,
        logging_config=None,
        openapi_config=None,
        before_request=give_id,
        request_max_body_size=100,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def answer(client: Any, error: Exception, **headers: str) -> Any:
    RAISED.append(error)
    return client.get("/raise/secret-token?token=secret-query", headers=headers)


def check(response: Any, status: int, code: str, error_type: str = "invalid_request_error") -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"].split(";")[0] == "application/json"
    body: dict[str, Any] = response.json()
    assert set(body) == {"error", "request_id"}
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert response.headers["x-request-id"] == body["request_id"]
    assert (body["error"]["code"], body["error"]["type"]) == (code, error_type)
    assert body["error"]["message"]
    return body


ALL = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GatewayError) and kind is not GatewayError
]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_class_has_its_status_code_and_type(client: Any, kind: type[GatewayError]) -> None:
    body = check(answer(client, kind("What happened.", param="a.b")), kind.status, kind.code, kind.type)
    assert body["error"]["message"] == "What happened."
    assert body["error"]["param"] == "a.b"


def test_the_request_keeps_the_id_it_was_given(client: Any) -> None:
    assert (
        check(answer(client, InvalidParameter(), **{"x-give": "req_1"}), 400, "invalid_parameter")["request_id"]
        == "req_1"
    )


def test_a_request_without_an_id_gets_a_fresh_one(client: Any) -> None:
    first, second = (check(answer(client, InvalidParameter()), 400, "invalid_parameter") for _ in range(2))
    assert first["request_id"].startswith("req_")
    assert int(first["request_id"].removeprefix("req_"), 16)
    assert first["request_id"] != second["request_id"]


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (3, "3"), (3.01, "4"), (0, "0"), (-1, "0")])
def test_retry_after_is_in_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    assert render(Overloaded(retry_after=seconds), "req_1").headers["Retry-After"] == header


def test_without_a_wait_there_is_no_retry_after(client: Any) -> None:
    assert "retry-after" not in answer(client, Overloaded()).headers
    assert answer(client, Overloaded(retry_after=2.5)).headers["retry-after"] == "3"


def test_401_says_how_to_authenticate(client: Any) -> None:
    assert answer(client, Unauthenticated()).headers["www-authenticate"] == "Bearer"
    assert answer(client, HTTPException(status_code=401)).headers["www-authenticate"] == "Bearer"
    assert "www-authenticate" not in answer(client, InvalidParameter()).headers


def test_an_unknown_path_is_404_in_our_shape(client: Any) -> None:
    check(client.get("/nothing"), 404, "not_found")


def test_a_wrong_method_is_405_with_the_allowed_ones(client: Any) -> None:
    response = client.delete("/typed")
    check(response, 405, "method_not_allowed")
    assert "POST" in response.headers["allow"]


def test_the_framework_s_own_validation_names_the_parameter(client: Any) -> None:
    body = check(client.get("/query?limit=x"), 400, "invalid_parameter")
    assert body["error"]["param"] == "limit"
    assert "`limit`" in body["error"]["message"]
    body = check(client.post("/typed", json={"count": "x"}), 400, "invalid_parameter")
    assert body["error"]["param"] == "count"
    check(client.post("/typed", content=b"{", headers={"content-type": "application/json"}), 400, "bad_request")


def test_a_body_over_the_limit_is_413(client: Any) -> None:
    check(client.post("/typed", json={"count": "x" * 200}), 413, "body_too_large")


def test_other_refusals_of_the_framework_keep_their_status(client: Any) -> None:
    check(answer(client, PermissionDeniedException("Not yours.")), 403, "forbidden")
    response = answer(client, TooManyRequestsException(headers={"Retry-After": "7"}))
    check(response, 429, "too_many_requests", "rate_limit_error")
    assert response.headers["retry-after"] == "7"
    body = check(
        answer(client, ServiceUnavailableException("db.internal is down")), 503, "service_unavailable", "api_error"
    )
    assert "internal" not in body["error"]["message"]
    check(answer(client, HTTPException(status_code=415)), 415, "unsupported_media_type")
    check(answer(client, HTTPException("Teapot", status_code=418)), 418, "im_a_teapot")
    check(answer(client, HTTPException("Unheard of", status_code=499)), 499, "refused")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("sk-secret at 10.0.0.1"),
        HTTPException("sk-secret", status_code=500),
        GatewayError("sk-secret"),
        KeyError("sk-secret"),
        HTTPException("sk-secret", status_code=302),
    ],
)
def test_an_unforeseen_error_is_logged_and_not_shown(client: Any, error: Exception) -> None:
    with structlog.testing.capture_logs() as logs:
        response = answer(client, error, **{"x-give": "req_9"})
    body = check(response, 500, "internal", "api_error")
    assert body == {
        "error": {"message": "The gateway failed.", "type": "api_error", "param": None, "code": "internal"},
        "request_id": "req_9",
    }
    (entry,) = logs
    assert (entry["event"], entry["log_level"], entry["request_id"]) == ("request_failed", "error", "req_9")
    assert (entry["method"], entry["path"], entry["error"]) == ("GET", "/raise/{token}", type(error).__name__)
    assert entry["exc_info"] is error
    assert "secret-token" not in json.dumps({**entry, "exc_info": None})
    assert "secret-query" not in json.dumps({**entry, "exc_info": None})


def test_a_refusal_is_not_logged_as_a_failure(client: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        answer(client, InvalidParameter("x"))
        client.get("/nothing")
    assert logs == []


def test_text_that_has_no_utf_8_is_still_answered(client: Any) -> None:
    body = check(answer(client, InvalidParameter("half \ud800", param="\udfff")), 400, "invalid_parameter")
    assert body["error"]["message"] == "half ?"
    assert body["error"]["param"] == "?"


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("POST", "/videos/generations", "/v1/videos/generations"),
        ("POST", "/v1/v1/videos/generations", "/v1/videos/generations"),
        ("GET", "/videos/generations/gen_1", "/v1/videos/generations/{generation_id}"),
        ("GET", "/models", "/v1/models"),
        ("GET", "/admin/attempts", "/v1/admin/attempts"),
        ("GET", "/health", "/health/live"),
    ],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "a key"])
async def test_a_wrong_path_is_answered_with_the_right_one(
    gateway: Any, check_error: Any, method: str, path: str, *, meant: str, key: str | None
) -> None:
    async with gateway.client_of(key) as client:
        message = check_error(await client.request(method, path, json={}), 404, "not_found")
    assert message == f"This path does not exist. Did you mean `{meant}`?"
    documented = {*DOCUMENT["paths"], "/openapi.json", "/docs"}
    assert meant in documented, "a caller without a key learns nothing that the document does not show"


async def test_any_other_path_leads_to_the_document_and_is_not_repeated(gateway: Any, check_error: Any) -> None:
    message = check_error(await gateway.client.get(f"/{KEY}"), 404, "not_found")
    assert message == "This path does not exist. `/docs` lists all paths, and so does `/openapi.json`."


async def test_a_wrong_key_on_a_wrong_path_is_mentioned(gateway: Any, check_error: Any) -> None:
    async with gateway.client_of("vg_unknown") as stranger:
        message = check_error(await stranger.post("/videos/generations", json={}), 404, "not_found")
    assert "`/v1/videos/generations`" in message
    assert message.endswith("The API key is not known, either.")
