"""Keys, the names that a gateway without keys answers to, and what the log has of a request."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway import log

from .conftest import KEY

VIDEOS = "/v1/videos/generations"
MISSING = f"{VIDEOS}/gen_01JDKQ00000000000000000000"
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
PROTECTED = [
    ("GET", VIDEOS),
    ("POST", VIDEOS),
    ("GET", MISSING),
    ("DELETE", MISSING),
    ("POST", f"{MISSING}/cancel"),
    ("GET", f"{MISSING}/content"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/kling"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
async def test_without_a_key_a_request_is_refused_unread(
    gateway: Any, check_error: Any, method: str, path: str
) -> None:
    async with gateway.client_of(None) as client:
        response = await client.request(method, path, content=b"{not looked at")
    check_error(response, 401, "invalid_api_key")
    assert response.json()["error"]["type"] == "authentication_error"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/openapi.json", "/docs", "/docs/docs.js"])
async def test_what_needs_no_key(gateway: Any, path: str) -> None:
    async with gateway.client_of(None) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "KEY",
        "Basic KEY",
        "BearerKEY",
        "Bearer KEYx",
        "Bearer xKEY",
        "Bearer KE",
        "Bearer KEY KEY",
        "Bearer KEY, Bearer KEY",
        "Bearer \xff",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_a_wrong_authorization_is_refused(gateway: Any, check_error: Any, value: str) -> None:
    header = value.replace("KEY", gateway.key).replace("KE", gateway.key[:-1] if "KEY" not in value else "KE")
    async with gateway.client_of(None) as client:
        response = await client.get(VIDEOS, headers={"authorization": header.encode("latin-1")})
    check_error(response, 401, "invalid_api_key")
    assert gateway.key not in response.text


@pytest.mark.parametrize("value", ["Bearer KEY", "bearer KEY", "BEARER KEY", "Bearer   KEY", "Bearer KEY  "])
async def test_case_and_spaces_around_a_key_do_not_count(gateway: Any, value: str) -> None:
    async with gateway.client_of(None) as client:
        headers = {"authorization": value.replace("KEY", gateway.key)}
        assert (await client.get(VIDEOS, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("path", "unknown"),
    [
        (VIDEOS, "The API key is not known; keys are set by server.api_keys, or VIDEO_GATEWAY_API_KEY."),
        (
            "/v1/admin/attempts",
            "The admin key is not known; the gateway's are set by server.admin_keys, or VIDEO_GATEWAY_ADMIN_KEY.",
        ),
    ],
)
async def test_a_missing_key_and_an_unknown_key_have_different_messages(
    gateway: Any, check_error: Any, path: str, unknown: str
) -> None:
    async with gateway.client_of(None) as nobody, gateway.client_of("vg_unknown") as stranger:
        none = check_error(await nobody.get(path), 401, "invalid_api_key")
        assert none == "Send your key as `Authorization: Bearer KEY`."
        assert check_error(await stranger.get(path), 401, "invalid_api_key") == unknown


async def test_a_key_is_compared_as_it_is(gateway: Any, check_error: Any) -> None:
    async with gateway.client_of(gateway.key.upper()) as client:
        check_error(await client.get(VIDEOS), 401, "invalid_api_key")


async def test_keys_come_from_the_environment_and_from_files(start: Any, tmp_path: Path, check_error: Any) -> None:
    in_file, in_environment = "file-" + "c" * 20, "environment-" + "d" * 20
    (tmp_path / "key").write_text(in_file + "\n")
    gateway = await start(
        f'[server]\napi_keys = ["file:{tmp_path / "key"}", "env:CLIENT_KEY"]',
        environ={"CLIENT_KEY": in_environment},
        keys=False,
    )
    owners = set()
    for key in (in_file, in_environment):
        async with gateway.client_of(key) as client:
            created = await gateway.create(client)
            owners.add((await gateway.stored(created["id"])).owner)
    assert len(owners) == 2
    assert not any(in_file in owner or in_environment in owner for owner in owners)
    check_error(await gateway.client.get(VIDEOS), 401, "invalid_api_key")


async def test_a_key_with_the_form_of_a_jwt_is_a_known_key(start: Any) -> None:
    key = f"{'a' * 20}.{'b' * 20}.{'c' * 20}"
    gateway = await start(environ={"VIDEO_GATEWAY_API_KEY": key}, keys=False)
    async with gateway.client_of(key) as client:
        assert (await client.get(VIDEOS)).status_code == 200
        message = (await client.get("/v1/nothing")).json()["error"]["message"]
    assert "not known" not in message


async def test_a_key_in_the_variable_alone_is_enough(start: Any) -> None:
    key = "variable-" + "e" * 20
    gateway = await start(environ={"VIDEO_GATEWAY_API_KEY": key}, keys=False)
    async with gateway.client_of(key) as client, gateway.client_of(None) as nobody:
        assert (await client.get(VIDEOS)).status_code == 200
        assert (await nobody.get(VIDEOS)).status_code == 401


OWN_NAMES = [
    "localhost",
    "localhost:8080",
    "LOCALHOST:8080",
    "localhost.",
    "gateway.localhost",
    "127.0.0.1",
    "127.0.0.1:8080",
    "127.1.2.3:1",
    "[::1]",
    "[::1]:8080",
]
OTHER_NAMES = [
    "",
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example:127.0.0.1",
    "192.168.1.5:8080",
    "0.0.0.0:8080",
    "[::]",
    "10.0.0.1",
    "localhost:8080:1",
    "[::1",
    "::1",
    "localhost:x",
    "xlocalhost",
]


@pytest.mark.parametrize("host", OWN_NAMES)
async def test_without_keys_the_machine_s_own_names_are_answered(start: Any, host: str) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None) as client:
        assert (await client.get("/v1/models", headers={"host": host})).status_code == 200
        assert (await client.get(VIDEOS, headers={"host": host})).json()["data"] == []


@pytest.mark.parametrize("host", OTHER_NAMES)
async def test_without_keys_no_other_name_is_answered(start: Any, host: str) -> None:
    """A web page can make its name resolve to this machine (DNS rebinding); only `Host` shows that."""
    gateway = await start(keys=False)
    body = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
    async with gateway.client_of(None) as client:
        responses = [
            await client.request(method, path, json=body if method == "POST" else None, headers={"host": host})
            for method, path in PROTECTED
        ]
    for response in responses:
        error = response.json()["error"]
        assert (response.status_code, error["code"]) in {(403, "forbidden_host"), (400, "bad_request")}, response.text
        assert set(response.json()) == {"error", "request_id"}
    assert gateway.rows()["generations"] == 0


async def test_without_keys_the_refusal_of_another_name_says_the_remedy(start: Any, check_error: Any) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None) as client:
        message = check_error(await client.get(VIDEOS, headers={"host": "evil.example"}), 403, "forbidden_host")
    assert "server.api_keys" in message


async def test_with_keys_every_name_is_answered(gateway: Any) -> None:
    assert (await gateway.client.get(VIDEOS, headers={"host": "evil.example"})).status_code == 200


async def test_without_keys_all_callers_have_the_same_owner(start: Any) -> None:
    gateway = await start(keys=False)
    async with (
        gateway.client_of("anything", "http://127.0.0.1") as by_address,
        gateway.client_of(None, "http://localhost") as other,
    ):
        created = await gateway.create(by_address)
        assert (await other.get(f"{VIDEOS}/{created['id']}")).status_code == 200


@pytest.fixture
def lines(plain_logs: None, capsys: pytest.CaptureFixture[str]) -> Any:
    """The lines of the log in their production format."""
    log.configure("json", "debug")
    written: list[str] = []

    def read() -> list[Any]:
        written.extend(capsys.readouterr().err.splitlines())
        return [json.loads(line) for line in written]

    return read


async def test_each_request_has_one_line_without_its_contents(lines: Any, gateway: Any) -> None:
    created = await gateway.create(prompt="A very secret beach.", metadata={"order": "secret-order"})
    await gateway.client.get(f"{VIDEOS}/{created['id']}", params={"wait": 0})
    await gateway.client.get(VIDEOS, params={"metadata[token]": "secret-value"})
    refused = await gateway.client.get(f"{VIDEOS}/{created['id']}/content", params={"token": "secret-token"})
    async with gateway.client_of("sk-unknown-secret-key") as stranger:
        await stranger.get("/v1/models")
    await gateway.client.get("/nothing/here")
    await gateway.client.get("/health/live")
    await gateway.finish()
    requests = [line for line in lines() if line["event"] == "request_finished"]
    assert [(line["method"], line["path"], line["status"]) for line in requests] == [
        ("POST", VIDEOS, 200),
        ("GET", VIDEOS + "/{generation_id}", 200),
        ("GET", VIDEOS, 200),
        ("GET", VIDEOS + "/{generation_id}/content", 404),
        ("GET", "/v1/models", 401),
        ("GET", "", 404),
    ]
    own = created["id"]
    assert [line.get("generation") for line in requests] == [own, own, None, own, None, None]
    assert [line.get("code") for line in requests] == [*[None] * 3, "not_found", "invalid_api_key", "not_found"]
    clients = [line.get("client") for line in requests]
    assert clients[0].startswith("key_")
    assert clients == [*[clients[0]] * 4, None, None]
    assert requests[3]["request_id"] == refused.json()["request_id"]
    assert all(line["duration_seconds"] >= 0 and line["level"] == "info" for line in requests)
    everything = json.dumps(lines())
    for secret in ("secret", gateway.key, gateway.key[:12], "fox-1", "keevx-2", "relay-3"):
        assert secret not in everything


async def test_nothing_of_a_path_is_logged_but_its_template_and_the_id_of_a_generation(
    lines: Any, gateway: Any
) -> None:
    """Otherwise a key that was pasted in the wrong place, or the token of a callback, would stay in the log."""
    await gateway.client.get(f"{VIDEOS}/hushhush-hunter2?wait=0&token=hunter2")
    await gateway.client.post(f"{VIDEOS}/gen_{'h' * 26}/cancel")
    await gateway.client.get("/v1/models/hunter2/hunter2")
    await gateway.client.get("/callbacks/hunter2?hunter2=hunter2")
    await gateway.client.put("/v1/models/hunter2")
    requests = [line for line in lines() if line["event"] == "request_finished"]
    assert [line["path"] for line in requests] == [
        VIDEOS + "/{generation_id}",
        VIDEOS + "/{generation_id}/cancel",
        "/v1/models/{name}",
        "",
        "",
    ]
    assert not any("generation" in line for line in requests)
    assert "hunter2" not in json.dumps(lines())
    assert "hhhhhhhhhh" not in json.dumps(lines())


async def test_a_failure_of_the_gateway_shows_nothing_of_itself(lines: Any, gateway: Any, check_error: Any) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"sk-secret-of-{name}")

    context = gateway.application.litestar.state.context
    object.__setattr__(context, "generations", Broken())
    response = await gateway.client.get(MISSING)
    assert check_error(response, 500, "internal") == "The gateway failed."
    (failed,) = [line for line in lines() if line["event"] == "request_failed"]
    assert failed["request_id"] == response.json()["request_id"]
    assert "sk-secret" not in json.dumps(lines())
    assert "RuntimeError" in failed["exception"]


@pytest.mark.parametrize("name", ["x-api-key", "api-key"])
async def test_a_key_is_read_from_other_headers(gateway: Any, check_error: Any, name: str) -> None:
    async with gateway.client_of(None) as client:
        created = await client.post(VIDEOS, json=BODY, headers={name: KEY})
        assert created.status_code == 200
        both = {name: KEY, "authorization": f"Bearer {KEY}"}
        assert (await client.get(f"{VIDEOS}/{created.json()['id']}", headers=both)).status_code == 200
        beside = {name: KEY, "authorization": "Basic dXNlcjpwYXNzd29yZA=="}  # of a proxy
        assert (await client.get(VIDEOS, headers=beside)).status_code == 200
        check_error(await client.get(VIDEOS, headers={name: "vg_unknown"}), 401, "invalid_api_key")
        check_error(await client.get(VIDEOS, headers={name: f"Bearer {KEY}"}), 401, "invalid_api_key")
        check_error(await client.get(VIDEOS, headers={name: " "}), 401, "invalid_api_key")
        assert "not known, either" in (await client.get("/nothing", headers={name: "vg_unknown"})).text


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", f"Bearer {KEY}"), ("x-api-key", "vg_other")],
        [("x-api-key", KEY), ("api-key", "vg_other")],
        [("x-api-key", KEY), ("x-api-key", "vg_other")],
    ],
    ids=str,
)
async def test_two_keys_are_refused(gateway: Any, check_error: Any, headers: list[tuple[str, str]]) -> None:
    async with gateway.client_of(None) as client:
        message = check_error(
            await client.post(VIDEOS, json=BODY, headers=headers),
            400,
            "bad_request",
        )
    assert "two different keys" in message
    assert "vg_" not in message
    assert gateway.rows()["generations"] == 0


async def test_two_authorization_headers_are_refused(gateway: Any, check_error: Any) -> None:
    headers = [("authorization", f"Bearer {KEY}"), ("authorization", "Bearer vg_other")]
    async with gateway.client_of(None) as client:
        message = check_error(await client.post(VIDEOS, json=BODY, headers=headers), 400, "bad_request")
    assert "Authorization came 2 times" in message
    assert "vg_" not in message


async def test_an_admin_key_is_read_from_other_headers(start: Any) -> None:
    admin = "vg_" + "c" * 40
    gateway = await start('server.admin_keys = ["env:ADMIN"]', environ={"ADMIN": admin})
    async with gateway.client_of(None) as client:
        assert (await client.get("/v1/admin/attempts", headers={"x-api-key": admin})).status_code == 200


ACCESS, SECRET = "access-" + "f" * 20, "secret-" + "g" * 40
PAIR = '[[server.kling_keys]]\naccess_key = "env:ACCESS"\nsecret_key = "env:SIGNING"'


def signed_at(moment: float, access: str = ACCESS, secret: str = SECRET) -> str:
    """A JWT as a client of Kling's API signs it."""
    return jwt.encode({"iss": access, "exp": int(moment) + 1800, "nbf": int(moment) - 5}, secret, algorithm="HS256")


