"""Requests that are sent again: with an idempotency key, or by the retry of a client library."""

import asyncio
from contextlib import closing
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from gateway.generations.service import Generations

VIDEOS = "/v1/videos/generations"
TEXT = {"model": "kling-v3-text-to-video", "prompt": "A beach."}
KEYED = {"idempotency-key": "order-1"}
RETRY = {"x-stainless-retry-count": "1"}


async def post(gateway: Any, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    return await gateway.client.post(VIDEOS, json={**TEXT, **changes}, headers=headers)


def is_replay_of(again: Any, first: Any) -> bool:
    replayed = again.headers.get("idempotent-replayed") == "true"
    same = again.json()["id"] == first.json()["id"]
    assert again.status_code == 200
    assert replayed is same, "the header says what happened"
    return replayed


async def finished_and_deleted(gateway: Any, made: Any) -> None:
    await gateway.finish()
    assert (await gateway.client.delete(f"{VIDEOS}/{made.json()['id']}")).status_code == 200


# --- a key whose generation was deleted -------------------------------------------------------------------------------


async def test_a_key_does_not_buy_a_deleted_generation_again(gateway: Any, check_error: Any) -> None:
    first = await post(gateway, KEYED)
    await finished_and_deleted(gateway, first)

    message = check_error(await post(gateway, KEYED), 409, "generation_deleted", "Idempotency-Key")
    assert "new key" in message
    check_error(await post(gateway, KEYED, prompt="A dog."), 422, "idempotency_key_reused", "Idempotency-Key")

    assert len(gateway.upstream.submits) == 1
    assert gateway.rows()["generations"] == 0
    assert (await post(gateway, {"idempotency-key": "order-2"})).status_code == 200


async def test_a_key_is_free_a_day_after_its_generation_was_deleted(gateway: Any) -> None:
    first = await post(gateway, KEYED)
    await finished_and_deleted(gateway, first)
    await gateway.clock.advance(24 * 3600 + 1)

    again = await post(gateway, KEYED, prompt="A dog.")

    assert not is_replay_of(again, first)


# --- a client library's own retry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", ["1", "2", "01", "12345678901234567890"])
async def test_a_retry_is_answered_with_what_the_first_request_made(gateway: Any, count: str) -> None:
    first = await post(gateway, {"x-stainless-retry-count": "0"}, duration=5)

    again = await post(gateway, {"x-stainless-retry-count": count}, seconds="5")  # another spelling of the same request

    assert is_replay_of(again, first)
    assert again.headers["location"] == first.headers["location"]
    await gateway.finish()
    assert (len(gateway.upstream.submits), gateway.rows()["generations"]) == (1, 1)


@pytest.mark.parametrize(
    "count", [None, "0", "00", "", "-1", "+1", "1.0", "1e1", "one", "1,2", "٣", "²", "9" * 5000 + "x"]
)
async def test_a_header_that_is_not_a_positive_number_does_not_make_a_retry(gateway: Any, count: str | None) -> None:
    first = await post(gateway)

    again = await post(gateway, {} if count is None else {"x-stainless-retry-count": count.encode()})  # type: ignore[dict-item]  # httpx accepts bytes, too

    assert not is_replay_of(again, first)
    assert gateway.rows()["generations"] == 2


async def test_a_retry_of_a_request_that_never_arrived_makes_its_generation(gateway: Any) -> None:
    first = await post(gateway, RETRY)
    assert "idempotent-replayed" not in first.headers

    assert is_replay_of(await post(gateway, {"x-stainless-retry-count": "2"}), first)
    assert gateway.rows()["generations"] == 1


async def test_a_retry_repeats_only_an_equal_request_of_the_same_client(gateway: Any) -> None:
    first = await post(gateway)

    assert not is_replay_of(await post(gateway, RETRY, prompt="A dog."), first)
    others = await gateway.other.post(VIDEOS, json=TEXT, headers=RETRY)
    assert not is_replay_of(others, first)
    assert gateway.rows()["generations"] == 3


async def test_a_retry_never_gives_the_generation_of_a_different_request(gateway: Any) -> None:
    first = await gateway.stored((await post(gateway, model="auto")).json()["id"])
    context = gateway.application.litestar.state["context"]
    service: Generations = context.generations
    request = replace(first.request, kind="image")

    created = await service.create(request, key=first.owner, catalog=context.catalog, retry=True)

    assert (created.replayed, created.generation.id == first.id) == (False, False)


async def test_a_retry_repeats_the_newest_of_equal_requests(gateway: Any) -> None:
    first, second = await post(gateway), await post(gateway)

    again = await post(gateway, RETRY)

    assert is_replay_of(again, second)
    assert not is_replay_of(second, first)


async def test_a_retry_is_recognised_for_thirty_minutes(gateway: Any) -> None:
    first = await post(gateway)
    await gateway.clock.advance(1799)
    assert is_replay_of(await post(gateway, RETRY), first)
    await gateway.clock.advance(1)
    assert not is_replay_of(await post(gateway, RETRY), first)


async def test_an_equal_request_without_the_header_is_made_and_a_later_retry_repeats_it(gateway: Any) -> None:
    first = await post(gateway)
    await gateway.clock.advance(601)
    second = await post(gateway)
    assert not is_replay_of(second, first)
    await gateway.clock.advance(601)
    assert is_replay_of(await post(gateway, {"x-stainless-retry-count": "2"}), second)


async def test_a_key_counts_before_the_retry_header(gateway: Any, check_error: Any) -> None:
    first = await post(gateway)

    keyed = await post(gateway, RETRY | KEYED)
    assert not is_replay_of(keyed, first)
    assert is_replay_of(await post(gateway, RETRY | KEYED), keyed)
    check_error(await post(gateway, RETRY | KEYED, prompt="A dog."), 422, "idempotency_key_reused", "Idempotency-Key")


@pytest.mark.parametrize("spelt", [" order-1", "order-1\t", "\t order-1 "])
async def test_blanks_around_a_key_do_not_count(gateway: Any, spelt: str) -> None:
    first = await post(gateway, KEYED)
    assert is_replay_of(await post(gateway, {"idempotency-key": spelt}), first)


@pytest.mark.parametrize("key", ["a\x01", "a\tb", "\x7f", "a\x1f"])
async def test_a_key_with_a_control_character_is_refused(untouched: Any, check_error: Any, key: str) -> None:
    message = check_error(await post(untouched, {"idempotency-key": key}), 400, "invalid_parameter", "Idempotency-Key")
    assert "control character" in message


@pytest.mark.parametrize("key", ["", " ", "\t"])
async def test_a_key_of_blanks_alone_is_refused(untouched: Any, check_error: Any, key: str) -> None:
    check_error(await post(untouched, {"idempotency-key": key}), 400, "invalid_parameter", "Idempotency-Key")


async def test_a_request_in_another_spelling_is_the_same_request(gateway: Any, check_error: Any) -> None:
    plain = {"duration": 5, "resolution": "1080p", "aspect_ratio": "16:9", "generate_audio": False}
    spelt = {
        "seconds": " 5s ",
        "size": "1920 * 1080",
        "generate_audio": "off",
        "n": "1",
        "style": None,
        "stream": False,
    }
    first = await post(gateway, KEYED, **plain)
    assert is_replay_of(await post(gateway, KEYED, **spelt), first)
    other = await post(gateway, KEYED, **{**plain, "duration": 10})
    check_error(other, 422, "idempotency_key_reused", "Idempotency-Key")


async def test_a_retry_does_not_buy_a_deleted_generation_again(gateway: Any, check_error: Any) -> None:
    first = await post(gateway)
    await gateway.client.post(f"{VIDEOS}/{first.json()['id']}/cancel")
    assert (await gateway.client.delete(f"{VIDEOS}/{first.json()['id']}")).status_code == 200

    check_error(await post(gateway, RETRY), 409, "generation_deleted")

    assert gateway.rows()["generations"] == 0
    assert not is_replay_of(await post(gateway), first)


@pytest.mark.parametrize("first_headers", [{}, RETRY, KEYED], ids=["first request", "retry", "with a key"])
async def test_a_retry_during_the_request_that_it_repeats_is_refused(
    gateway: Any, check_error: Any, first_headers: dict[str, str]
) -> None:
    await gateway.clock.traffic.settle()
    with closing(apsw.Connection(str(gateway.application.settings.database.path))) as database:
        database.execute("begin immediate")  # the first request waits until this transaction ends
        first = asyncio.create_task(post(gateway, first_headers))
        await gateway.until_busy()
        refused = await post(gateway, RETRY)
        check_error(refused, 409, "idempotency_key_in_use")
        assert int(refused.headers["retry-after"]) >= 1
        database.execute("rollback")
    assert (await first).status_code == 200
    assert is_replay_of(await post(gateway, RETRY), await first)
    assert gateway.rows()["generations"] == 1


async def test_equal_requests_at_the_same_time_make_a_generation_each(gateway: Any) -> None:
    answers = await asyncio.gather(*(post(gateway) for _ in range(5)))
    assert len({answer.json()["id"] for answer in answers}) == gateway.rows()["generations"] == 5


async def test_retries_at_the_same_time_of_a_lost_request_make_one_generation(gateway: Any) -> None:
    answers = await asyncio.gather(*(post(gateway, RETRY) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    assert gateway.rows()["generations"] == 1


async def test_a_retry_does_not_repeat_a_refused_request(gateway: Any) -> None:
    refused = await post(gateway, duration=7)
    assert refused.status_code == 422
    assert (await post(gateway, RETRY, duration=7)).status_code == 422
    service: Generations = gateway.application.litestar.state["context"].generations
    assert service._under_way == {}
