"""Stops, crashes, and a store that is away for a while: nothing is lost, nothing is paid for twice.

Run as a program, this file is a gateway that listens on a free port, to be killed.
"""

import asyncio
import base64
import itertools
import signal
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.app import Application
from gateway.domain.errors import StoreUnavailable
from gateway.engine.embedded import TAKE_OVER_BATCH
from gateway.sandbox.server import SandboxServer
from gateway.settings.load import ProviderModel, load
from gateway.upstream.registry import load_adapters

IMAGE = {"image": "https://example.com/first.jpg"}
V = "keevx/V"
RELAY = "kling_relay/kling-v1"
FOX_TEXT, FOX_IMAGE = "foxapi/kling-v3-text-to-video", "foxapi/kling-v3-image-to-video"
SOON = 15.0  # seconds of real time after which a test gives up


def unavailable(gateway, seconds: float) -> Callable[[Any], Any]:
    """Make a method of the store fail for this long, in the gateway's time."""
    until = gateway.clock.now() + timedelta(seconds=seconds)

    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(*args: Any, **kwargs: Any) -> Any:
            if gateway.clock.now() < until:
                raise StoreUnavailable("The store cannot take writes now; nothing was accepted.", retry_after=5)
            return await call(*args, **kwargs)

        return changed

    return change


def kinds(made: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    return [(attempt["provider"], attempt["status"], attempt["failure"]) for attempt in made["attempts"]]


# --- stopped in order -------------------------------------------------------------------------------------------------


async def test_a_stop_before_the_submit_hands_it_back(gateway):
    made = await gateway.post(model=V, **IMAGE)
    await gateway.restart()
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert gateway.submits == gateway.paid == {"keevx": 1}


async def test_a_stop_does_not_wait_for_an_upload(gateway, jpeg: bytes):
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "upload", "hang")
    made = await gateway.post(model=V, image=base64.b64encode(jpeg).decode())
    await gateway.until_state(made["id"], "reserved")
    async with asyncio.timeout(5):
        await gateway.restart()
    gateway.traffic.slow.clear()
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("keevx", "completed", None)]
    assert gateway.received("keevx", "upload") == 2
    assert gateway.submits == gateway.paid == {"keevx": 1}


async def test_a_stop_lets_a_submit_end_and_starts_no_other(idle):
    idle.providers["keevx"]["concurrency"] = 1
    gateway = await idle.start()
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=0.3)
    first = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(first["id"], "submitting")
    second = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(second["id"], "reserved")
    await gateway.restart()
    gateway.traffic.slow.clear()
    assert gateway.submits == {"keevx": 1}
    assert (await gateway.stored(first["id"])).attempts[0].state == "accepted"
    assert (await gateway.stored(second["id"])).attempts[0].state == "reserved"
    for generation in (first, second):
        assert kinds(await gateway.finish(generation["id"])) == [("keevx", "completed", None)]
    assert gateway.submits == gateway.paid == {"keevx": 2}


async def test_a_stop_stores_what_the_last_submit_was_refused_for(idle):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=0.2)
    gateway.sandbox.fault("keevx", "submit", "error_after_accept", status=500)
    made = await gateway.post(model="m", **IMAGE)
    await gateway.until_state(made["id"], "submitting")
    gateway.sandbox.state.faults.clear()
    await gateway.restart()
    gateway.traffic.slow.clear()
    now = await gateway.finish(made["id"])
    assert now["status"] == "completed"
    assert gateway.submits == {"keevx": 1}


@pytest.mark.parametrize("provider", ["keevx", "kling_relay", "foxapi"])
async def test_a_stop_while_a_task_runs(gateway, provider: str):
    route = {"keevx": V, "kling_relay": RELAY, "foxapi": FOX_IMAGE}[provider]
    gateway.sandbox.fault(provider, "submit", "slow_task", seconds=100)
    made = await gateway.post(model=route, n=2, **IMAGE)
    await gateway.clock.run_for(50)
    assert (await gateway.get(made["id"]))["status"] == "in_progress"
    for _ in range(3):
        await gateway.restart()
        await gateway.clock.run_for(5)
    now = await gateway.finish(made["id"])
    assert [output["status"] for output in now["data"]] == ["completed"] * 2
    assert gateway.paid == {provider: 2}
    assert all(attempt["billed"] == "yes" for attempt in now["attempts"])


