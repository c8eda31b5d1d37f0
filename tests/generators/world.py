"""A gateway with keys in front of the sandbox, on real ports: what generated clients and schemathesis call."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from gateway import log as logs
from gateway.app import Application
from gateway.sandbox.server import SandboxServer
from gateway.server import GatewayServer, listen, url_of
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

from ..log_state import logs_as_before

KEY, ADMIN_KEY = "vg_" + "g" * 40, "vg_admin_" + "g" * 40
POLLING = "first_poll_seconds = 0.2\npoll_seconds = 0.2\npoll_max_seconds = 0.5\n"


class World(NamedTuple):
    """Where the gateway is reached, and with which keys."""

    url: str
    key: str = KEY
    admin_key: str = ADMIN_KEY


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """Run both servers in a thread, with their files in `folder`."""
    with logs_as_before():
        logs.configure("json", "error")
        yield from _running(folder)


def _running(folder: Path) -> Iterator[World]:
    ready: Future[tuple[str, GatewayServer]] = Future()

    async def serve() -> None:
        async with SandboxServer(total_seconds=0.5) as sandbox:
            sockets = listen("127.0.0.1", 0)
            url = url_of(sockets[0])
            server = GatewayServer(_application(folder, sandbox.base_urls()), lambda: ready.set_result((url, server)))
            await server.serve(sockets)

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits for `ready`
            if not ready.done():
                ready.set_exception(error)

    thread = threading.Thread(target=run, name="generators-servers")
    thread.start()
    try:
        url, server = ready.result(timeout=60)
        try:
            yield World(url)
        finally:
            server.should_exit = True
    finally:
        thread.join()


def _application(folder: Path, base_urls: dict[str, str]) -> Application:
    places = f'[database]\nurl = "sqlite:///{folder}/generators.db"\n[artifacts]\nurl = "file:{folder}"\n'
    keys = '[server]\napi_keys = ["env:KEY"]\nadmin_keys = ["env:ADMIN_KEY"]\n[fetch]\nallow = ["127.0.0.0/8"]\n'
    providers = [
        f'[providers.{name}]\napi_key = "env:PROVIDER"\nbase_url = "{url}"\n{POLLING}'
        for name, url in base_urls.items()
    ]
    config = folder / "gateway.toml"
    config.write_text(places + keys + "".join(providers))
    adapters = load_adapters()
    variables = {"KEY": KEY, "ADMIN_KEY": ADMIN_KEY, "PROVIDER": "sandbox"}
    return Application(load(config, variables, adapters), adapters=adapters)
