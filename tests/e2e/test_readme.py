"""README is true: every command and request in it is run as it is written, only the ports are free ones."""

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
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.api.generations.views import GenerationView
from gateway.generations.catalog import Catalog
from gateway.settings.load import load
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"<!-- (?P<does>[^>]+) -->\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
BLOCKS = [match.groupdict() for match in BLOCK.finditer(README)]
TARGETS = re.compile(r"^([a-z]+):.*##", re.MULTILINE)


def blocks(does: str, language: str) -> list[str]:
    """The blocks that are marked so."""
    return [block["text"] for block in BLOCKS if block["does"] == does and block["language"] == language]


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Reader:
    """Somebody who types what README says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"9000": str(free_port()), "8080": str(free_port())}
        keep = ("HOME", "LANG", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
        self.environ = {name: os.environ[name] for name in keep if name in os.environ}
        self.environ["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
        self.environ["VIDEO_GATEWAY_PORT"] = self.ports["8080"]  # the ports that README leaves to the defaults
        self.environ["VIDEO_GATEWAY_URL"] = f"http://127.0.0.1:{self.ports['8080']}"
        self.running: list[subprocess.Popen[str]] = []

    def typed(self, text: str) -> str:
        """The text with free ports in place of the ones it names."""
        for named, free in self.ports.items():
            text = re.sub(rf"\b{named}\b", free, text)
        return text

    def start(self, text: str, port: str) -> None:
        """Run a block in the background until it listens."""
        process = subprocess.Popen(  # noqa: S602  # README's own text
            "exec 2>log.txt\n" + self.typed(text),
            shell=True,
            cwd=self.folder,
            env=self.environ,
            text=True,
            start_new_session=True,  # so that what the shell starts ends with it
        )
        self.running.append(process)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{self.ports[port]}/health/live")
            except httpx.ConnectError:
                continue
            return
        pytest.fail(f"nothing listens on {port}: {(self.folder / 'log.txt').read_text()}")

    def run(self, text: str, *, python: bool = False) -> str:
        """Run a block to its end."""
        command = [sys.executable, "-c"] if python else ["bash", "-euc"]
        done = subprocess.run(  # noqa: S603  # README's own text
            [*command, self.typed(text)],
            cwd=self.folder,
            env=self.environ | {"VIDEO_GATEWAY_API_KEY": "a-client-key-of-your-own"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The first two terminals of README."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    someone = Reader(folder)
    sandbox, gateway = (block for block in BLOCKS if block["does"].startswith("run in the background"))
    someone.start(sandbox["text"], "9000")
    someone.start(gateway["text"], "8080")
    yield someone
    for process in someone.running:
        os.killpg(process.pid, signal.SIGTERM)
    for process in someone.running:
        process.wait(30)


def shape(value: Any) -> Any:
    """The names and types of a JSON value, whatever it says."""
    match value:
        case dict():
            return {name: shape(inner) for name, inner in value.items()}
        case list():
            return [shape(inner) for inner in value]
        case _:
            return type(value).__name__


def test_the_request_of_readme_gets_the_answer_of_readme(reader: Reader) -> None:
    curl, *_ = blocks("run", "bash")
    (shown,) = blocks("the answer", "json")

    answer = reader.run(curl)

    assert shape(json.loads(answer)) == shape(json.loads(shown))
    assert json.loads(answer)["request"] == json.loads(shown)["request"]


def test_the_command_line_of_readme_leaves_a_video(reader: Reader) -> None:
    _, generate, *_ = blocks("run", "bash")

    reader.run(generate)

    assert (reader.folder / "beach.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_images_of_readme_are_taken(reader: Reader) -> None:
    _, _, images, *_ = blocks("run", "bash")

    quote, file = reader.run(images).split('{"id":', 1)

    assert json.loads(quote)["routes"]
    assert json.loads('{"id":' + file)["purpose"] == "vision"


def test_the_webhook_endpoint_of_readme_is_made(reader: Reader) -> None:
    *_, endpoint, _ = blocks("run", "bash")

    assert json.loads(reader.run(endpoint))["secret"].startswith("whsec_")


def test_the_quote_of_readme_says_what_readme_shows(reader: Reader) -> None:
    *_, quote = blocks("run", "bash")
    (shown,) = blocks("the quote", "text")

    summary = json.loads(reader.run(quote))["summary"]

    for line in shown.splitlines():  # behind it there may be how long the route has taken
        assert any(told.startswith(line) for told in summary), line


def test_the_python_of_readme_prints_a_result(reader: Reader) -> None:
    (flow,) = blocks("run", "python")

    assert reader.run(flow, python=True).startswith("completed ")


def test_the_configuration_of_readme_is_one(tmp_path: Path) -> None:
    (text,) = blocks("a configuration", "toml")
    secret = tmp_path / "kling_relay"
    secret.write_text("sk-relay")
    config = tmp_path / "video-gateway.toml"
    config.write_text(text.replace("/run/secrets/kling_relay", str(secret)))

    webhook = "whsec_" + base64.b64encode(b"w" * 32).decode()
    keys = {"FOXAPI_API_KEY": "sk-fox", "VIDEO_GATEWAY_API_KEY": "k" * 20, "VIDEO_GATEWAY_WEBHOOK_SECRET": webhook}
    settings = load(config, keys, load_adapters())

    assert settings.warnings == ()
    assert set(settings.enabled) == {"foxapi", "kling_relay"}
    assert tomllib.loads(text)["models"]["hero"]["routes"] == list(settings.models["hero"].routes)


def test_the_bucket_of_readme_is_one(tmp_path: Path) -> None:
    (text,) = blocks("a bucket", "toml")
    config = tmp_path / "video-gateway.toml"
    config.write_text(text)

    settings = load(config, {"S3_ACCESS_KEY_ID": "id", "S3_SECRET_ACCESS_KEY": "secret"}, load_adapters())

    assert settings.artifacts.is_bucket
    assert settings.artifacts.path == Path("/data/artifacts")


def test_the_small_configuration_of_readme_is_one(tmp_path: Path) -> None:
    (text,) = blocks("a small configuration", "toml")
    config = tmp_path / "video-gateway.toml"
    config.write_text(text)
    keys = {"FOXAPI_API_KEY": "sk-fox", "KEEVX_API_KEY": "sk-keevx"}

    settings = load(config, keys, load_adapters())

    assert settings.warnings == ()
    providers = bind(settings, load_adapters())
    planned = Catalog(providers, settings).resolve("cheap")
    assert (planned.order, [len(one.prices) for one in planned.candidates]) == ("cheapest", [2, 1])


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(TARGETS.findall((ROOT / "Makefile").read_text()))
    texts = README + (ROOT / "CONTRIBUTING.md").read_text()

    assert set(re.findall(r"\bmake ([a-z]+)(?= |`|\n)", texts)) <= targets


def test_the_documented_generations_are_generations() -> None:
    documented = (ROOT / "docs" / "generations.md").read_text()
    found = re.findall(r"```json\n(.*?)```", documented, re.DOTALL)

    read = [msgspec.json.decode(text, type=GenerationView) for text in found]

    told = {(one.provider or one.attempts[-1].provider, one.status.value) for one in read}
    assert told == {(name, status) for name in load_adapters() for status in ("completed", "failed")}
    for text, one in zip(found, read, strict=True):
        assert json.loads(text).keys() == json.loads(msgspec.json.encode(one)).keys()


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "providers/README.md", "docs/generations.md"):
        for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"
