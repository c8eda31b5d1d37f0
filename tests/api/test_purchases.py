"""`/v1/admin/purchases`: of a deleted generation only the attempts that may have been billed remain."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest_asyncio

ADMIN_KEY = "vg_" + "c" * 40
PURCHASES = "/v1/admin/purchases"
VIDEOS = "/v1/videos/generations"
PRICED = """
server.admin_keys = ["env:TEST_ADMIN_KEY"]
server.public_url = "https://gw.example"
[providers.foxapi.models.kling-v3-text-to-video]
prices = [{ per_clip = 0.5 }]
"""


@pytest_asyncio.fixture
async def priced(start: Any) -> Any:
    return await start(PRICED, environ={"TEST_ADMIN_KEY": ADMIN_KEY})


@pytest_asyncio.fixture
async def admin(priced: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with priced.client_of(ADMIN_KEY) as client:
        yield client


async def deleted(gateway: Any, **body: Any) -> Any:
    """Complete and delete a generation; returns it as it was before."""
    made = await gateway.create(**body)
    await gateway.finish()
    generation = await gateway.stored(made["id"])
    assert (await gateway.client.delete(f"{VIDEOS}/{made['id']}")).status_code == 200
    return generation


async def test_only_operators_may_read_purchases(priced: Any, admin: Any, check_error: Any) -> None:
    async with priced.client_of(None) as nobody:
        check_error(await nobody.get(PURCHASES), 401, "invalid_api_key")
    check_error(await priced.client.get(PURCHASES), 403, "admin_required")
    assert (await admin.get(PURCHASES)).json() == {"data": [], "has_more": False, "object": "list"}


async def test_a_deleted_generation_leaves_what_it_cost_and_where(priced: Any, admin: Any) -> None:
    generation = await deleted(priced, prompt="hush", metadata={"order": "hush"}, user="hush", n=2)

    answer = await admin.get(PURCHASES, params={"generation": generation.id})

    assert "hush" not in answer.text
    rows = answer.json()["data"]
    assert {row["generation"] for row in rows} == {generation.id}
    assert sum(row["cost_usd"] for row in rows) == 1.0
    assert [row["id"] for row in rows] == [attempt.id for attempt in generation.attempts]
    assert {(row["provider"], row["provider_model"], row["billed"]) for row in rows} == {
        ("foxapi", "kling-v3-text-to-video", "yes")
    }
    assert [row["tasks"] for row in rows] == [
        [task.ref.id for task in attempt.tasks] for attempt in generation.attempts
    ]


async def test_purchases_are_paged(priced: Any, admin: Any, check_error: Any) -> None:
    ids = [(await deleted(priced)).attempts[0].id for _ in range(3)]

    first = (await admin.get(PURCHASES, params={"limit": "2"})).json()
    second = (await admin.get(PURCHASES, params={"limit": "2", "after": first["data"][-1]["id"]})).json()

    assert ([row["id"] for row in first["data"] + second["data"]], first["has_more"], second["has_more"]) == (
        ids,
        True,
        False,
    )
    check_error(await admin.get(PURCHASES, params={"after": "x"}), 400, "invalid_parameter", "after")
    check_error(await admin.get(PURCHASES, params={"generation": "x"}), 400, "invalid_parameter", "generation")


async def test_a_callback_after_the_delete_is_accepted(priced: Any) -> None:
    generation = await deleted(priced)
    context = priced.application.litestar.state["context"]
    token = context.callback_urls.url(priced.application.providers["keevx"], generation.attempts[0].id)

    body = json.dumps({"task_id": "i2v-late", "status": "SUCCESS"})
    answer = await priced.client.post(token.removeprefix("https://gw.example"), content=body)

    assert answer.status_code == 200
    assert priced.rows()["generations"] == 0