async def test_a_jwt_is_a_key_on_every_path_but_those_of_operators(start: Any, check_error: Any) -> None:
    gateway = await start(PAIR, environ={"ACCESS": ACCESS, "SIGNING": SECRET})
    async with gateway.client_of(signed_at(gateway.clock.now().timestamp())) as client:
        created = await gateway.create(client)
        assert (await client.get(f"{VIDEOS}/{created['id']}")).status_code == 200
        check_error(await client.get("/v1/admin/attempts"), 401, "invalid_api_key")
    check_error(await gateway.client.get(f"{VIDEOS}/{created['id']}"), 404, "not_found", "id")
    async with gateway.client_of(ACCESS) as client:  # it is in every JWT, so it opens nothing
        check_error(await client.get(VIDEOS), 401, "invalid_api_key")


async def test_the_clock_of_the_gateway_ends_a_jwt(start: Any, check_error: Any) -> None:
    gateway = await start(PAIR, environ={"ACCESS": ACCESS, "SIGNING": SECRET})
    now = gateway.clock.now().timestamp()
    async with gateway.client_of(signed_at(now)) as client, gateway.client_of(signed_at(now + 3600)) as early:
        assert (await client.get(VIDEOS)).status_code == 200
        check_error(await early.get(VIDEOS), 401, "jwt_not_yet_valid")
        await gateway.clock.advance(1900)
        assert "Sign a new one" in check_error(await client.get(VIDEOS), 401, "jwt_expired")
    async with gateway.client_of(signed_at(now, secret="x" * 40)) as forger:
        check_error(await forger.get(VIDEOS), 401, "invalid_jwt")


async def test_an_access_key_owns_what_the_same_text_owned_as_a_key(start: Any) -> None:
    gateway = await start(PAIR, environ={"ACCESS": KEY, "SIGNING": SECRET})
    created = await gateway.create()
    async with gateway.client_of(signed_at(gateway.clock.now().timestamp(), KEY)) as client:
        assert (await client.get(f"{VIDEOS}/{created['id']}")).json()["id"] == created["id"]


async def test_a_jwt_without_configured_access_keys_is_refused_with_the_remedy(gateway: Any, check_error: Any) -> None:
    async with gateway.client_of(signed_at(gateway.clock.now().timestamp())) as client:
        message = check_error(await client.get(VIDEOS), 401, "invalid_api_key")
    assert "server.kling_keys" in message
