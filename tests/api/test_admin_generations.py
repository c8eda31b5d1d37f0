"""`/v1/admin/generations`: operators list, read and cancel the generations of all clients."""

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import apsw
import httpx
import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.domain.adapter.task import Artifact

from .results import keep, kept_generation

ADMIN_KEY = "vg_" + "c" * 40
ADMIN, VIDEOS = "/v1/admin/generations", "/v1/videos/generations"
CONFIGURATION = """
server.admin_keys = ["env:TEST_ADMIN_KEY"]
[models.both]
routes = ["foxapi/kling-v3-text-to-video", "kling_relay/kling-v1-6"]
"""
SECRET = "a-secret-of-the-client"


@pytest_asyncio.fixture
async def gateway(start: Any) -> Any:
    return await start(CONFIGURATION, environ={"TEST_ADMIN_KEY": ADMIN_KEY})


@pytest_asyncio.fixture
async def admin(gateway: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client_of(ADMIN_KEY) as client:
        yield client


async def ids(admin: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await admin.get(ADMIN, params=params)
    assert answer.status_code == 200, answer.text
    return [entry["id"] for entry in answer.json()["data"]]


async def test_only_operators_see_the_generations_of_all(gateway: Any, admin: Any, check_error: Any) -> None:
    made = await gateway.create()
    calls = [
        ("GET", ""),
        ("GET", f"/{made['id']}"),
        ("GET", f"/{made['id']}/events"),
        ("POST", f"/{made['id']}/cancel"),
    ]
    async with gateway.client_of(None) as nobody:
        for method, path in calls:
            check_error(await nobody.request(method, ADMIN + path), 401, "invalid_api_key")
            check_error(await gateway.client.request(method, ADMIN + path), 403, "admin_required")
    assert await ids(admin) == [made["id"]]


async def test_operators_see_what_the_client_may_not_see(start: Any) -> None:
    shop = "vg_" + "s" * 40
    toml = CONFIGURATION + '[clients.shop]\nkeys = ["env:SHOP"]\nsees = []\n'
    gateway = await start(toml, environ={"TEST_ADMIN_KEY": ADMIN_KEY, "SHOP": shop})
    async with gateway.client_of(shop) as client, gateway.client_of(ADMIN_KEY) as admin:
        made = await gateway.create(client)
        await gateway.finish()
        own = (await client.get(f"{VIDEOS}/{made['id']}")).json()
        assert (own.get("provider"), own.get("attempts")) == (None, None)
        listed = (await admin.get(ADMIN, params={"client": "shop"})).json()["data"]
        for shown in (*listed, (await admin.get(f"{ADMIN}/{made['id']}")).json()):
            assert (shown["client"], shown["provider"], len(shown["attempts"])) == ("shop", "foxapi", 1)
            assert "cost_usd" in shown["usage"]


async def test_each_filter_finds_what_it_names_among_both_kinds_and_all_clients(gateway: Any, admin: Any) -> None:
    mine = await gateway.create(metadata={"order": "7"})
    image = (
        await gateway.client.post(
            "/v1/images/generations?async=true", json={"model": "keevx/image", "prompt": "A beach."}
        )
    ).json()
    gateway.upstream.refuse = httpx.Response(429, json={"error": {"code": "rate_limit", "message": "wait"}})
    fallback = await gateway.create(gateway.other, model="both")
    await gateway.clock.advance(1)
    gateway.upstream.refuse = None
    other = await gateway.create(gateway.other)
    assert (await admin.post(f"{ADMIN}/{other['id']}/cancel")).status_code == 200
    owners = {entry["id"]: entry["client"] for entry in (await admin.get(ADMIN)).json()["data"]}
    newest = [other["id"], fallback["id"], image["id"], mine["id"]]

    assert await ids(admin) == newest
    assert await ids(admin, order="asc") == newest[::-1]
    assert await ids(admin, limit=2, after=newest[0]) == newest[1:3]
    assert await ids(admin, limit=2, before=newest[3]) == newest[1:3]
    assert await ids(admin, kind="image") == [image["id"]]
    assert await ids(admin, client=owners[mine["id"]]) == [image["id"], mine["id"]]
    assert await ids(admin, client="shop") == []
    assert await ids(admin, status="cancelled") == [other["id"]]
    assert await ids(admin, model="both") == [fallback["id"]]
    assert await ids(admin, fallback="true") == [fallback["id"]]
    assert await ids(admin, fallback="true", client=owners[mine["id"]]) == []
    assert await ids(admin, created_before=4_000_000_000, created_after=0, kind="video") == [
        newest[0],
        newest[1],
        mine["id"],
    ]
    assert await ids(admin, **{"metadata[order]": "7"}, client=owners[mine["id"]], kind="video") == [mine["id"]]


async def test_a_submit_without_an_answer_is_found_as_doubtful_and_by_its_failure(gateway: Any, admin: Any) -> None:
    gateway.upstream.refuse = httpx.Response(504, text="<html>")
    doubtful = await gateway.create()
    await gateway.clock.advance(1)
    gateway.upstream.refuse = httpx.Response(400, json={"error": {"code": "content_policy", "message": "no"}})
    refused = await gateway.create()
    await gateway.clock.advance(1)

    assert await ids(admin, billed="maybe") == [doubtful["id"]]
    assert await ids(admin, failure_kind="ambiguous") == [doubtful["id"]]
    assert await ids(admin, failure_kind="submission_unknown") == [doubtful["id"]]
    assert (await admin.get(f"{ADMIN}/{refused['id']}")).json()["failure"] is not None
    assert await ids(admin, failure_kind="task_lost") == []


@pytest.mark.parametrize("archived", [True, False])
async def test_operators_see_links_of_providers_without_what_opens_them(
    gateway: Any, admin: Any, archived: bool
) -> None:
    link = f"https://cdn.example/a.mp4?X-Oss-Signature={SECRET}"
    artifact = Artifact(url=link, thumbnail_url=f"https://cdn.example/a.jpg?sig={SECRET}")
    owner = (await gateway.stored((await gateway.create())["id"])).owner
    made = kept_generation(owner, gateway.clock.now(), b"a video", artifact=artifact)
    if not archived:
        made = replace(made, outputs=(replace(made.outputs[0], kept=None),))
    await keep(gateway.application, made, b"a video")

    read, page = await admin.get(f"{ADMIN}/{made.id}"), await admin.get(ADMIN)

    assert SECRET not in read.text + page.text
    (output,) = read.json()["data"]
    assert output["provider_url"] == "https://cdn.example/a.mp4?hidden"
    assert output["thumbnail_url"] == "https://cdn.example/a.jpg?hidden"
    assert (output["url"] == "https://cdn.example/a.mp4?hidden") is not archived
    own = (await gateway.client.get(f"{VIDEOS}/{made.id}")).json()["data"][0]
    assert own["provider_url"] == link, "a client needs the whole link"


async def test_a_read_has_everything_that_is_stored_and_no_secret(gateway: Any, admin: Any) -> None:
    hook = f"https://client.example/hook?token={SECRET}"
    made = await gateway.create(
        gateway.other, model="both", webhook_url=hook, metadata={"see": f"https://x.example/a?sig={SECRET}"}
    )
    await gateway.finish()

    answer = await admin.get(f"{ADMIN}/{made['id']}")

    assert SECRET not in answer.text
    read = answer.json()
    stored = await gateway.stored(made["id"])
    assert (read["client"], read["kind"], read["status"]) == (stored.owner, "video", "completed")
    assert read["request"]["webhook_url"] == "https://client.example/hook?hidden"
    assert read["metadata"] == {"see": "https://x.example/a?hidden"}
    assert [(route["provider"], route["attempts"]) for route in read["plan"]["routes"]] == [
        ("foxapi", [1]),
        ("kling_relay", []),
    ]
    assert [(submit["id"], submit["billed"]) for submit in read["submits"]] == [(stored.attempts[0].id, "yes")]
    events = [event["type"] for event in read["events"]]
    assert (events[0], events[1], events[-1]) == ("attempt.reserved", "generation.queued", "generation.completed")
    listed = (await admin.get(f"/v1/admin/webhook_deliveries?generation={made['id']}")).json()["data"]
    assert read["deliveries"] == [entry["id"] for entry in listed]
    assert [entry["url"] for entry in listed] == ["https://client.example/hook?hidden"]
    assert len(listed) == 1
    attempts = (await admin.get(f"{ADMIN}/{made['id']}/attempts")).json()
    assert attempts == {"data": read["submits"], "has_more": False, "object": "list"}
    paged = (await admin.get(f"{ADMIN}/{made['id']}/events", params={"limit": 2})).json()
    assert (paged["data"], paged["has_more"]) == (read["events"][:2], True)
    after = paged["data"][-1]["id"]
    rest = (await admin.get(f"{ADMIN}/{made['id']}/events", params={"limit": 100, "after": after})).json()
    assert (paged["data"] + rest["data"], rest["has_more"]) == (read["events"], False)


async def test_a_cancel_is_the_clients_own_cancel(gateway: Any, admin: Any, check_error: Any) -> None:
    made = await gateway.create()
    await gateway.begin(made["id"])

    answer = await admin.post(f"{ADMIN}/{made['id']}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await gateway.client.get(f"{VIDEOS}/{made['id']}")).json()["cancellation"]["provider_started"]
    assert (await admin.post(f"{ADMIN}/{made['id']}/cancel")).status_code == 200, "again changes nothing"
    done = await gateway.create()
    await gateway.finish()
    check_error(await admin.post(f"{ADMIN}/{done['id']}/cancel"), 409, "conflict")
    check_error(await admin.post(f"{ADMIN}/gen_none/cancel"), 404, "not_found", "id")


BAD = {
    "kind": ("invalid_parameter", {"kind": "sound"}),
    "failure_kind": ("invalid_parameter", {"failure_kind": "expired"}),
    "fallback": ("invalid_parameter", {"fallback": "false"}),
    "billed": ("invalid_parameter", {"billed": "yes"}),
    "metadata": ("invalid_parameter", {"metadata[order]": "7"}),
    "after": ("invalid_parameter", {"after": "att_1"}),
    "client": ("invalid_parameter", {"client": "x" * 300}),
    "owner": ("unknown_parameter", {"owner": "shop"}),
}


async def test_a_bad_query_is_refused_with_its_name(gateway: Any, admin: Any, check_error: Any) -> None:
    for name, (code, params) in BAD.items():
        message = check_error(await admin.get(ADMIN, params=params), 400, code, name)
        assert f"`{name}" in message


async def test_the_columns_of_the_filters_follow_every_write_of_attempts(gateway: Any) -> None:
    """The triggers of the ledger keep them, also those of callbacks and operators."""
    path = str(gateway.application.settings.database.path)
    made = await gateway.create(model="both")
    await gateway.begin(made["id"])
    with closing(apsw.Connection(path)) as ledger:

        def columns() -> tuple[int, int]:
            ((fell_back, maybe),) = ledger.execute("select fell_back, maybe_billed from generations").fetchall()
            return fell_back, maybe

        copy = (
            "insert into attempts (id, generation_id, number, route, slots, state, form, reserved_at, tasks)"
            " select 'second', generation_id, 2, 1, slots, 'reserved', form, reserved_at, '[]' from attempts"
        )
        assert columns() == (0, 0)
        ledger.execute(copy)
        assert columns() == (1, 0), "a second route is being tried"
        ledger.execute("update attempts set billed = 'maybe' where id = 'second'")
        assert columns() == (1, 1)
        ledger.execute("update attempts set billed = null, state = 'not_sent' where id = 'second'")
        assert columns() == (0, 0), "it was dropped before it was sent"