async def test_a_stop_does_not_wait_for_a_poll(gateway):
    made = await gateway.post(model=FOX_TEXT)
    await gateway.until_state(made["id"], "accepted")
    gateway.traffic.slow.add("foxapi")
    gateway.sandbox.fault("foxapi", "poll", "hang")
    await gateway.clock.run_for(6)
    assert gateway.traffic.waits_for["foxapi"] == 1
    async with asyncio.timeout(5):
        await gateway.restart()
    gateway.traffic.slow.clear()
    assert (await gateway.finish(made["id"]))["status"] == "completed"


async def test_a_wait_for_the_last_route_goes_on_after_a_stop(gateway):
    gateway.sandbox.fault("keevx", "submit", "429", retry_after=400)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(made["id"], "refused")
    await gateway.restart()
    await gateway.clock.run_for(390)
    assert gateway.submits == {"keevx": 1}
    now = await gateway.finish(made["id"])
    assert now["attempts"][1]["started_at"] - now["attempts"][0]["ended_at"] == 400
    assert gateway.paid == {"keevx": 1}


async def test_a_deadline_that_passed_while_nobody_was_there(gateway):
    made = await gateway.post(model=FOX_TEXT, deadline_seconds=60)
    running = await gateway.post(model=V, deadline_seconds=60, **IMAGE)
    await gateway.until_state(running["id"], "accepted")
    unsent = await gateway.post(model=V, deadline_seconds=60, **IMAGE)
    await gateway.stop()
    gateway.clock.move_on(600)
    await gateway.start()
    now = await gateway.finish(running["id"])
    assert (now["status"], now["error"]) == ("completed", None), "its task was done, which a last reading shows"
    for generation in (made, unsent):
        now = await gateway.finish(generation["id"])
        assert now["status"] == "completed" if now["attempts"][0]["tasks"] else now["error"]["code"] == "expired"
    assert gateway.submits["keevx"] == 1


async def test_a_generation_of_before_is_read_cancelled_and_deleted(gateway):
    gateway.sandbox.fault("keevx", "submit", "429", times=None)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(made["id"], "refused")
    await gateway.restart()
    path = f"/v1/videos/generations/{made['id']}"
    cancelled = (await gateway.client.post(path + "/cancel")).json()
    assert (cancelled["status"], cancelled["cancellation"]["provider_started"]) == ("cancelled", False)
    await gateway.clock.run_for(600)
    assert gateway.paid == {}
    assert (await gateway.client.delete(path)).status_code == 200


# --- crashed ----------------------------------------------------------------------------------------------------------


async def test_a_crash_before_the_submit(gateway, jpeg: bytes):
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "upload", "hang")
    made = await gateway.post(model=V, image=base64.b64encode(jpeg).decode())
    await gateway.until_state(made["id"], "reserved")
    await gateway.crash()
    gateway.traffic.slow.clear()
    await gateway.start()
    assert kinds(await gateway.finish(made["id"])) == [("keevx", "completed", None)]
    assert gateway.submits == gateway.paid == {"keevx": 1}


@pytest.mark.parametrize("on_ambiguous", ["fall_back", "fail", "hold"])
async def test_a_crash_during_the_submit(idle, on_ambiguous: str):
    idle.route(V, FOX_IMAGE, on_ambiguous=on_ambiguous)
    gateway = await idle.start()
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "hang_after_accept")
    made = await gateway.post(model="m", **IMAGE)
    await gateway.until_state(made["id"], "submitting")
    await gateway.until(lambda: gateway.paid != {})
    await gateway.crash()
    assert (await _state_after_crash(gateway, made["id"])) == "submitting"
    gateway.traffic.slow.clear()
    now = await gateway.finish(made["id"])
    first = ("keevx", "unknown", "ambiguous")
    if on_ambiguous == "fall_back":
        assert (now["status"], kinds(now)) == ("completed", [first, ("foxapi", "completed", None)])
    else:
        assert kinds(now) == [first]
        assert now["error"]["code"] == {"fail": "submission_unknown", "hold": "expired"}[on_ambiguous]
    assert now["attempts"][0]["billed"] == "maybe"
    assert (gateway.submits["keevx"], gateway.started("keevx")) == (1, 1)


