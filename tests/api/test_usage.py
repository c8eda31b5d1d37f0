"""`/v1/usage` and `/v1/admin/usage`: the sums of what the generations show."""

import csv
import io
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import date
from typing import Any

import httpx
import pytest_asyncio

from gateway.api.usage import controller
from gateway.api.usage.csv_text import csv_of
from gateway.api.usage.views import usage_view
from gateway.domain.adapter.task import Status
from gateway.domain.usage.contribution import Counts
from gateway.domain.usd import micros
from gateway.store.usage import UsageQuery, UsageRow

from .conftest import KEY, OTHER_KEY, VIDEOS

ADMIN_KEY = "vg_" + "c" * 40
USAGE, ADMIN_USAGE = "/v1/usage", "/v1/admin/usage"
TODAY = "2026-03-02"
FOX, RELAY = "foxapi/kling-v3-text-to-video", "kling_relay/kling-v1-6"
PRICED = """
server.admin_keys = ["env:TEST_ADMIN_KEY"]
[models.hero]
routes = ["foxapi/kling-v3-text-to-video", "kling_relay/kling-v1-6"]
[providers.foxapi.models.kling-v3-text-to-video]
prices = [{ per_clip = 0.1 }]
[providers.kling_relay.models."kling-v1-6"]
prices = [{ per_second = 0.07, per_failure = 0.01 }]
"""


@pytest_asyncio.fixture
async def priced(start: Any) -> Any:
    return await start(PRICED, environ={"TEST_ADMIN_KEY": ADMIN_KEY})


