"""A real browser plays an archived result, seeks in it and saves it; and shows the reference of the API."""

import asyncio
import json
import re
import shutil
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from msgspec.structs import replace
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page, async_playwright

from gateway.api.web.auth import ANONYMOUS
from gateway.app import Application
from gateway.domain.adapter.task import Artifact, Status, TaskRef
from gateway.domain.generation.model import Generation
from gateway.sandbox.media import Spec, render
from gateway.sandbox.server import SandboxServer
from gateway.sandbox.settings import Clock as SandboxClock
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

from ..api.results import keep, kept_generation

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
VIDEOS = "/v1/videos/generations"
GAP = 12 * 2**20  # bytes: more than a browser reads ahead
SECONDS, WIDTH, HEIGHT = 4, 160, 90
SEEK = """(at) => new Promise((done, failed) => {
    const video = document.querySelector("video");
    video.onseeked = () => done(video.currentTime);
    video.onerror = () => failed(video.error.message);
    video.currentTime = at;
})"""
STATE = """() => new Promise((done, failed) => {
    const video = document.querySelector("video");
    const report = () => done([video.duration, video.videoWidth, video.videoHeight]);
    video.onerror = () => failed(video.error.message);
    if (video.readyState >= 2) report(); else video.onloadeddata = report;
})"""
PLAY = """() => new Promise((done, failed) => {
    const video = document.querySelector("video");
    video.ontimeupdate = () => { if (video.currentTime > 0) { video.pause(); done(video.currentTime); } };
    video.play().catch((error) => failed(error.message));
})"""


def spread(video: bytes) -> bytes:
    """The same video with its index at the end after a wide gap, so that a player must request ranges."""
    boxes, at = {}, 0
    while at < len(video):
        size = int.from_bytes(video[at : at + 4])
        boxes[video[at + 4 : at + 8]] = (at, size)
        at += size
    start, size = boxes[b"moov"]
    moov = video[start : start + size]
    hidden = video[: start + 4] + b"free" + video[start + 8 :]
    return hidden + (GAP + 8).to_bytes(4) + b"free" + bytes(GAP) + moov


