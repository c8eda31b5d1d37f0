"""The program of the last release, unpacked from its wheel; its dependencies are those of this environment.

The wheel is renewed after each release, from the commit of that release, with `make last-release`.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WHEELS = Path(__file__).parent
PRESENT = Path(__file__).parents[2]


@contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """The folder that Python has to search first, in order to run the last release."""
    (wheel,) = WHEELS.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    yield folder


def environment(program: Path) -> dict[str, str]:
    """The environment for a process of a program in a folder."""
    ours = ("VIDEO_GATEWAY_", "COVERAGE_", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Compiled modules are kept in the cache of the last release, so that a second start does not compile them again.
    cache = {"PYTHONDONTWRITEBYTECODE": "1"} if program == PRESENT else {}
    return environ | cache | {"PYTHONPATH": str(program)}


def run(program: Path, source: str) -> bytes:
    """What a script prints, run by a program."""
    command = (sys.executable, "-c", source)
    place = Path(__file__).parent  # not the folder of the present program, which Python would search first
    return subprocess.run(command, cwd=place, env=environment(program), check=True, stdout=subprocess.PIPE).stdout  # noqa: S603  # our own