@pytest_asyncio.fixture
async def admin(priced: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with priced.client_of(ADMIN_KEY) as client:
        yield client


async def history(gateway: Any) -> dict[str, list[dict[str, Any]]]:
    """Random generations of two keys, as they show themselves at the end or before their delete; by key."""
    dice = random.Random(16)  # a history, not a secret
    clients = {KEY: gateway.client, OTHER_KEY: gateway.other}
    shown: dict[str, list[dict[str, Any]]] = {KEY: [], OTHER_KEY: []}

    async def create() -> tuple[str, str]:
        key = dice.choice([KEY, KEY, OTHER_KEY])
        model, count = dice.choice([FOX, RELAY, "hero"]), dice.choice([1, 1, 2])
        made = await gateway.create(clients[key], model=model, n=count, duration=5, metadata={"order": "hush"})
        return key, made["id"]

    for word in ("completed", "failed"):
        gateway.upstream.word = "processing"
        made = [await create() for _ in range(6)]
        for key, generation_id in made:
            if not dice.randrange(4):
                await gateway.begin(generation_id)
                await clients[key].post(f"{VIDEOS}/{generation_id}/cancel")
        await gateway.finish(word)
        for key, generation_id in made:
            shown[key].append((await clients[key].get(f"{VIDEOS}/{generation_id}")).json())
            if not dice.randrange(3):
                assert (await clients[key].delete(f"{VIDEOS}/{generation_id}")).status_code == 200
    gateway.upstream.word = "processing"
    for _ in range(2):
        key, generation_id = await create()
        await gateway.begin(generation_id)
        shown[key].append((await clients[key].get(f"{VIDEOS}/{generation_id}")).json())
    return shown


def sums(generations: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the generations show, added up as a client would."""
    total: Counter[str] = Counter()
    for generation in generations:
        is_open = generation["status"] in {"queued", "in_progress"}
        usage = {"cost_usd": 0.0, "maybe_usd": 0.0} if is_open else generation["usage"]
        total["generations"] += 1
        total[generation["status"]] += 1
        total["attempts"] += len(generation["attempts"])
        total["fallbacks"] += len({attempt["provider"] for attempt in generation["attempts"]}) > 1
        total["cost_usd"] += micros(usage["cost_usd"])
        total["maybe_usd"] += micros(usage["maybe_usd"])
        for output in generation["data"]:
            if output["status"] == "completed":
                total["outputs"] += 1
                total["seconds"] += output["duration"]
    return {name: value for name, value in total.items() if value}


def read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers of an answer."""
    names = ["generations", *map(str, Status), "attempts", "fallbacks", "outputs"]
    plain = {name: row[name] for name in (*names, "seconds")}
    money = {name: micros(row[name]) for name in ("cost_usd", "maybe_usd")}
    return {name: value for name, value in (plain | money).items() if value}


async def test_the_sums_are_those_of_a_random_history(priced: Any, admin: Any) -> None:
    shown = await history(priced)
    everything = [*shown[KEY], *shown[OTHER_KEY]]
    assert {generation["status"] for generation in everything} >= {"completed", "failed", "cancelled", "in_progress"}

    for client, key in ((priced.client, KEY), (priced.other, OTHER_KEY)):
        answer = await client.get(USAGE, params={"group_by": "model"})
        assert "hush" not in answer.text
        wanted = {
            model: sums(generation for generation in shown[key] if generation["model"] == model)
            for model in {generation["model"] for generation in shown[key]}
        }
        assert {row["model"]: read(row) for row in answer.json()["data"]} == wanted
        assert read(answer.json()["total"]) == sums(shown[key])

    answer = (await admin.get(ADMIN_USAGE, params={"group_by": "client,day"})).json()
    assert [row["day"] for row in answer["data"]] == [TODAY] * 2
    assert [read(row) for row in answer["data"]] in (
        [sums(shown[KEY]), sums(shown[OTHER_KEY])],
        [sums(shown[OTHER_KEY]), sums(shown[KEY])],
    )
    assert read(answer["total"]) == sums(everything)
    first = answer["data"][0]["client"]
    of_one = (await admin.get(ADMIN_USAGE, params={"client": first, "group_by": "provider"})).json()
    assert of_one["total"] == {
        name: value for name, value in answer["data"][0].items() if name not in {"client", "day"}
    }
    assert sum(row["attempts"] for row in of_one["data"]) == answer["data"][0]["attempts"]

    total = answer["total"]
    ended = total["generations"] - total["in_progress"]
    assert total["success_rate"] == round(total["completed"] / ended, 4)
    took = sorted(
        generation["completed_at"] - generation["created_at"]
        for generation in everything
        if generation["status"] == "completed"
    )
    assert abs(total["p50_seconds"] - took[(len(took) - 1) // 2]) <= 1 + 0.03 * took[-1]
    assert total["p95_seconds"] >= total["p50_seconds"] > 0
    assert total["reserved_usd"] > 0
    assert total["unpriced"] == 0


async def test_days_models_and_providers_limit_the_sums(priced: Any) -> None:
    await priced.create()
    await priced.create(model=RELAY, duration=5)
    for params, generations in (
        ({}, 2),
        ({"from": TODAY, "to": TODAY}, 2),
        ({"to": "2026-03-01"}, 0),
        ({"from": "2026-03-03", "to": "2027-04-05"}, 0),
        ({"model": FOX}, 1),
        ({"model": "no such model"}, 0),
        ({"provider": "kling_relay"}, 1),
        ({"provider": "kling_relay", "model": FOX}, 0),
    ):
        answer = (await priced.client.get(USAGE, params=params)).json()
        assert answer["total"]["generations"] == generations, params
        assert len(answer["data"]) == bool(generations)
        assert (answer["total"]["success_rate"], answer["total"]["p50_seconds"]) == (None, None)


async def test_bad_questions_are_answered_with_the_remedy(
    priced: Any, admin: Any, check_error: Any, monkeypatch: Any
) -> None:
    for params, param, words in (
        ({"from": "2026-3-2"}, "from", "such as 2026-05-17"),
        ({"to": "2026-02-30"}, "to", "such as 2026-05-17"),
        ({"to": "0001-01-01"}, "to", "from 1970 on"),
        ({"from": "2026-03-03"}, "from", "must not be after `to`, which is 2026-03-02"),
        ({"from": "2025-01-25", "to": "2026-03-01"}, "from", "at most 400 days"),
        ({"group_by": "client"}, "group_by", "one or more of day, model, provider"),
        ({"group_by": "day,day"}, "group_by", "each once"),
        ({"group_by": ""}, "group_by", "one or more"),
        ({"format": "xml"}, "format", "json, csv"),
        ({"model": "x" * 257}, "model", "at most 256"),
    ):
        assert words in check_error(await priced.client.get(USAGE, params=params), 400, "invalid_parameter", param)
    check_error(await priced.client.get(USAGE, params={"client": "x"}), 400, "unknown_parameter", "client")
    check_error(await priced.client.get(ADMIN_USAGE), 403, "admin_required")
    async with priced.client_of(None) as nobody:
        check_error(await nobody.get(USAGE), 401, "invalid_api_key")

    await priced.create()
    await priced.create(model=RELAY, duration=5)
    monkeypatch.setattr(controller, "ROWS_MAX", 1)
    answer = await admin.get(ADMIN_USAGE, params={"group_by": "model"})
    assert "more than 1 rows" in check_error(answer, 400, "invalid_parameter", "group_by")


async def test_csv_comes_by_format_or_by_accept(priced: Any) -> None:
    await priced.begin((await priced.create())["id"])
    by_format = await priced.client.get(USAGE, params={"format": "csv", "group_by": "model,day"})
    by_accept = await priced.client.get(
        USAGE, params={"group_by": "model,day"}, headers={"accept": "text/csv;q=0.9, application/json;q=0.5"}
    )
    assert by_format.content == by_accept.content
    assert by_format.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    assert by_format.headers["content-disposition"] == f'attachment; filename="usage-2026-02-01-{TODAY}.csv"'
    assert by_format.content.endswith(b"\r\n")
    head, row, total = csv.reader(io.StringIO(by_format.text, newline=""))
    assert (head[:6], row[:6], total[:6]) == (
        ["row", "day", "model", "generations", "queued", "in_progress"],
        ["group", TODAY, FOX, "1", "0", "1"],
        ["total", "", "", "1", "0", "1"],
    )
    for accept in ("*/*", "application/json, text/csv;q=0.9", "text/html"):
        answer = await priced.client.get(USAGE, headers={"accept": accept})
        assert answer.headers["content-type"] == "application/json"


async def test_a_client_reads_nothing_that_it_may_not_see(start: Any, check_error: Any) -> None:
    toml = '[clients.shop]\nkeys = ["env:SHOP_KEY"]\nsees = []\n'
    gateway = await start(PRICED + toml, environ={"TEST_ADMIN_KEY": ADMIN_KEY, "SHOP_KEY": "vg_" + "s" * 40})
    async with gateway.client_of("vg_" + "s" * 40) as shop:
        await gateway.create(shop)
        answer = (await shop.get(USAGE)).json()
        for row in (*answer["data"], answer["total"]):
            assert (row["generations"], row["cost_usd"], row["reserved_usd"], row["attempts"]) == (1, None, None, None)
        check_error(await shop.get(USAGE, params={"group_by": "provider"}), 400, "invalid_parameter", "group_by")
        check_error(await shop.get(USAGE, params={"provider": "foxapi"}), 400, "invalid_parameter", "provider")
    async with gateway.client_of(ADMIN_KEY) as admin:
        (row,) = (await admin.get(ADMIN_USAGE, params={"group_by": "client"})).json()["data"]
        assert (row["client"], row["attempts"] is None) == ("shop", False)
        for client in ("shop", "client_shop"):  # by the name as it is shown, or by the owner id
            read = await admin.get(ADMIN_USAGE, params={"client": client, "group_by": "client"})
            assert read.json()["data"] == [row]


def test_a_cell_is_never_a_formula_of_a_spreadsheet() -> None:
    query = UsageQuery(first_day=date(2026, 3, 2), last_day=date(2026, 3, 2), group_by=("client", "model"))
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", 'a"b', "a,b", "plain-2"]
    rows = [UsageRow(counts=Counts(queued=1), client="client_a", model=name) for name in names]
    text = csv_of(usage_view(query, rows, None))
    read = [row[2] for row in csv.reader(io.StringIO(text, newline=""))][1:-1]
    assert read == [f"'{name}" for name in names[:8]] + names[8:]
