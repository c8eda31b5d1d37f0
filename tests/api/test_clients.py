"""Clients with names: their keys, what each key may do, and limits; clients and keys that are made at run time."""

import asyncio
import json
from collections import Counter
from contextlib import closing
from datetime import timedelta
from hashlib import sha256
from typing import Any

import apsw
import httpx
import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli

from .conftest import VIDEOS, serve

ADMIN, SHOP, SHOP_OLD, STUDIO = ("vg_" + letter * 40 for letter in "mstu")
ENVIRON = {"ADMIN": ADMIN, "SHOP": SHOP, "SHOP_OLD": SHOP_OLD, "STUDIO": STUDIO}
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
CLIENTS = "/v1/admin/clients"
CONFIGURED = """
server.admin_keys = ["env:ADMIN"]
[clients.shop]
keys = ["env:SHOP", "env:SHOP_OLD"]
{limits}
[clients.studio]
keys = ["env:STUDIO"]
"""

PRICED = """
sees = []
[providers.foxapi.models."kling-v3-text-to-video"]
prices = [{ per_clip = 0.5 }]
"""


@pytest.fixture
def begin(start: Any) -> Any:
    """Starts a gateway with two clients; `limits` are those of the client `shop`, as lines of TOML."""

    async def begin(limits: str = "") -> Any:
        gateway = await start(CONFIGURED.format(limits=limits), environ=ENVIRON)
        gateway.admin, gateway.shop = gateway.client_of(ADMIN), gateway.client_of(SHOP)
        gateway.studio = gateway.client_of(STUDIO)
        return gateway

    return begin


async def made(gateway: Any, name: str, **key: Any) -> dict[str, Any]:
    """A new key of a client."""
    response = await gateway.admin.post(f"{CLIENTS}/{name}/keys", json=key)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_what_a_client_owns_is_that_of_all_its_keys_and_of_nobody_else(begin: Any, check_error: Any) -> None:
    gateway = await begin()
    created = await gateway.create(gateway.shop)
    assert (await gateway.stored(created["id"])).owner == "client_shop"
    path = f"{VIDEOS}/{created['id']}"
    old = gateway.client_of(SHOP_OLD)
    new = gateway.client_of((await made(gateway, "shop"))["key"])
    for client in (gateway.shop, old, new):
        assert (await client.get(path)).status_code == 200
        assert [listed["id"] for listed in (await client.get(VIDEOS)).json()["data"]] == [created["id"]]
    check_error(await gateway.studio.get(path), 404, "not_found", "id")
    check_error(await gateway.client.get(path), 404, "not_found", "id")  # a key that is a client by itself


async def test_a_key_is_shown_once_and_stored_as_its_hash(begin: Any) -> None:
    gateway = await begin()
    key = await made(gateway, "shop", label="the server", scopes=["read"])
    text = key.pop("key")
    assert text.startswith("vg_")
    assert len(text) == 3 + 43  # 256 bits in base 64
    assert (key["client"], key["label"], key["scopes"], key["status"]) == ("shop", "the server", ["read"], "active")
    assert (await gateway.admin.get(f"{CLIENTS}/shop/keys")).json()["data"] == [key]
    with closing(apsw.Connection(str(gateway.application.settings.database.path))) as database:
        rows = database.execute("select * from client_keys").fetchall()
    assert [row[2] for row in rows] == [sha256(text.encode()).digest()]
    assert text not in repr(rows)


