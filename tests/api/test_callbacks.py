"""`POST /callbacks/{provider}/{token}`: which calls are accepted, the answers, and the effects."""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.domain.errors import StoreUnavailable

PUBLIC = "https://video.example.com/gw"
TOML = f"""
server.public_url = "{PUBLIC}"
[models.hero]
routes = ["keevx/V"]
on_ambiguous = "hold"
"""
KEEVX = {"model": "keevx/V", "image": "https://a.example/1.png"}
FOREIGN = "att_01JDKQ00000000000000000000_1"
LOST = httpx.Response(500, text="<html>Bad gateway</html>")


class Called:
    """A gateway with a public URL; it records the calls to its engine and its store, and its log."""

    def __init__(self, gateway: Any, logs: list[Mapping[str, Any]]) -> None:
        self.gateway = gateway
        self.logs = logs
        self.hints: list[tuple[str, str]] = []
        self.calls: list[str] = []  # calls of the store's task claims, by any caller
        engine, store = gateway.application.engine, gateway.application.store
        hint = engine.nudge
        engine.nudge = lambda *of: (self.hints.append(of), hint(*of))
        for part, name in ((store, "get"), (store.task_claims, "claim")):
            setattr(part, name, self._counted(name, getattr(part, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            return call(*args, **kwargs)

        return counted

    async def submitted(self, **changes: Any) -> tuple[str, str]:
        """The id of a generation that was submitted, and the path that the provider can call."""
        made = await self.gateway.create(**{**KEEVX, **changes})
        for _ in range(20):
            await self.gateway.clock.advance(1)
            attempts = (await self.gateway.stored(made["id"])).attempts
            if attempts and attempts[-1].state not in {"reserved", "submitting"}:
                url = json.loads(self.gateway.upstream.submits[-1].content)["callback_url"]
                return made["id"], url.removeprefix(PUBLIC)
        pytest.fail("nothing is submitted")

    async def post(self, path: str, task: str | None = None, content: bytes | None = None, **more: Any) -> Any:
        body = {"code": 0, "msg": "ok", "task_type": "image_to_video", "data": {"task_id": task, "status": "SUCCEEDED"}}
        raw = json.dumps(body).encode() if content is None else content
        async with self.gateway.client_of(None) as nobody:
            return await nobody.post(path, content=raw, **more)

    async def attempt(self, generation_id: str) -> Any:
        return (await self.gateway.stored(generation_id)).attempts[-1]

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        return [line for line in self.logs if line["event"] == event]


@pytest.fixture
def logs(plain_logs: None) -> Iterator[list[Mapping[str, Any]]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture
async def called(start: Any, logs: list[Mapping[str, Any]]) -> Called:
    return Called(await start(TOML), logs)


async def test_each_submit_has_a_url_of_its_own(called: Called) -> None:
    (first, url), (_, other) = await called.submitted(), await called.submitted()
    attempt = (await called.attempt(first)).id
    assert url.startswith(f"/callbacks/keevx/{attempt}.")
    assert urlsplit(PUBLIC + url).geturl() == PUBLIC + url
    assert url.rpartition(".")[2] != other.rpartition(".")[2]


async def test_a_provider_without_callbacks_gets_no_url(called: Called) -> None:
    await called.gateway.create()
    await called.gateway.create(model="kling_relay/kling-v1")
    await called.gateway.clock.advance(5)
    sent = [submit.content for submit in called.gateway.upstream.submits]
    assert len(sent) == 2
    assert not any(b"callback" in content for content in sent)


async def test_without_a_public_url_no_provider_gets_a_url(gateway: Any) -> None:
    await gateway.create(**KEEVX)
    await gateway.clock.advance(5)
    (sent,) = gateway.upstream.submits
    assert b"callback" not in sent.content


WRONG: list[Callable[[str], str]] = [
    lambda path: path[:-1],
    lambda path: path + "A",
    lambda path: path.replace("/keevx/", "/foxapi/"),
    lambda path: path.replace("/keevx/", "/ke%C3%A9vx/"),
    lambda path: path.rpartition(".")[0],
    lambda path: path.rpartition(".")[0] + ".",
    lambda path: path.rpartition(".")[0] + "1999999999." + path.rpartition(".")[2],
    lambda path: path.replace("_1.", "_2."),
    lambda path: f"/callbacks/keevx/{FOREIGN}.{path.rpartition('.')[2]}",
    lambda path: "/callbacks/keevx/." + path.rpartition(".")[2],
    lambda path: "/callbacks/keevx/%00",
    lambda path: "/callbacks/keevx/" + "a" * 5000,
]


async def test_without_the_token_the_path_does_not_exist(called: Called, check_error: Any) -> None:
    _, path = await called.submitted()
    called.calls.clear()
    for wrong in WRONG:
        check_error(await called.post(wrong(path), "task-1-0"), 404, "not_found")
    assert (called.calls, called.hints) == ([], [])


async def test_it_is_a_post_alone(called: Called, check_error: Any) -> None:
    _, path = await called.submitted()
    async with called.gateway.client_of(None) as nobody:
        for method in ("GET", "PUT", "DELETE"):
            check_error(await nobody.request(method, path), 405, "method_not_allowed")
    assert called.hints == []


GARBAGE: list[tuple[bytes, Mapping[str, str]]] = [
    (b"", {}),
    (b"not json", {"content-type": "text/plain"}),
    (b"\xff\xfe\x00", {"content-type": "application/json"}),
    (b"[" * 20_000, {"content-type": "application/json"}),
    (b'{"data": {"task_id": {"a": 1}}}', {}),
    (b'{"data": {"task_id": "\\ud800"}}', {}),
    (b'{"data": {"task_ids": ["' + b"a" * 5000 + b'"]}}', {}),
    (b"x" * (64 * 1024 + 1), {}),
    (b"\x1f\x8b", {"content-encoding": "gzip"}),
    (b"a=b", {"content-type": "application/x-www-form-urlencoded", "authorization": "Bearer vg_unknown"}),
]


async def test_every_body_with_the_token_makes_the_engine_poll(called: Called) -> None:
    made, path = await called.submitted()
    before = await called.gateway.stored(made)
    for content, headers in GARBAGE:
        answer = await called.post(path, content=content, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {})
    assert called.hints == [(made, before.attempts[0].id)] * len(GARBAGE)
    assert (await called.gateway.stored(made)).attempts[0].tasks == before.attempts[0].tasks
    assert "claim" not in called.calls


async def test_the_body_is_not_trusted_about_a_known_task(called: Called) -> None:
    made, path = await called.submitted()
    await called.post(path, "task-1-0")
    await called.gateway.clock.advance(1)
    shown = (await called.gateway.client.get(f"/v1/videos/generations/{made}")).json()
    assert (shown["status"], shown["data"][0]["url"]) == ("in_progress", None)


async def test_a_task_that_the_reply_has_not_named_is_not_adopted(called: Called) -> None:
    made, path = await called.submitted()
    for _ in range(3):
        assert (await called.post(path, "task-of-nobody")).status_code == 200
    assert [task.ref.id for task in (await called.attempt(made)).tasks] == ["task-1-0"]
    (warning,) = called.logged("callback_unexpected")
    assert (warning["task"], warning["log_level"]) == ("task-of-nobody", "warning")
    assert "claim" not in called.calls


async def test_an_unknown_attempt_gets_the_tasks_that_callbacks_name(called: Called) -> None:
    called.gateway.upstream.refuse = LOST
    made, path = await called.submitted(model="hero", n=2)
    assert (await called.attempt(made)).state == "unknown"
    for task in ("first", "first", "second", "second", "third"):
        assert (await called.post(path, task)).status_code == 200
        await called.gateway.clock.advance(0.01)
    attempt = await called.attempt(made)
    assert (attempt.state, attempt.failure, attempt.ended_at) == ("accepted", None, None)
    assert [(task.ref.id, task.slot) for task in attempt.tasks] == [("first", 0), ("second", 1), ("third", 2)]
    assert len(called.logged("callback_adopted")) == called.calls.count("claim") == 3
    events = [event.type for event in await called.gateway.application.store.events(made)]
    assert events.count("attempt.accepted") == 1
    assert len(called.gateway.upstream.submits) == 1
    read = [
        request.url.path.rpartition("/")[2] for request in called.gateway.upstream.requests if request.method == "GET"
    ]
    assert set(read) == {"first", "second", "third"}


async def test_a_task_of_another_attempt_is_not_adopted(called: Called) -> None:
    await called.submitted()
    called.gateway.upstream.refuse = LOST
    made, path = await called.submitted()
    for _ in range(3):
        assert (await called.post(path, "task-1-0")).status_code == 200
    assert (await called.attempt(made)).state == "unknown"
    assert (len(called.logged("callback_unexpected")), called.calls.count("claim")) == (1, 1)
    await called.post(path, "task-2-0")
    assert (await called.attempt(made)).state == "accepted"


async def test_a_refused_submit_whose_task_calls_back_is_followed_and_not_repeated(called: Called) -> None:
    called.gateway.upstream.refuse = httpx.Response(400, json={"code": 100001, "msg": "Parameter error"})
    made, path = await called.submitted()
    assert (await called.attempt(made)).state == "refused"
    for _ in range(3):
        assert (await called.post(path, "task-1-0")).status_code == 200
    attempt = await called.attempt(made)
    assert ([task.ref.id for task in attempt.tasks], attempt.adopted) == (["task-1-0"], "callback")
    assert len(called.logged("callback_adopted")) == 1
    assert called.hints == [(made, attempt.id)] * 3
    assert len(called.gateway.upstream.submits) == 1


async def test_callbacks_of_ended_deleted_and_lost_generations_are_accepted(called: Called) -> None:
    made, path = await called.submitted()
    assert (await called.gateway.client.post(f"/v1/videos/generations/{made}/cancel")).status_code == 200
    assert (await called.post(path, "task-1-0")).status_code == 200
    assert (await called.gateway.client.delete(f"/v1/videos/generations/{made}")).status_code == 200
    for task in ("task-1-0", "task-1-0", "another"):
        assert (await called.post(path, task)).status_code == 200
    noted = [(line["provider"], line["task"]) for line in called.logged("callback_of_deleted")]
    assert noted == [("keevx", "task-1-0"), ("keevx", "another")], "each task was paid for, and is logged once"
    urls = called.gateway.application.litestar.state.context.callback_urls
    keevx = called.gateway.application.providers["keevx"]
    assert (await called.post(urls.url(keevx, FOREIGN).removeprefix(PUBLIC), "task")).status_code == 200
    assert called.hints == []


async def test_a_callback_is_refused_while_the_store_is_down_and_can_be_repeated(
    called: Called, check_error: Any
) -> None:
    called.gateway.upstream.refuse = LOST
    made, path = await called.submitted()
    part = called.gateway.application.store.task_claims
    claim = part.claim

    async def down(*_: Any) -> Any:
        raise StoreUnavailable(retry_after=1)

    part.claim = down
    answer = await called.post(path, "task")
    check_error(answer, 503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    part.claim = claim
    assert (await called.post(path, "task")).status_code == 200
    assert (await called.attempt(made)).state == "accepted"


@pytest.mark.parametrize("works", [True, False])
async def test_an_equal_callback_waits_until_the_first_one_is_durable(called: Called, works: bool) -> None:
    called.gateway.upstream.refuse = LOST
    made, path = await called.submitted()
    part, ready = called.gateway.application.store.task_claims, asyncio.Event()
    claim = part.claim

    async def slow(*arguments: Any) -> Any:
        await ready.wait()
        if not works:
            raise StoreUnavailable(retry_after=1)
        return await claim(*arguments)

    part.claim = slow
    answers = [asyncio.create_task(called.post(path, "task")) for _ in range(3)]
    await called.gateway.clock.traffic.settle()
    assert not any(answer.done() for answer in answers)
    answers[0].cancel()  # the caller disconnects, and its callback still counts
    await called.gateway.clock.traffic.settle()
    ready.set()
    assert {(await answer).status_code for answer in answers[1:]} == {200 if works else 503}
    assert (await called.attempt(made)).state == ("accepted" if works else "unknown")
    part.claim = claim
    assert (await called.post(path, "task")).status_code == 200
    assert [task.ref.id for task in (await called.attempt(made)).tasks] == ["task"]
    assert len(called.logged("callback_adopted")) == 1


async def test_the_token_is_in_no_answer_and_no_log_line(called: Called) -> None:
    called.gateway.upstream.refuse = LOST
    made, path = await called.submitted()
    await called.post(path, "task")
    await called.post(path + "x", "task")
    token = path.rpartition(".")[2]
    shown = await called.gateway.client.get(f"/v1/videos/generations/{made}")
    events = await called.gateway.application.store.events(made)
    assert token not in shown.text + str(events) + str(called.logs)
    places = [line["path"] for line in called.logged("request_finished") if "callbacks" in line["path"]]
    assert places == ["/callbacks/{provider}/{token}"] * 2
