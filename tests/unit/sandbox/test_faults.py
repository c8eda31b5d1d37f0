"""Faults on demand, as a client sees them on the wire."""

import email.utils
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.sandbox.app import PROVIDERS
from gateway.sandbox.faults import AFTER, BEFORE, CALLBACKS, DELAYED, EXTRA_IDS, FATES, FEWER_IDS, INSTEAD, group_of
from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock

KEY = {"authorization": "Bearer k"}
SUBMITS = {
    "keevx": (
        "/keevx/v1/image_to_video",
        {"model": "V", "image_url": "https://example.com/1.jpg", "aspect_resolution": "720p", "duration": 4},
    ),
    "kling_relay": ("/kling_relay/kling/v1/videos/text2video", {"model": "kling-v1"}),
    "foxapi": ("/foxapi/v1/videos/generations", {"model": "kling-v3-text-to-video"}),
}
POLLS = {
    "keevx": "/keevx/v1/image_to_video/",
    "kling_relay": "/kling_relay/kling/v1/videos/text2video/",
    "foxapi": "/foxapi/v1/tasks/",
}


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(clock=Clock(1_763_700_000), max_short_side=90) as server:
        yield server


@pytest.fixture
async def client(sandbox: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=sandbox.url, headers=KEY, trust_env=False, timeout=0.5) as client:
        yield client


async def submit(client: httpx.AsyncClient, provider: str, prompt: str = "x", **changes: Any) -> httpx.Response:
    path, body = SUBMITS[provider]
    return await client.post(path, json={"prompt": prompt, **body, **changes})


async def poll(sandbox: SandboxServer, client: httpx.AsyncClient, provider: str) -> httpx.Response:
    [task] = sandbox.state.tasks.values()
    return await client.get(POLLS[provider] + task.id)


def word(reply: httpx.Response) -> str:
    body = reply.json()
    status: str = body["status"] if "status" in body else body["data"]["status"]
    return status


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_documented_error_is_given_and_starts_nothing(
    sandbox: SandboxServer, client: httpx.AsyncClient, provider: str
) -> None:
    for name, (status, body) in PROVIDERS[provider].errors.items():
        sandbox.fault(provider, "submit", name)
        reply = await submit(client, provider)
        assert reply.status_code == status, name
        if body is None:
            assert reply.content == b""
        elif isinstance(body, str):
            assert reply.text == body
        else:
            assert reply.json() == body
    assert not sandbox.state.tasks
    assert (await submit(client, provider)).status_code == 200


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_every_fault_can_be_asked_for_in_the_prompt(
    sandbox: SandboxServer, client: httpx.AsyncClient, provider: str
) -> None:
    statuses = {name: status for name, (status, _) in PROVIDERS[provider].errors.items()}
    for name, status in (statuses | {"502-html": 502, "504_html": 504, "418": 418}).items():
        reply = await submit(client, provider, f"a [[sandbox:{provider}:submit:{name}]] b")
        assert (reply.status_code, group_of(name)) == (status, "instead")
    assert not sandbox.state.tasks
    other = next(name for name in PROVIDERS if name != provider)
    assert (await submit(client, provider, f"[[sandbox:{other}:submit:500]]")).status_code == 200


