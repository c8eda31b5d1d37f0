"""Bad requests are refused with a clear error and have no effect: through the framework, and over a raw socket."""

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

VIDEOS = "/v1/videos/generations"
JSON = {"content-type": "application/json"}
GOOD: dict[str, Any] = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
NESTED = b'{"model":"auto","metadata":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
HALF = "half of a surrogate pair"


# The bytes of a body, the code and the parameter of the error, and words of its message.
BODIES: dict[str, tuple[bytes, str, str | None, str]] = {
    "empty": (b"", "invalid_json", None, "empty"),
    "blank": (b" \r\n\t", "invalid_json", None, "empty"),
    "cut": (b'{"model": "au', "invalid_json", None, "too early"),
    "cut in an array": (b'{"model": "auto", "fallback": [1', "invalid_json", None, "too early"),
    "malformed": (b'{"model": auto}', "invalid_json", None, "column"),
    "single quotes": (b"{'model': 'auto'}", "invalid_json", None, "column"),
    "a comma too many": (b'{"model": "auto",}', "invalid_json", None, "column"),
    "two values": (b'{"model": "auto"} {}', "invalid_json", None, "column"),
    "a comment": (b'{"model": "auto"} // x', "invalid_json", None, "column"),
    "NaN": (b'{"model": "auto", "cfg_scale": NaN}', "invalid_parameter", "cfg_scale", "NaN"),
    "Infinity": (b'{"model": "auto", "max_cost": 1e999}', "invalid_parameter", "max_cost", "too large"),
    "a huge integer": (b'{"model": "auto", "seed": 1' + b"0" * 5000 + b"}", "invalid_parameter", "seed", "64 bits"),
    "an array": (b'[{"model": "auto"}]', "invalid_json", None, "an array"),
    "a string": (b'"auto"', "invalid_json", None, "a string"),
    "a number": (b"5", "invalid_json", None, "a number"),
    "null": (b"null", "invalid_json", None, "null"),
    "deep": (NESTED, "invalid_json", None, "nested deeper"),
    "deep brackets alone": (b"[" * 100_000, "invalid_json", None, ""),
    "deep objects": (b'{"a":' * 100_000, "invalid_json", None, ""),
    "not UTF-8": (b'{"model": "auto", "prompt": "\xff"}', "invalid_json", None, "UTF-8"),
    "an overlong NUL": (b'{"model": "auto", "prompt": "\xc0\x80"}', "invalid_json", None, "UTF-8"),
    "UTF-16": ('{"model": "auto"}'.encode("utf-16"), "invalid_json", None, "UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "invalid_json", None, "byte order mark"),
    "NUL": (b'{"model": "auto", "prompt": "a\\u0000b"}', "invalid_parameter", "prompt", "U+0000"),
    "a raw NUL": (b'{"model": "auto", "prompt": "a\x00b"}', "invalid_json", None, ""),
    "a lone surrogate": (b'{"model": "auto", "prompt": "\\ud83d"}', "invalid_json", None, ""),
    "surrogates in reverse": (b'{"model": "auto", "prompt": "\\ude00\\ud83d"}', "invalid_json", None, ""),
    "a surrogate in a name": (b'{"model": "auto", "\\udfff": 1}', "invalid_json", None, ""),
    "a form": (b"model=auto&prompt=A+beach.", "invalid_json", None, "column"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_cannot_be_read(untouched: Any, check_error: Any, name: str) -> None:
    content, code, param, words = BODIES[name]
    response = await untouched.client.post(VIDEOS, content=content, headers=JSON)
    if "surrogate" in name:  # the decoder or the check after it may refuse it; both name the fault
        assert response.json()["error"]["code"] in {"invalid_json", "invalid_parameter"}
        code, param = response.json()["error"]["code"], response.json()["error"]["param"]
    assert words in check_error(response, 400, code, param)


# A field, its value, the code of the error, and words of its message.
FIELDS: list[tuple[str, Any, str, str]] = [
    ("duration", "5.5.5", "invalid_parameter", "number of seconds"),
    ("duration", -1, "invalid_parameter", "from 1"),
    ("duration", 0, "invalid_parameter", "from 1"),
    ("duration", True, "invalid_parameter", "true"),
    ("duration", "5m", "invalid_parameter", "number of seconds"),
    ("duration", "9" * 64, "invalid_parameter", "number of seconds"),
    ("duration", 1e308, "invalid_parameter", "number of seconds"),
    ("duration", "٥", "invalid_parameter", "number of seconds"),
    ("duration", [5], "invalid_parameter", "a list"),
    ("seconds", {}, "invalid_parameter", "an object"),
    ("n", 0, "invalid_parameter", "from 1 to 4"),
    ("n", 5, "invalid_parameter", "from 1 to 4"),
    ("n", "5", "invalid_parameter", "from 1 to 4"),
    ("generate_count", 1.5, "invalid_parameter", "from 1 to 4"),
    ("resolution", "hdr", "invalid_parameter", "720p, 1080p or 4k"),
    ("resolution", 7, "invalid_parameter", "720p, 1080p or 4k"),
    ("aspect_ratio", "16", "invalid_parameter", "16:9"),
    ("aspect_ratio", "0:1", "invalid_parameter", "16:9"),
    ("size", "1x1", "invalid_parameter", "1280x720"),
    ("size", "big", "invalid_parameter", "1280x720"),
    ("generate_audio", "perhaps", "invalid_parameter", "true or false"),
    ("generate_audio", 2, "invalid_parameter", "true or false"),
    ("seed", -1, "invalid_parameter", "from 0"),
    ("cfg_scale", "half", "invalid_parameter", "a number"),
    ("cfg_scale", True, "invalid_parameter", "a number"),
    ("adapt", "yes", "invalid_parameter", "none, nearest"),
    ("fallback", "kling", "invalid_parameter", "a list"),
    ("deadline_seconds", 59, "invalid_parameter", "from 60"),
    ("max_cost", 0, "invalid_parameter", "over 0"),
    ("webhook_url", "ftp://a.example/", "invalid_parameter", "https"),
    ("webhook_url", "http://a.example/", "invalid_parameter", "https"),
    ("webhook_url", "https://user:pass@a.example/", "invalid_parameter", "credentials"),
    ("webhook_url", "https://127.1/", "invalid_parameter", "four decimal numbers"),
    ("webhook_url", "https://0x7f000001/", "invalid_parameter", "four decimal numbers"),
    ("metadata", ["a"], "invalid_parameter", "an object"),
    ("metadata", {str(at): "" for at in range(17)}, "invalid_parameter", "at most 16 pairs, not 17"),
    ("metadata", {"": "1"}, "invalid_parameter", "1 to 64"),
    ("user", 5, "invalid_parameter", "a string"),
    ("prompt", 5, "invalid_parameter", "a string"),
    ("prompt", "", "invalid_parameter", "required"),
    ("prompt", " \n", "invalid_parameter", "required"),
    ("prompt", None, "invalid_parameter", "required"),
    ("model", None, "invalid_parameter", "required"),
    ("model", "", "invalid_parameter", "non-empty"),
    ("model", 5, "invalid_parameter", "a non-empty string"),
    ("image", "not an image", "invalid_image", "URL"),
    ("image", "bm90IGFuIGltYWdl", "invalid_image", "`image`: the base64 text decodes to 12 bytes that are not a JPEG"),
    ("image", "https://", "invalid_image", "host"),
    ("image", "/etc/passwd", "invalid_image", "URL"),
    ("image", "file:///etc/passwd", "invalid_image", "URL"),
    ("image", "data:image/png;base64,", "invalid_image", "without data"),
    ("image", "data:image/png,abc", "invalid_image", "base64"),
    (
        "image",
        "data:image/png;base64,bm90IGFuIGltYWdl",
        "invalid_image",
        "`image`: The content is 12 bytes that are not a JPEG, PNG, WebP, GIF, BMP, AVIF or TIFF image: they begin",
    ),
    ("image", "data:image/png;base64,iVBORw0KGgo=", "invalid_image", "cut off"),
    ("image", "data:image/png;base64,@@@@", "invalid_image", "base64"),
    ("image", 5, "invalid_image", "a string"),
    ("image", ["https://a.example/1.png"] * 2, "invalid_image", "`reference_images`"),
    ("image", {"type": "image_url"}, "invalid_image", "exactly one"),
    ("stream", True, "invalid_parameter", "/events"),
    ("response_format", "b64_json", "invalid_parameter", "data[].url"),
    ("image", "file_unknown", "invalid_image", "does not exist"),
    ("reference_images", "https://a.example/1.png", "invalid_parameter", "a list"),
    ("image_urls", ["https://a.example/1.png"] * 17, "invalid_parameter", "at most 16"),
    ("last_image", "https://a.example/1.png", "invalid_parameter", "needs `image`"),
    ("provider_options", {"foxapi": 1}, "invalid_parameter", "an object"),
]


@pytest.mark.parametrize("case", FIELDS, ids=[f"{case[0]}={case[1]!r}"[:50] for case in FIELDS])
async def test_a_field_with_a_wrong_value_is_refused(
    untouched: Any, check_error: Any, case: tuple[str, Any, str, str]
) -> None:
    field, value, code, words = case
    response = await untouched.client.post(VIDEOS, json={**GOOD, field: value})
    param = "provider_options.foxapi" if field == "provider_options" else field
    assert words in check_error(response, 400, code, param)


@pytest.mark.parametrize("value", ["5", 5, 5.0])
async def test_a_duration_may_be_written_in_three_ways(gateway: Any, value: Any) -> None:
    assert (await gateway.create(duration=value))["request"]["duration"] == 5


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("promt", "prompt"),
        ("Model", "model"),
        ("aspectRatio", "aspect_ratio"),
        ("first_frame", "image"),
        ("imageUrl", "image_url"),
        ("num_videos", "n"),
        ("deadline", "deadline_seconds"),
        ("callbackUrl", "callback_url"),
    ],
)
async def test_an_unknown_field_is_answered_with_the_nearest_one(
    untouched: Any, check_error: Any, field: str, near: str
) -> None:
    response = await untouched.client.post(VIDEOS, json={**GOOD, field: "x"})
    assert f"Did you mean `{near}`?" in check_error(response, 400, "unknown_parameter", field)


@pytest.mark.parametrize("field", ["\x1b[31m", "x" * 10_000, "zzz", "<script>", "a.b", "é", ""])
async def test_the_answer_to_an_unknown_field_is_bounded_whatever_its_name(untouched: Any, field: str) -> None:
    response = await untouched.client.post(VIDEOS, json={**GOOD, field: "x"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unknown_parameter")
    assert len(error["param"]) <= 64 + 20
    assert "\x1b" not in error["message"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"size": "1280x720", "resolution": "1080p"}, "resolution"),
        ({"size": "1280x720", "aspect_ratio": "9:16"}, "aspect_ratio"),
        ({"size": "1280x720", "width": 1920, "height": 1080}, "size"),
        ({"width": 1280}, "height"),
        ({"height": 720}, "width"),
        ({"width": 12, "height": 720}, "width"),
        ({"duration": 5, "seconds": 10}, "seconds"),
        ({"image": "https://a.example/1.png", "image_url": "https://a.example/2.png"}, "image_url"),
        ({"n": 1, "generate_count": 2}, "generate_count"),
    ],
)
async def test_fields_that_contradict_each_other(untouched: Any, check_error: Any, given: Any, param: str) -> None:
    check_error(await untouched.client.post(VIDEOS, json={**GOOD, **given}), 400, "invalid_parameter", param)


