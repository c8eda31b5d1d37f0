"""Runs schemathesis against a gateway, with the exclusions of `schemathesis.toml`."""

import os
import subprocess
import sys
from pathlib import Path

from .world import World

CONFIG = Path(__file__).with_name("schemathesis.toml")
TOOL = Path(sys.executable).with_name("schemathesis")
ALL_PHASES = "examples,coverage,fuzzing,stateful"


def checked(world: World, folder: Path, *, phases: str, examples: int, seconds: float) -> str:
    """Return what schemathesis says if all checks pass; fail with it otherwise. It writes into `folder`."""
    arguments = ["--phases", phases, "--max-examples", str(examples), "--no-color"]
    done = subprocess.run(  # noqa: S603  # its own arguments
        [str(TOOL), "--config-file", str(CONFIG), "run", f"{world.url}/openapi.json", *arguments],
        env={**os.environ, "KEY": world.key, "ADMIN_KEY": world.admin_key},
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(done.stdout[-12_000:] + done.stderr[-2000:])
    return done.stdout
