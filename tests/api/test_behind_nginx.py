"""nginx's configurations, with a real nginx where one is installed: a path prefix over TLS; several gateways."""

import asyncio
import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from .conftest import KEY, VIDEOS, serve

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLE = DEPLOY / "nginx.conf"
OF_SEVERAL = DEPLOY / "kubernetes" / "nginx.conf"
PAIR = Path(__file__).parents[1] / "unit" / "tls" / "named.test.pem"  # a key and its certificate
BODY = {"model": "foxapi/kling-v3-text-to-video", "prompt": "A beach."}
AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/video-gateway.conf;
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture(autouse=True)
def _installed() -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed; `apt install nginx` makes these tests run")


def changed(text: str, changes: Mapping[str, str]) -> str:
    """The text with other ports and folders."""
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


@asynccontextmanager
async def nginx(folder: Path, port: int, *arguments: str) -> AsyncIterator[None]:
    """A server with `nginx.conf` of the folder, from the moment when it listens on the port."""
    command = (str(NGINX), "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log", *arguments)
    process = await asyncio.create_subprocess_exec(*command)
    try:
        await _listens(port)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest.fixture
async def proxied(start: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """A gateway with nginx in front of it: `.front` is a client that comes through it, with the key and the prefix."""
    plain, secure = free_port(), free_port()
    gateway = await start(f'server.public_url = "https://localhost:{secure}/video-gateway"')
    async for served in serve(gateway):
        changes = {
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen 443 ssl": f"listen 127.0.0.1:{secure} ssl",
            "127.0.0.1:8080": f"127.0.0.1:{served.port}",
            "/etc/ssl/video-gateway/fullchain.pem": str(PAIR),
            "/etc/ssl/video-gateway/privkey.pem": str(PAIR),
        }
        (tmp_path / "video-gateway.conf").write_text(changed(EXAMPLE.read_text(), changes))
        (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path))
        url = f"https://localhost:{secure}/video-gateway"
        headers = {"authorization": f"Bearer {KEY}"}
        async with (
            nginx(tmp_path, plain),
            httpx.AsyncClient(
                base_url=url, headers=headers, verify=trust(), trust_env=False, timeout=10
            ) as served.front,
        ):
            served.plain, served.secure = plain, secure
            yield served


def trust() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=PAIR)
    context.check_hostname = False  # it is for another name
    return context


async def _listens(port: int) -> None:
    """Wait until nginx listens."""
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            await writer.wait_closed()
            return


async def test_urls_have_the_prefix_and_lead_back(proxied: Any) -> None:
    created = await proxied.front.post(VIDEOS, json=BODY)
    assert created.status_code == 200, created.text
    location = created.headers["location"]
    assert location == f"/video-gateway{VIDEOS}/{created.json()['id']}"
    read = await proxied.front.get(urljoin(str(created.request.url), location))
    assert read.json()["id"] == created.json()["id"]

    page = await proxied.front.get("/docs")
    script = await proxied.front.get(urljoin(str(page.request.url), "docs/docs.js"))
    assert (page.status_code, script.status_code) == (200, 200)
    with_slash = await proxied.front.get("/docs/")
    assert urljoin(str(with_slash.request.url), with_slash.headers["location"]) == str(page.request.url)
    (server,) = (await proxied.front.get("/openapi.json")).json()["servers"]
    assert server["url"] == f"https://localhost:{proxied.secure}/video-gateway"


async def test_events_come_at_once(proxied: Any) -> None:
    created = (await proxied.front.post(VIDEOS, json=BODY)).json()
    async with proxied.front.stream("GET", f"{VIDEOS}/{created['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async with asyncio.timeout(5):  # the stream itself goes on until the generation ends
            first = await anext(aiter(stream.aiter_lines()))
    assert first


async def test_a_large_body_is_refused_by_the_gateway_in_its_words(proxied: Any) -> None:
    large = json.dumps({**BODY, "image": "x" * 33_000_000})
    answer = await proxied.front.post(VIDEOS, content=large, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_without_tls_a_client_is_sent_on(proxied: Any) -> None:
    plain = f"http://127.0.0.1:{proxied.plain}/video-gateway/docs"
    answer = await proxied.front.get(plain, headers={"host": "v.example"})
    assert (answer.status_code, answer.headers["location"]) == (308, "https://v.example/video-gateway/docs")


# --- several gateways -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def in_front_of(folder: Path, *ports: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key, which comes through the nginx of several gateways. These are on the ports."""
    plain, health = free_port(), free_port()
    changes = {
        "listen 8080;": f"listen 127.0.0.1:{plain};",
        "listen 8081;": f"listen 127.0.0.1:{health};",
        "server gateway:8080;": " ".join(f"server 127.0.0.1:{port};" for port in ports),
        "/tmp/": f"{folder}/",  # noqa: S108  # of the container
        "worker_processes 2;": "worker_processes 1;",
    }
    (folder / "nginx.conf").write_text(changed(OF_SEVERAL.read_text(), changes))
    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        nginx(folder, health, "-g", "daemon off;"),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{plain}", headers=headers, trust_env=False, timeout=10) as client,
    ):
        probe = await client.get(f"http://127.0.0.1:{health}/")
        assert probe.status_code == 200, "it does not depend on a gateway"
        yield client


async def test_streams_and_large_bodies_pass_to_one_of_several(start: Any, tmp_path: Path) -> None:
    gateway = await start('server.public_url = "https://video.example.com"')
    async for served in serve(gateway):
        async with in_front_of(tmp_path, served.port) as front:
            created = await front.post(VIDEOS, json=BODY)
            assert created.headers["location"] == f"{VIDEOS}/{created.json()['id']}"
            async with front.stream("GET", f"{created.headers['location']}/events") as stream:
                async with asyncio.timeout(5):
                    assert await anext(aiter(stream.aiter_lines()))
            large = json.dumps({**BODY, "image": "x" * 33_000_000})
            answer = await front.post(VIDEOS, content=large, headers={"content-type": "application/json"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


async def test_a_create_goes_to_another_gateway_only_if_the_first_has_not_seen_it(start: Any, tmp_path: Path) -> None:
    seen = 0

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += b"POST" in await reader.read(1000)
        writer.close()

    gateway = await start()
    async with await asyncio.start_server(die, "127.0.0.1", 0) as dying:
        port = dying.sockets[0].getsockname()[1]
        async for served in serve(gateway):
            async with in_front_of(tmp_path, free_port(), served.port) as front:
                absent = [(await front.post(VIDEOS, json=BODY)).status_code for _ in range(3)]
            async with in_front_of(tmp_path, port, served.port) as front:
                answers = [(await front.post(VIDEOS, json=BODY)).status_code for _ in range(3)]
            stored = (await served.client.get(VIDEOS)).json()["data"]
    assert absent == [200, 200, 200], "nobody listens at the first address"
    assert (seen, sorted(answers)) == (1, [200, 200, 502])
    assert len(stored) == 5
