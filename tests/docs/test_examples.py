"""Every example of README and docs/ is run as it is written; only the ports are free ones.

One sandbox and one gateway, started as README says, serve all pages.
"""

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import WebhookVerificationError

from gateway.api.web.access_keys import AccessKeys
from gateway.clock import SystemClock
from gateway.domain.errors import InvalidJwt
from gateway.generations.catalog import Catalog
from gateway.settings.load import Settings, load
from gateway.store.sqlite.open import open_sqlite
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters
from gateway.webhooks.signing import new_secret, signed

from .pages import EXECUTABLE, ROOT, TESTED, Block, blocks_of

BLOCKS = [block for page in TESTED for block in blocks_of(page)]
ACTIONS = {"start", "run", "postgres", "answer", "lines", "configuration", "bucket", "function", "token", "not"}
SECRETS = {
    "VIDEO_GATEWAY_API_KEY": "k" * 20,
    "VIDEO_GATEWAY_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"w" * 32).decode(),
}


def blocks(action: str) -> list[Block]:
    """The blocks with this action, from all pages."""
    return [block for block in BLOCKS if block.action == action]


def previous(block: Block) -> Block:
    """The block before it on its page."""
    return BLOCKS[BLOCKS.index(block) - 1]


def named(*actions: str) -> pytest.MarkDecorator:
    """One test for each block with one of these actions."""
    chosen = [block for action in actions for block in blocks(action)]
    return pytest.mark.parametrize("block", chosen, ids=[block.name for block in chosen])


