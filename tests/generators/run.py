"""Makes clients of the OpenAPI document with generators that need Node or Java, and uses them (`make generators`)."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .checked import ALL_PHASES, checked
from .test_python_client import DOCUMENT
from .world import running

HERE = Path(__file__).parent
NODE, BIN = HERE / "node", HERE / "node" / "node_modules" / ".bin"
TOOLS = HERE / ".venv" / "bin"  # OpenAPI Generator, and what its Python client needs
USE = """
import sys
import openapi_client as made

configuration = made.Configuration(host=sys.argv[1], access_token=sys.argv[2])
with made.ApiClient(configuration) as client:
    videos = made.VideosApi(client)
    body = made.CreateVideo.from_dict({"model": "kling_relay/kling-v1-6", "prompt": "Waves on the beach"})
    created = videos.create_video_generation(body)
    for _ in range(40):
        read = videos.read_video_generation(created.id, wait=5)
        if read.status not in ("queued", "in_progress"):
            break
    assert read.status == "completed" and read.data[0].url, read
    print("openapi-generator python", read.status)
"""


def main() -> int:
    """Lint the document, make every client, use those of Python and TypeScript, and check every operation.

    It stops at the first that fails.
    """
    _run([BIN / "spectral", "lint", "--ruleset", NODE / ".spectral.yaml", DOCUMENT])
    _run([BIN / "redocly", "lint", DOCUMENT])
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as world:
        folder = Path(name)
        there = {"GATEWAY_URL": world.url, "GATEWAY_KEY": world.key}
        shutil.rmtree(NODE / "made", ignore_errors=True)
        _run([BIN / "openapi-typescript", DOCUMENT, "--output", NODE / "made" / "schema.ts"])
        _run([BIN / "orval", "--config", NODE / "orval.config.mjs"], there)
        options = ["--module", "nodenext", "--target", "es2022", "--strict", "--skipLibCheck"]
        _run([BIN / "tsc", *options, "--outDir", NODE / "made" / "js", NODE / "use.ts"])
        _run(["node", NODE / "made" / "js" / "use.js"], there)
        for language in ("python", "go", "java", "typescript-fetch"):
            output = folder / language
            _run(
                [TOOLS / "openapi-generator-cli", "generate", "-i", DOCUMENT, "-g", language, "-o", output], quiet=True
            )
        (folder / "use.py").write_text(USE)
        path = {"PYTHONPATH": str(folder / "python")}
        _run([TOOLS / "python", folder / "use.py", world.url, world.key], path)
        said = checked(world, folder, phases=ALL_PHASES, examples=10, seconds=1800)
        print(f"$ schemathesis run\n{said[-500:]}")  # noqa: T201  # a command
    return 0


def _run(command: list[str | Path], environment: Mapping[str, str] | None = None, *, quiet: bool = False) -> None:
    """Run a command in the folder of the Node packages, and end with its output if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(  # noqa: S603  # its own arguments
        words, cwd=NODE, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not quiet:
        print(f"$ {Path(words[0]).name} {' '.join(words[1:3])}\n{done.stdout[-1500:]}")  # noqa: T201  # a command
    if done.returncode != 0:
        sys.exit(f"{words[0]} failed with {done.returncode}:\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    elif quiet:
        print(f"{Path(words[0]).name} {' '.join(words[4:6])}: made")  # noqa: T201  # a command


if __name__ == "__main__":
    sys.exit(main())