async def test_a_scope_that_is_missing_is_named(begin: Any, check_error: Any) -> None:
    gateway = await begin()
    generate, read, admin = [
        gateway.client_of((await made(gateway, "shop", scopes=[scope]))["key"])
        for scope in ("generate", "read", "admin")
    ]
    created = await gateway.create(generate)
    path = f"{VIDEOS}/{created['id']}"
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    version = {"mcp-protocol-version": "2025-06-18"}
    assert (await read.get(path)).status_code == 200
    assert (await read.post(f"{VIDEOS}/quote", json=BODY)).status_code == 200
    assert (await admin.get(CLIENTS)).status_code == 200
    assert (await generate.get("/v1/webhook_secret")).status_code == 200
    for client, method, where, scope in (
        (generate, "GET", path, "read"),
        (generate, "GET", "/v1/models", "read"),
        (generate, "GET", f"/kling/v1/videos/text2video/{created['id']}", "read"),
        (read, "POST", VIDEOS, "generate"),
        (read, "POST", f"{path}/cancel", "generate"),
        (read, "DELETE", path, "generate"),
        (read, "POST", "/v1/files", "generate"),
        (read, "POST", "/v1/videos", "generate"),
        (read, "GET", "/v1/webhook_secret", "generate"),
        (read, "GET", CLIENTS, "admin"),
        (admin, "GET", VIDEOS, "read"),
        (admin, "POST", VIDEOS, "generate"),
    ):
        response = await client.request(method, where)
        assert response.status_code == 403, (method, where)
        assert f"`{scope}`" in response.text, (method, where)
        if where.startswith("/v1/"):
            assert response.json()["error"]["code"] == "scope_missing", (method, where)
    for client, name, scope in ((read, "create_generation", "generate"), (generate, "list_models", "read")):
        call = {**tool, "params": {"name": name, "arguments": {} if name == "list_models" else BODY}}
        answer = (await client.post("/mcp", json=call, headers=version)).json()["result"]
        assert answer["structuredContent"]["error"]["code"] == "scope_missing", answer
        assert f"`{scope}`" in answer["structuredContent"]["error"]["message"]
    check_error(await gateway.shop.get(CLIENTS), 403, "admin_required")
    assert gateway.rows()["generations"] == 1


async def test_a_revoked_or_ended_key_is_refused_at_once(begin: Any, check_error: Any) -> None:
    gateway = await begin()
    now = gateway.clock.now()
    ends = await made(gateway, "shop", expires_at=int(now.timestamp()) + 60)
    other = await made(gateway, "shop")
    ending, revoked = gateway.client_of(ends["key"]), gateway.client_of(other["key"])
    assert (await ending.get(VIDEOS)).status_code == (await revoked.get(VIDEOS)).status_code == 200
    answer = await gateway.admin.delete(f"{CLIENTS}/shop/keys/{other['id']}")
    assert answer.json()["status"] == "revoked"
    assert other["id"] in check_error(await revoked.get(VIDEOS), 401, "api_key_revoked")
    await gateway.clock.advance(60)
    assert ends["id"] in check_error(await ending.get(VIDEOS), 401, "api_key_expired")
    statuses = {key["id"]: key["status"] for key in (await gateway.admin.get(f"{CLIENTS}/shop/keys")).json()["data"]}
    assert statuses == {ends["id"]: "ended", other["id"]: "revoked"}
    check_error(await gateway.admin.delete(f"{CLIENTS}/studio/keys/{ends['id']}"), 404, "not_found", "id")


async def test_a_client_is_made_changed_and_deleted_at_run_time(begin: Any, check_error: Any) -> None:
    gateway = await begin()
    made_client = (await gateway.admin.post(CLIENTS, json={"name": "new", "open_generations": 1})).json()
    assert (made_client["configured"], made_client["open_generations"], made_client["models"]) == (False, 1, [])
    names = [client["name"] for client in (await gateway.admin.get(CLIENTS)).json()["data"]]
    assert names == ["new", "shop", "studio"]
    client = gateway.client_of((await made(gateway, "new"))["key"])
    created = await gateway.create(client)
    check_error(await client.post(VIDEOS, json=BODY), 429, "open_generations_reached")
    change = {"open_generations": None, "budgets": {"day": 5}, "models": ["kling"]}
    changed = (await gateway.admin.patch(f"{CLIENTS}/new", json=change)).json()
    assert (changed["open_generations"], changed["budgets"]["day"], changed["models"]) == (None, 5.0, ["kling"])
    assert gateway.application.clients.budgets_of("client_new").day == 5.0
    check_error(await client.post(VIDEOS, json=BODY), 403, "model_not_allowed", "model")
    assert created["id"] in check_error(await gateway.admin.delete(f"{CLIENTS}/new"), 409, "conflict")
    assert (await client.post(f"{VIDEOS}/{created['id']}/cancel")).status_code == 200
    assert (await gateway.admin.delete(f"{CLIENTS}/new")).json()["deleted"] is True
    check_error(await client.get(VIDEOS), 401, "invalid_api_key")
    check_error(await gateway.admin.get(f"{CLIENTS}/new"), 404, "not_found", "name")


