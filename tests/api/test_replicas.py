"""Several gateways on one PostgreSQL: a client may create, watch and cancel at any of them."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from gateway.api.web.headers import CLOSES
from gateway.domain.replicas import SURE_SECONDS
from gateway.store.postgres import writer

from ..contract.ledgers import postgres_place
from ..processes import until
from .test_attempts import ADMIN_KEY, ATTEMPTS, HOLDING, unknown
from .test_events import CANCELLED, IN_PROGRESS, QUEUED, VIDEOS, Listener, listeners
from .test_images import IMAGES, PNG

LIMIT_SECONDS = 10.0  # only a create that waits for the end of its transaction takes longer
SHARED = "artifacts.shared = true\n"


async def test_a_client_creates_at_one_gateway_watches_at_a_second_and_cancels_at_a_third(
    start: Any, postgres_url: str
) -> None:
    first, second, third = await several(start, postgres_url, 3)
    generation_id = (await first.create())["id"]
    stream = Listener(second, generation_id)
    await until(lambda: stream.names == [QUEUED])
    await first.begin(generation_id)
    await until(lambda: stream.names == [QUEUED, IN_PROGRESS])
    waiting = asyncio.create_task(second.client.get(f"{VIDEOS}/{generation_id}", params={"wait": 60}))
    await until(lambda: listeners(second) == 2)

    assert (await third.client.post(f"{VIDEOS}/{generation_id}/cancel")).status_code == 200
    await until(lambda: stream.ended and waiting.done())
    assert stream.names == [QUEUED, IN_PROGRESS, CANCELLED]
    assert (await waiting).json()["status"] == "cancelled"
    resumed = Listener(third, generation_id, last_event_id=str(stream.ids[0]))
    await until(lambda: resumed.ended)
    assert resumed.ids == stream.ids[1:]

    await until(lambda: not any(gateway.application.engine.driven for gateway in (first, second, third)))
    assert (await first.stored(generation_id)).fence == 1, "no gateway has taken it from the one that drives it"
    assert [len(gateway.upstream.submits) for gateway in (first, second, third)] == [1, 0, 0]
    await stream.leave()
    await resumed.leave()


async def test_readiness_waits_for_no_lock_and_goes_by_the_heartbeats(start: Any, postgres_url: str) -> None:
    (gateway,) = await several(start, postgres_url, 1)
    other = await asyncpg.connect(postgres_url)
    await other.execute(f"select pg_advisory_lock({writer.LOCK})")
    assert (await gateway.client.get("/health/ready")).status_code == 200
    await other.close()

    gateway.application.engine._membership._sent_at -= SURE_SECONDS
    answer = await gateway.client.get("/health/ready")
    assert (answer.status_code, answer.json()["reason"]) == (
        503,
        "the store cannot take writes: PostgreSQL has stored no heartbeat for 10 s",
    )


async def test_a_create_that_the_database_does_not_answer_is_refused_soon(
    start: Any, postgres_url: str, check_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_BEGIN", writer._BEGIN.replace("lock_timeout = '10s'", "lock_timeout = 0"))
    (gateway,) = await several(start, postgres_url, 1)
    other = await asyncpg.connect(postgres_url)
    await other.execute(f"select pg_advisory_lock({writer.LOCK})")
    monkeypatch.setattr(writer, "_NEW_WORK_SECONDS", 0.2)
    path, body = OWN
    key = {"idempotency-key": "order-1"}
    async with asyncio.timeout(LIMIT_SECONDS):
        for headers in ({}, key):
            answer = await gateway.client.post(path, json=body, headers=headers)
            assert "nothing was accepted" in check_error(answer, 503, "store_unavailable")

    monkeypatch.setattr(writer, "_NEW_WORK_SECONDS", LIMIT_SECONDS)
    await other.execute(f"select pg_advisory_unlock({writer.LOCK})")
    assert (await gateway.client.post(path, json=body, headers=key)).status_code == 200
    assert await other.fetchval("select count(*) from generations") == 1
    await other.close()


async def several(start: Any, url: str, count: int = 2, toml: str = "", **environ: str) -> list[Any]:
    environ = {"VIDEO_GATEWAY_DATABASE_URL": url, **environ}
    return [await start(SHARED + toml, environ=environ) for _ in range(count)]


def submits(gateways: list[Any]) -> int:
    return sum(len(gateway.upstream.submits) for gateway in gateways)


KLING = (
    "/kling/v1/videos/text2video",
    {"model_name": "kling-v3-text-to-video", "prompt": "A beach.", "external_task_id": "order 1"},
)
OWN = (VIDEOS, {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."})


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (*OWN, [{"idempotency-key": "order-1"}] * 2),
        (*OWN, [{"x-stainless-retry-count": "1"}, {"x-stainless-retry-count": "2"}]),
        (*KLING, [{}, {}]),
        (*KLING, [{"idempotency-key": "a"}, {"idempotency-key": "b"}]),
    ],
    ids=["one key", "two retries", "one external id", "one external id and two keys"],
)
async def test_equal_requests_that_two_gateways_get_at_once_are_one(
    start: Any, postgres_url: str, path: str, body: Any, headers: list[dict[str, str]]
) -> None:
    gateways = await several(start, postgres_url)
    calls = [
        gateway.client.post(path, json=body, headers=headers[number % 2]) for number, gateway in enumerate(gateways * 3)
    ]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} <= {200, 409}, [answer.text for answer in answers]
    answered = [answer for answer in answers if answer.status_code == 200]
    first = [answer for answer in answered if "idempotent-replayed" not in answer.headers]
    assert len(first) == 1
    assert len(answered) >= 2
    for gateway in gateways:
        await gateway.clock.advance(1)
    await until(lambda: submits(gateways))
    page = (await gateways[0].client.get(VIDEOS)).json()
    assert len(page["data"]) == 1
    assert submits(gateways) == 1


async def test_one_key_with_two_bodies_at_two_gateways_makes_one_generation(
    start: Any, postgres_url: str, check_error: Any
) -> None:
    gateways = await several(start, postgres_url)
    calls = [
        gateway.client.post(VIDEOS, json={**OWN[1], "prompt": prompt}, headers={"idempotency-key": "order-1"})
        for gateway, prompt in zip(gateways, ("A beach.", "A dog."), strict=True)
    ]
    answers = sorted(await asyncio.gather(*calls), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [200, 422]
    check_error(answers[1], 422, "idempotency_key_reused", "Idempotency-Key")
    assert len((await gateways[0].client.get(VIDEOS)).json()["data"]) == 1


RETRIED = {"x-stainless-retry-count": "1"}
BECAUSE = "idempotent-replayed-because"


async def overtaking(
    start: Any, url: str, headers: dict[str, str] | None = None, *, seconds: float = 600.0, came_before: bool = True
) -> tuple[httpx.Response, httpx.Response, Any]:
    """A retry at one gateway, and an unmarked equal request at another one, which is carried out `seconds` later.

    `came_before`: the other gateway has read it before the retry came. Returns both answers and the second gateway.
    """
    slow, quick = await several(start, url)
    quick.clock._now -= timedelta(seconds=8)  # clocks differ, which decides nothing
    may_go_on = hold_creates(slow)
    first = asyncio.create_task(slow.client.post(VIDEOS, json=OWN[1], headers=headers))
    await until(lambda: slow.application.store.creates_held)
    retry = await quick.client.post(VIDEOS, json=OWN[1], headers=RETRIED)
    await let_pass(url, seconds)
    if came_before:
        slow.clock._now += timedelta(seconds=seconds + 2)
    may_go_on.set()
    return retry, await first, slow


async def let_pass(url: str, seconds: float) -> None:
    """Let the clock of the database, which a test cannot move, be later than what is stored of retries and calls."""
    statement = f"update idempotency_keys set created_at = created_at - {seconds}"  # noqa: S608  # a number
    await asyncio.to_thread(postgres_place(url).execute, statement)


async def test_a_retry_at_one_gateway_overtakes_its_request_that_goes_on_at_another(
    start: Any, postgres_url: str
) -> None:
    """The client has given the first request up: its gateway was suspended, or the network lost the answer."""
    retry, first, slow = await overtaking(start, postgres_url)
    assert first.json()["id"] == retry.json()["id"]
    assert (first.headers["idempotent-replayed"], first.headers[BECAUSE]) == ("true", "overtaken_by_retry")

    another = await slow.client.post(VIDEOS, json=OWN[1])
    assert another.json()["id"] != retry.json()["id"], "one retry is the repeat of one request"
    later = await slow.client.post(VIDEOS, json=OWN[1], headers=RETRIED)
    assert (later.headers["idempotent-replayed"], later.headers[BECAUSE]) == ("true", "retry")
    assert len((await slow.client.get(VIDEOS)).json()["data"]) == 2


async def test_an_equal_request_that_comes_two_seconds_after_a_retry_is_a_new_wish(
    start: Any, postgres_url: str
) -> None:
    retry, deliberate, slow = await overtaking(start, postgres_url, seconds=2, came_before=False)
    assert deliberate.json()["id"] != retry.json()["id"]
    assert BECAUSE not in deliberate.headers
    assert len((await slow.client.get(VIDEOS)).json()["data"]) == 2


@pytest.mark.parametrize("headers", [{"user-agent": "curl/8.5.0"}, {"x-stainless-read-timeout": "600"}])
async def test_an_equal_request_of_another_program_is_a_new_wish_also_before_the_retry(
    start: Any, postgres_url: str, headers: dict[str, str]
) -> None:
    retry, deliberate, _ = await overtaking(start, postgres_url, headers)
    assert deliberate.json()["id"] != retry.json()["id"]


async def test_an_equal_request_whose_client_has_left_is_the_one_that_a_retry_overtook(
    start: Any, postgres_url: str
) -> None:
    """Its gateway was suspended before it read the request, and nobody waits for the answer any more."""
    slow, quick = await several(start, postgres_url)
    retry = await quick.client.post(VIDEOS, json=OWN[1], headers=RETRIED)
    await let_pass(postgres_url, 600)

    async def left(scope: Any, receive: Any, send: Any) -> None:
        await slow.application.asgi({**scope, "state": {CLOSES: lambda: True}}, receive, send)

    headers = {"authorization": slow.client.headers["authorization"]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(left), base_url="http://gateway.test") as client:
        first = await client.post(VIDEOS, json=OWN[1], headers=headers)
    assert first.json()["id"] == retry.json()["id"]


IMAGE = {"model": "keevx/image", "prompt": "A lake"}


async def calls_at_two_gateways(start: Any, url: str) -> tuple[Any, Any, "asyncio.Task[httpx.Response]"]:
    """Two gateways, and a call without a key that waits for its image at the first."""
    first, second = await several(start, url)
    for gateway in (first, second):
        gateway.upstream.content, gateway.upstream.url = PNG, "https://cdn.example/result.png"
    waiting = asyncio.create_task(first.client.post(IMAGES, json=IMAGE))
    await until(lambda: first.upstream.submits)
    return first, second, waiting


async def repeated_at(second: Any, first: Any) -> httpx.Response:
    """The answer of an equal call at the second gateway, while the first one ends what it drives."""
    again = asyncio.create_task(second.client.post(IMAGES, json=IMAGE))
    await until(lambda: listeners(second))
    first.upstream.word = second.upstream.word = "completed"
    for _ in range(50):
        for gateway in (first, second):
            await gateway.clock.advance(10)
        if again.done():
            return await again
    pytest.fail("the call is not answered")


async def test_a_call_that_got_no_image_at_one_gateway_is_taken_up_at_another_once(
    start: Any, postgres_url: str
) -> None:
    first, second, waiting = await calls_at_two_gateways(start, postgres_url)
    await first.clock.advance(301)
    made = (await waiting).json()["error"]["generation_id"]

    again = await repeated_at(second, first)
    assert again.json()["id"] == made
    assert (again.headers["idempotent-replayed"], again.headers[BECAUSE]) == ("true", "call_without_result")
    assert submits([first, second]) == 1
    another = await repeated_at(second, first)
    assert another.json()["id"] != made, "the call was answered, so that an equal one is a new wish"
    assert submits([first, second]) == 2


async def test_a_call_that_got_no_image_is_taken_up_for_a_minute_of_the_clock_of_the_database(
    start: Any, postgres_url: str
) -> None:
    first, second, waiting = await calls_at_two_gateways(start, postgres_url)
    await first.clock.advance(301)
    made = (await waiting).json()["error"]["generation_id"]
    await let_pass(postgres_url, 61)
    assert (await repeated_at(second, first)).json()["id"] != made


async def test_a_call_that_a_killed_gateway_cut_off_is_taken_up_at_another_at_once(
    start: Any, postgres_url: str
) -> None:
    first, second, waiting = await calls_at_two_gateways(start, postgres_url)
    [made] = (await second.client.get(IMAGES)).json()["data"]
    first.application.store.replicas._drop()  # the kernel closes the connections of a process that was killed
    again = await repeated_at(second, first)
    assert again.json()["id"] == made["id"]
    assert submits([first, second]) == 1
    await waiting


async def test_equal_calls_that_wait_at_two_gateways_are_two_wishes(start: Any, postgres_url: str) -> None:
    first, second, waiting = await calls_at_two_gateways(start, postgres_url)
    another = await repeated_at(second, first)
    assert another.json()["id"] != (await waiting).json()["id"]
    assert submits([first, second]) == 2


def hold_creates(gateway: Any) -> asyncio.Event:
    """Let creates wait for the event that is returned, before their transaction."""
    store, event = gateway.application.store, asyncio.Event()
    create = store.create
    store.creates_held = 0

    async def held(*args: Any, **options: Any) -> Any:
        store.creates_held += 1
        await event.wait()
        return await create(*args, **options)

    store.create = held
    return event


@pytest.mark.parametrize("decisions", [("resubmit", "resubmit"), ("fail", "attach"), ("attach", "attach")])
async def test_of_two_decisions_of_operators_at_two_gateways_one_counts(
    start: Any, postgres_url: str, decisions: tuple[str, str]
) -> None:
    gateways = await several(start, postgres_url, toml=HOLDING, TEST_ADMIN_KEY=ADMIN_KEY)
    gateways[0].upstream.refuse = httpx.Response(500, text="<html>Bad gateway</html>")
    attempt_id = await unknown(gateways[0])
    gateways[0].upstream.refuse = None
    before = submits(gateways)
    clients = [gateway.client_of(ADMIN_KEY) for gateway in gateways]
    bodies = {"attach": {"task_id": "task-77"}}
    calls = [
        client.post(f"{ATTEMPTS}/{attempt_id}/{decision}", json=bodies.get(decision))
        for client, decision in zip(clients, decisions, strict=True)
    ]
    answers = await asyncio.gather(*calls)
    assert min(answer.status_code for answer in answers) == 200
    for _ in range(10):
        for gateway in gateways:
            await gateway.clock.advance(1)
    assert submits(gateways) - before <= 1
    states = {(await client.get(f"{ATTEMPTS}/{attempt_id}")).json()["status"] for client in clients}
    assert len(states) == 1
    accepted = [decision for answer, decision in zip(answers, decisions, strict=True) if answer.status_code == 200]
    assert "attach" not in accepted or states == {"accepted"}, "a task that was found counts, whatever was decided"
    for client in clients:
        await client.aclose()
    assert not await contradictions(postgres_url)


async def contradictions(url: str) -> list[str]:
    """What the audit of money says."""
    return await asyncio.to_thread(postgres_place(url).contradictions)


@pytest.mark.parametrize("seconds", [-8, 8])
async def test_clocks_of_gateways_may_differ_by_seconds(start: Any, postgres_url: str, seconds: int) -> None:
    first, second = await several(start, postgres_url)
    second.clock._now += timedelta(seconds=seconds)
    key = {"idempotency-key": f"order {seconds}"}
    made = await first.client.post(VIDEOS, json=OWN[1], headers=key)
    again = await second.client.post(VIDEOS, json=OWN[1], headers=key)
    assert again.json()["id"] == made.json()["id"]
    retry = await second.client.post(VIDEOS, json=OWN[1], headers={"x-stainless-retry-count": "1"})
    assert retry.json()["id"] == made.json()["id"]
    generation_id = made.json()["id"]
    await first.begin(generation_id)
    assert (await second.client.post(f"{VIDEOS}/{generation_id}/cancel")).status_code == 200
    events = await second.application.store.events(generation_id)
    assert [event.type for event in events][-1] == "generation.cancelled"
    assert [event.seq for event in events] == sorted(event.seq for event in events)
    third = (await several(start, postgres_url, 1))[0]  # its clock is earlier than the newest moment of the ledger
    assert third.application.clock.now() >= max(event.at for event in events)
    assert submits([first, second, third]) == 1
