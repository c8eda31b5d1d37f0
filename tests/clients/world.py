"""A gateway and the sandbox as processes of their own, for client packages that know only a URL and a key."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from gateway.upstream.registry import load_adapters

from .replay import JWT_ACCESS, JWT_SECRET, PNG

KEYS = tuple(f"sk-a-key-of-client-package-{number}" for number in range(20))  # each client has generations of its own
SECONDS = 60.0  # until a process has printed its address
SANDBOX = ("queued_seconds=0.1", "total_seconds=0.6", "max_short_side=64", "plain_results=true")
POLLING = "first_poll_seconds = 0.1\npoll_seconds = 0.1\npoll_max_seconds = 0.2\n"
USD = 0.5  # of one output of any model: clients read what a generation cost
# Model names that the clients' own examples use, each for a provider that can do what they ask for.
CONFIGURATION = f"""
[server]
api_keys = {json.dumps([f"env:CLIENT_KEY_{number}" for number in range(len(KEYS))])}
log_format = "json"
[[server.kling_keys]]
access_key = "env:CLIENT_JWT_ACCESS"
secret_key = "env:CLIENT_JWT_SECRET"
[fetch]
allow = ["127.0.0.0/8"]
[models.sora-2]
routes = ["foxapi/kling-o3-text-to-video", "foxapi/kling-o3-image-to-video"]
adapt = "nearest"
"""


def configuration() -> str:
    """The configuration file of the gateway."""
    sections = [CONFIGURATION]
    for name, adapter in load_adapters().items():
        sections.append(f"[providers.{name}]\n{POLLING}")
        sections += [
            f'[providers.{name}.models."{model}"]\nprices = [{{ per_clip = {USD} }}]\n'
            for model in adapter.capabilities
        ]
    return "".join(sections)


class World(msgspec.Struct, frozen=True):
    """What a client package needs to know."""

    url: str  # of the gateway, without a path
    key: str
    folder: Path  # for files of the clients
    hook: str  # a URL that takes webhooks

    def environ(self) -> dict[str, str]:
        """The same for a script of another process."""
        return {
            "CLIENT_URL": self.url,
            "CLIENT_KEY": self.key,
            "CLIENT_HOOK": self.hook,
            "CLIENT_HOOK_FILE": str(self.folder / "webhooks.jsonl"),
            "CLIENT_IMAGE": str(self.folder / "a.png"),
            "CLIENT_JWT_ACCESS": JWT_ACCESS,
            "CLIENT_JWT_SECRET": JWT_SECRET,
        }


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """The gateway, the sandbox and a receiver of webhooks for as long as the block runs."""
    (folder / "a.png").write_bytes(PNG)
    (folder / "video-gateway.toml").write_text(configuration())
    with _receiver(folder / "webhooks.jsonl") as hook, _process(folder, *_sandbox()) as (sandbox, _):
        upstream = sandbox(r"sandbox on (http://[^;]+)")
        environ = {f"CLIENT_KEY_{number}": key for number, key in enumerate(KEYS)}
        environ |= {"CLIENT_JWT_ACCESS": JWT_ACCESS, "CLIENT_JWT_SECRET": JWT_SECRET}
        for name, path in (("KEEVX", "/keevx/v1"), ("KLING_RELAY", "/kling_relay"), ("FOXAPI", "/foxapi")):
            environ |= {f"{name}_API_KEY": "sandbox", f"{name}_BASE_URL": upstream + path}
        with _process(folder, "serve", "--port=0", **environ) as (gateway, _):
            yield World(gateway(r"listening on (http://\S+)"), KEYS[0], folder, hook)


def _sandbox() -> tuple[str, ...]:
    return "sandbox", "--port=0", *(f"--set={change}" for change in SANDBOX)


@contextmanager
def _process(folder: Path, *arguments: str, **environ: str) -> Iterator[tuple["_Output", "subprocess.Popen[str]"]]:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    with (folder / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "gateway", *arguments],
            cwd=folder,
            env=inherited | environ,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield _Output(process), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)


class _Output:
    """Reads the lines of a process until one matches."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def __call__(self, pattern: str) -> str:
        assert self._process.stdout is not None
        deadline = threading.Timer(SECONDS, self._process.kill)  # so that the loop below ends
        deadline.start()
        try:
            for line in self._process.stdout:
                if match := re.search(pattern, line):
                    return match[1]
        finally:
            deadline.cancel()
        raise AssertionError(f"{self._process.args} ended before it printed {pattern}")


@contextmanager
def _receiver(path: Path) -> Iterator[str]:
    """Takes webhooks, and appends each to the file as a line of JSON: its headers and its body."""
    path.touch()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers: Mapping[str, str] = {name.lower(): value for name, value in self.headers.items()}
            with path.open("a") as file:
                file.write(json.dumps({"headers": headers, "body": body}) + "\n")
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
