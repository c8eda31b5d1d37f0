"""The example for nginx, with a real nginx where one is installed: a path prefix over TLS."""

import asyncio
import json
import os
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from .conftest import KEY, VIDEOS, serve

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
EXAMPLE = Path(__file__).parents[2] / "deploy" / "nginx.conf"
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


@pytest.fixture
async def proxied(start: Any, tmp_path: Path) -> AsyncIterator[Any]:
    """A gateway with nginx in front of it: `.front` is a client that comes through it, with the key and the prefix."""
    if NGINX is None:
        pytest.skip("nginx is not installed; `apt install nginx` makes these tests run")
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
        text = EXAMPLE.read_text()
        for before, after in changes.items():
            assert before in text, before
            text = text.replace(before, after)
        (tmp_path / "video-gateway.conf").write_text(text)
        (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path))
        process = await asyncio.create_subprocess_exec(
            NGINX, "-c", tmp_path / "nginx.conf", "-p", tmp_path, "-e", tmp_path / "error.log"
        )
        url = f"https://localhost:{secure}/video-gateway"
        headers = {"authorization": f"Bearer {KEY}"}
        try:
            async with httpx.AsyncClient(
                base_url=url, headers=headers, verify=trust(), trust_env=False, timeout=10
            ) as served.front:
                served.plain, served.secure = plain, secure
                await _listens(plain)
                yield served
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


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