async def test_two_names_of_a_field_may_say_the_same(gateway: Any) -> None:
    assert (await gateway.create(duration=5, seconds="5"))["request"]["duration"] == 5


@pytest.mark.parametrize(
    ("model", "near"), [("klng", "kling"), ("foxapi/kling-v3", "foxapi/kling-v3"), ("keevx/v", "V")]
)
async def test_an_unknown_model_is_answered_with_near_names(
    untouched: Any, check_error: Any, model: str, near: str
) -> None:
    response = await untouched.client.post(VIDEOS, json={**GOOD, "model": model})
    assert near in check_error(response, 404, "model_not_found", "model").partition("Did you mean")[2]
    body = {**GOOD, "fallback": [model]}
    check_error(await untouched.client.post(VIDEOS, json=body), 404, "model_not_found", "fallback")


async def test_a_model_without_a_suitable_route_gives_the_reasons_of_every_route(
    untouched: Any, check_error: Any
) -> None:
    body = {"model": "auto", "prompt": "A.", "duration": 3599, "image": "https://a.example/1.png"}
    response = await untouched.client.post(VIDEOS, json=body)
    message = check_error(response, 422, "unsupported_parameter")
    routes = (await untouched.client.get("/v1/models/auto")).json()["routes"]
    refused = response.json()["error"]["routes"]
    videos = [route for route in routes if any(row["kind"] == "video" for row in route["capabilities"])]
    names = [(route["provider"], route["provider_model"]) for route in videos]
    assert 10 < len(names) < len(routes)
    assert [(route["provider"], route["provider_model"]) for route in refused] == names
    assert all(reason["param"] and reason["message"] for route in refused for reason in route["reasons"])
    assert all(route["reasons"] for route in refused)
    assert len(message) < 400
    assert f"of {len(names)} routes" in message
    quoted = (await untouched.client.post(f"{VIDEOS}/quote", json=body)).json()
    assert quoted["left_out"] == refused


