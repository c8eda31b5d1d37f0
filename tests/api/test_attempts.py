"""`/v1/admin/attempts`: access, the shape of an attempt, attaching, deciding, and what is refused."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.domain.errors import ConfigurationError

ADMIN_KEY = "vg_" + "c" * 40
ATTEMPTS = "/v1/admin/attempts"
NONE = f"{ATTEMPTS}/att_01JDKQ00000000000000000000_1"
HOLDING = """
server.admin_keys = ["env:TEST_ADMIN_KEY"]
[models.hero]
routes = ["foxapi/kling-v3-text-to-video"]
on_ambiguous = "hold"
[models.plain]
routes = ["foxapi/kling-v3-text-to-video"]
on_ambiguous = "fail"
[providers.foxapi.models.kling-v3-text-to-video]
prices = [{ per_clip = 0.5 }]
"""
PATHS = [
    ("GET", ATTEMPTS),
    ("GET", NONE),
    ("POST", f"{NONE}/attach"),
    ("POST", f"{NONE}/fail"),
    ("POST", f"{NONE}/resubmit"),
]


@pytest_asyncio.fixture
async def holding(start: Any) -> Any:
    """A gateway with an admin key, whose provider never gives a clear answer to a submit."""
    gateway = await start(HOLDING, environ={"TEST_ADMIN_KEY": ADMIN_KEY})
    gateway.upstream.refuse = httpx.Response(500, text="<html>Bad gateway</html>")
    return gateway


@pytest_asyncio.fixture
async def admin(holding: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with holding.client_of(ADMIN_KEY) as client:
        yield client


async def unknown(gateway: Any, model: str = "hero", client: Any = None) -> str:
    """Create a generation whose attempt becomes unknown; the id of the attempt."""
    made = await gateway.create(client, model=model, prompt="A very secret beach.")
    for _ in range(20):
        await gateway.clock.advance(1)
        attempts = (await gateway.stored(made["id"])).attempts
        if attempts and attempts[0].state == "unknown":
            return str(attempts[0].id)
    pytest.fail("no attempt is unknown")


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_only_operators_may_use_the_paths(
    holding: Any, admin: Any, check_error: Any, method: str, path: str
) -> None:
    async with holding.client_of(None) as nobody, holding.client_of("vg_unknown") as stranger:
        check_error(await nobody.request(method, path), 401, "invalid_api_key")
        check_error(await stranger.request(method, path), 401, "invalid_api_key")
    message = check_error(await holding.client.request(method, path), 403, "admin_required")
    assert "server.admin_keys" in message
    assert (await admin.request(method, path)).status_code not in {401, 403}


@pytest.mark.parametrize("path", ["/v1/videos/generations", "/v1/models"])
async def test_an_admin_key_on_a_client_s_path_is_refused_as_what_it_is(
    admin: Any, check_error: Any, path: str
) -> None:
    message = check_error(await admin.get(path), 401, "invalid_api_key")
    assert "yours is an admin key" in message
    assert "server.api_keys" in message


async def test_without_an_admin_key_no_client_may_use_them(gateway: Any, check_error: Any) -> None:
    check_error(await gateway.client.get(ATTEMPTS), 403, "admin_required")


async def test_without_keys_every_caller_on_this_machine_may_use_them(start: Any, check_error: Any) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None, "http://127.0.0.1") as here, gateway.client_of(None) as elsewhere:
        assert (await here.get(ATTEMPTS)).json() == {"object": "list", "data": [], "has_more": False}
        check_error(await elsewhere.get(ATTEMPTS), 403, "forbidden_host")


async def test_the_environment_variable_is_enough(start: Any) -> None:
    gateway = await start(environ={"VIDEO_GATEWAY_ADMIN_KEY": ADMIN_KEY})
    async with gateway.client_of(ADMIN_KEY) as admin:
        assert (await admin.get(ATTEMPTS)).status_code == 200


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            ["A", "A"],
            r"^server\.admin_keys\[1\]: .* twice, also as server\.admin_keys\[0\]; remove one$",
        ),
        (
            ["A", "TEST_OTHER_KEY"],
            r"^server\.admin_keys\[1\]: the same key is a client's, server\.api_keys\[1\]; use another one$",
        ),
    ],
)
async def test_a_key_cannot_be_listed_twice(start: Any, keys: list[str], message: str) -> None:
    listed = ", ".join(f'"env:{key}"' for key in keys)
    with pytest.raises(ConfigurationError, match=message):
        await start(f"server.admin_keys = [{listed}]", environ={"A": ADMIN_KEY})


async def test_a_short_admin_key_is_a_warning(start: Any) -> None:
    gateway = await start('server.admin_keys = ["env:A"]', environ={"A": "vg_short"})
    warnings = [warning for warning in gateway.application.settings.warnings if warning.startswith("server.")]
    assert warnings == [
        "server.admin_keys[0]: under 16 characters, which can be guessed; use a longer key",
    ]
    assert "vg_short" not in repr(gateway.application.settings)


async def test_an_attempt_as_operators_see_it(holding: Any, admin: Any) -> None:
    name = await unknown(holding)
    answer = await admin.get(f"{ATTEMPTS}/{name}")
    stored = await holding.stored("gen_" + name[4:30])
    attempt = stored.attempts[0]
    ended = int(attempt.ended_at.timestamp())
    assert answer.json() == {
        "object": "attempt",
        "id": name,
        "generation": stored.id,
        "generation_status": "queued",
        "client": stored.owner,
        "number": 1,
        "provider": "foxapi",
        "provider_model": "kling-v3-text-to-video",
        "status": "unknown",
        "failure": "ambiguous",
        "message": attempt.failure.message,
        "upstream_code": "500",
        "tasks": [],
        "sent_at": int(attempt.sent_at.timestamp()),
        "ended_at": ended,
        "deadline_at": int(stored.deadline_at.timestamp()),
        "held": True,
        "decision": None,
        "resubmit_after": ended + 600,
        "billed": "maybe",
        "cost_usd": 0.5,
        "upstream": attempt.upstream
        and {
            "status": attempt.upstream.status,
            "request_id": attempt.upstream.request_id,
            "message": attempt.upstream.message,
            "charge": None,
        },
    }
    assert "secret" not in answer.text
    assert holding.key not in answer.text


async def test_the_list_has_all_keys_and_begins_with_the_oldest(holding: Any, admin: Any) -> None:
    held = [await unknown(holding, client=client) for client in (holding.client, holding.other, holding.client)]
    failed = await unknown(holding, "plain")
    held.append(await unknown(holding))

    async def listed(**params: Any) -> tuple[list[str], bool]:
        page = (await admin.get(ATTEMPTS, params=params)).json()
        return [attempt["id"] for attempt in page["data"]], page["has_more"]

    assert await listed() == await listed(state="held") == (held, False)
    assert await listed(state="unknown") == ([*held[:3], failed, held[3]], False)
    assert await listed(limit=3) == (held[:3], True)
    assert await listed(limit=3, after=held[2]) == (held[3:], False)
    assert await listed(limit=4) == (held, False)
    assert await listed(state="unknown", after=held[2]) == ([failed, held[3]], False)
    assert await listed(after=held[3]) == ([], False)


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({"state": "failed"}, "invalid_parameter", "state"),
        ({"limit": "0"}, "invalid_parameter", "limit"),
        ({"limit": "101"}, "invalid_parameter", "limit"),
        ({"after": "gen_01JDKQ00000000000000000000"}, "invalid_parameter", "after"),
        ({"key": "x"}, "unknown_parameter", "key"),
    ],
)
async def test_queries_that_are_refused(admin: Any, query: Any, code: str, param: str) -> None:
    response = await admin.get(ATTEMPTS, params=query)
    assert response.status_code == 400
    assert (response.json()["error"]["code"], response.json()["error"]["param"]) == (code, param)


@pytest.mark.parametrize("name", ["x", "att_", "att_01JDKQ00000000000000000000_1", "gen_01JDKQ00000000000000000000"])
@pytest.mark.parametrize("what", ["", "/attach", "/fail", "/resubmit"])
async def test_an_attempt_that_does_not_exist(admin: Any, check_error: Any, name: str, what: str) -> None:
    body = {"json": {"task_id": "t"}} if what == "/attach" else {}
    response = await admin.request("POST" if what else "GET", f"{ATTEMPTS}/{name}{what}", **body)
    check_error(response, 404, "not_found", "id")


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_parameter", "task_id"),
        ({"task_id": "t", "task_ids": ["t"]}, "invalid_parameter", "task_id"),
        ({"task_id": ""}, "invalid_parameter", "task_id"),
        ({"task_id": "  "}, "invalid_parameter", "task_id"),
        ({"task_id": 7}, "invalid_parameter", "task_id"),
        ({"task_id": "t" * 513}, "invalid_parameter", "task_id"),
        ({"task_id": "a\nb"}, "invalid_parameter", "task_id"),
        ({"task_ids": []}, "invalid_parameter", "task_ids"),
        ({"task_ids": "t"}, "invalid_parameter", "task_ids"),
        ({"task_ids": ["t", "t"]}, "invalid_parameter", "task_ids"),
        ({"task_ids": [str(number) for number in range(65)]}, "invalid_parameter", "task_ids"),
        ({"task": "t"}, "unknown_parameter", "task"),
    ],
)
async def test_bodies_that_are_refused(holding: Any, admin: Any, body: Any, code: str, param: str) -> None:
    name = await unknown(holding)
    refused = await admin.post(f"{ATTEMPTS}/{name}/attach", json=body)
    assert refused.status_code == 400
    assert (refused.json()["error"]["code"], refused.json()["error"]["param"]) == (code, param)
    assert (await admin.get(f"{ATTEMPTS}/{name}")).json()["status"] == "unknown"


async def test_a_decision_takes_no_body_but_an_empty_one(holding: Any, admin: Any, check_error: Any) -> None:
    bare, empty, filled = [await unknown(holding) for _ in range(3)]
    refused = await admin.post(f"{ATTEMPTS}/{filled}/fail", json={"task_id": "t"})
    check_error(refused, 400, "unknown_parameter", "task_id")
    assert (await admin.post(f"{ATTEMPTS}/{bare}/fail")).json()["decision"] == "fail"
    assert (await admin.post(f"{ATTEMPTS}/{empty}/resubmit", json={})).json()["decision"] == "resubmit"
    assert [attempt["id"] for attempt in (await admin.get(ATTEMPTS)).json()["data"]] == [filled]


async def test_attach_stores_the_task_appends_an_event_and_polls(holding: Any, admin: Any) -> None:
    name = await unknown(holding)
    answer = await admin.post(f"{ATTEMPTS}/{name}/attach", json={"task_id": "t" * 256})
    assert (answer.json()["status"], answer.json()["tasks"]) == ("accepted", ["t" * 256])
    stored = await holding.stored("gen_" + name[4:30])
    assert [task.ref.id for task in stored.attempts[0].tasks] == ["t" * 256]
    events = [event.type for event in await holding.application.store.events(stored.id)]
    assert events.count("attempt.accepted") == 1
    await holding.finish()
    assert (await holding.stored(stored.id)).status == "completed"
    assert len(holding.upstream.submits) == 1


async def test_an_attempt_that_is_not_held_cannot_be_decided(holding: Any, admin: Any, check_error: Any) -> None:
    name = await unknown(holding, "plain")
    for what in ("fail", "resubmit"):
        message = check_error(await admin.post(f"{ATTEMPTS}/{name}/{what}"), 409, "conflict")
        assert "not held" in message


async def test_a_decision_is_repeated_when_a_driver_writes_at_the_same_time(holding: Any, admin: Any) -> None:
    name = await unknown(holding)
    store = holding.application.store
    write, calls = store.write, []

    async def overtaken(generation: Any, writes: Any, now: Any) -> Any:
        calls.append(generation.version)
        return None if len(calls) == 1 else await write(generation, writes, now)

    store.write = overtaken
    assert (await admin.post(f"{ATTEMPTS}/{name}/resubmit")).json()["decision"] == "resubmit"
    assert len(calls) == 2


async def test_a_task_of_a_provider_that_is_not_configured_is_refused(
    holding: Any, admin: Any, check_error: Any
) -> None:
    name = await unknown(holding)
    del holding.application.providers["foxapi"]
    refused = await admin.post(f"{ATTEMPTS}/{name}/attach", json={"task_id": "t"})
    assert "foxapi is not configured" in check_error(refused, 409, "conflict")
