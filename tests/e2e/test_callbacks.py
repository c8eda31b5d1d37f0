"""Callbacks over real HTTP: when tasks are polled, which tasks are adopted, and that nothing is paid for twice."""

import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import uvicorn

from .conftest import IMAGE_URL, T0, CountingTransport, Gateway

KEEVX, FOXAPI = "keevx/V", "foxapi/kling-v3-image-to-video"
BODY = {"model": "m", "image": IMAGE_URL}
SELDOM = {"first_poll_seconds": 900, "poll_seconds": 900, "poll_max_seconds": 900}


@pytest.fixture
async def called(idle: Gateway) -> AsyncIterator[Gateway]:
    """A gateway that is not started yet. It listens on its public URL, where providers call, and it polls seldom."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await idle.app.asgi(scope, receive, send)

    config = uvicorn.Config(asgi, http="httptools", lifespan="off", log_config=None, access_log=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    transport = CountingTransport(httpx.AsyncHTTPTransport(), idle.traffic)
    # With IPPROTO_TCP the event loop sets TCP_NODELAY. Otherwise an answer waits until the one before is acknowledged.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        idle.public_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        idle.providers["keevx"] = {**SELDOM}
        idle.route(KEEVX)
        await server.startup(sockets=[listening])
        async with httpx.AsyncClient(transport=transport) as client:
            idle.sandbox.app._callbacks.client = client
            yield idle
            await idle.sandbox.app._callbacks.close()
        server.force_exit = True
        await server.shutdown(sockets=[listening])


# Seconds: three polls of Keevx, because a test may have used one before it waits; far fewer than SELDOM polls take.
STEPS = 100


async def made(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    """Make a generation and let it end. The clock moves second by second, because callbacks need no timer."""
    return await ended(gateway, (await gateway.post(**BODY, **changes))["id"])


async def ended(gateway: Gateway, generation_id: str) -> dict[str, Any]:
    for _ in range(STEPS):
        await gateway.traffic.settle()
        if (await gateway.stored(generation_id)).status.terminal:
            await gateway.traffic.settle()
            return await gateway.get(generation_id)
        gateway.clock.move_on(1)
    pytest.fail("it does not end")


def outcomes(gateway: Gateway) -> list[Any]:
    return [callback["outcome"] for callback in gateway.sandbox.state.callbacks]


def passed(gateway: Gateway) -> float:
    """Seconds on the gateway's clock since the start of the test."""
    return gateway.clock.now().timestamp() - T0


async def again(gateway: Gateway, count: int = 1, at: int = 0, **changes: Any) -> list[int]:
    """Send a callback of the sandbox again, `count` times, with `changes` to its data. Returns the HTTP statuses."""
    sent = gateway.sandbox.state.callbacks[at]
    client = gateway.sandbox.app._callbacks.client
    body = {**sent["body"], "data": {**sent["body"]["data"], **changes}}
    answers = [await client.post(sent["url"], json=body) for _ in range(count)]
    await gateway.traffic.settle()
    return [answer.status_code for answer in answers]


async def test_a_callback_ends_the_wait_for_the_next_poll(called: Gateway) -> None:
    await called.start()
    generation = await made(called)
    assert generation["status"] == "completed"
    assert passed(called) < 7
    assert called.received("keevx", "poll") == 1
    assert outcomes(called) == [200]


async def test_without_a_callback_polls_bring_the_result(called: Gateway) -> None:
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "callback", "none")
    generation = await made(called)
    assert (generation["status"], outcomes(called)) == ("completed", [])
    assert 27 <= passed(called) < 31


@pytest.mark.parametrize("fault", ["duplicated", "early"])
async def test_callbacks_that_come_twice_or_before_the_reply_are_one_result(called: Gateway, fault: str) -> None:
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "callback", fault)
    generation = await made(called)
    await called.traffic.settle()
    assert (generation["status"], len(generation["data"]), called.paid) == ("completed", 1, {"keevx": 1})
    assert set(outcomes(called)) == {200}


async def test_the_contents_of_a_callback_are_not_trusted(called: Gateway) -> None:
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "callback", "forged", task_id="i2v-of-nobody", after=0.5)
    post = await called.post(**BODY)
    await called.clock.run_for(1)
    assert (outcomes(called), (await called.get(post["id"]))["status"]) == ([200], "in_progress")
    generation = await ended(called, post["id"])
    assert (generation["status"], generation["attempts"][0]["tasks"]) == ("completed", list(called.sandbox.state.tasks))
    assert "169.254" not in str(generation)


@pytest.mark.parametrize("policy", ["fall_back", "hold"])
async def test_a_lost_reply_with_an_early_callback_is_one_purchase(called: Gateway, policy: str) -> None:
    called.route(KEEVX, FOXAPI, on_ambiguous=policy)
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "callback", "early")
    called.sandbox.fault("keevx", "submit", "close_after_accept")
    generation = await made(called)
    assert (generation["status"], generation["provider"]) == ("completed", "keevx")
    assert (called.submits, called.paid) == ({"keevx": 1}, {"keevx": 1})
    assert [attempt["tasks"] for attempt in generation["attempts"]] == [list(called.sandbox.state.tasks)]


async def test_a_refusal_after_an_early_callback_buys_nothing_elsewhere(called: Gateway) -> None:
    called.route(KEEVX, FOXAPI)
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "callback", "early")
    called.sandbox.fault("keevx", "submit", "error_after_accept", status=429)
    generation = await made(called)
    assert (generation["status"], generation["provider"]) == ("completed", "keevx")
    assert (called.submits, called.paid) == ({"keevx": 1}, {"keevx": 1})
    assert [attempt["tasks"] for attempt in generation["attempts"]] == [list(called.sandbox.state.tasks)]


@pytest.mark.parametrize("policy", ["fall_back", "hold"])
@pytest.mark.parametrize("fault", [("close_after_accept", {}), ("530003", {"started": 1})], ids=lambda case: case[0])
async def test_the_task_of_a_lost_reply_is_adopted_from_its_final_callback(
    called: Gateway, policy: str, fault: tuple[str, dict[str, Any]]
) -> None:
    called.route(KEEVX, on_ambiguous=policy)
    await called.start()
    called.sandbox.fault("keevx", "submit", fault[0], **fault[1])
    post = await called.post(**BODY)
    before = await called.until_state(post["id"], "unknown")
    assert before.attempts[0].tasks == ()
    generation = await ended(called, post["id"])
    assert called.submits == called.paid == {"keevx": 1}
    assert generation["attempts"][0]["tasks"] == list(called.sandbox.state.tasks)
    assert (generation["status"], generation["data"][0]["status"]) == ("completed", "completed")
    assert passed(called) < 8


async def test_a_callback_is_waited_for_until_the_attempt_times_out(called: Gateway) -> None:
    called.route(KEEVX)
    called.providers["keevx"] = {**SELDOM, "attempt_timeout_seconds": 300}
    await called.start()
    called.sandbox.fault("keevx", "submit", "close")  # no task was started, so no callback comes
    post = await called.post(**BODY)
    await called.clock.run_for(290)
    assert (await called.get(post["id"]))["status"] == "queued"
    await called.clock.run_for(15)
    generation = await called.get(post["id"])
    assert (generation["status"], generation["error"]["code"]) == ("failed", "submission_unknown")
    assert called.submits == {"keevx": 1}


async def test_no_callback_is_waited_for_where_the_policy_is_to_fail(called: Gateway) -> None:
    called.route(KEEVX, on_ambiguous="fail")
    await called.start()
    called.sandbox.fault("keevx", "submit", "close_after_accept")
    post = await called.post(**BODY)
    await called.until_state(post["id"], "unknown")
    generation = await later(called, post["id"])
    assert (generation["status"], generation["error"]["code"]) == ("failed", "submission_unknown")
    assert generation["attempts"][0]["tasks"] == list(called.sandbox.state.tasks)


async def later(gateway: Gateway, generation_id: str) -> dict[str, Any]:
    """The generation after its end and after a callback that came later than that."""
    await gateway.clock.run_for(10)
    return await gateway.get(generation_id)


async def test_a_late_result_is_used_if_no_other_result_came_first(called: Gateway) -> None:
    called.route(KEEVX, FOXAPI)
    await called.start()
    called.sandbox.fault("keevx", "submit", "close_after_accept")
    called.sandbox.fault("foxapi", "submit", "slow_task", seconds=300)
    generation = await made(called)
    assert (generation["status"], generation["provider"]) == ("completed", "keevx")
    assert called.submits == {"keevx": 1, "foxapi": 1}
    assert passed(called) < 12
    assert [attempt["status"] for attempt in generation["attempts"]] == ["completed", "cancelled"]


