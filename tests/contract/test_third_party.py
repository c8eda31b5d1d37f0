"""The guide to adding a provider works: its example is built, installed, found, tested, and makes a video."""

import asyncio
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
import structlog

from gateway.app import Application
from gateway.domain.adapter.contract import Adapter
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters

from .exchanges import ADAPTERS, ALWAYS_RECORDED

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "providers" / "README.md").read_text()
VIDEOS = "/v1/videos/generations"


def block(language: str) -> str:
    """The only block of the guide in a language."""
    (content,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    return str(content)


RECORDED = dict(line.split(" ", 1) for line in block("exchanges").splitlines())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example as an installed distribution, made from its wheel."""
    source = tmp_path_factory.mktemp("source")
    (source / "video_gateway_acme.py").write_text(block("python"))
    (source / "pyproject.toml").write_text(block("toml"))
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "dist"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)  # noqa: S603  # only constants of this file
    (wheel,) = (source / "dist").glob("*.whl")
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Adapter]:
    """All adapters, with the example on the import path."""
    monkeypatch.delitem(sys.modules, "video_gateway_acme", raising=False)
    monkeypatch.syspath_prepend(site)
    adapters = load_adapters()
    monkeypatch.delitem(sys.modules, "video_gateway_acme")
    return adapters


def test_the_guide_is_short_and_names_every_field_of_an_adapter() -> None:
    assert GUIDE.count("\n") < 210
    assert re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE) == [field.name for field in fields(Adapter)]


def test_the_example_is_found_beside_the_built_in_adapters(installed: dict[str, Adapter]) -> None:
    assert set(installed) == {*ADAPTERS, "acme"}
    assert installed["acme"].base_url == "https://api.acme.example"


def test_the_example_keeps_the_contract(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exchanges" / "acme"
    folder.mkdir(parents=True)
    for name, exchange in RECORDED.items():
        (folder / name).write_text(exchange)
    environ = {**os.environ, "PYTHONPATH": str(site), "ADAPTER_EXCHANGES": str(folder.parent)}
    (said,) = re.findall(r"pytest (tests/contract -k acme)", block("sh"))
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *said.split()]

    ended = subprocess.run(run, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)  # noqa: S603  # as above

    assert ended.returncode == 0, ended.stdout[-5000:]
    passed = re.search(r"^(\d+) passed", ended.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 30
    assert set(RECORDED) == {f"{outcome}.json" for outcome in ALWAYS_RECORDED}


async def test_the_example_makes_a_video(installed: dict[str, Adapter], tmp_path: Path) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    calls: list[tuple[str, str, str | None]] = []

    def acme(request: httpx.Request) -> httpx.Response:
        calls.append((request.method, str(request.url), request.headers.get("authorization")))
        name = "submitted" if request.method == "POST" else "pending" if len(calls) == 2 else "completed"
        return httpx.Response(200, json=json.loads(RECORDED[f"{name}.json"])["reply"]["json"])

    (tmp_path / "gateway.toml").write_text("[providers.acme]\nfirst_poll_seconds = 0.01\npoll_seconds = 0.01\n")
    environ = {
        "ACME_API_KEY": "acme-key",
        "VIDEO_GATEWAY_DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}",
        "VIDEO_GATEWAY_ARTIFACTS": str(tmp_path / "artifacts"),
    }
    settings = load(tmp_path / "gateway.toml", environ, installed)
    application = Application(settings, adapters=installed, transport=httpx.MockTransport(acme))
    transport = httpx.ASGITransport(application.asgi)
    try:
        async with (
            application.litestar.lifespan(),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            made = await client.post(VIDEOS, json={"model": "acme/acme-2", "prompt": "A kite.", "duration": 5})
            assert made.status_code == 200, made.text
            generation = made.json()
            async with asyncio.timeout(20):
                while generation["status"] in {"queued", "in_progress"}:
                    generation = (await client.get(f"{VIDEOS}/{generation['id']}", params={"wait": 1})).json()
    finally:
        structlog.reset_defaults()

    assert generation["status"] == "completed", generation
    assert generation["data"][0]["provider_url"] == "https://cdn.acme.example/t-1.mp4"
    assert [call[:2] for call in calls] == [
        ("POST", "https://api.acme.example/v2/tasks"),
        ("GET", "https://api.acme.example/v2/tasks/t-1"),
        ("GET", "https://api.acme.example/v2/tasks/t-1"),
    ]
    assert {call[2] for call in calls} == {"Bearer acme-key"}
