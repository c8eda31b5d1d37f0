"""Each limit refuses with 503 when it is reached, and accepts again when there is room."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.store.sqlite import writer

from ..asgi import scope_of

VIDEOS = "/v1/videos/generations"
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
JSON = {"content-type": "application/json"}


def refused(check_error: Any, response: Any, code: str = "overloaded") -> str:
    assert int(response.headers["retry-after"]) > 0
    message: str = check_error(response, 503, code)
    return message


async def test_open_generations_are_bounded_and_an_end_makes_room(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_open_generations = 3")
    made = [await gateway.create() for _ in range(3)]

    assert "3 generations" in refused(check_error, await gateway.client.post(VIDEOS, json=BODY))
    assert gateway.rows()["generations"] == 3

    assert (await gateway.client.post(f"{VIDEOS}/{made[0]['id']}/cancel")).status_code == 200
    await gateway.clock.advance(40)
    await gateway.create()
    refused(check_error, await gateway.client.post(VIDEOS, json=BODY))
    await gateway.finish()
    await gateway.create()


async def test_creates_at_once_do_not_pass_the_bound_together(start: Any) -> None:
    gateway = await start("server.max_open_generations = 5")
    answers = await asyncio.gather(*(gateway.client.post(VIDEOS, json=BODY) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [503] * 15
    assert gateway.rows()["generations"] == 5


async def test_a_refused_create_takes_no_room(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_open_generations = 1")
    for _ in range(3):
        check_error(
            await gateway.client.post(VIDEOS, json={**BODY, "model": "nobody"}), 404, "model_not_found", "model"
        )
    await gateway.create()


async def test_a_repeated_create_is_answered_although_the_limit_is_reached(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_open_generations = 1")
    key = {"idempotency-key": "k"}
    first = await gateway.client.post(VIDEOS, json=BODY, headers=key)
    refused(check_error, await gateway.client.post(VIDEOS, json=BODY))
    again = await gateway.client.post(VIDEOS, json=BODY, headers=key)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    gateway.application.drain()
    again = await gateway.client.post(VIDEOS, json=BODY, headers=key)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")


async def test_a_gateway_that_stops_takes_nothing_new(gateway: Any, check_error: Any) -> None:
    made = await gateway.create()
    gateway.application.drain()
    refused(check_error, await gateway.client.post(VIDEOS, json=BODY), "shutting_down")
    assert gateway.rows()["generations"] == 1
    assert (await gateway.client.get(f"{VIDEOS}/{made['id']}")).status_code == 200
    await gateway.clock.advance(40)
    assert gateway.upstream.submits == gateway.upstream.submits[:1]


async def held(content: bytes, gate: asyncio.Event, came: asyncio.Event) -> AsyncIterator[bytes]:
    """Yields a body without its end, and the end when the gate opens."""
    yield content[:-1]
    came.set()
    await gate.wait()
    yield content[-1:]


async def test_the_bytes_of_all_bodies_are_bounded_and_small_ones_always_pass(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_body_bytes = 300_000\nserver.max_bodies_bytes = 400_000")
    large = json.dumps({**BODY, "prompt": "x" * 250_000}).encode()
    gate, came = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(gateway.client.post(VIDEOS, content=held(large, gate, came), headers=JSON))
    async with asyncio.timeout(5):
        await came.wait()

    refused(check_error, await gateway.client.post(VIDEOS, content=large, headers=JSON))
    assert (await gateway.client.post(VIDEOS, json=BODY)).status_code == 200

    gate.set()
    assert (await first).status_code == 400  # the body was read; its prompt is too long
    assert (await gateway.client.post(VIDEOS, content=large, headers=JSON)).status_code == 400
    assert gateway.application.asgi._bodies.taken == 0


async def test_a_client_that_leaves_gives_its_room_back(start: Any) -> None:
    gateway = await start("server.max_body_bytes = 300_000\nserver.max_bodies_bytes = 300_000")
    large = json.dumps({**BODY, "prompt": "x" * 250_000}).encode()
    for _ in range(3):
        messages: list[Any] = [
            {"type": "http.request", "body": large[:200_000], "more_body": True},
            {"type": "http.disconnect"},
        ]
        await ask(gateway, messages)
        assert gateway.application.asgi._bodies.taken == 0
    assert (await gateway.client.post(VIDEOS, content=large, headers=JSON)).status_code == 400


async def ask(gateway: Any, messages: list[Any]) -> None:
    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        raise AssertionError(message)

    headers = {"host": "x", "authorization": f"Bearer {gateway.key}", **JSON}
    await gateway.application.asgi(scope_of("POST", VIDEOS, headers), receive, send)


async def test_long_polls_are_bounded_and_one_that_ends_makes_room(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_long_polls = 2")
    made = await gateway.create()
    await gateway.begin(made["id"])
    url = f"{VIDEOS}/{made['id']}"
    polls = [asyncio.create_task(gateway.client.get(url, params={"wait": 20})) for _ in range(2)]
    await gateway.clock.advance(0)

    refused(check_error, await gateway.client.get(url, params={"wait": 20}))
    assert (await gateway.client.get(url)).status_code == 200

    await gateway.clock.advance(21)
    assert [answer.status_code for answer in await asyncio.gather(*polls)] == [200, 200]
    third = asyncio.create_task(gateway.client.get(url, params={"wait": 20}))
    await gateway.clock.advance(21)
    assert (await third).status_code == 200
    assert gateway.application._notifier._listeners == {}


async def test_creates_that_wait_for_the_disk_are_bounded(
    gateway: Any, check_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_YIELDING_MAX", 4)
    answers = await asyncio.gather(*(gateway.client.post(VIDEOS, json=BODY) for _ in range(40)))
    taken = [answer for answer in answers if answer.status_code == 200]
    for answer in answers:
        if answer.status_code != 200:
            refused(check_error, answer)
    assert 4 <= len(taken) < 40
    assert gateway.rows()["generations"] == len(taken)
    await gateway.clock.traffic.settle()  # the submits of those wait for the disk as well
    assert (await gateway.client.post(VIDEOS, json=BODY)).status_code == 200


async def test_the_bodies_together_are_never_less_than_one(start: Any) -> None:
    with pytest.raises(Exception, match=r"server\.max_bodies_bytes: expected at least max_body_bytes"):
        await start("server.max_bodies_bytes = 1024")