async def test_the_reasons_of_the_routes_use_the_clients_own_names(untouched: Any, check_error: Any) -> None:
    response = await untouched.client.post(VIDEOS, json={**GOOD, "seconds": 3599})
    message = check_error(response, 422, "unsupported_parameter", "seconds")
    [route] = response.json()["error"]["routes"]
    assert (f"{route['provider']}/{route['provider_model']}", len(route["reasons"])) == (GOOD["model"], 1)
    assert route["reasons"][0]["param"] == "seconds"
    assert f": `seconds`: {route['reasons'][0]['message']}." in message


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"duration": 7}, "duration"),
        ({"resolution": "4k", "model": "keevx/KL", "reference_images": ["https://a.example/1.png"]}, "resolution"),
        ({"aspect_ratio": "21:9"}, "aspect_ratio"),
        ({"seconds": 5.5}, "seconds"),
        ({"aspect_resolution": "768p"}, "aspect_resolution"),
        ({"size": "1024x1792"}, "size"),
        ({"width": 1281, "height": 720}, "width"),
        ({"generate_audio": True, "model": "kling_relay/kling-v1"}, "generate_audio"),
        ({"seed": 1}, "seed"),
        ({"fps": 24}, "fps"),
        ({"cfg_scale": 2, "model": "kling_relay/kling-v1"}, "cfg_scale"),
        ({"mode": "turbo", "model": "kling_relay/kling-v1"}, "mode"),
        ({"image": "https://a.example/1.png"}, "image"),
        ({"model": "keevx/V"}, "image"),
        ({"prompt": "x" * 2501}, "prompt"),
    ],
)
async def test_a_request_that_no_route_can_serve_is_a_422(
    untouched: Any, check_error: Any, given: Any, param: str
) -> None:
    check_error(await untouched.client.post(VIDEOS, json={**GOOD, **given}), 422, "unsupported_parameter", param)


