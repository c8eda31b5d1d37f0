"""Write `generations.md`: a completed and a failed generation of each provider, made with the sandbox (`make docs`)."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gateway.app import Application
from gateway.sandbox.server import SandboxServer
from gateway.settings.load import Settings, load
from gateway.upstream.registry import load_adapters

ROOT = Path(__file__).parents[1]
POLLING = "first_poll_seconds = 0.5\npoll_seconds = 0.5\npoll_max_seconds = 1\n"
IMAGE = "https://example.com/beach.jpg"
REQUESTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "keevx": (
        {"model": "keevx/V", "prompt": "Waves on the beach", "image": IMAGE, "duration": 4, "resolution": "720p"},
        {"model": "keevx/V", "prompt": "[[sandbox:keevx:task:fail_content]]", "image": IMAGE},
    ),
    "kling_relay": (
        {"model": "kling_relay/kling-v1-6", "prompt": "Waves on the beach", "aspect_ratio": "16:9"},
        {"model": "kling_relay/kling-v1-6", "prompt": "[[sandbox:kling_relay:submit:no_credit]]"},
    ),
    "foxapi": (
        {"model": "foxapi/kling-v3-image-to-video", "prompt": "Waves on the beach", "image": IMAGE, "n": 2},
        {"model": "foxapi/kling-v3-image-to-video", "prompt": "[[sandbox:foxapi:submit:close]]", "image": IMAGE},
    ),
}
FAILURES = {
    "keevx": "refused by the provider's content policy after it was accepted",
    "kling_relay": "the relay's account is out of credit",
    "foxapi": "the connection broke after the submit was sent: it may have been accepted, so it is not sent again",
}


async def made(client: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    """Create a generation and wait for its end."""
    answer = await client.post("/v1/videos/generations", json=body)
    generation: dict[str, Any] = answer.raise_for_status().json()
    while generation["status"] in {"queued", "in_progress"}:
        answer = await client.get(f"/v1/videos/generations/{generation['id']}?wait=60")
        generation = answer.raise_for_status().json()
    return generation


async def pages(folder: str) -> list[str]:
    """A section for each of the six generations."""
    sections: list[str] = []
    async with SandboxServer(total_seconds=2.0) as sandbox:
        app = Application(_settings(folder, sandbox.base_urls()))
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://127.0.0.1")
        async with app.litestar.lifespan(), client:
            for name, (good, bad) in REQUESTS.items():
                sections.append(f"## {name}, completed\n\n{_shown(await made(client, good))}")
                sections.append(f"## {name}, failed: {FAILURES[name]}\n\n{_shown(await made(client, bad))}")
        return [section.replace(sandbox.url, "https://provider.example") for section in sections]


def _settings(folder: str, base_urls: Mapping[str, str]) -> Settings:
    tables = [
        f'[providers.{name}]\napi_key = "env:KEY"\nbase_url = "{url}"\n{POLLING}' for name, url in base_urls.items()
    ]
    config = Path(folder, "docs.toml")
    places = f'[database]\nurl = "sqlite:///{folder}/docs.db"\n[artifacts]\nurl = "file:{folder}"\n'
    places += '[fetch]\nallow = ["127.0.0.0/8"]\n'
    config.write_text(places + "".join(tables))
    return load(config, {"KEY": "sandbox"}, load_adapters())


def main() -> None:
    """Make the generations and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        sections = asyncio.run(pages(folder))
    head = "# Generations\n\nA completed and a failed generation of each provider, made on the sandbox.\n\n"
    (ROOT / "docs" / "generations.md").write_text(head + "\n".join(sections))


def _shown(generation: dict[str, Any]) -> str:
    return f"```json\n{msgspec.json.format(msgspec.json.encode(generation), indent=2).decode()}\n```\n"


if __name__ == "__main__":
    main()
