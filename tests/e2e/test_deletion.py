"""A deleted generation is not paid for again by a repeated request, and leaves nothing on the disk."""

import base64
from pathlib import Path
from typing import Any

from gateway.domain.errors import StoreUnavailable

from .conftest import IMAGE_URL

RELAY = "kling_relay/kling-v1"
FOX, FOX_TEXT = "foxapi/kling-v3-image-to-video", "foxapi/kling-v3-text-to-video"
VIDEOS = "/v1/videos/generations"
HOUR = 3600.0


def blobs(gateway: Any) -> list[Path]:
    return [path for path in (gateway.folder / "artifacts" / "inputs").rglob("*") if path.is_file()]


async def sweep(gateway: Any, hours: int = 1) -> None:
    """Let this many hours pass, then let the sweeper do a round."""
    wake = gateway.app._sweeper._wake.set

    def rests() -> bool:
        return any(timer.callback == wake for _, _, timer in gateway.clock._timers)

    await gateway.until(rests)
    gateway.clock.move_on(hours * HOUR)
    await gateway.until(rests)


async def post(gateway: Any, headers: dict[str, str], **body: Any) -> Any:
    return await gateway.client.post(VIDEOS, json={"prompt": "A beach.", **body}, headers=headers)


async def finish_and_delete(gateway: Any, made: Any) -> None:
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert (await gateway.client.delete(f"{VIDEOS}/{made['id']}")).status_code == 200


async def test_a_repeat_with_the_key_of_a_deleted_generation_buys_nothing(gateway):
    made = await post(gateway, {"idempotency-key": "k"}, model=FOX_TEXT)
    await finish_and_delete(gateway, made.json())

    for _ in range(2):
        again = await post(gateway, {"idempotency-key": "k"}, model=FOX_TEXT)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "generation_deleted")
        await gateway.restart()

    await gateway.clock.run_for(600)
    assert gateway.paid == gateway.submits == {"foxapi": 1}


async def test_a_retry_after_a_lost_answer_buys_nothing_across_a_restart(gateway):
    made = await post(gateway, {}, model=FOX_TEXT)
    await gateway.restart()

    again = await post(gateway, {"x-stainless-retry-count": "1"}, model=FOX_TEXT)

    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (made.json()["id"], "true")
    await gateway.finish(made.json()["id"])
    await gateway.clock.run_for(600)
    assert gateway.paid == gateway.submits == {"foxapi": 1}


async def test_nothing_of_a_deleted_generation_stays_on_the_disk(gateway, jpeg: bytes):
    image = base64.b64encode(jpeg).decode()
    first, second = [await gateway.post(model=FOX, image=image) for _ in range(2)]
    await gateway.finish(second["id"])
    await finish_and_delete(gateway, first)
    assert len(blobs(gateway)) == 1, "it may be used again for an hour"

    await sweep(gateway, 3)
    assert blobs(gateway) == [], "the second generation has ended too, although it was not deleted"
    assert (await gateway.client.get(f"{VIDEOS}/{second['id']}")).json()["status"] == "completed"


async def test_an_image_is_named_as_long_as_a_generation_uses_it(gateway, jpeg: bytes):
    first = await gateway.post(model=FOX, image=base64.b64encode(jpeg).decode())
    name = first["request"]["image"]
    second = await gateway.post(model=FOX, image=name)
    await finish_and_delete(gateway, first)
    third = await gateway.post(model=FOX, image=name)
    await finish_and_delete(gateway, second)
    await finish_and_delete(gateway, third)

    answer = await post(gateway, {}, model=FOX, image=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")


async def test_an_image_that_goes_while_a_create_is_handled_refuses_it(gateway, jpeg: bytes):
    made = await gateway.post(model=FOX, image=base64.b64encode(jpeg).decode())
    await gateway.finish(made["id"])

    def deleted_first(call: Any) -> Any:
        async def create(*arguments: Any, **options: Any) -> Any:
            assert await gateway.app.store.delete(made["id"], arguments[0].owner, gateway.clock.now())
            return await call(*arguments, **options)

        return create

    gateway.replace_in_store("create", deleted_first)
    answer = await post(gateway, {}, model=FOX, image=made["request"]["image"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image")
    assert (await gateway.client.get(VIDEOS)).json()["data"] == []


async def test_a_key_is_forgotten_a_day_after_its_generation(gateway):
    made = await post(gateway, {"idempotency-key": "k"}, model=FOX_TEXT)
    await gateway.finish(made.json()["id"])
    stored = "select count(*) from idempotency_keys"
    await sweep(gateway, 23)
    assert gateway.app.store._reader.connection.execute(stored).get == 1
    await sweep(gateway)
    assert gateway.app.store._reader.connection.execute(stored).get == 0


async def test_an_image_that_is_sent_again_while_the_sweeper_looks_is_there_for_its_submit(gateway, jpeg: bytes):
    image = base64.b64encode(jpeg).decode()
    made = await gateway.post(model=FOX, image=image)
    await finish_and_delete(gateway, made)
    for _ in range(3):
        gateway.clock.move_on(HOUR)
        assert (await gateway.make(model=RELAY, image=image))["status"] == "completed"
        [remaining] = (await gateway.client.get(VIDEOS)).json()["data"]
        assert (await gateway.client.delete(f"{VIDEOS}/{remaining['id']}")).status_code == 200
    assert [task.spec.image for task in gateway.sandbox.state.tasks.values()] == [jpeg] * 4


async def test_a_delete_during_a_submit_says_when_to_try_again(gateway):
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=0.2)
    made = await gateway.post(model="keevx/V", image=IMAGE_URL)
    path = f"{VIDEOS}/{made['id']}"
    still_open = await gateway.client.delete(path)
    assert (still_open.status_code, "retry-after" in still_open.headers) == (409, False)
    assert "cancel it first" in still_open.json()["error"]["message"]
    await gateway.until_state(made["id"], "submitting")
    assert (await gateway.client.post(f"{path}/cancel")).status_code == 200

    refused = await gateway.client.delete(path)

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    wait_seconds = int(refused.headers["retry-after"])
    assert 1 <= wait_seconds <= 60
    assert f"delete it again in {wait_seconds} s" in refused.json()["error"]["message"]
    gateway.traffic.slow.clear()
    await gateway.until_state(made["id"], "accepted", "abandoned")
    assert (await gateway.client.delete(path)).status_code == 200


async def test_a_blob_whose_create_failed_goes_at_a_later_start(gateway, jpeg: bytes):
    real = gateway.app.store.create

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    gateway.app.store.create = broken
    answer = await post(gateway, {}, model=FOX, image=base64.b64encode(jpeg).decode())
    assert answer.status_code == 500
    gateway.app.store.create = real
    assert len(blobs(gateway)) == 1

    await gateway.stop()
    gateway.clock.move_on(HOUR + 1)
    await gateway.start()

    await gateway.until(lambda: not blobs(gateway))


async def test_a_sweep_waits_for_a_store_that_is_away(gateway, jpeg: bytes, events: list[Any]):
    made = await gateway.post(model=FOX, image=base64.b64encode(jpeg).decode())
    await finish_and_delete(gateway, made)
    real = gateway.app.store.forget

    async def away(*_: Any) -> int:
        raise StoreUnavailable("The disk is full.")

    gateway.app.store.forget = away
    await sweep(gateway, 2)
    assert "sweep_postponed" in [event["event"] for event in events]
    assert len(blobs(gateway)) == 1

    gateway.app.store.forget = real
    await sweep(gateway)
    assert blobs(gateway) == []
