"""The proxy of LiteLLM with the gateway as its provider, called with the package `openai`."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
from calls import IMAGE, KEY, PATIENCE, URL, call, until

CONFIGURATION = f"""
model_list:
  - model_name: my-video
    litellm_params: {{model: openai/sora-2, api_base: "{URL}/v1", api_key: "{KEY}"}}
  - model_name: my-image
    litellm_params: {{model: openai/keevx/image, api_base: "{URL}/v1", api_key: "{KEY}"}}
general_settings: {{master_key: sk-of-the-proxy}}
"""
STARTING = 90.0  # seconds


@contextmanager
def proxy() -> Iterator[str]:
    """Runs the proxy; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(CONFIGURATION)
        command = [str(Path(sys.executable).with_name("litellm")), "--config", "config.yaml"]
        process = subprocess.Popen(  # noqa: S603
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + STARTING
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    httpx.get(f"http://127.0.0.1:{port}/health/liveliness")
                    break
                except httpx.TransportError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def calls(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-of-the-proxy", timeout=PATIENCE, max_retries=0)
    with call("models.list"):
        assert {"my-video", "my-image"} <= {model.id for model in client.models.list()}
    with call("videos.create"):
        made = client.videos.create(model="my-video", prompt="Waves", seconds="5", size="1280x720")
    with call("videos.create, input_reference"):
        assert client.videos.create(model="my-video", prompt="Zoom in", input_reference=IMAGE).id
    with call("videos.retrieve"):
        read = until(lambda: client.videos.retrieve(made.id), lambda video: video.status in ("completed", "failed"))
        assert read.status == "completed"
    with call("videos.download_content"):
        assert client.videos.download_content(made.id).read()[4:8] == b"ftyp"
    with call("images.generate"):
        assert client.images.generate(model="my-image", prompt="A lake").data
    with call("images.edit"):
        assert client.images.edit(model="my-image", prompt="at night", image=IMAGE).data


with proxy() as address:
    calls(address)