async def test_every_task_of_a_lost_reply_is_adopted(called: Gateway) -> None:
    called.route(KEEVX, on_ambiguous="hold")
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "submit", "close_after_accept")
    called.sandbox.fault("keevx", "callback", "early", times=2)
    generation = await made(called, n=2)
    assert (generation["status"], [output["status"] for output in generation["data"]]) == (
        "completed",
        ["completed"] * 2,
    )
    assert sorted(generation["attempts"][0]["tasks"]) == sorted(called.sandbox.state.tasks)
    assert called.submits == {"keevx": 1}


async def test_a_callback_that_came_before_a_crash_is_found_after_it(called: Gateway) -> None:
    called.route(KEEVX, FOXAPI)
    called.providers["keevx"] = {}
    await called.start()
    called.sandbox.fault("keevx", "callback", "early")
    called.sandbox.fault("keevx", "submit", "hang_after_accept")
    post = await called.post(**BODY)
    called.traffic.slow.add("keevx")
    await called.until(lambda: bool(called.sandbox.state.callbacks))
    await called.traffic.settle()
    await called.crash()
    called.traffic.slow.clear()
    await called.start()
    generation = await ended(called, post["id"])
    assert (generation["status"], generation["provider"], called.submits) == ("completed", "keevx", {"keevx": 1})


async def test_a_flood_costs_a_poll_a_second_and_no_write(called: Gateway) -> None:
    await called.start()
    called.sandbox.fault("keevx", "callback", "forged")
    post = await called.post(**BODY)
    await called.clock.run_for(2)
    polls, writes = called.received("keevx", "poll"), dict(called.writes)
    assert set(await again(called, 300)) == {200}
    assert set(await again(called, 300, task_id="i2v-of-nobody")) == {200}
    await called.clock.run_for(3)
    assert called.received("keevx", "poll") - polls <= 3
    assert {name: count for name, count in called.writes.items() if count - writes.get(name, 0) > 1} == {}
    assert (await ended(called, post["id"]))["status"] == "completed"


async def test_a_callback_after_the_end_neither_polls_nor_writes(
    called: Gateway, events: list[Mapping[str, Any]]
) -> None:
    await called.start()
    generation = await made(called)
    polls, writes = called.received("keevx", "poll"), dict(called.writes)
    assert set(await again(called, 100)) == {200}
    assert dict(called.writes) == writes
    deleted = await called.client.delete(f"/v1/videos/generations/{generation['id']}")
    assert deleted.status_code == 200
    await called.traffic.settle()
    writes = dict(called.writes)
    assert set(await again(called, 100)) == {200}
    await called.clock.run_for(60)
    assert called.received("keevx", "poll") == polls
    assert dict(called.writes) == writes
    token = called.sandbox.state.callbacks[0]["url"].rpartition(".")[2]
    assert token not in str(events)


async def test_without_a_public_url_a_provider_gets_no_callback_url(called: Gateway) -> None:
    called.public_url = None  # type: ignore[assignment]  # as without the setting
    called.providers["keevx"] = {}
    await called.start()
    await made(called)
    (task,) = called.sandbox.state.tasks.values()
    assert (task.callback_url, outcomes(called)) == (None, [])


async def test_a_callback_before_the_reply_leads_to_a_poll_right_after_the_reply(called: Gateway) -> None:
    await called.start()
    called.sandbox.fault("keevx", "callback", "early")
    generation = await made(called)
    assert (generation["status"], called.received("keevx", "poll")) == ("completed", 1)
    assert passed(called) < 2


async def test_callbacks_of_two_outputs_that_end_apart_bring_both(called: Gateway) -> None:
    called.route(KEEVX, FOXAPI, on_ambiguous="hold")
    await called.start()
    called.sandbox.fault("keevx", "submit", "close_after_accept")
    called.sandbox.fault("keevx", "callback", "none")
    post = await called.post(**BODY, n=2)
    await called.traffic.settle()
    while not outcomes(called):
        called.clock.move_on(1)
        await called.traffic.settle()
    unreported, reported = called.sandbox.state.tasks
    await called.clock.run_for(20)
    assert await again(called, task_id=unreported) == [200]
    generation = await ended(called, post["id"])
    assert [output["status"] for output in generation["data"]] == ["completed"] * 2
    assert generation["attempts"][0]["tasks"] == [reported, unreported]
    assert called.submits == {"keevx": 1}
    assert passed(called) < 30