async def test_a_size_that_no_route_takes_is_answered_with_how_it_was_read(untouched: Any, check_error: Any) -> None:
    response = await untouched.client.post(VIDEOS, json={**GOOD, "size": "1024x1792"})
    message = check_error(response, 422, "unsupported_parameter", "size")
    assert 'takes 720p, 1080p, 4k, not 1024p; `"adapt": "nearest"` would take 1080p' in message
    assert 'takes 16:9, 1:1, 9:16, not 4:7; `"adapt": "nearest"` would take 9:16' in message
    assert message.endswith("The size 1024x1792 was read as `resolution` 1024p and `aspect_ratio` 4:7.")


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"foxapi": {"voice_idz": 1}}, "provider_options.foxapi.voice_idz", "did you mean"),
        ({"keevx": {"x": 1}}, "provider_options.keevx", "is served by"),
        ({"acme": {"x": 1}}, "provider_options.acme", "this provider does not exist"),
    ],
)
async def test_options_that_no_route_takes_are_a_400(
    untouched: Any, check_error: Any, options: Any, param: str, words: str
) -> None:
    response = await untouched.client.post(
        VIDEOS, json={**GOOD, "model": "foxapi/kling-v3-text-to-video", "provider_options": options}
    )
    assert words in check_error(response, 400, "invalid_parameter", param)