class Server:
    """A gateway that records its answers."""

    def __init__(self, folder: Path, **environ: str) -> None:
        variables = {
            "FOXAPI_API_KEY": "sandbox",
            "VIDEO_GATEWAY_ARTIFACTS": str(folder / "artifacts"),
            "VIDEO_GATEWAY_DATABASE_URL": f"sqlite:///{folder / 'ledger.db'}",
            **environ,
        }
        adapters = load_adapters()
        self.application = Application(load(None, variables, adapters), adapters=adapters)
        self.answers: list[tuple[int, str]] = []  # status, Content-Range
        self.url = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                self.answers.append((message["status"], headers.get(b"content-range", b"").decode()))
            await send(message)

        await self.application.asgi(scope, receive, counted)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        config = uvicorn.Config(
            self, http="httptools", lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            await server.startup(sockets=[listening])
            try:
                yield
            finally:
                await server.shutdown(sockets=[listening])


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; `apt install chromium` makes this test run")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield await browser.new_page()
        await browser.close()


async def test_a_browser_plays_seeks_and_saves(tmp_path: Path, page: Page) -> None:
    spec = Spec(prompt="A beach.", width=WIDTH, height=HEIGHT, seconds=SECONDS)
    video = spread(await asyncio.to_thread(render, spec))
    server = Server(tmp_path)
    generation = kept_generation(ANONYMOUS, server.application.clock.now(), video)
    await keep(server.application, generation, video)
    async with server.running():
        read = await page.request.get(f"{server.url}/v1/videos/generations/{generation.id}")
        url = (await read.json())["data"][0]["url"]
        assert "&token=" in url
        server.answers.clear()
        await page.set_content(f'<video src="{url}" muted></video><a href="{url}&download=1">save</a>')

        duration, width, height = await page.evaluate(STATE)
        assert (round(duration), width, height) == (SECONDS, WIDTH, HEIGHT)
        assert await page.evaluate(PLAY) > 0
        for at in (SECONDS / 2, duration, 0.5):
            assert await page.evaluate(SEEK, at) == pytest.approx(at, abs=0.1)
        parts = [content_range for status, content_range in server.answers if status == 206]
        assert len(parts) == len(server.answers)
        starts = {int(content_range.removeprefix("bytes ").partition("-")[0]) for content_range in parts}
        assert 0 in starts
        assert max(starts) >= GAP, "the index at the end was not fetched by itself"

        async with page.expect_download() as saving:
            await page.get_by_text("save").click()
        saved = await saving.value
        assert saved.suggested_filename == f"{generation.id}-0.mp4"
        content = await asyncio.to_thread((await saved.path()).read_bytes)
        assert sha256(content).hexdigest() == sha256(video).hexdigest()
        assert [answer for answer in server.answers if answer[0] not in {200, 206}] == []


# What a page of another origin can do without asking: a form of each kind, `fetch` of each kind, a beacon, an image.
ATTACK = """async ([url, body]) => {
    const tried = [];
    for (const [type, name, value] of [["text/plain", body.slice(0, -1) + ',"metadata":{"a":"', '"}}'],
                                       ["multipart/form-data", "prompt", "A beach."]]) {
        const frame = Object.assign(document.createElement("iframe"), {name: "f" + tried.length});
        const form = Object.assign(document.createElement("form"), {method: "post", action: url, target: frame.name});
        form.enctype = type;
        const fields = type === "text/plain" ? [[name, value]]
            : [["model", JSON.parse(body).model], [name, value]];
        for (const [field, text] of fields)
            form.append(Object.assign(document.createElement("input"), {name: field, value: text}));
        document.body.append(frame, form);
        const loaded = new Promise((done) => frame.onload = done);
        form.submit();
        await Promise.race([loaded, new Promise((done) => setTimeout(done, 3000))]);
        tried.push(type);
    }
    const json = {"content-type": "application/json"};
    for (const options of [
        {method: "POST", mode: "no-cors", body},
        {method: "POST", mode: "no-cors", body: new Blob([body])},
        {method: "POST", mode: "cors", headers: json, body},
        {method: "DELETE", mode: "cors"},
        {method: "GET", mode: "cors"},
    ]) {
        try { const answer = await fetch(url, options); tried.push(answer.type + " " + answer.status); }
        catch (error) { tried.push("refused"); }
    }
    tried.push(navigator.sendBeacon(url, body));
    await new Promise((done) => { const image = new Image(); image.onload = image.onerror = done; image.src = url; });
    return tried;
}"""
BUY = """async ([url, body]) => {
    const options = {method: "POST", headers: {"content-type": "application/json"}, body};
    return (await fetch(url, options)).status;
}"""
OPAQUE = ["opaque 0", "opaque 0", "refused", "refused", "refused"]


OWN_PAGE, BLANK = "/own-page", "<p>A page without a policy that would stop its own requests.</p>"


@asynccontextmanager
async def another_origin() -> AsyncIterator[str]:
    """The URL of a page of another program on this machine: a browser lets it call every address here."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(BLANK)}\r\nconnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write((head + BLANK).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield "http://127.0.0.1:{1}/".format(*listening.sockets[0].getsockname())


async def test_a_page_of_another_origin_buys_nothing(tmp_path: Path, page: Page) -> None:
    server = Server(tmp_path)
    body = json.dumps({"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."})
    await page.route(f"**{OWN_PAGE}", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
    async with server.running(), another_origin() as other:
        await page.goto(other)
        server.answers.clear()
        tried = await page.evaluate(ATTACK, [f"{server.url}{VIDEOS}", body])
        assert tried[2:7] == OPAQUE, "a page reads nothing, not even a refusal"
        statuses = Counter(status for status, _ in server.answers)
        assert statuses[403] >= 5, (tried, server.answers)
        assert set(statuses) <= {403, 204, 200}, "200: only the reads, 204: only the preflights"
        assert await server.application.store.open_ids(server.application.clock.now()) == []

        await page.goto(f"{server.url}/blank")  # the gateway's own origin, as a page that an operator has put there
        own = "([url, body]) => fetch(url, {method: 'POST', headers: {'content-type': 'application/json'}, body})"
        assert (
            await page.evaluate(f"async (given) => (await ({own})(given)).status", [f"{server.url}{VIDEOS}", body])
            == 200
        )
        assert len(await server.application.store.open_ids(server.application.clock.now())) == 1


async def test_a_result_that_is_declared_as_a_page_runs_nothing(tmp_path: Path, page: Page) -> None:
    """A relay that passes a page through, under the header that browsers read as `text/html`."""
    script = "<title>taken</title><script>document.title = 'ran'; fetch('/v1/models')</script>"
    async with SandboxServer(clock=SandboxClock(1_763_700_000), max_short_side=90) as sandbox:
        environ = {"KLING_RELAY_API_KEY": "k", "KLING_RELAY_BASE_URL": f"{sandbox.url}/kling_relay"}
        server = Server(tmp_path, **environ)
        generation = await relayed(server, sandbox)
        await server.application.store.create(generation)
        async with server.running():
            for declared in ("video/mp4, text/html", "text/html", "image/svg+xml", "video/mp4"):
                sandbox.state.faults.clear()
                sandbox.fault("kling_relay", "result", "other_type", times=None, page=script, type=declared)
                path = f"{server.url}{VIDEOS}/{generation.id}/content"
                answer = await page.request.get(path)
                assert (answer.status, await answer.body()) == (200, script.encode()), "the provider's bytes, unchanged"
                assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
                await page.goto("about:blank")
                server.answers.clear()
                with suppress(PlaywrightError):  # a file that is saved ends the navigation
                    await page.goto(path)
                assert await page.title() not in {"taken", "ran"}, declared
                assert len(server.answers) == 1, "the script asked the gateway for something"


async def relayed(server: Server, sandbox: SandboxServer) -> Generation:
    """A completed generation whose file only the relay has; it gives it to the holder of its key."""
    async with httpx.AsyncClient(
        base_url=sandbox.url, headers={"authorization": "Bearer k"}, trust_env=False
    ) as client:
        await client.post("/kling_relay/kling/v1/videos/text2video", json={"model": "kling-v1", "prompt": "A beach."})
    sandbox.state.clock.advance(3600)
    [task] = sandbox.state.tasks
    artifact = Artifact(url="https://relay.example/file", needs_credential=True)
    made = kept_generation(ANONYMOUS, server.application.clock.now(), b"", kept=None, artifact=artifact)
    attempt = replace(made.attempts[0], tasks=(replace(made.attempts[0].tasks[0], ref=TaskRef(id=task)),))
    plan = replace(made.plan, routes=(replace(made.plan.routes[0], provider="kling_relay"),))
    return replace(made, plan=plan, attempts=(attempt,))


PHONE = {"width": 360, "height": 740}  # CSS pixels
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = '() => document.querySelectorAll("details").forEach((part) => { part.open = true; })'


async def test_a_phone_shows_the_reference_of_the_api(tmp_path: Path, page: Page) -> None:
    server = Server(tmp_path)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: failures.append(answer.url) if answer.status >= 400 else None)
    async with server.running():
        await page.set_viewport_size(PHONE)
        await page.goto(f"{server.url}/docs")
        create = page.locator("#operation-createVideoGeneration")
        await create.wait_for()
        assert await page.evaluate(OVERFLOW) <= 0, "the folded page scrolls sideways"

        await create.locator("> summary").click()
        await create.get_by_text("Example", exact=True).first.click()
        assert '"prompt": "Waves on the beach"' in await create.locator("pre").first.inner_text()

        schema = page.locator("#schema-CreateVideo")
        assert not await schema.evaluate("(part) => part.open")
        await create.get_by_role("link", name="CreateVideo", exact=True).first.click()
        await page.wait_for_function('() => document.querySelector("#schema-CreateVideo").open')
        top = await schema.evaluate("(part) => part.getBoundingClientRect().top")
        assert 0 <= top < PHONE["height"], "the link leads to the schema"
        assert await schema.get_by_role("link", name="createVideoGeneration", exact=True).is_visible()

        await page.goto(f"{server.url}/docs#schema-GenerationView")
        view = page.locator("#schema-GenerationView")
        await view.get_by_role("link", name="Status", exact=True).first.click()
        words = page.locator("#schema-Status").get_by_text("One of:")
        assert {json.dumps(status.value) for status in Status} == set(re.findall(r'"\w+"', await words.inner_text()))

        await page.goto(f"{server.url}/docs#operation-keevxReadVideo")
        read = page.locator("#operation-keevxReadVideo")
        await read.get_by_role("link", name="KeevxVideoRead", exact=True).click()
        await (
            page.locator("#schema-KeevxVideoRead").get_by_role("link", name="KeevxVideoTask", exact=True).first.click()
        )
        assert '"SUCCEEDED"' in await page.locator("#schema-KeevxVideoTask").inner_text()
        await page.evaluate(OPEN_ALL)
        assert await page.evaluate(OVERFLOW) <= 0, "the unfolded page scrolls sideways"


async def test_the_reference_has_a_chapter_for_each_dialect_behind_a_prefix(tmp_path: Path, page: Page) -> None:
    server = Server(tmp_path)
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("response", lambda answer: failures.append(answer.url) if answer.status >= 400 else None)
    async with server.running():

        async def without_prefix(route: Any) -> None:
            await route.fulfill(response=await route.fetch(url=route.request.url.replace("/video/gateway/", "/")))

        await page.route("**/video/gateway/**", without_prefix)
        await page.set_viewport_size(PHONE)
        await page.goto(f"{server.url}/video/gateway/docs")
        contents = page.get_by_role("navigation", name="Contents")
        await page.locator("#about").get_by_text(f"Server: {server.url}/video/gateway/").wait_for()
        for name in ("OpenAI videos", "OpenRouter", "xAI", "Kling", "new-api", "Keevx", "FoxAPI"):
            await contents.get_by_role("link", name=re.compile(rf"^{name} \(\d+\)$")).click()
            chapter = page.locator(f"#tag-{name.replace(' ', '-')}")
            top = await chapter.evaluate("(part) => part.getBoundingClientRect().top")
            assert 0 <= top < PHONE["height"], name
            await chapter.get_by_role("link", name="Contents", exact=True).click()
            top = await contents.evaluate("(part) => part.getBoundingClientRect().top")
            assert 0 <= top < PHONE["height"], "the link leads back to the contents"
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.goto(f"{server.url}/video/gateway/docs#tag-FoxAPI")
        assert await contents.get_by_role("link", name="Schemas", exact=True).is_visible()
        box = await contents.evaluate("(part) => part.getBoundingClientRect().bottom")
        assert 0 < box <= 800, "the contents stay in view on a wide page"
        assert await page.evaluate(OVERFLOW) <= 0, "the wide page scrolls sideways"
    assert failures == []
    assert failures == []
