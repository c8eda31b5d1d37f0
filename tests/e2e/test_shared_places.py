"""While other processes have every place for submits to a provider, a submit waits, and costs and fails nothing."""

from typing import Any

from gateway.store.port import Permission, SubmitPlace

from .conftest import IMAGE_URL, Gateway


class Others:
    """Other processes, which have every place until they let go."""

    def __init__(self, gateway: Gateway) -> None:
        self.have_all = True
        self.questions: list[SubmitPlace] = []
        gateway.replace_in_store("begin_submit", self._begin)

    def _begin(self, begin: Any) -> Any:
        async def call(*args: Any) -> Any:
            self.questions.append(args[3])
            return Permission.FULL if self.have_all else await begin(*args)

        return call


async def test_a_submit_waits_for_a_place_and_is_the_same_attempt(idle: Gateway) -> None:
    gateway = await idle.start()
    others = Others(gateway)
    made = await gateway.post(model="keevx/V", image=IMAGE_URL)
    await gateway.clock.run_for(5)
    stored = await gateway.stored(made["id"])
    assert [attempt.state for attempt in stored.attempts] == ["reserved"]
    assert stored.status == "queued"
    assert 15 <= len(others.questions) <= 40
    assert set(others.questions) == {SubmitPlace("keevx", 32)}
    assert gateway.submits == {}

    others.have_all = False
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert gateway.submits == gateway.paid == {"keevx": 1}
    assert len((await gateway.stored(made["id"])).attempts) == 1


async def test_a_submit_that_waits_can_be_cancelled_and_delays_no_stop(idle: Gateway) -> None:
    gateway = await idle.start()
    others = Others(gateway)
    cancelled, left = [await gateway.post(model="keevx/V", image=IMAGE_URL) for _ in range(2)]
    await gateway.clock.run_for(1)
    path = f"/v1/videos/generations/{cancelled['id']}"
    assert (await gateway.client.post(f"{path}/cancel")).status_code == 200
    began = gateway.clock.now()
    await gateway.stop()
    assert (gateway.clock.now() - began).total_seconds() < 1
    before = len(others.questions)
    await gateway.start()
    assert len(others.questions) == before
    assert (await gateway.finish(left["id"]))["status"] == "completed"
    assert gateway.submits == {"keevx": 1}
