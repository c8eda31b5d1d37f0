"""Budgets as clients meet them: what a create reserves, what is refused, and what is free again afterwards."""

import asyncio
from contextlib import closing
from typing import Any

import apsw
import pytest

VIDEOS = "/v1/videos/generations"
QUOTE = f"{VIDEOS}/quote"
FOX = "foxapi/kling-v3-text-to-video"
PRICED = """
[providers.foxapi.models.kling-v3-text-to-video]
prices = [{ per_clip = 0.5 }]
[providers.foxapi.models.kling-v3-image-to-video]
prices = [{ per_clip = 0.5 }]
[providers.keevx.models.V]
prices = [{ per_clip = 0.3 }]
[models.both]
routes = ["foxapi/kling-v3-image-to-video", "keevx/V"]
adapt = "nearest"
"""
BODY = {"model": FOX, "prompt": "A beach."}
BOTH = {"model": "both", "image": "https://a.example/1.png"}


def spending(gateway: Any, period: str = "total", owner: str = "") -> tuple[int, int, int]:
    """What is reserved, settled and perhaps billed, in millionths of a USD."""
    with closing(apsw.Connection(str(gateway.application.settings.database.path))) as database:
        statement = "select reserved, settled, maybe from spending where key = ? and period = ?"
        return database.execute(statement, (owner, period)).fetchone() or (0, 0, 0)


async def post(gateway: Any, **body: Any) -> Any:
    return await gateway.client.post(VIDEOS, json=BODY | body)


async def test_of_200_creates_at_once_exactly_those_fit_that_the_budget_has_room_for(start: Any) -> None:
    gateway = await start(f"budgets = {{ day = 5 }}\n{PRICED}")

    answers = await asyncio.gather(*(post(gateway) for _ in range(200)))

    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [402] * 190
    assert spending(gateway) == (5_000_000, 0, 0)
    assert spending(gateway, "2026-03-02") == (5_000_000, 0, 0)
    assert spending(gateway, "2026-03") == (5_000_000, 0, 0)
    assert gateway.rows()["generations"] == 10
    await gateway.finish()
    assert len(gateway.upstream.submits) == 10
    assert spending(gateway) == (0, 5_000_000, 0)


async def test_a_refusal_says_which_budget_what_is_left_and_what_helps(start: Any, check_error: Any) -> None:
    gateway = await start(f"budgets = {{ day = 0.8, month = 100 }}\n{PRICED}")
    await gateway.create(**BODY)

    answer = await post(gateway)

    check_error(answer, 402, "budget_exceeded", "max_cost")
    error = answer.json()["error"]
    assert error["budget"] == {
        "scope": "all",
        "period": "day",
        "limit_usd": 0.8,
        "left_usd": 0.3,
        "ends_at": 1772496000,
    }
    assert error["reserves_usd"] == 0.5
    assert error["message"] == (
        "This request may cost up to 0.5 USD, and the budget of all clients together of 0.8 USD a day has 0.3 USD"
        " left. Lower `max_cost`, ask for fewer outputs, or wait: the next day begins at 2026-03-03T00:00:00Z."
    )
    assert 43_000 < int(answer.headers["retry-after"]) <= 43_200
    never = await post(gateway, n=2)
    check_error(never, 402, "budget_exceeded", "max_cost")
    assert "can never fit" in never.json()["error"]["message"]
    assert "retry-after" not in never.headers
    assert gateway.rows()["generations"] == 1


async def test_a_month_renews_and_a_budget_in_all_never_does(start: Any, check_error: Any) -> None:
    gateway = await start(f"budgets = {{ month = 0.8, total = 1.2 }}\n{PRICED}")
    await gateway.create(**BODY)
    month = await post(gateway)
    assert "the next month begins at 2026-04-01T00:00:00Z" in check_error(month, 402, "budget_exceeded", "max_cost")
    assert 29 * 86_400 < int(month.headers["retry-after"]) <= 30 * 86_400
    total = await post(gateway, n=2)
    assert "never renews: only the operator can raise it" in check_error(total, 402, "budget_exceeded", "max_cost")
    assert "retry-after" not in total.headers


async def test_quote_reservation_and_settlement_are_the_same(start: Any) -> None:
    gateway = await start(f"budgets = {{ month = 10 }}\n{PRICED}")
    for at, (body, micros) in enumerate(
        [
            ({"n": 3}, 1_500_000),
            (BOTH | {"fallback": False}, 500_000),
            (BOTH | {"model": "keevx/V", "adapt": "nearest", "n": 2, "duration": 5}, 600_000),
        ]
    ):
        before = spending(gateway)
        quoted = (await gateway.client.post(QUOTE, json=BODY | body)).json()
        assert quoted["reserves_usd"] * 1_000_000 == micros, at
        assert quoted["budgets"][0]["left_usd"] * 1_000_000 == 10_000_000 - before[1], at
        gateway.upstream.word = "processing"
        assert (await post(gateway, **body)).status_code == 200
        assert spending(gateway) == (micros, before[1], 0), at
        await gateway.finish()
        assert spending(gateway) == (0, before[1] + micros, 0), at


