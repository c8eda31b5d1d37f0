"""The provider that the measured systems submit to: nginx where it is installed, else `bench/responder.py`."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.load import once, request
from bench.processes import OTHER_CORE, Process, free_port, python, running

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
NGINX_NAME = "nginx"
# Only the number of a request makes the answers differ: every task has an id of its own.
CONFIGURATION = """
worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  keepalive_timeout 300s;
  client_body_buffer_size 64k;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  default_type application/json;
{servers}
}}
"""
PROVIDER = """
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /counted {{ stub_status; }}
    location = /v1/videos/generations {{ return 200 '{{"created":1757165031,"id":"task-$request_id","model":"kling-v3-text-to-video","object":"video.generation.task","progress":0,"status":"pending","task_info":{{"can_cancel":true,"estimated_time":45}},"type":"video"}}'; }}
    location /v1/tasks/ {{ return 200 '{{"created":1757165031,"id":"task-1","model":"kling-v3-text-to-video","object":"video.generation.task","progress":40,"status":"processing","type":"video","results":null,"error":null}}'; }}
    location = /v1/videos {{ return 200 '{{"id":"video_$request_id","object":"video","model":"sora-2","status":"queued","progress":0,"created_at":1730000000,"size":"1280x720","seconds":"4","quality":"standard"}}'; }}
    location /v1/videos/ {{ return 200 '{{"id":"video_0123456789abcdef0123456789abcdef","object":"video","model":"sora-2","status":"in_progress","progress":40,"created_at":1730000000,"size":"1280x720","seconds":"4","quality":"standard"}}'; }}
    location = /v1/images/generations {{ return 200 '{{"created":1730000000,"data":[{{"url":"https://example.com/i.png"}}]}}'; }}
    location / {{ return 200 '{{}}'; }}
  }}
"""
PROXY = """
  upstream provider {{ server {provider}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""


@dataclass
class Provider:
    """A provider that runs."""

    process: Process
    name: str
    _questions: int = 0

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.process.url

    async def requests(self) -> int:
        """How many requests it has received until now, apart from those for this number."""
        body = await once(self.url, request("GET", "/counted"))
        if self.name != NGINX_NAME:
            counted: dict[str, int] = msgspec.json.decode(body)
            return sum(counted.values())
        self._questions += 1  # "server accepts handled requests\n 1 1 1 \n": nginx counts these as well
        return int(body.split(b"requests\n")[1].split()[2]) - self._questions


@asynccontextmanager
async def provider(folder: Path, *, polls: int | None = None) -> AsyncIterator[Provider]:
    """A provider on the core of the load. With `polls` its tasks end at that poll; without it they never end.

    One that ends tasks, or notes when each was polled, is `bench/responder.py`.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if NGINX is None or polls is not None:
        async with responder(folder, polls=polls) as started:
            yield started
        return
    async with nginx(folder, PROVIDER.format(port=port), url, OTHER_CORE) as process:
        yield Provider(process, NGINX_NAME)


@asynccontextmanager
async def responder(folder: Path, *, polls: int | None = None) -> AsyncIterator[Provider]:
    """The provider in Python."""
    port = free_port()
    command = [*python("bench.responder", str(port)), *(() if polls is None else ("--polls", str(polls)))]
    async with running(command, f"http://127.0.0.1:{port}", folder, core=OTHER_CORE, ready="/counted") as process:
        yield Provider(process, "bench/responder.py")


@asynccontextmanager
async def nginx(folder: Path, servers: str, url: str, core: int) -> AsyncIterator[Process]:
    """Run nginx with one worker and these servers."""
    assert NGINX is not None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(CONFIGURATION.format(servers=servers))
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    async with running(command, url, folder, core=core, ready="/") as process:
        yield process