async def test_bad_bodies_of_clients_and_keys_name_the_field(begin: Any, check_error: Any) -> None:
    gateway = await begin()
    for body, param in (
        ({}, "name"),
        ({"name": "Shop"}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "anonymous"}, "name"),
        ({"name": "client_x"}, "name"),
        ({"name": "key_x"}, "name"),
        ({"name": "x", "open_generations": 0}, "open_generations"),
        ({"name": "x", "budgets": {"day": -1}}, "budgets.day"),
        ({"name": "x", "sees": ["prices"]}, "sees[0]"),
        ({"name": "x", "models": [""]}, "models[0]"),
    ):
        check_error(await gateway.admin.post(CLIENTS, json=body), 400, "invalid_parameter", param)
    check_error(await gateway.admin.post(CLIENTS, json={"name": "x", "a": 1}), 400, "unknown_parameter", "a")
    for body, param in (
        ({"scopes": []}, "scopes"),
        ({"scopes": ["write"]}, "scopes[0]"),
        ({"expires_at": 1}, "expires_at"),
        ({"label": "x" * 201}, "label"),
    ):
        check_error(await gateway.admin.post(f"{CLIENTS}/shop/keys", json=body), 400, "invalid_parameter", param)
    check_error(await gateway.admin.post(CLIENTS, json={"name": "shop"}), 409, "conflict", "name")
    message = check_error(await gateway.admin.patch(f"{CLIENTS}/shop", json={}), 409, "conflict", "name")
    assert "[clients.shop]" in message
    assert "[clients.shop]" in check_error(await gateway.admin.delete(f"{CLIENTS}/shop"), 409, "conflict", "name")
    check_error(await gateway.shop.post(CLIENTS, json={"name": "x"}), 403, "admin_required")


async def test_models_that_are_not_allowed_are_refused_everywhere(begin: Any, check_error: Any) -> None:
    gateway = await begin('models = ["foxapi/*", "kling"]')
    allowed = {model["id"] for model in (await gateway.shop.get("/v1/models")).json()["data"]}
    assert "kling" in allowed
    assert all(name == "kling" or name.startswith("foxapi/") for name in allowed)
    assert len((await gateway.studio.get("/v1/models")).json()["data"]) > len(allowed)
    other = {**BODY, "model": "auto"}
    message = check_error(await gateway.shop.post(VIDEOS, json=other), 403, "model_not_allowed", "model")
    assert "'auto'" in message
    assert "foxapi/*, kling" in message
    check_error(await gateway.shop.post(f"{VIDEOS}/quote", json=other), 403, "model_not_allowed", "model")
    check_error(await gateway.shop.get("/v1/models/auto"), 403, "model_not_allowed", "model")
    fallback = {**BODY, "fallback": ["auto"]}
    check_error(await gateway.shop.post(VIDEOS, json=fallback), 403, "model_not_allowed", "fallback")
    assert (await gateway.shop.post("/v1/videos", json={**BODY, "model": "auto"})).status_code == 403
    assert (await gateway.shop.get("/v1/models/kling-v3-text-to-video")).status_code == 200  # by its short name
    assert (await gateway.shop.post(VIDEOS, json=BODY)).status_code == 200
    assert gateway.rows()["generations"] == 1


async def test_200_creates_at_once_get_exactly_the_open_generations_that_fit(begin: Any) -> None:
    gateway = await begin("open_generations = 7")
    answers = await asyncio.gather(*(gateway.shop.post(VIDEOS, json=BODY) for _ in range(200)))
    assert Counter(answer.status_code for answer in answers) == {200: 7, 429: 193}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "open_generations_reached"
    assert int(refused.headers["retry-after"]) > 0
    assert gateway.rows()["generations"] == 7
    first = next(answer.json()["id"] for answer in answers if answer.status_code == 200)
    assert (await gateway.shop.post(f"{VIDEOS}/{first}/cancel")).status_code == 200
    assert (await gateway.shop.post(VIDEOS, json=BODY)).status_code == 200  # the place of the one that has ended
    assert (await gateway.shop.post(VIDEOS, json=BODY)).status_code == 429
    await gateway.finish("failed")
    assert (await gateway.shop.post(VIDEOS, json=BODY)).status_code == 200
    assert (await gateway.studio.post(VIDEOS, json=BODY)).status_code == 200