async def test_a_prompt_over_the_limit_of_every_route_gives_the_limit_of_each(untouched: Any) -> None:
    body = {"model": "kling", "prompt": "x" * 15_000}
    response = await untouched.client.post(VIDEOS, json=body)
    assert response.status_code == 422
    routes = response.json()["error"]["routes"]
    assert str(routes).count("at most 2500 characters") >= 3
    longer = await untouched.client.post(VIDEOS, json={**body, "prompt": "x" * 20_001})
    assert (longer.status_code, longer.json()["error"]["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=x",
        "application/octet-stream",
        "application/json; charset=utf-16",
        "application/jsonp",
        "json",
        "application/xml",
    ],
)
async def test_a_body_that_is_not_declared_as_json(untouched: Any, check_error: Any, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    response = await untouched.client.post(VIDEOS, content=json.dumps(GOOD), headers=headers)
    check_error(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("content_type", "beginning"),
    [
        ("application/x-www-form-urlencoded", "The Content-Type application/x-www-form-urlencoded is not accepted"),
        ("Text/Plain; charset=utf-8", "The Content-Type text/plain is not accepted"),
        ("<b>/x", "This Content-Type is not accepted"),
    ],
)
async def test_a_body_of_another_type_is_answered_with_the_type_that_came(
    untouched: Any, check_error: Any, content_type: str, beginning: str
) -> None:
    response = await untouched.client.post(VIDEOS, content=b"model=auto", headers={"content-type": content_type})
    message = check_error(response, 415, "unsupported_media_type")
    assert message == f"{beginning} here; send application/json or multipart/form-data."


@pytest.mark.parametrize(
    ("model", "param", "message"),
    [
        (
            "foxapi/kling-v3-motion-control",
            "provider_options.foxapi.video_url",
            "`provider_options.foxapi.video_url` is required: the model takes it instead of a prompt.",
        ),
        (
            "foxapi/kling-o3-text-to-video",
            "prompt",
            "`prompt` is required, or `provider_options.foxapi.multi_prompt` instead of it.",
        ),
        ("foxapi/kling-v3-text-to-video", "prompt", "`prompt` is required."),
        ("auto", "prompt", "`prompt` is required."),
    ],
)
async def test_a_request_without_a_prompt_is_answered_with_what_the_model_takes(
    untouched: Any, check_error: Any, model: str, param: str, message: str
) -> None:
    response = await untouched.client.post(VIDEOS, json={"model": model, "image": "https://a.example/1.png"})
    assert check_error(response, 400, "invalid_parameter", param) == message


@pytest.mark.parametrize("content_type", ["application/json;charset=UTF-8", "Application/JSON", "application/a+json"])
async def test_json_may_be_declared_in_other_ways(gateway: Any, content_type: str) -> None:
    response = await gateway.client.post(VIDEOS, content=json.dumps(GOOD), headers={"content-type": content_type})
    assert response.status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x"])
async def test_a_compressed_body(untouched: Any, check_error: Any, coding: str) -> None:
    content = gzip.compress(json.dumps(GOOD).encode(), mtime=0)
    response = await untouched.client.post(VIDEOS, content=content, headers={**JSON, "content-encoding": coding})
    check_error(response, 415, "unsupported_media_type")


async def test_a_body_over_the_limit(untouched: Any, check_error: Any) -> None:
    content = json.dumps({**GOOD, "image": "A" * 30_000_000})
    check_error(await untouched.client.post(VIDEOS, content=content, headers=JSON), 413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", VIDEOS, {"GET", "POST"}),
        ("PATCH", f"{VIDEOS}/x", {"GET", "DELETE"}),
        ("GET", f"{VIDEOS}/x/cancel", {"POST"}),
        ("POST", f"{VIDEOS}/x/content", {"GET", "HEAD"}),
        ("DELETE", "/v1/models", {"GET"}),
        ("POST", "/docs", {"GET"}),
        ("TRACE", VIDEOS, {"GET"}),
    ],
)
async def test_a_wrong_method_is_answered_with_the_right_ones(
    untouched: Any, check_error: Any, method: str, path: str, allowed: set[str]
) -> None:
    response = await untouched.client.request(method, path)
    message = check_error(response, 405, "method_not_allowed")
    assert message == f"This path does not have this HTTP method; it has {response.headers['allow']}."
    assert allowed <= {method.strip() for method in response.headers["allow"].split(",")}


