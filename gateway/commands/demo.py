"""`demo`: starts the sandbox and a gateway that uses it on this machine, and makes one generation through both."""

import asyncio
import shlex
import signal
import tempfile
import threading
from concurrent.futures import Future
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import msgspec
import rich_click as click
import uvloop

from gateway import log as logs
from gateway.app import Application
from gateway.commands.client import Client, Generation, Refused, Unreachable
from gateway.commands.generate import COMPLETED, INTERRUPTED, NOT_COMPLETED, REFUSED, download, follow, image_of
from gateway.commands.sandbox import KEY
from gateway.commands.terminal import progress, say, warn
from gateway.sandbox.server import SandboxServer
from gateway.server import GatewayServer, listen, url_of
from gateway.settings.load import (
    ArtifactSettings,
    DatabaseSettings,
    FetchSettings,
    ProviderSettings,
    ServerSettings,
    Settings,
)
from gateway.settings.toml import Secret

IMAGE = Path(__file__).parents[2] / "examples" / "beach.jpg"  # in the repository; an installed package does not have it
LOOPBACK = ip_network("127.0.0.0/8")  # the sandbox serves its results there
PROMPT = "The waves roll in, the camera moves slowly closer"
POLL_SECONDS = 0.5
WAIT_SECONDS = 1


def demo(image: Path | None, prompt: str, model: str, output: Path, *, port: int, stay: bool) -> int:
    """Make an MP4 from an image. Returns the exit code. With `stay` the servers run until a signal."""
    if image is None and not IMAGE.is_file():
        raise click.UsageError("an installed package has no example image; name one with --image PATH")
    body = {"model": model, "prompt": prompt, "image": image_of(str(image or IMAGE))}
    logs.configure("console", "error")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="video-gateway-demo-") as folder, Stack(Path(folder), port) as stack:
            code = _make_video(stack, body, output, stay=stay)
            if stay and code == COMPLETED:
                threading.Event().wait()
    except KeyboardInterrupt:
        return COMPLETED if stay else INTERRUPTED
    return code


def settings_for(sandbox: SandboxServer, folder: Path, port: int) -> Settings:
    """Settings of a gateway with every provider at the sandbox, short poll intervals, and all files in one folder."""
    providers = {
        name: ProviderSettings(
            api_key=Secret.of(KEY),
            base_url=url,
            first_poll_seconds=POLL_SECONDS,
            poll_seconds=POLL_SECONDS,
            poll_max_seconds=POLL_SECONDS * 2,
        )
        for name, url in sandbox.base_urls().items()
    }
    return Settings(
        server=ServerSettings(port=port, auth="none", drain_seconds=5),
        database=DatabaseSettings(url=f"sqlite:///{folder / 'video-gateway.db'}"),
        artifacts=ArtifactSettings(url=f"file:{folder / 'artifacts'}"),
        fetch=FetchSettings(allow=(LOOPBACK,)),
        providers=providers,
    )


class Stack:
    """The sandbox and the gateway, in a thread with its own event loop; the main thread handles the signals."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = ""
        self.sandbox_url = ""
        self._folder, self._port = folder, port
        self._stop: Future[GatewayServer] = Future()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="demo-servers")

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._stop.done():
            self._stop.result().should_exit = True  # uvicorn reads it ten times a second
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits for `_ready`
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        async with SandboxServer(queued_seconds=0.5, total_seconds=4.0) as sandbox:
            self.sandbox_url = sandbox.url
            sockets = listen("127.0.0.1", self._port)
            self.url = url_of(sockets[0])
            application = Application(settings_for(sandbox, self._folder, self._port))
            server = GatewayServer(application, lambda: self._ready.set_result(None))
            self._stop.set_result(server)
            await server.serve(sockets)


def _make_video(stack: Stack, body: dict[str, str], output: Path, *, stay: bool) -> int:
    """Make the video and print what was made. Returns the exit code."""
    output.mkdir(parents=True, exist_ok=True)
    request = output / "request.json"
    request.write_bytes(msgspec.json.encode(body))
    say(f"gateway {stack.url}, in front of the sandbox {stack.sandbox_url}")
    client = Client(stack.url)
    try:
        created = client.create(body, "demo", warn)
        say(f"{created.id} {created.model}")
        with progress() as show:
            generation = follow(client, created.id, show, wait_seconds=WAIT_SECONDS)
        if generation.status != "completed":
            warn(f"{generation.status}: {generation.error.message if generation.error else ''}")
            return NOT_COMPLETED
        paths = download(client, generation, output, warn)
    except Refused as error:
        warn(str(error))
        return REFUSED
    except Unreachable as error:
        warn(str(error))
        return NOT_COMPLETED
    finally:
        client.close()
    facts = [_facts(path) for path in paths]
    _print_summary(generation, with_url=stay)
    for path, fact in zip(paths, facts, strict=True):
        say(f"{'file':<15}{path}: {fact}")
    if stay:
        say("the same with curl:")
        say(
            f"  curl -sS {stack.url}/v1/videos/generations -H 'Content-Type: application/json' "
            f"-d @{shlex.quote(str(request))}"
        )
        say(f"the gateway stays on {stack.url} until Ctrl-C; its API is described at {stack.url}/docs")
    else:
        say("the gateway has stopped; to keep it running and send requests yourself: make demo SERVE=1 (demo --serve)")
    say(str(paths[0]))
    return COMPLETED


def _print_summary(generation: Generation, *, with_url: bool) -> None:
    """The result; its URL only if the gateway that serves it stays."""
    lines = {"id": generation.id, "status": generation.status, "made by": generation.route}
    if with_url:
        lines["url"] = generation.data[0].url or ""
    for name, value in lines.items():
        say(f"{name:<15}{value}")


def _facts(path: Path) -> str:
    """Format, size and length of a video file. Raises if the file is not an MP4."""
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            raise click.ClickException(f"{path} is not an MP4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        seconds = float((stream.duration or 0) * (stream.time_base or 0))
        return f"MP4, {stream.width}x{stream.height}, {seconds:.1f} s, {path.stat().st_size:,} bytes"