async def test_outputs_of_a_day_are_counted_also_when_deleted_until_the_day_ends(begin: Any, check_error: Any) -> None:
    gateway = await begin("outputs_per_day = 5")
    key = {"idempotency-key": "order-1"}
    first = await gateway.shop.post(VIDEOS, json={**BODY, "n": 4}, headers=key)
    assert first.status_code == 200
    refused = await gateway.shop.post(VIDEOS, json={**BODY, "n": 2})
    message = check_error(refused, 429, "outputs_per_day_reached")
    assert "1 of them are left" in message
    assert int(refused.headers["retry-after"]) == 12 * 3600  # the clock of the test begins at noon
    assert (await gateway.shop.post(VIDEOS, json=BODY)).status_code == 200
    for _ in range(3):  # a repeat never counts, and is answered although nothing is left
        repeat = await gateway.shop.post(VIDEOS, json={**BODY, "n": 4}, headers=key)
        assert repeat.json()["id"] == first.json()["id"]
    await gateway.shop.post(f"{VIDEOS}/{first.json()['id']}/cancel")
    assert (await gateway.shop.delete(f"{VIDEOS}/{first.json()['id']}")).status_code == 200
    check_error(await gateway.shop.post(VIDEOS, json=BODY), 429, "outputs_per_day_reached")
    await gateway.clock.advance(timedelta(hours=12).total_seconds())
    assert (await gateway.shop.post(VIDEOS, json={**BODY, "n": 4})).status_code == 200


async def test_a_create_that_no_budget_has_room_for_is_not_counted_for_the_day(begin: Any, check_error: Any) -> None:
    gateway = await begin("outputs_per_day = 3\nbudgets = { day = 0.5 }\n" + PRICED.replace("sees = []\n", ""))
    for _ in range(3):
        check_error(await gateway.shop.post(VIDEOS, json={**BODY, "n": 3}), 402, "budget_exceeded", "max_cost")
    assert (await gateway.shop.post(VIDEOS, json=BODY)).status_code == 200


async def test_requests_per_minute_are_limited_in_all_apis_together(begin: Any, check_error: Any) -> None:
    gateway = await begin("requests_per_minute = 3")
    key = {"idempotency-key": "order-1"}
    first = await gateway.shop.post(VIDEOS, json=BODY, headers=key)
    assert first.headers["x-ratelimit-limit-requests"] == "3"
    assert first.headers["x-ratelimit-remaining-requests"] == "2"
    assert first.headers["x-ratelimit-reset-requests"] == "20s"
    repeat = await gateway.shop.post(VIDEOS, json=BODY, headers=key)
    assert repeat.json()["id"] == first.json()["id"]
    assert repeat.headers["x-ratelimit-remaining-requests"] == "2"  # a repeat does not count
    assert (await gateway.shop.get("/v1/models")).headers["x-ratelimit-remaining-requests"] == "1"
    ping = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    version = {"mcp-protocol-version": "2025-06-18"}
    answer = await gateway.shop.post("/mcp", json=ping, headers=version)
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    refused = await gateway.client_of(SHOP_OLD).get("/v1/models")  # the other key of the same client
    check_error(refused, 429, "requests_per_minute_reached")
    assert refused.headers["retry-after"] == "20"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    other = await gateway.studio.get("/v1/models")
    assert other.status_code == 200
    assert "x-ratelimit-limit-requests" not in other.headers
    await gateway.clock.advance(20)
    assert (await gateway.shop.get("/v1/models")).status_code == 200
    assert (await gateway.shop.get("/v1/models")).status_code == 429