async def _state_after_crash(gateway, generation_id: str) -> str:
    await gateway.start()
    return (await gateway.stored(generation_id)).attempts[0].state


async def test_a_crash_between_the_reply_and_its_commit_leaves_a_trace(idle, events):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    for method in ("accept_expected", "accept"):
        gateway.replace_in_store(method, unavailable(gateway, 10**6))
    made = await gateway.post(model="m", **IMAGE)
    await gateway.clock.run_for(10)
    assert gateway.paid == {"keevx": 1}
    await gateway.crash()
    await gateway.start()
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("keevx", "unknown", "ambiguous"), ("foxapi", "completed", None)]
    [receipt] = [event for event in events if event["event"] == "submission_receipt" and event["provider"] == "keevx"]
    assert receipt["tasks"] == [task.id for task in gateway.sandbox.state.tasks.values() if task.provider == "keevx"]
    assert gateway.submits == {"keevx": 1, "foxapi": 1}


async def test_a_permission_whose_answer_was_lost_is_known_not_to_have_been_used(gateway):
    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        answers: list[Any] = []

        async def changed(*args: Any) -> Any:
            answers.append(await call(*args))
            if len(answers) == 1:
                raise StoreUnavailable("The answer was lost.", retry_after=1)
            return answers[-1]

        return changed

    gateway.replace_in_store("begin_submit", change)
    made = await gateway.make(model=V, **IMAGE)
    assert kinds(made) == [("keevx", "cancelled", None), ("keevx", "completed", None)]
    assert (gateway.submits, gateway.paid) == ({"keevx": 1}, {"keevx": 1})


async def test_a_crash_while_a_task_runs(gateway):
    gateway.sandbox.fault("keevx", "submit", "slow_task", seconds=100)
    made = await gateway.post(model=V, n=3, **IMAGE)
    await gateway.clock.run_for(70)
    await gateway.crash()
    await gateway.start()
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("keevx", "completed", None)]
    assert (gateway.submits, gateway.paid) == ({"keevx": 1}, {"keevx": 3})


async def test_a_driver_that_has_lost_the_fence_sends_nothing(gateway):
    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(attempt_id: str, fence: int, now: Any, place: Any) -> Any:
            await gateway.app.store.take_over([made["id"]], now)
            return await call(attempt_id, fence, now, place)

        return changed

    gateway.replace_in_store("begin_submit", change)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.clock.run_for(600)
    assert gateway.submits == {}
    assert gateway.app.engine.driven == 0
    await gateway.restart()
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert gateway.submits == {"keevx": 1}


async def test_a_driver_that_loses_the_fence_just_before_sending_sends_nothing(gateway):
    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(attempt_id: str, fence: int, now: Any, place: Any) -> Any:
            version = await call(attempt_id, fence, now, place)
            await gateway.app.store.take_over([made["id"]], now)
            return version

        return changed

    gateway.replace_in_store("begin_submit", change)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.clock.run_for(600)
    assert gateway.submits == {}


async def test_a_deadline_that_passes_while_the_intent_is_stored(gateway):
    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(*args: Any) -> Any:
            version = await call(*args)
            gateway.clock.move_on(100)
            return version

        return changed

    gateway.replace_in_store("begin_submit", change)
    made = await gateway.post(model=V, deadline_seconds=60, **IMAGE)
    now = await gateway.finish(made["id"])
    assert now["status"] == "expired"
    assert [(attempt["status"], attempt["billed"]) for attempt in now["attempts"]] == [("failed", "no")]
    assert gateway.submits == {}


async def test_a_submit_under_way_at_a_cancel_and_a_crash_is_shown_as_unknown(gateway):
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "hang_after_accept")
    made = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(made["id"], "submitting")
    cancelled = (await gateway.client.post(f"/v1/videos/generations/{made['id']}/cancel")).json()
    assert cancelled["cancellation"]["provider_started"] is True
    await gateway.crash()
    await gateway.start()
    await gateway.until_state(made["id"], "unknown")
    now = (await gateway.client.get(f"/v1/videos/generations/{made['id']}")).json()
    assert now["status"] == "cancelled"
    assert [(attempt["status"], attempt["billed"]) for attempt in now["attempts"]] == [("unknown", "maybe")]


