"""Several gateways on one PostgreSQL: a client may create, watch and cancel at any of them."""

import asyncio
from typing import Any

from ..processes import until
from .test_events import CANCELLED, IN_PROGRESS, QUEUED, VIDEOS, Listener, listeners


async def test_a_client_creates_at_one_gateway_watches_at_a_second_and_cancels_at_a_third(
    start: Any, postgres_url: str
) -> None:
    first, second, third = [
        await start("artifacts.shared = true\n", environ={"VIDEO_GATEWAY_DATABASE_URL": postgres_url}) for _ in range(3)
    ]
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