async def test_every_route_of_the_plan_is_reserved_and_what_is_not_spent_is_free_again(start: Any) -> None:
    gateway = await start(f"budgets = {{ total = 0.9 }}\n{PRICED}")

    await gateway.create(**BODY | BOTH)

    assert spending(gateway) == (800_000, 0, 0), "both routes may be billed"
    assert (await post(gateway)).status_code == 402
    assert (await post(gateway, max_cost=1e305)).status_code == 402, "a limit beyond all prices changes nothing"
    await gateway.finish()
    assert spending(gateway) == (0, 500_000, 0), "only the first was"
    assert (await post(gateway, max_cost=0.3)).status_code == 422, "max_cost is below the price"
    assert (await post(gateway, **BOTH, max_cost=0.4)).status_code == 200


@pytest.mark.parametrize(
    ("price", "settled", "maybe"),
    [
        ("per_clip = 0.5", 500_000, 500_000),
        ("per_clip = 0.5, per_failure = 0", 0, 0),
        ("per_clip = 0.5, per_failure = 0.1", 100_000, 0),
    ],
)
async def test_a_failed_task_may_be_billed_until_prices_say_what_it_costs(
    start: Any, price: str, settled: int, maybe: int
) -> None:
    gateway = await start(f"[providers.foxapi.models.kling-v3-text-to-video]\nprices = [{{ {price} }}]")
    made = await gateway.create(**BODY)
    gateway.upstream.word = "failed"
    for _ in range(3):
        await gateway.clock.advance(40)
    answer = (await gateway.client.get(f"{VIDEOS}/{made['id']}")).json()
    assert answer["status"] == "failed"
    assert (answer["usage"]["cost_usd"], answer["usage"]["maybe_usd"]) == (settled / 1e6, maybe / 1e6)
    assert spending(gateway) == (0, settled, maybe)


async def test_a_repeat_reserves_nothing_and_is_answered_with_a_full_budget(start: Any) -> None:
    gateway = await start(f"budgets = {{ total = 0.5 }}\n{PRICED}")
    for _ in range(3):
        answer = await gateway.client.post(VIDEOS, json=BODY, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 200
    assert spending(gateway) == (500_000, 0, 0)


async def test_a_route_without_a_price_is_left_out_where_a_budget_holds(start: Any, check_error: Any) -> None:
    gateway = await start("budgets = { total = 5 }")
    answer = await post(gateway)
    check_error(answer, 422, "unsupported_parameter", "model")
    assert "has no price for this request, so your budget could not be kept" in answer.json()["error"]["message"]
    quoted = (await gateway.client.post(QUOTE, json=BODY)).json()
    assert (quoted["routes"], quoted["reserves_usd"]) == ([], None)


async def test_sums_are_kept_without_a_budget(start: Any) -> None:
    gateway = await start(PRICED)
    made = await gateway.create(**BODY)
    await gateway.other.post(VIDEOS, json=BODY)
    assert spending(gateway) == (1_000_000, 0, 0)
    owner = (await gateway.stored(made["id"])).owner
    assert spending(gateway, "2026-03-02", owner) == (500_000, 0, 0)
    await gateway.client.post(f"{VIDEOS}/{made['id']}/cancel")
    await gateway.clock.advance(1)
    reserved, settled, _ = spending(gateway, "total", owner)
    assert (reserved, settled) in {(0, 0), (0, 500_000)}, "a submit that has left may be billed"


async def test_a_client_has_a_budget_of_its_own_and_may_not_see_amounts(start: Any, check_error: Any) -> None:
    config = '[clients.shop]\nkeys = ["env:SHOP_KEY"]\nbudgets = { month = 0.7 }\nsees = []\n'
    key = "vg_" + "s" * 40
    gateway = await start(config + PRICED, environ={"SHOP_KEY": key})
    async with gateway.client_of(key) as shop:
        made = (await shop.post(VIDEOS, json=BODY)).json()
        refused = await shop.post(VIDEOS, json=BODY)
        message = check_error(refused, 402, "budget_exceeded", "max_cost", hidden=True)
        assert message.startswith("This request may cost more than your budget for a month has left. Lower `max_cost`")
        quoted = (await shop.post(QUOTE, json=BODY)).json()
        assert {"reserves_usd", "budgets", "cost_usd"}.isdisjoint(quoted)
        assert "USD" not in " ".join(quoted["summary"])
    assert spending(gateway, "2026-03", "client_shop") == (500_000, 0, 0)
    assert (await gateway.stored(made["id"])).owner == "client_shop"
    assert (await post(gateway)).status_code == 200, "the budget is that of another client"


async def test_a_quote_says_that_a_create_would_be_refused(start: Any) -> None:
    gateway = await start(f"budgets = {{ total = 0.9 }}\n{PRICED}")
    fits = (await gateway.client.post(QUOTE, json=BODY)).json()
    assert fits["summary"][-2:] == (
        ["A create reserves 0.5 USD.", "The budget of all clients together of 0.9 USD in all has 0.9 USD left."]
    )
    refused = (await gateway.client.post(QUOTE, json=BODY | {"n": 2})).json()
    assert refused["summary"][-1] == "That is not enough: a create would be refused."
    assert refused["budgets"] == [
        {"scope": "all", "period": "total", "limit_usd": 0.9, "left_usd": 0.9, "ends_at": None}
    ]