async def test_retry_after_comes_in_both_forms(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    bare = await submit(client, "foxapi", "[[sandbox:any:submit:429]]")
    seconds = await submit(client, "foxapi", "[[sandbox:any:submit:429?retry_after=7]]")
    dated = await submit(client, "foxapi", "[[sandbox:any:submit:429_retry_date]]")
    assert "retry-after" not in bare.headers
    assert seconds.headers["retry-after"] == "7"
    moment = email.utils.parsedate_to_datetime(dated.headers["retry-after"])
    assert moment.timestamp() == sandbox.state.clock.now() + 3


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("fault", "error", "started"),
    [
        (BEFORE, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError, False),
        ("close", httpx.RemoteProtocolError, False),
        ("hang", httpx.ReadTimeout, False),
        ("close_after_accept", httpx.RemoteProtocolError, True),
        ("hang_after_accept", httpx.ReadTimeout, True),
        ("half_reply", httpx.RemoteProtocolError, True),
        ("length_too_long", httpx.RemoteProtocolError, True),
    ],
)
async def test_connection_fails_before_or_after_the_task_is_started(
    sandbox: SandboxServer, client: httpx.AsyncClient, *, provider: str, fault: str, error: Any, started: bool
) -> None:
    client.timeout = httpx.Timeout(0.15)
    sandbox.fault(provider, "submit", fault)
    with pytest.raises(httpx.TransportError) as caught:
        await submit(client, provider)
    assert isinstance(caught.value, error)
    assert sandbox.state.started[provider] == int(started)
    assert sandbox.state.received[provider, "submit"] == 1
    assert (await submit(client, provider)).status_code == 200


@pytest.mark.parametrize(("fault", "started"), [("slow", 1), ("delayed", 0)])
async def test_a_submit_is_accepted_at_the_beginning_or_at_the_end_of_a_wait(
    sandbox: SandboxServer, client: httpx.AsyncClient, fault: str, started: int
) -> None:
    client.timeout = httpx.Timeout(0.2)
    with pytest.raises(httpx.ReadTimeout):
        await submit(client, "foxapi", f"[[sandbox:foxapi:submit:{fault}?seconds=30]]")
    assert (sandbox.state.received["foxapi", "submit"], sandbox.state.started["foxapi"]) == (1, started)
    reply = await submit(client, "foxapi", f"[[sandbox:foxapi:submit:{fault}?seconds=0.05]]")
    assert (reply.status_code, reply.elapsed.total_seconds() >= 0.05) == (200, True)


async def test_connection_can_end_with_a_reset(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "submit", "close_after_accept", reset=True)
    with pytest.raises(httpx.ReadError):
        await submit(client, "foxapi")
    assert sandbox.state.started["foxapi"] == 1


BODIES: dict[str, Any] = {
    "garbage": lambda reply: len(reply.content) == 512,
    "truncated_json": lambda reply: reply.text.startswith("{") and not reply.text.endswith("}"),
    "truncated_file": lambda reply: reply.text.startswith("{") and not reply.text.endswith("}"),
    "image_bomb": lambda reply: reply.content.startswith(b"\x89PNG"),
    "empty": lambda reply: reply.content == b"",
    "null": lambda reply: reply.json() is None,
    "empty_list": lambda reply: reply.json() == [],
    "empty_object": lambda reply: reply.json() == {},
    "bare_string": lambda reply: reply.json() == "ok",
    "deep_json": lambda reply: reply.content.startswith(b"[[[["),
    "html_200": lambda reply: reply.text.startswith("<html>"),
    "huge": lambda reply: len(reply.content) > 10_000_000 and reply.json()["padding"],
    "gzip_bomb": lambda reply: len(reply.content) == 50_000_000,
    "encoded": lambda reply: reply.headers["content-encoding"] == "utf-8" and reply.json(),
    "dirty_json": lambda reply: reply.content.endswith(b"<!-- 12 ms -->"),
    "other_envelope": lambda reply: reply.json()["code"] == 200 and reply.json()["data"]["status"] == "pending",
    "camel_case": lambda reply: "task_info" not in reply.text,
    "other_word": lambda reply: reply.json()["status"] == "done",
    "length_too_short": lambda reply: reply.text.startswith("{") and not reply.text.endswith("}"),
}


@pytest.mark.parametrize("operation", ["submit", "poll"])
@pytest.mark.parametrize("fault", BODIES)
async def test_reply_is_spoilt_and_the_task_goes_on(
    sandbox: SandboxServer, client: httpx.AsyncClient, fault: str, operation: str
) -> None:
    client.timeout = httpx.Timeout(5)
    sandbox.fault("foxapi", operation, fault)
    reply = await submit(client, "foxapi")
    if operation == "poll":
        reply = await poll(sandbox, client, "foxapi")
    assert reply.status_code == 200
    assert BODIES[fault](reply)
    assert word(await poll(sandbox, client, "foxapi")) == "pending"
    assert sandbox.state.started["foxapi"] == 1