@pytest.mark.parametrize("path", [VIDEOS, f"{VIDEOS}/x", "/v1/models", "/health/live", "/docs"])
async def test_options_allows_no_other_origin(untouched: Any, path: str) -> None:
    response = await untouched.client.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert "OPTIONS" in response.headers["allow"]
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/videos/generations",
        "/V1/videos/generations",
        f"{VIDEOS}/x/y",
        f"{VIDEOS}/x/cancel/y",
        "/docs/../etc/passwd",
        "/docs/secret.js",
        "/docs/%2e%2e/openapi.py",
    ],
)
async def test_an_unknown_path_is_a_404(untouched: Any, check_error: Any, path: str) -> None:
    check_error(await untouched.client.get(path), 404, "not_found")


IDS = ["x", "%00", "%ff", "%ED%A0%80", "..%2f..%2fetc", "'%20or%201=1--", "a" * 5000, "gen_", "%F0%9F%98%80", "*", "~"]


@pytest.mark.parametrize("name", IDS)
async def test_an_id_of_any_form_is_not_found(untouched: Any, name: str) -> None:
    for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/content")):
        response = await untouched.client.request(method, f"{VIDEOS}/{name}{below}")
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (404, "not_found")
        assert len(error["message"]) < 600


# Over a socket, to the server that runs in production.