async def test_a_task_that_turns_up_late_is_adopted(idle):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=0.3)
    made = await gateway.post(model="m", **IMAGE)
    await gateway.until_state(made["id"], "submitting")
    (taken,) = await gateway.app.store.take_over([made["id"]], gateway.clock.now())
    assert taken is not None
    other = asyncio.create_task(gateway.app.engine._new_driver().run(taken))
    await gateway.until_state(made["id"], "accepted")  # on the next route
    assert kinds(await gateway.get(made["id"]))[0] == ("keevx", "unknown", "ambiguous")
    gateway.traffic.slow.clear()
    await gateway.finish(made["id"])

    async def is_over() -> bool:
        return other.done()

    await gateway.clock.run_until(is_over)  # it polls the other task too, after the end
    now = await gateway.get(made["id"])
    assert now["status"] == "completed"
    assert {task for attempt in now["attempts"] for task in attempt["tasks"]} == set(gateway.sandbox.state.tasks)
    assert [attempt["failure"] for attempt in now["attempts"] if attempt["status"] == "unknown"] == []
    assert gateway.submits == gateway.paid == {"keevx": 1, "foxapi": 1}


# --- many at once, and fewer providers --------------------------------------------------------------------------------


async def test_a_start_takes_over_in_few_transactions_and_spreads_the_first_polls(gateway):
    gateway.sandbox.fault("foxapi", "submit", "stuck", times=None)
    made = await asyncio.gather(*(gateway.post(model=FOX_TEXT) for _ in range(200)))
    await gateway.clock.run_for(1)
    await gateway.stop()
    gateway.clock.move_on(300)
    gateway.writes.clear()
    await gateway.start()
    await gateway.app.engine.taken_over()
    await gateway.traffic.settle()
    assert gateway.app.engine.driven == len(made)
    assert gateway.writes["take_over"] <= 200 / TAKE_OVER_BATCH + 1
    polled = [gateway.received("foxapi", "poll")]
    for _ in range(40):
        await gateway.clock.run_for(1)
        polled.append(gateway.received("foxapi", "poll"))
    steps = [later - sooner for sooner, later in itertools.pairwise(polled)]
    assert max(steps) <= 30, "old tasks are polled at their longest interval, 15 s"
    assert sum(steps[:16]) >= 200, "and each of them within it"
    assert gateway.paid == {"foxapi": 200}
    await gateway.crash()


async def test_a_provider_that_was_taken_out_ends_its_own_generations_alone(idle):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    running = await gateway.post(model=V, **IMAGE)
    with_a_next = await gateway.post(model="m", **IMAGE)
    other = await gateway.post(model=FOX_TEXT)
    for generation in (running, with_a_next, other):
        await gateway.until_state(generation["id"], "accepted")
    gateway.sandbox.fault("keevx", "submit", "429", retry_after=60)
    waiting = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(waiting["id"], "refused")
    await gateway.stop()
    account = gateway.providers.pop("keevx")
    await gateway.start()
    assert (await gateway.finish(other["id"]))["status"] == "completed"
    # The tasks at keevx cannot be polled. That must not make the gateway pay for them at another provider.
    ends = ((running, "expired", "expired"), (with_a_next, "expired", "expired"), (waiting, "failed", "unavailable"))
    for generation, status, code in ends:
        ended = await gateway.finish(generation["id"])
        assert (ended["status"], ended["error"]["code"]) == (status, code)
    assert gateway.submits == {"keevx": 3, "foxapi": 1}
    gateway.providers["keevx"] = account
    await gateway.restart()
    assert (await gateway.make(model=V, **IMAGE))["status"] == "completed"