def test_every_spoilt_body_is_tried() -> None:
    manners = {"close_after_accept", "hang_after_accept", "half_reply", "length_too_long"}
    others = {"slow", "slow_body", "error_after_accept", "other_type"}
    assert set(BODIES) | manners | others == set(AFTER)


async def test_error_may_hide_a_started_task(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    page = await submit(client, "keevx", "[[sandbox:keevx:submit:error_after_accept?status=504]]")
    reply = await submit(client, "kling_relay", "[[sandbox:kling_relay:submit:500?started=1]]")
    assert (page.status_code, reply.status_code, reply.json()["code"]) == (504, 500, "do_request_failed")
    assert dict(sandbox.state.started) == {"keevx": 1, "kling_relay": 1}


async def test_slow_reply_comes_whole(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    reply = await submit(client, "foxapi", "[[sandbox:foxapi:submit:slow?seconds=0.05]]")
    assert (reply.status_code, reply.elapsed.total_seconds() >= 0.05) == (200, True)


async def test_slow_body_comes_in_pieces_and_is_whole(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "submit", "slow_body", pieces=5, seconds=0.05)
    async with client.stream("POST", SUBMITS["foxapi"][0], json={"prompt": "x", **SUBMITS["foxapi"][1]}) as reply:
        pieces = [piece async for piece in reply.aiter_raw()]
    assert (reply.status_code, len(pieces) > 1) == (200, True)
    assert json.loads(b"".join(pieces))["status"] == "pending"


async def test_body_is_packed_as_often_as_asked(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "submit", "encoded", pack="deflate+gzip", header="deflate, gzip")
    assert (await submit(client, "foxapi")).json()["status"] == "pending"
    sandbox.fault("foxapi", "submit", "encoded", pack="raw", header="")
    reply = await submit(client, "foxapi")
    assert "content-encoding" not in reply.headers
    assert json.loads(zlib.decompress(reply.content, -15))["status"] == "pending"


async def test_refused_submit_is_not_spoilt(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "submit", "close_after_accept")
    assert (await submit(client, "foxapi", duration=7)).status_code == 422
    with pytest.raises(httpx.RemoteProtocolError):
        await submit(client, "foxapi")


WORDS = {
    "keevx": {"failed": "FAILED", "running": "PROCESSING", "queued": "PENDING", "done": "SUCCEEDED"},
    "kling_relay": {"failed": "FAILURE", "running": "IN_PROGRESS", "queued": "NOT_START", "done": "SUCCESS"},
    "foxapi": {"failed": "failed", "running": "processing", "queued": "pending", "done": "completed"},
}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_task_meets_its_fate(sandbox: SandboxServer, client: httpx.AsyncClient, provider: str) -> None:
    words = WORDS[provider]
    expected = {
        "fail": words["failed"],
        "fail_content": words["failed"],
        "fail_image": words["failed"],
        "stuck": words["running"],
        "stuck?phase=queued": words["queued"],
        "slow_task?seconds=1000": words["running"],
        "no_url": words["done"],
    }
    for fate, end in expected.items():
        await client.delete("/_sandbox/state")
        assert (await submit(client, provider, f"[[sandbox:{provider}:task:{fate}]]")).status_code == 200
        sandbox.state.clock.advance(0.5)
        assert word(await poll(sandbox, client, provider)) == words["queued"]
        sandbox.state.clock.advance(500)
        reply = await poll(sandbox, client, provider)
        assert word(reply) == end, fate
        assert ".mp4" not in reply.text
        assert reply.text.lower().count("polic") + reply.text.count("risk") >= (fate == "fail_content")


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_lost_task_is_not_found_as_documented(
    sandbox: SandboxServer, client: httpx.AsyncClient, provider: str
) -> None:
    await submit(client, provider)
    sandbox.fault(provider, "poll", "lost", times=2)
    statuses = [(await poll(sandbox, client, provider)).status_code for _ in range(3)]
    gone = 400 if provider == "kling_relay" else 404
    assert statuses == [gone, gone, 200]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_url_comes_after_so_many_polls(sandbox: SandboxServer, client: httpx.AsyncClient, provider: str) -> None:
    await submit(client, provider, "[[sandbox:any:task:no_url?polls=2]]")
    sandbox.state.clock.advance(6)
    with_url = [".mp4" in (await poll(sandbox, client, provider)).text for _ in range(4)]
    assert with_url == [False, False, True, True]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_unknown_word_is_shown_while_it_runs(
    sandbox: SandboxServer, client: httpx.AsyncClient, provider: str
) -> None:
    await submit(client, provider, "[[sandbox:any:task:unknown_status?word=WOBBLING]]")
    running = word(await poll(sandbox, client, provider))
    sandbox.state.clock.advance(6)
    assert (running, word(await poll(sandbox, client, provider))) == ("WOBBLING", WORDS[provider]["done"])


async def test_fate_can_be_one_output_of_many(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await submit(client, "keevx", "[[sandbox:keevx:task:fail?only=1]]", generate_count=3)
    sandbox.state.clock.advance(6)
    ends = [word(await client.get(POLLS["keevx"] + task_id)) for task_id in sandbox.state.tasks]
    assert ends == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


async def test_foxapi_task_can_be_cancelled(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await submit(client, "foxapi", "[[sandbox:foxapi:task:cancelled]]")
    sandbox.state.clock.advance(6)
    assert word(await poll(sandbox, client, "foxapi")) == "cancelled"


async def test_poll_fault_happens_so_many_times_for_each_task(
    sandbox: SandboxServer, client: httpx.AsyncClient
) -> None:
    prompt = "[[sandbox:foxapi:poll:500?times=2]]"
    for _ in range(2):
        task_id = (await submit(client, "foxapi", prompt)).json()["id"]
        statuses = [(await client.get(POLLS["foxapi"] + task_id)).status_code for _ in range(3)]
        assert statuses == [500, 500, 200]


async def test_submit_fault_in_a_prompt_can_happen_once(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    prompt = "[[sandbox:foxapi:submit:429?times=1]]"
    assert [(await submit(client, "foxapi", prompt)).status_code for _ in range(3)] == [429, 200, 200]


async def test_faults_come_in_the_order_they_were_set(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    for name in ("429", "503", "502_html"):
        sandbox.fault("any", "any", name)
    statuses = [(await submit(client, provider)).status_code for provider in (*PROVIDERS, "keevx")]
    assert statuses == [429, 503, 502, 200]


async def test_uploads_and_results_fail_too(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("keevx", "upload", "413")
    upload = await client.post("/keevx/v1/figure-resource/upload/file", files={"file": ("a.png", b"\x89PNG\r\n\x1a\n")})
    assert (upload.status_code, upload.json()["code"]) == (413, 100004)
    prompt = "[[sandbox:foxapi:result:404?times=1]][[sandbox:foxapi:result:garbage?times=1]]"
    await submit(client, "foxapi", prompt)
    sandbox.state.clock.advance(6)
    [task] = sandbox.state.tasks.values()
    client.timeout = httpx.Timeout(5)
    replies = [await client.get(task.result_url) for _ in range(3)]
    assert [(reply.status_code, b"ftyp" in reply.content) for reply in replies] == [
        (404, False),
        (200, False),
        (200, True),
    ]
    sandbox.fault("foxapi", "result", "half_reply")
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(task.result_url)


async def test_results_may_be_for_browsers_alone(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await submit(client, "foxapi")
    sandbox.state.clock.advance(6)
    [task] = sandbox.state.tasks.values()
    client.timeout = httpx.Timeout(5)
    sandbox.state.settings = sandbox.state.settings.changed({"files_for_browsers": True})
    agents = {None: 403, "video-gateway/1": 403, "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36": 200}
    for agent, status in agents.items():
        reply = await client.get(task.result_url, headers={} if agent is None else {"user-agent": agent})
        assert reply.status_code == status


async def test_rest_of_a_result_is_sent_while_it_is_the_same(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    await submit(client, "foxapi")
    sandbox.state.clock.advance(6)
    [task] = sandbox.state.tasks.values()
    client.timeout = httpx.Timeout(5)
    whole = await client.get(task.result_url)
    headers = {"range": "bytes=100-", "if-range": whole.headers["etag"]}
    rest = await client.get(task.result_url, headers=headers)
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    other = await client.get(task.result_url, headers={**headers, "if-range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)


async def test_redirect_leads_to_a_trap(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "any", "redirect", times=2)
    plain = await submit(client, "foxapi")
    assert plain.status_code == 302
    assert not sandbox.state.trapped
    path, body = SUBMITS["foxapi"]
    await client.post(path, json=body, follow_redirects=True)
    assert sandbox.state.trapped == [{"method": "GET", "authorization": True, "body_bytes": 0}]


async def test_any_reply_can_be_given(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    sandbox.fault("foxapi", "submit", "reply", status=299, json={"a": 1}, headers={"x-b": "c"})
    sandbox.fault("foxapi", "submit", "reply", text="hello")
    first, second = await submit(client, "foxapi"), await submit(client, "foxapi")
    assert (first.status_code, first.json(), first.headers["x-b"], second.text) == (299, {"a": 1}, "c", "hello")


async def test_admin_sets_lists_and_clears(sandbox: SandboxServer, client: httpx.AsyncClient) -> None:
    rule = {"provider": "keevx", "operation": "submit", "fault": "429", "times": None, "args": {"retry_after": 2}}
    assert (await client.post("/_sandbox/faults", json=rule)).status_code == 201
    listed = (await client.get("/_sandbox/faults")).json()
    assert (listed["faults"][0]["name"], listed["faults"][0]["times"]) == ("429", None)
    assert set(listed["known"]["task"]) == set(FATES)
    assert (await submit(client, "keevx")).headers["retry-after"] == "2"
    assert (await client.delete("/_sandbox/faults")).status_code == 204
    assert (await submit(client, "keevx")).status_code == 200


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_list_shows_a_marker_that_works_at_each_provider(client: httpx.AsyncClient, provider: str) -> None:
    markers = (await client.get("/_sandbox/faults")).json()["markers"]
    assert markers["form"] == "[[sandbox:PROVIDER:OPERATION:FAULT?times=2]]"
    prompt = f"A beach. {markers['examples'][provider]}"
    replies = [(await submit(client, provider, prompt)).status_code for _ in range(3)]
    assert replies == [429, 429, 200]


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "nonsense"},
        {"fault": "429", "provider": "acme"},
        {"fault": "429", "operation": "dance"},
        {"fault": "extra_ids", "provider": "foxapi"},
        {"fault": "fewer_ids", "provider": "kling_relay"},
        {"fault": "429", "time": 1},
        {"fault": "429", "args": {"rate": "often"}},
        {"fault": "429", "args": {"rate": 2}},
        {},
    ],
    ids=str,
)
async def test_admin_refuses_what_does_not_exist(client: httpx.AsyncClient, rule: dict[str, Any]) -> None:
    reply = await client.post("/_sandbox/faults", json=rule)
    assert (reply.status_code, list(reply.json())) == (400, ["error"])


def test_every_name_belongs_to_one_group() -> None:
    groups = [set(FATES), set(CALLBACKS), set(AFTER), set(INSTEAD), {EXTRA_IDS, FEWER_IDS, BEFORE, DELAYED}]
    groups += [set().union(*(set(provider.errors) for provider in PROVIDERS.values()))]
    assert sum(map(len, groups)) == len(set().union(*groups))