def free_port() -> int:
    """A port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Reader:
    """A person who types what the pages say, in a folder with the files of `examples/`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"9000": str(free_port()), "8080": str(free_port())}
        inherited = ("HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
        self.environ = {name: os.environ[name] for name in inherited if name in os.environ}
        self.environ["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        self.environ["VIDEO_GATEWAY_PORT"] = self.ports["8080"]  # the ports that the pages leave to the defaults
        self.environ["VIDEO_GATEWAY_URL"] = f"http://127.0.0.1:{self.ports['8080']}"
        self.running: list[subprocess.Popen[str]] = []
        self.outputs: dict[str, str] = {}

    def typed(self, text: str) -> str:
        """The text with free ports instead of those that it names."""
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", free, text)
        return text

    def start(self, block: Block) -> None:
        """Run a block in the background until it listens."""
        port = block.mark.split()[1]
        process = subprocess.Popen(  # noqa: S602  # the text of our own page
            "exec 2>log.txt\n" + self.typed(block.text),
            shell=True,
            cwd=self.folder,
            env=self.environ,
            text=True,
            start_new_session=True,  # so that what the shell starts ends with it
        )
        self.running.append(process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{self.ports[port]}/health/live")
            except httpx.ConnectError:
                continue
            children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
            self.environ["PID"] = children.stdout.strip() or str(process.pid)  # the shell may have become the command
            return
        pytest.fail(f"nothing listens on {port}: {(self.folder / 'log.txt').read_text()}")

    def wait_for_log(self, word: str) -> None:
        """Wait until what was started has logged a word."""
        deadline = time.monotonic() + 10
        while word not in (log := (self.folder / "log.txt").read_text()):
            assert time.monotonic() < deadline, log
            time.sleep(0.02)

    def run(self, block: Block) -> str:
        """Run a block to its end, once in a session; its output."""
        if block.name not in self.outputs:
            done = subprocess.run(  # noqa: S603  # the text of our own page
                [*self._command(block.language), self.typed(block.text)],
                cwd=self.folder,
                env=self.environ | {"VIDEO_GATEWAY_API_KEY": "a-client-key-of-your-own"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            self.outputs[block.name] = done.stdout
        return self.outputs[block.name]

    def _command(self, language: str) -> list[str]:
        if language == "javascript":
            if shutil.which("node") is None:
                pytest.skip("Node is not installed")
            return ["node", "--input-type=module", "--eval"]
        return [sys.executable, "-c"] if language == "python" else ["bash", "-euc"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader with the first two terminals of README."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", folder / "examples")
    person = Reader(folder)
    for block in blocks("start"):
        person.start(block)
    yield person
    for process in person.running:
        os.killpg(process.pid, signal.SIGTERM)
    for process in person.running:
        process.wait(30)


def shape(value: Any) -> Any:
    """The names and types in a JSON value, without the values."""
    match value:
        case dict():
            return {name: shape(inner) for name, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
        case _:
            return type(value).__name__


def test_every_example_is_tested() -> None:
    unmarked = [block.name for block in BLOCKS if block.language in EXECUTABLE and block.action not in ACTIONS]

    assert unmarked == []
    assert [block.page.name for block in blocks("start")] == ["README.md", "README.md"]


@named("run")
def test_an_example_does_what_its_page_says(reader: Reader, block: Block) -> None:
    _, _, result = block.mark.partition(", ")
    effect, _, value = result.partition(" ")
    if effect == "makes":
        (reader.folder / value).unlink(missing_ok=True)

    output = reader.run(block)

    match effect:
        case "":
            pass
        case "prints":
            assert value in output
        case "logs":
            reader.wait_for_log(value)
        case "makes" if not value.endswith(".mp4"):
            assert (reader.folder / value).stat().st_size
        case "makes":
            assert (reader.folder / value).read_bytes()[4:8] == b"ftyp"
        case _:
            pytest.fail(f"{block.name}: unknown mark {block.mark!r}")


@named("postgres")
def test_an_example_does_what_its_page_says_with_a_server(block: Block, tmp_path: Path, postgres_url: str) -> None:
    asyncio.run(open_sqlite(tmp_path / "video-gateway.db", datetime.now(UTC)).close())
    done = subprocess.run(  # noqa: S603  # the text of our own page
        ["bash", "-euc", re.sub(r"postgresql://\S+", postgres_url, block.text)],  # noqa: S607
        cwd=tmp_path,
        env={"PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert block.mark.partition(", prints ")[2] in done.stdout


@named("answer")
def test_an_answer_has_the_documented_fields(reader: Reader, block: Block) -> None:
    answer, documented = json.loads(reader.run(previous(block))), json.loads(block.text)

    assert shape(answer) == shape(documented)
    assert answer["request"] == documented["request"]


@named("lines")
def test_a_quote_has_the_documented_lines(reader: Reader, block: Block) -> None:
    summary = json.loads(reader.run(previous(block)))["summary"]

    for line in block.text.splitlines():  # a line may go on with how long the route has taken
        assert any(sentence.startswith(line) for sentence in summary), line


@named("function")
def test_a_receiver_accepts_only_a_signed_body(block: Block) -> None:
    functions: dict[str, Any] = {}
    exec(block.text, functions)  # noqa: S102  # the text of our own page
    read_event = functions[block.mark.split()[1]]
    secret, event = new_secret(), {"type": "video.generation.completed"}
    headers = signed("evt_1", json.dumps(event), (secret,), datetime.now(UTC))

    assert read_event(secret, json.dumps(event).encode(), headers) == event
    with pytest.raises(WebhookVerificationError):
        read_event(new_secret(), json.dumps(event).encode(), headers)


@named("token")
def test_a_jwt_of_the_page_is_the_key_of_its_pair(block: Block) -> None:
    functions: dict[str, Any] = {}
    exec(block.text, functions)  # noqa: S102  # the text of our own page
    secret = "s" * 32
    keys = AccessKeys({"access": secret}, SystemClock())

    assert keys.signer_of(functions[block.mark.split()[1]]("access", secret)) == "access"
    with pytest.raises(InvalidJwt):
        keys.signer_of(functions[block.mark.split()[1]]("access", "t" * 32))


def loaded(block: Block, folder: Path) -> Settings:
    """The settings from a block that is a configuration file; the mark names the variables that are set."""
    secret = folder / "kling_relay"
    secret.write_text("sk-relay")
    config = folder / "video-gateway.toml"
    config.write_text(block.text.replace("/run/secrets/kling_relay", str(secret)))
    variables = re.findall(r"\b[A-Z][A-Z0-9_]+\b", block.mark)
    return load(config, {name: SECRETS.get(name, f"sk-{name}-" + "p" * 32) for name in variables}, load_adapters())


@named("configuration", "bucket")
def test_a_configuration_is_accepted(block: Block, tmp_path: Path) -> None:
    settings = loaded(block, tmp_path)

    assert not [warning for warning in settings.warnings if not warning.startswith("providers: none is configured")]
    assert settings.artifacts.is_bucket == (block.action == "bucket")
    catalog = Catalog(bind(settings, load_adapters()), settings)
    for name, model in settings.models.items():
        routes = [f"{route.provider}/{route.model}" for route in catalog.resolve(name).candidates]
        assert routes == list(model.routes)


def test_the_cheap_model_has_prices_for_each_route(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("configuration") if "[models.cheap]" in block.text]
    settings = loaded(block, tmp_path)

    model = Catalog(bind(settings, load_adapters()), settings).resolve("cheap")

    assert (model.order, [len(route.prices) for route in model.candidates]) == ("cheapest", [2, 1])