async def test_a_model_that_was_taken_out_ends_its_own_generations(idle):
    idle.providers["foxapi"]["models"] = {"kling-v9": ProviderModel(like="kling-v3-text-to-video")}
    gateway = await idle.start()
    gateway.sandbox.fault("foxapi", "submit", "429", retry_after=60)
    waiting = await gateway.post(model="foxapi/kling-v9")
    await gateway.until_state(waiting["id"], "refused")
    gateway.providers["foxapi"] = {}
    await gateway.restart()
    ended = await gateway.finish(waiting["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "unavailable")
    assert gateway.submits == {"foxapi": 1}


# --- a store that is away ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["write", "begin_submit", "accept", "get", "files"])
@pytest.mark.parametrize("seconds", [0.5, 90])
async def test_a_store_that_is_away_loses_and_doubles_nothing(idle, jpeg: bytes, method: str, seconds: float):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    made = await gateway.post(model="m", image=base64.b64encode(jpeg).decode())
    gateway.replace_in_store(method, unavailable(gateway, seconds))
    await gateway.clock.run_for(seconds + 2)
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("keevx", "completed", None)]
    assert gateway.submits == gateway.paid == {"keevx": 1}
    assert [task.id for task in gateway.sandbox.state.tasks.values()] == now["attempts"][0]["tasks"]


@pytest.mark.parametrize("method", ["write", "get"])
async def test_a_store_that_goes_away_while_a_task_runs(gateway, method: str):
    made = await gateway.post(model=FOX_TEXT)
    await gateway.until_state(made["id"], "accepted")
    gateway.replace_in_store(method, unavailable(gateway, 120))
    await gateway.clock.run_for(130)
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("foxapi", "completed", None)]
    assert gateway.paid == {"foxapi": 1}


async def test_a_refusal_is_stored_however_long_the_store_is_away(idle):
    idle.route(V, FOX_IMAGE)
    gateway = await idle.start()
    gateway.sandbox.fault("keevx", "submit", "503_no_channel")

    def change(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def changed(*args: Any) -> Any:
            version = await call(*args)
            if not gateway.submits:
                gateway.replace_in_store("write", unavailable(gateway, 60))
            return version

        return changed

    gateway.replace_in_store("begin_submit", change)
    made = await gateway.post(model="m", **IMAGE)
    await gateway.clock.run_for(50)
    assert gateway.submits == {"keevx": 1}
    assert (await gateway.stored(made["id"])).attempts[0].state == "submitting"
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("keevx", "failed", "unavailable"), ("foxapi", "completed", None)]
    assert gateway.submits == {"keevx": 1, "foxapi": 1}