def request_of(method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@pytest.fixture
def base(served: Any) -> dict[str, str]:
    return {"Host": "x", "Authorization": f"Bearer {served.key}"}


async def unharmed(served: Any, base: dict[str, str]) -> None:
    """The server answers the next request, and the last one stored nothing."""
    (answer,) = await served.raw(request_of("GET", "/health/live", base))
    assert answer.status_code == 200
    assert set(served.rows().values()) == {0}
    assert served.upstream.requests == []


async def test_every_bad_body_over_one_connection_each(served: Any, base: dict[str, str], check_error: Any) -> None:
    for name, (content, _, _, _) in BODIES.items():
        headers = {**base, "Content-Type": "application/json", "Content-Length": str(len(content))}
        (answer,) = await served.raw(request_of("POST", VIDEOS, headers, content))
        assert answer.status_code == 400, name
        error = answer.json()["error"]
        check_error(answer, 400, error["code"], error["param"])
    await unharmed(served, base)


async def test_a_chunked_body_is_read(served: Any, base: dict[str, str]) -> None:
    body = json.dumps(GOOD).encode()
    headers = {**base, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    chunks = [b"1\r\n" + body[at : at + 1] + b"\r\n" for at in range(len(body))]
    (answer,) = await served.raw(request_of("POST", VIDEOS, headers), b"".join(chunks), b"0\r\n\r\n")
    assert answer.status_code == 200
    assert answer.json()["status"] == "queued"


async def test_a_body_whose_announced_length_is_too_large_is_refused_at_once(
    served: Any, base: dict[str, str], check_error: Any
) -> None:
    headers = {**base, "Content-Type": "application/json", "Content-Length": "30000000"}
    (answer,) = await served.raw(request_of("POST", VIDEOS, headers, b'{"model'))
    check_error(answer, 413, "body_too_large")
    await unharmed(served, base)


async def test_a_chunked_body_is_counted(served: Any, base: dict[str, str], check_error: Any) -> None:
    headers = {**base, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    chunk = b"100000\r\n" + b" " * 2**20 + b"\r\n"
    (answer,) = await served.raw(request_of("POST", VIDEOS, headers), *[chunk] * 30)
    check_error(answer, 413, "body_too_large")
    await unharmed(served, base)


async def test_a_client_that_leaves_in_the_middle_of_its_body(served: Any, base: dict[str, str]) -> None:
    headers = {**base, "Content-Type": "application/json", "Content-Length": "1000"}
    await served.raw(request_of("POST", VIDEOS, headers, b'{"model": "auto"'), half_close=True)
    await unharmed(served, base)


async def test_the_expected_100_continue(served: Any, base: dict[str, str]) -> None:
    body = json.dumps(GOOD).encode()
    headers = {**base, "Content-Type": "application/json", "Content-Length": str(len(body)), "Expect": "100-continue"}
    answers = await served.raw(request_of("POST", VIDEOS, headers), body, pause=0.05)
    assert answers[-1].status_code == 200


async def test_requests_in_a_row_are_answered_in_order(served: Any, base: dict[str, str]) -> None:
    requests = request_of("GET", "/v1/models/kling", base) + request_of(
        "GET", "/v1/models/nope", {**base, "Connection": "close"}
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(requests)
    received = await reader.read()
    writer.close()
    assert received.find(b"HTTP/1.1 200") < received.find(b"HTTP/1.1 404")


# A request and the status of its answer. None: the server itself answers 400, as it answers every 431, because no
# request reached the framework.
REQUESTS: dict[str, tuple[bytes, int | None]] = {
    "a path with two slashes": (b"GET //v1//models HTTP/1.1\r\nH\r\n", 200),
    "a trailing slash": (b"GET /v1/models/ HTTP/1.1\r\nH\r\n", 200),
    "dots": (b"GET /v1/../../etc/passwd HTTP/1.1\r\nH\r\n", 404),
    "escaped dots": (b"GET /docs/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nH\r\n", 404),
    "an escaped slash": (b"GET /v1/videos%2fgenerations HTTP/1.1\r\nH\r\n", 200),
    "an escaped NUL": (b"GET /v1/videos/generations/%00 HTTP/1.1\r\nH\r\n", 404),
    "escapes that are not UTF-8": (b"GET /v1/videos/generations/%ff%fe%ed%a0%80 HTTP/1.1\r\nH\r\n", 404),
    "an escape cut off": (b"GET /v1/videos/generations/%f HTTP/1.1\r\nH\r\n", 404),
    "a long id": (b"GET /v1/videos/generations/" + b"a" * 60_000 + b" HTTP/1.1\r\nH\r\n", 404),
    "a path of many parts": (b"GET /v1/models" + b"/a" * 20_000 + b" HTTP/1.1\r\nH\r\n", 404),
    "a query that is not UTF-8": (b"GET /v1/models?%ff=%fe HTTP/1.1\r\nH\r\n", 400),
    "many parameters": (
        b"GET /v1/models?" + b"&".join(b"a%d=1" % at for at in range(5000)) + b" HTTP/1.1\r\nH\r\n",
        400,
    ),
    "a method of WebDAV": (b"PROPFIND /v1/models HTTP/1.1\r\nH\r\n", 405),
    "all of the server": (b"OPTIONS * HTTP/1.1\r\nH\r\n", 404),
    "a whole URL": (b"GET http://x/v1/models HTTP/1.1\r\nH\r\n", 200),
    "an old client": (b"GET /v1/models HTTP/1.0\r\nH\r\n", 200),
    "an upgrade": (b"GET /v1/models HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nH\r\n", 200),
    "a huge header": (b"GET /v1/models HTTP/1.1\r\nX-A: " + b"a" * 200_000 + b"\r\nH\r\n", 431),
    "many headers": (b"GET /v1/models HTTP/1.1\r\n" + b"X-A: a\r\n" * 5000 + b"H\r\n", 431),
    "two hosts": (b"GET /v1/models HTTP/1.1\r\nHost: y\r\nH\r\n", 400),
    "an odd host": (b"GET /v1/videos/generations HTTP/1.1\r\nHost: [::1\r\nH\r\n", 400),
    "a length with too many digits": (
        b"POST /v1/videos/generations HTTP/1.1\r\nContent-Length: 999999999999999999\r\nH\r\n",
        413,
    ),
    "no request": (b"GARBAGE\r\n\r\n", None),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100, None),
    "an unknown method": (b"FOO /v1/models HTTP/1.1\r\nH\r\n", None),
    "an unknown version": (b"GET /v1/models HTTP/9.9\r\nH\r\n", None),
    "a raw NUL in the path": (b"GET /v1/\x00 HTTP/1.1\r\nH\r\n", None),
    "raw bytes in the path": (b"GET /v1/\xff HTTP/1.1\r\nH\r\n", None),
    "a space in the path": (b"GET /v1/a b HTTP/1.1\r\nH\r\n", None),
    "a path longer than the server takes": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nH\r\n", 431),
    "two lengths": (b"POST /v1/models HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\nH\r\n{}x", None),
    "a negative length": (b"POST /v1/models HTTP/1.1\r\nContent-Length: -2\r\nH\r\n{}", None),
    "a length and chunks": (
        b"POST /v1/models HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nH\r\n0\r\n\r\n",
        None,
    ),
    "a header folded in two": (b"GET /v1/models HTTP/1.1\r\nX: a\r\n b\r\nH\r\n", None),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_of_any_form(served: Any, base: dict[str, str], name: str) -> None:
    content, status = REQUESTS[name]
    headers = "".join(f"{name}: {value}\r\n" for name, value in base.items()).encode()
    (answer,) = await served.raw(
        content.replace(b"H\r\n", headers + b"\r\n", 1) if b"\r\nH\r\n" in content else content
    )
    if status is None:
        assert (answer.status_code, answer.content) == (400, b"Invalid HTTP request received.")
    elif status == 431:  # as for 400: what is wrong is in the head that the framework would need
        assert (answer.status_code, answer.content[:8]) == (431, b"The head")
    else:
        assert answer.status_code == status
        body = answer.json()
        if status >= 400:
            assert set(body) == {"error", "request_id"}
            assert set(body["error"]) == {"message", "type", "param", "code"}
            assert answer.headers["x-request-id"] == body["request_id"]
    await unharmed(served, base)


async def test_a_connection_that_sends_nothing_does_not_delay_others(served: Any, base: dict[str, str]) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(20)]
    for _, writer in idle[:10]:
        writer.write(b"POST /v1/videos/generations HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
    await unharmed(served, base)
    for _, writer in idle:
        writer.close()


async def test_the_real_client_and_the_real_server_agree(served: Any) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{served.port}", trust_env=False) as client:
        headers = {"authorization": f"Bearer {served.key}"}
        created = await client.post(VIDEOS, json=GOOD, headers=headers)
        read = await client.get(created.headers["location"], headers=headers)
        head = await client.head(created.headers["location"], headers=headers)
    assert read.json()["id"] == created.json()["id"]
    assert (head.status_code, head.content) == (200, b"")
