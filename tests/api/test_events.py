"""How clients follow a generation: streams of events, reads that wait, and the advice when to read again."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.api.web.streaming import CUT
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.transitions import SaveStatus
from gateway.generations.event_stream import KEEP_ALIVE_SECONDS
from gateway.store.port import Event

from ..asgi import scope_of

VIDEOS = "/v1/videos/generations"
QUEUED, IN_PROGRESS = "video.generation.queued", "video.generation.in_progress"
CANCELLED = "video.generation.cancelled"


class StreamEvent(dict[str, str]):
    """The fields of one event of a stream."""

    @property
    def data(self) -> Any:
        return json.loads(self["data"])


class Listener:
    """A client of a stream; the test says when it reads and when it leaves."""

    def __init__(
        self, gateway: Any, generation_id: str, *, query: str = "", method: str = "GET", said: int = 0, **headers: str
    ) -> None:
        """`said`: how many messages of a request body it sends."""
        self.gone = asyncio.Event()
        path = f"{VIDEOS}/{generation_id}/events"
        names = {"host": "gateway.test", "authorization": f"Bearer {gateway.key}", **headers}
        sent = {name.replace("_", "-"): value for name, value in names.items()}
        self.scope = scope_of(method, path, sent, query=query, state={CUT: self.gone.set})
        self.ready = asyncio.Event()  # set: the client reads on
        self.ready.set()
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.bodies: list[bytes] = []
        self.ended = False
        self.said = said
        self._has_sent_request = False
        self.task = asyncio.create_task(gateway.application.asgi(self.scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self.said > 0:
            self.said -= 1
            return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}
        if not self._has_sent_request:
            self._has_sent_request = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.ready.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.bodies.append(message["body"])
        if not message["more_body"]:
            self.ended = True
            self.gone.set()

    @property
    def text(self) -> str:
        return b"".join(self.bodies).decode()

    @property
    def events(self) -> list[StreamEvent]:
        events = []
        for block in self.text.split("\n\n"):
            fields = StreamEvent(
                line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":")
            )
            if "event" in fields:
                events.append(fields)
        return events

    @property
    def names(self) -> list[str]:
        return [event["event"] for event in self.events]

    @property
    def ids(self) -> list[int]:
        return [int(event["id"]) for event in self.events if "id" in event]

    def error(self) -> Any:
        return json.loads(self.text)["error"]

    async def leave(self) -> None:
        self.gone.set()
        await asyncio.wait_for(self.task, 2)


def listeners(gateway: Any) -> int:
    return sum(map(len, gateway.application._notifier._listeners.values()))


async def settled(gateway: Any) -> None:
    await gateway.clock.advance(0)


async def listening(gateway: Any, generation_id: str, **given: Any) -> Listener:
    listener = Listener(gateway, generation_id, **given)
    await settled(gateway)
    return listener


async def cancel(gateway: Any, generation_id: str) -> None:
    assert (await gateway.client.post(f"{VIDEOS}/{generation_id}/cancel")).status_code == 200
    await settled(gateway)


async def progressed(gateway: Any, generation_id: str, progress: float) -> None:
    """Store this progress as a driver does after it has polled a task."""
    held = await gateway.stored(generation_id)
    changed = SaveStatus(
        was=held.status,
        status=held.status,
        progress=progress,
        provider=held.provider,
        provider_model=held.provider_model,
        failure=None,
        completed_at=None,
    )
    assert await gateway.application.store.write(held, [changed], gateway.clock.now()) is not None
    gateway.application._notifier.changed(generation_id)
    await settled(gateway)


@pytest.fixture
async def made(gateway: Any) -> str:
    """The id of a generation that a provider is working on."""
    created: str = (await gateway.create())["id"]
    await gateway.begin(created)
    return created


async def test_a_stream_sends_past_events_and_then_new_ones_until_the_end(gateway: Any) -> None:
    made = (await gateway.create())["id"]
    listener = await listening(gateway, made)
    assert (listener.names, listener.status) == ([QUEUED], 200)
    await gateway.begin(made)
    assert listener.names == [QUEUED, IN_PROGRESS]
    assert not listener.ended

    await cancel(gateway, made)

    assert listener.names == [QUEUED, IN_PROGRESS, CANCELLED]
    assert listener.ended
    await listener.task
    rows = {row.seq: row for row in await gateway.application.store.events(made)}
    assert sorted(listener.ids) == listener.ids
    for event in listener.events:
        row = rows[int(event["id"])]
        assert event["event"] == f"video.{row.type}" == event.data["type"]
        assert event.data["created_at"] == int(row.at.timestamp())
        assert event.data["data"]["id"] == made
    read = (await gateway.client.get(f"{VIDEOS}/{made}")).json()
    assert listener.events[-1].data["data"] == read
    assert listener.headers["content-type"].startswith("text/event-stream")
    assert listener.headers["cache-control"] == "no-store"
    assert listener.headers["x-accel-buffering"] == "no"
    assert "content-length" not in listener.headers
    assert 2000 <= int(listener.text.partition("retry: ")[2].partition("\n")[0]) <= 4000
    assert listeners(gateway) == 0


async def test_an_output_is_announced_before_the_end(gateway: Any, made: str) -> None:
    listener = await listening(gateway, made)
    await gateway.finish()
    assert listener.names[-2:] == ["video.generation.output.completed", "video.generation.completed"]
    assert listener.events[-2].data["index"] == 0
    assert listener.events[-1].data["data"]["status"] == "completed"
    assert "index" not in listener.events[-1].data


async def test_a_replayed_event_has_the_generation_as_it_was_then(gateway: Any) -> None:
    made = (await gateway.create(prompt="A pier."))["id"]
    live = await listening(gateway, made)
    await gateway.begin(made)
    await gateway.finish()
    assert live.ended
    replayed = await listening(gateway, made)
    resumed = await listening(gateway, made, last_event_id=str(live.ids[0]))
    assert replayed.ids == [live.ids[0], *resumed.ids]

    for events in (live.events, replayed.events, resumed.events):
        for event in events:
            view = event.data["data"]
            status = event["event"].removeprefix("video.generation.")
            assert status in {view["status"], "output.completed", "progress"}
            assert (view["completed_at"] is None) is (status != "completed")
            assert (view["data"][0]["url"] is None) is (status not in {"output.completed", "completed"})
    fields = ("status", "error", "completed_at", "provider", "request", "usage")
    states = [
        [
            (
                {name: event.data["data"][name] for name in fields},
                [(attempt["status"], attempt["ended_at"]) for attempt in event.data["data"]["attempts"]],
                [(output["status"], output["url"], output["sha256"]) for output in event.data["data"]["data"]],
            )
            for event in events
            if event.get("id") and event["event"] in {QUEUED, "video.generation.completed"}
        ]
        for events in (live.events, replayed.events)
    ]
    assert states[0] == states[1]
    (attempt,) = replayed.events[0].data["data"]["attempts"]
    assert (attempt["status"], attempt["ended_at"]) == ("queued", None)
    (attempt,) = replayed.events[1].data["data"]["attempts"]
    assert (replayed.events[1]["event"], attempt["status"], attempt["ended_at"]) == (IN_PROGRESS, "in_progress", None)


async def test_a_generation_that_moved_on_between_two_readings_does_not_contradict_its_event(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await gateway.create())["id"]
    store = gateway.application.store
    queued = next(event for event in await store.events(made) if event.type == "generation.queued")

    async def only_the_first(generation_id: str, after: int = 0) -> list[Event]:
        return [queued] if after < queued.seq else []

    await gateway.begin(made)
    monkeypatch.setattr(store, "events", only_the_first)
    stream = await listening(gateway, made)
    assert [(event["event"], event.data["data"]["status"]) for event in stream.events] == [(QUEUED, "queued")]
    await stream.leave()


async def test_a_stream_is_resumed_after_the_last_event_that_the_client_has(gateway: Any, made: str) -> None:
    first = await listening(gateway, made)
    queued, in_progress = first.ids
    by_header = await listening(gateway, made, last_event_id=str(queued))
    by_query = await listening(gateway, made, query=f"last_event_id={queued}")
    both = await listening(gateway, made, query=f"last_event_id={queued}", last_event_id=str(in_progress))
    await cancel(gateway, made)

    whole = await listening(gateway, made)
    assert whole.ids == first.ids
    assert whole.names == first.names
    assert by_header.ids == by_query.ids == first.ids[1:]
    assert both.ids == first.ids[2:]
    for listener in (by_header, by_query):
        assert [(event["id"], event["event"]) for event in listener.events] == [
            (event["id"], event["event"]) for event in first.events[1:]
        ]
    assert all(listener.ended for listener in (first, by_header, by_query, both, whole))


async def test_after_the_end_the_answer_is_204_so_that_clients_do_not_reconnect(gateway: Any, made: str) -> None:
    first = await listening(gateway, made)
    await cancel(gateway, made)

    again = await listening(gateway, made, last_event_id=str(first.ids[-1]))
    assert (again.status, again.text, again.ended) == (204, "", True)
    behind = await listening(gateway, made, last_event_id=str(first.ids[-2]))
    assert (behind.status, behind.names) == (200, [CANCELLED])


async def test_head_has_the_headers_of_the_stream(gateway: Any, made: str) -> None:
    listener = await listening(gateway, made, method="HEAD")
    assert (listener.status, listener.text, listener.ended) == (200, "", True)
    assert listener.headers["content-type"].startswith("text/event-stream")
    assert listeners(gateway) == 0


async def test_a_malformed_event_id_is_refused(gateway: Any, check_error: Any) -> None:
    made = (await gateway.create())["id"]
    for given in ("x", "-1", "1.5", "0x1", "1" * 19, "١"):
        response = await gateway.client.get(f"{VIDEOS}/{made}/events", params={"last_event_id": given})
        assert "`id` of an event" in check_error(response, 400, "invalid_parameter", "last_event_id")


async def test_an_empty_event_id_counts_as_absent(gateway: Any, made: str) -> None:
    listener = await listening(gateway, made, query="last_event_id=", last_event_id="")
    assert listener.names == [QUEUED, IN_PROGRESS]
    await listener.leave()


async def test_the_id_of_another_generation_s_event_is_refused(gateway: Any, made: str, check_error: Any) -> None:
    other = (await gateway.create())["id"]
    (queued, *_) = await gateway.application.store.events(other)
    response = await gateway.client.get(f"{VIDEOS}/{made}/events", headers={"last-event-id": str(queued.seq)})
    assert "has no event" in check_error(response, 400, "invalid_parameter", "last_event_id")


async def test_a_generation_of_another_key_has_no_events(gateway: Any, made: str, check_error: Any) -> None:
    check_error(await gateway.other.get(f"{VIDEOS}/{made}/events"), 404, "not_found", "id")
    check_error(await gateway.other.get(f"{VIDEOS}/{made}/events?last_event_id=1"), 404, "not_found", "id")
    check_error(await gateway.client.get(f"{VIDEOS}/nothing/events"), 404, "not_found", "id")
    check_error(await gateway.client_of(None).get(f"{VIDEOS}/{made}/events"), 401, "invalid_api_key")
    check_error(await gateway.client.get(f"{VIDEOS}/{made}/events?after=1"), 400, "unknown_parameter", "after")
    assert listeners(gateway) == 0


async def test_progress_is_sent_live_and_has_no_id_to_resume_from(gateway: Any, made: str) -> None:
    listener = await listening(gateway, made)
    await progressed(gateway, made, 0.4)
    await progressed(gateway, made, 0.4)
    assert listener.names == [QUEUED, IN_PROGRESS, "video.generation.progress"]
    assert "id" not in listener.events[-1]
    assert listener.events[-1].data["data"]["progress"] == 40

    again = await listening(gateway, made, last_event_id=str(listener.ids[-1]))
    assert again.names == ["video.generation.progress"], "a client that reconnects gets the progress at once"
    await cancel(gateway, made)
    assert listener.ids[-1] == again.ids[-1]


async def test_a_change_is_read_once_for_all_listeners(
    gateway: Any, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [await listening(gateway, made) for _ in range(3)]
    many += [Listener(gateway, made) for _ in range(37)]
    await settled(gateway)
    reads = 0
    store = gateway.application.store
    events = store.events

    async def counted(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return await events(*args)

    monkeypatch.setattr(store, "events", counted)
    await cancel(gateway, made)

    assert all(listener.names == [QUEUED, IN_PROGRESS, CANCELLED] for listener in many)
    assert reads == 1
    assert listeners(gateway) == 0


async def test_a_slow_client_has_one_message_waiting_and_misses_no_event(gateway: Any) -> None:
    made = (await gateway.create())["id"]
    slow = await listening(gateway, made)
    quick = await listening(gateway, made)
    slow.ready.clear()
    await gateway.begin(made)
    for progress in (0.1, 0.2, 0.3, 0.4):
        await progressed(gateway, made, progress)
    await cancel(gateway, made)
    assert quick.ended
    assert slow.names == [QUEUED]

    slow.ready.set()
    await settled(gateway)

    assert slow.names == [QUEUED, IN_PROGRESS, CANCELLED], "progress that it missed is not sent later"
    assert slow.ids == quick.ids
    assert slow.ended


async def test_a_client_that_reads_nothing_for_a_minute_is_disconnected(gateway: Any, made: str) -> None:
    stuck = await listening(gateway, made)
    stuck.ready.clear()
    await progressed(gateway, made, 0.5)
    await gateway.clock.advance(59)
    assert not stuck.gone.is_set()
    assert listeners(gateway) >= 1
    await gateway.clock.advance(1)
    assert stuck.gone.is_set()
    await asyncio.wait_for(stuck.task, 2)
    assert gateway.application._notifier.streams.taken == 0


async def test_an_unread_request_body_takes_no_room(gateway: Any, made: str) -> None:
    listener = Listener(gateway, made, said=3000)
    await settled(gateway)
    async with asyncio.timeout(5):
        while listener.said:  # noqa: ASYNC110  # the gateway does this without an event to wait for
            await asyncio.sleep(0)
    assert gateway.application.asgi._bodies.taken == 0
    await cancel(gateway, made)
    assert listener.names == [QUEUED, IN_PROGRESS, CANCELLED]


async def test_a_client_that_leaves_is_forgotten_at_once(gateway: Any, made: str) -> None:
    stays = await listening(gateway, made)
    leaves = await listening(gateway, made)
    stuck = await listening(gateway, made)
    stuck.ready.clear()
    await progressed(gateway, made, 0.5)
    tasks = len(asyncio.all_tasks())
    await leaves.leave()
    await stuck.leave()
    assert listeners(gateway) == 1
    assert len(asyncio.all_tasks()) == tasks - 4
    await cancel(gateway, made)
    assert stays.names[-1] == CANCELLED
    assert CANCELLED not in leaves.names + stuck.names


async def test_a_generation_that_was_deleted_meanwhile_ends_its_streams(gateway: Any, made: str) -> None:
    slow = await listening(gateway, made)
    slow.ready.clear()
    await progressed(gateway, made, 0.5)
    await cancel(gateway, made)
    assert (await gateway.client.delete(f"{VIDEOS}/{made}")).status_code == 200
    slow.ready.set()
    await settled(gateway)
    assert slow.ended
    assert CANCELLED not in slow.names
    assert (await gateway.client.get(f"{VIDEOS}/{made}/events")).status_code == 404


async def test_streams_end_when_the_gateway_stops_and_can_be_resumed_elsewhere(gateway: Any, made: str) -> None:
    many = [await listening(gateway, made) for _ in range(2)]
    gateway.application.drain()
    await settled(gateway)
    assert all(listener.ended for listener in many)
    assert many[0].names == [QUEUED, IN_PROGRESS]
    late = await listening(gateway, made)
    assert (late.names, late.ended) == ([QUEUED, IN_PROGRESS], True)
    assert listeners(gateway) == 0


async def test_streams_are_bounded_and_one_that_ends_makes_room(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_listeners = 2")
    made = (await gateway.create())["id"]
    many = [await listening(gateway, made) for _ in range(2)]

    response = await gateway.client.get(f"{VIDEOS}/{made}/events")

    assert "2 event streams are open already" in check_error(response, 503, "overloaded")
    assert int(response.headers["retry-after"]) >= 1
    assert (await gateway.client.get(f"{VIDEOS}/{made}")).status_code == 200
    await many[0].leave()
    third = await listening(gateway, made)
    assert (third.status, third.names[0]) == (200, QUEUED)
    await many[1].leave()
    await third.leave()


async def test_a_client_with_every_stream_gives_its_newest_one_to_another_client(start: Any) -> None:
    gateway = await start("server.max_listeners = 2")
    made = (await gateway.create())["id"]
    oldest, newest = [await listening(gateway, made) for _ in range(2)]
    others = (await gateway.create(gateway.other))["id"]

    came = await listening(gateway, others, authorization=gateway.other.headers["authorization"])

    assert came.status == 200
    assert (newest.ended, oldest.ended) == (True, False), "the client can go on where its stream ended"
    await oldest.leave()
    await came.leave()


async def test_an_idle_stream_gets_comments_and_without_streams_no_timer_runs(gateway: Any, made: str) -> None:
    listener = await listening(gateway, made)
    await progressed(gateway, made, 0.5)
    length = len(listener.text)
    for _ in range(KEEP_ALIVE_SECONDS):
        await gateway.clock.advance(1)
    assert listener.text[length:].count(":\n\n") >= 1
    assert listener.text[length:].strip(":\n") == ""
    await listener.leave()
    assert gateway.application.litestar.state.feed.event_source._keep_alive._timer is None


@pytest.mark.parametrize("fault", [StoreUnavailable("The disk is gone."), RuntimeError("a defect")])
async def test_a_broken_stream_ends_so_that_the_client_reconnects(
    gateway: Any, made: str, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    listener = await listening(gateway, made)

    async def broken(*_: Any) -> list[Event]:
        raise fault

    monkeypatch.setattr(gateway.application.store, "events", broken)
    await progressed(gateway, made, 0.5)
    assert listener.ended
    assert listener.names == [QUEUED, IN_PROGRESS]
    assert listeners(gateway) == 0


async def test_a_stream_that_cannot_begin_is_an_error(
    gateway: Any, made: str, monkeypatch: pytest.MonkeyPatch, check_error: Any
) -> None:
    async def broken(*_: Any) -> list[Event]:
        raise StoreUnavailable("The disk is gone.")

    monkeypatch.setattr(gateway.application.store, "events", broken)
    check_error(await gateway.client.get(f"{VIDEOS}/{made}/events"), 503, "store_unavailable")
    assert listeners(gateway) == 0


async def test_a_read_that_waits_is_answered_by_a_change_of_status(gateway: Any, made: str) -> None:
    before = (await gateway.client.get(f"{VIDEOS}/{made}")).headers["etag"]
    reads = [
        asyncio.create_task(gateway.client.request(method, f"{VIDEOS}/{made}?wait=60")) for method in ("GET", "HEAD")
    ]
    await settled(gateway)
    await progressed(gateway, made, 0.5)
    assert not any(read.done() for read in reads)
    await cancel(gateway, made)
    got, head = await asyncio.wait_for(asyncio.gather(*reads), 1)
    assert got.json()["status"] == "cancelled"
    assert head.headers["etag"] == got.headers["etag"] != before
    assert got.headers["etag"] == f'"{(await gateway.stored(made)).version}"'


async def test_a_read_that_waits_with_a_version_is_answered_by_any_change(gateway: Any, made: str) -> None:
    url = f"{VIDEOS}/{made}?wait=60"
    tag = (await gateway.client.get(f"{VIDEOS}/{made}")).headers["etag"]
    waiting = asyncio.create_task(gateway.client.get(url, headers={"if-none-match": tag}))
    await settled(gateway)
    assert not waiting.done()
    await progressed(gateway, made, 0.5)
    answer = await asyncio.wait_for(waiting, 1)
    assert (answer.status_code, answer.json()["progress"]) == (200, 50)
    assert answer.headers["etag"] != tag

    missed = await asyncio.wait_for(gateway.client.get(url, headers={"if-none-match": tag}), 1)
    assert missed.headers["etag"] == answer.headers["etag"], "the generation had changed before the read"


async def test_a_read_without_a_change_is_answered_when_its_time_is_over(gateway: Any, made: str) -> None:
    tag = (await gateway.client.get(f"{VIDEOS}/{made}")).headers["etag"]
    waiting = asyncio.create_task(gateway.client.get(f"{VIDEOS}/{made}?wait=5", headers={"if-none-match": f"W/{tag}"}))
    await gateway.clock.advance(4)
    assert not waiting.done()
    await gateway.clock.advance(2)
    answer = await asyncio.wait_for(waiting, 1)
    assert (answer.status_code, answer.headers["etag"]) == (304, tag)


async def test_an_open_generation_says_when_to_read_it_again(gateway: Any) -> None:
    created = await gateway.client.post(VIDEOS, json={"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."})
    made = created.json()["id"]
    await gateway.begin(made)
    read = await gateway.client.get(f"{VIDEOS}/{made}")
    same = await gateway.client.get(f"{VIDEOS}/{made}", headers={"if-none-match": read.headers["etag"]})
    assert same.status_code == 304
    for answer in (created, read, same):
        milliseconds = int(answer.headers["openai-poll-after-ms"])
        assert 1000 <= milliseconds <= 5000
        assert 0 <= int(answer.headers["retry-after"]) * 1000 - milliseconds < 1000

    await cancel(gateway, made)
    ended = await gateway.client.get(f"{VIDEOS}/{made}")
    assert not {"retry-after", "openai-poll-after-ms"} & set(ended.headers)


async def test_the_advice_when_to_read_again_follows_the_duration_of_the_route(gateway: Any) -> None:
    health, route = gateway.application.health, ("foxapi", "kling-v3-text-to-video")
    health.on_task_ended(*route, "att_1", failure=None, seconds=60.0)
    early = await gateway.client.post(VIDEOS, json={"model": "/".join(route), "prompt": "A beach."})
    assert (early.headers["retry-after"], early.headers["openai-poll-after-ms"]) == ("20", "5000")
    made = early.json()["id"]
    await gateway.begin(made)
    (attempt,) = (await gateway.stored(made)).attempts
    await gateway.clock.advance(58 - (gateway.clock.now() - attempt.accepted_at).total_seconds())
    late = await gateway.client.get(f"{VIDEOS}/{made}")
    assert 1000 <= int(late.headers["openai-poll-after-ms"]) <= 2000
    waited = asyncio.create_task(gateway.client.get(f"{VIDEOS}/{made}?wait=1"))
    await gateway.clock.advance(2)
    assert "retry-after" not in (await waited).headers, "a client that has waited may read again at once"