async def test_what_a_client_may_not_see_is_in_no_answer(begin: Any, check_error: Any) -> None:
    gateway = await begin(PRICED)
    gateway.upstream.withheld = True  # so that only the provider has the file
    created = await gateway.create(gateway.shop)
    await gateway.begin(created["id"])
    for _ in range(40):
        gateway.upstream.word = "completed"
        await gateway.clock.advance(60)
    path = f"{VIDEOS}/{created['id']}"
    answers = [
        await gateway.shop.get(path),
        await gateway.shop.get(VIDEOS),
        await gateway.shop.get(f"{path}/events"),
        await gateway.shop.post(f"{VIDEOS}/quote", json=BODY),
        await gateway.shop.post(VIDEOS, json=BODY),
        await gateway.shop.get(f"/foxapi/v1/tasks/{created['id']}"),
        await gateway.shop.get(f"/openrouter/v1/videos/{created['id']}"),
        await gateway.shop.get(f"/xai/v1/videos/{created['id']}"),
    ]
    for name in ("read_generation", "quote_generation"):
        arguments = {"id": created["id"]} if name == "read_generation" else BODY
        call = {"name": name, "arguments": {**arguments}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        answers.append(await gateway.shop.post("/mcp", json=body, headers={"mcp-protocol-version": "2025-06-18"}))
    view = answers[0].json()
    assert view["status"] == "completed", view
    assert not {"provider", "provider_model", "attempts", "usage"} & set(view)
    assert view["data"][0]["url"].startswith("http://gateway.test/")
    for answer in answers:
        assert answer.status_code == 200, answer.text
        text = answer.text.replace(BODY["model"], "")  # the name that the client itself has sent
        for word in ("cdn.example", "foxapi", "cost_usd", "0.5", "task-1", '"attempts"'):
            assert word not in text, (answer.request.url.path, word)
        assert "x-litellm-response-cost" not in answer.headers
    refused = await gateway.shop.get(f"{VIDEOS}?provider=foxapi")
    check_error(refused, 403, "not_shown", "provider")
    model = (await gateway.shop.get(f"/v1/models/{BODY['model']}")).json()
    assert not {"provider", "provider_model", "prices"} & set(model["routes"][0])
    seen = (await gateway.admin.get(f"{CLIENTS}/shop")).json()
    assert seen["sees"] == []
    body = {**BODY, "duration": 7}
    unfit = await gateway.shop.post(VIDEOS, json=body)
    assert unfit.json()["error"]["code"] == "unsupported_parameter"
    assert "foxapi" not in unfit.text


async def test_the_commands_do_the_same_over_the_admin_api(begin: Any) -> None:
    gateway = await begin()
    async for _ in serve(gateway):

        def run(*words: str, key: str = ADMIN) -> Result:
            environ = {"VIDEO_GATEWAY_URL": f"http://127.0.0.1:{gateway.port}", "VIDEO_GATEWAY_ADMIN_KEY": key}
            return CliRunner().invoke(cli, list(words), env=environ)

        def as_json(*words: str) -> Any:
            done = run(*words, "--json")
            assert done.exit_code == 0, done.output
            return json.loads(done.stdout)

        def work() -> None:
            made = as_json("clients", "create", "new", "--model=kling", "--open-generations=3", "--budget-day=5")
            assert (made["models"], made["open_generations"], made["budgets"]["day"]) == (["kling"], 3, 5.0)
            changed = as_json("clients", "change", "new", "--no-limit=models", "--requests-per-minute=60")
            assert (changed["models"], changed["requests_per_minute"], changed["open_generations"]) == ([], 60, 3)
            assert [client["name"] for client in as_json("clients", "list")["data"]] == ["new", "shop", "studio"]
            assert "studio (configuration) without limits" in run("clients", "list").stdout.splitlines()
            key = run("keys", "create", "new", "--label=a server", "--scope=read")
            assert key.stdout.startswith("vg_")
            [listed] = as_json("keys", "list", "new")["data"]
            assert (listed["label"], listed["scopes"], "key" in listed) == ("a server", ["read"], False)
            read = {"authorization": f"Bearer {key.stdout.strip()}"}
            assert httpx.get(f"http://127.0.0.1:{gateway.port}{VIDEOS}", headers=read).status_code == 200
            assert as_json("keys", "revoke", "new", listed["id"])["status"] == "revoked"
            assert httpx.get(f"http://127.0.0.1:{gateway.port}{VIDEOS}", headers=read).status_code == 401
            assert as_json("clients", "delete", "new")["deleted"] is True
            refused = run("clients", "delete", "shop")
            assert refused.exit_code == 2
            assert "409 conflict" in refused.stderr
            assert "[clients.shop]" in refused.stderr
            assert "needs an operator's key" in run("clients", "list", key="").stderr

        await asyncio.to_thread(work)