async def test_a_post_is_refused_while_the_store_is_away(gateway):
    gateway.replace_in_store("create", unavailable(gateway, 10))
    body = {"model": FOX_TEXT, "prompt": "A beach."}
    refused = await gateway.client.post("/v1/videos/generations", json=body, headers={"idempotency-key": "k"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(refused.headers["retry-after"]) > 0
    await gateway.clock.run_for(11)
    assert gateway.submits == {}
    taken = await gateway.client.post("/v1/videos/generations", json=body, headers={"idempotency-key": "k"})
    assert taken.status_code == 200
    assert (await gateway.finish(taken.json()["id"]))["status"] == "completed"
    assert gateway.paid == {"foxapi": 1}


async def test_a_defect_in_one_driver_spares_the_others_and_its_own_submit(gateway):
    gateway.traffic.slow.add("keevx")
    gateway.sandbox.fault("keevx", "submit", "slow", seconds=1)
    made = await gateway.post(model=V, **IMAGE)
    await gateway.until_state(made["id"], "submitting")
    drive = gateway.app.engine._drivers[made["id"]]

    def broken() -> Any:
        del drive._collect
        raise ZeroDivisionError

    drive._collect = broken
    drive.wake()
    other = await gateway.make(model=FOX_TEXT)
    assert other["status"] == "completed"
    await gateway.clock.run_for(60)  # by then another driver would have taken over
    assert (await gateway.stored(made["id"])).attempts[0].state == "submitting"
    gateway.traffic.slow.clear()
    now = await gateway.finish(made["id"])
    assert kinds(now) == [("keevx", "completed", None)]
    assert gateway.submits["keevx"] == 1


# --- killed -----------------------------------------------------------------------------------------------------------


class Killable:
    """A gateway in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process
        self.client: httpx.AsyncClient

    async def start(self) -> None:
        program = (sys.executable, __file__, str(self._folder))
        with (self._folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        async with asyncio.timeout(SOON):
            port = int(await self._process.stdout.readline())
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self.client.aclose()

    async def post(self, prompt: str, **body: Any) -> str:
        answer = await self.client.post("/v1/videos/generations", json={"model": "m", "prompt": prompt, **body})
        generation_id: str = answer.raise_for_status().json()["id"]
        return generation_id

    async def get(self, generation_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/videos/generations/{generation_id}")
        generation: dict[str, Any] = answer.raise_for_status().json()
        return generation

    async def ended(self, generation_id: str) -> dict[str, Any]:
        async with asyncio.timeout(SOON):
            while True:
                now = (await self.client.get(f"/v1/videos/generations/{generation_id}?wait=5")).json()
                if now["status"] not in {"queued", "in_progress"}:
                    return now


@asynccontextmanager
async def killable(folder: Path):
    async with SandboxServer(queued_seconds=0.0, total_seconds=0.4, max_short_side=90) as sandbox:
        bases = sandbox.base_urls()
        polling = "first_poll_seconds = 0.1\npoll_seconds = 0.1\npoll_max_seconds = 0.2"
        accounts = "\n".join(
            f'[providers.{name}]\napi_key = "file:{folder / "key"}"\nbase_url = "{bases[name]}"\n{polling}'
            for name in ("keevx", "foxapi")
        )
        (folder / "key").write_text("sk-upstream")
        (folder / "gateway.toml").write_text(
            f'[database]\nurl = "sqlite:///{folder / "ledger.db"}"\n'
            f'[artifacts]\nurl = "file:{folder / "artifacts"}"\n{accounts}\n'
            f'[models.m]\nroutes = ["{V}", "{FOX_IMAGE}"]\n'
        )
        gateway = Killable(folder)
        await gateway.start()
        try:
            yield gateway, sandbox
        finally:
            await gateway.kill()


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await reached():  # noqa: ASYNC110  # in another process, which sets no event here
            await asyncio.sleep(0.01)


async def test_a_kill_in_every_state(tmp_path: Path, jpeg: bytes):
    async with killable(tmp_path) as (gateway, sandbox):
        state = sandbox.state
        sandbox.fault("keevx", "upload", "hang")
        reserved = await gateway.post("reserved", image=base64.b64encode(jpeg).decode())
        submitting = await gateway.post("submitting [[sandbox:keevx:submit:hang_after_accept]]", **IMAGE)
        accepted = await gateway.post("accepted [[sandbox:keevx:submit:slow_task?seconds=2]]", **IMAGE)

        async def everywhere() -> bool:
            running = any(attempt["tasks"] for attempt in (await gateway.get(accepted))["attempts"])
            return running and state.received["keevx", "upload"] == 1 and state.started["keevx"] == 2

        await until(everywhere)
        await gateway.kill()
        await gateway.start()
        assert kinds(await gateway.ended(reserved)) == [("keevx", "completed", None)]
        unclear = await gateway.ended(submitting)
        assert kinds(unclear) == [("keevx", "unknown", "ambiguous"), ("foxapi", "completed", None)]
        assert kinds(await gateway.ended(accepted)) == [("keevx", "completed", None)]
        assert state.started == {"keevx": 3, "foxapi": 1}
        assert state.received["keevx", "submit"] == 3
        assert set(state.prompts_started.values()) == {1}


async def test_kills_at_any_moment(tmp_path: Path):
    async with killable(tmp_path) as (gateway, sandbox):
        sandbox.fault("keevx", "submit", "slow", times=None, seconds=0.05)
        ids: list[str] = []
        for round_ in range(3):
            for number in range(8):
                ids.append(await gateway.post(f"round {round_}, number {number}", **IMAGE))
                await asyncio.sleep(0.013 * round_)
            await gateway.kill()
            await gateway.start()
        made = [await gateway.ended(generation_id) for generation_id in ids]
        assert Counter(generation["status"] for generation in made) == {"completed": len(ids)}
        task_ids = {task for generation in made for attempt in generation["attempts"] for task in attempt["tasks"]}
        unclear = sum(1 for generation in made for attempt in generation["attempts"] if attempt["status"] == "unknown")
        assert task_ids <= set(sandbox.state.tasks)
        assert len(set(sandbox.state.tasks) - task_ids) <= unclear
        assert set(sandbox.state.prompts_started.values()) == {1}  # tasks for one prompt at one provider


def main(folder: Path) -> None:
    settings = load(folder / "gateway.toml", {}, load_adapters())
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(Application(settings).asgi, log_config=None)  # type: ignore[arg-type]  # one protocol
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
