"""openapi-python-client makes a client of the document, and the client creates and reads through a running gateway."""

import json
import subprocess
import sys
from pathlib import Path

from .world import World, running

DOCUMENT = Path(__file__).parents[2] / "openapi" / "openapi.json"
USE = """
import sys, time
from made import AuthenticatedClient
from made.api.videos import create_video_generation, read_video_generation
from made.models import CreatedView, CreateVideo, ErrorAnswer, GenerationView

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
body = CreateVideo(model="kling_relay/kling-v1-6", prompt="Waves on the beach", aspect_ratio="16:9")
created = create_video_generation.sync(client=client, body=body)
assert isinstance(created, CreatedView), created
for _ in range(40):
    read = read_video_generation.sync(created.id, client=client, wait=5)
    assert isinstance(read, GenerationView), read
    if read.status not in {"queued", "in_progress"}:
        break
assert read.data[0].url.startswith("http"), read
refused = create_video_generation.sync(client=client, body=CreateVideo(model="no-such-model", prompt="A."))
assert isinstance(refused, ErrorAnswer) and refused.error.code == "model_not_found", refused
print(read.id, read.status)
"""


def test_a_generated_client_creates_and_reads(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("post_hooks: []\n")
    tool = Path(sys.executable).with_name("openapi-python-client")
    arguments = ["generate", "--path", str(DOCUMENT), "--meta", "none", "--config", str(config)]
    made = _run(str(tool), *arguments, "--output-path", str(tmp_path / "made"))
    warned = [line for line in made.splitlines() if "WARNING" in line]
    left_out = [call for call in _left_out() if not any(f" {call} " in line for line in warned)]
    assert left_out == [], warned
    assert len(warned) == len(_left_out()), warned
    (tmp_path / "use.py").write_text(USE)
    with running(tmp_path) as world:
        assert _use(world, tmp_path).split()[1] == "completed"


def _left_out() -> set[str]:
    """The calls that the generator cannot make: the body may be anything, or the answer is always an image."""
    paths = json.loads(DOCUMENT.read_text())["paths"]
    return {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "head"
        and (
            "*/*" in operation.get("requestBody", {}).get("content", {})
            or set(operation["responses"].get("200", {}).get("content", {})) == {"image/*"}
        )
    }


def _use(world: World, folder: Path) -> str:
    return _run(sys.executable, "-P", str(folder / "use.py"), world.url, world.key, folder=folder)


def _run(*command: str, folder: Path | None = None) -> str:
    environment = {"PYTHONPATH": str(folder)} if folder else {}
    done = subprocess.run(  # noqa: S603  # its own arguments
        command,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "300", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout
