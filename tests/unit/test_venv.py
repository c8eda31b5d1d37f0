"""`tools/venv.sh`: which Python makes the virtual environment, and the one sentence if none can."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "venv.sh"


def fake_python(path: Path, version: str, *, able: bool = True, installation: str = "/opt/python") -> None:
    """A program that answers the script's question as a Python of this version would, and makes `venv`s of itself."""
    major, minor, _ = version.split(".")
    facts = f"{major} {minor} {version} {'yes' if able else 'no'} {installation}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""#!/bin/sh
[ "$1" = -c ] && {{ echo "{facts}"; exit; }}
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
touch "$3/pyvenv.cfg"
cp "$0" "$3/bin/python"
"""
    )
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The only folder on the PATH that can have a Python."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("sh", "cp", "mkdir", "rm", "touch"):
        (folder / name).symlink_to(next(path for path in (Path("/bin", name), Path("/usr/bin", name)) if path.exists()))
    return folder


def run(programs: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603  # our own script
        [str(programs / "sh"), str(SCRIPT), *arguments],
        cwd=programs.parent,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )


def made_with(programs: Path) -> str:
    """The version of the Python in the virtual environment."""
    match = re.search(r'echo "\d+ \d+ (\S+) ', (programs.parent / ".venv" / "bin" / "python").read_text())
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({"python3": "3.12.1", "python3.13": "3.13.0"}, "3.12.1"),
        ({"python3": "3.9.18", "python3.13": "3.13.0", "python3.11": "3.11.7"}, "3.13.0"),
        ({"python3": "3.10.13", "python3.11": "3.11.7"}, "3.11.7"),
        ({"python3": "3.9.18", "python3.14": "3.14.0"}, "3.14.0"),
        ({"python3": "2.7.18", "python3.12": "3.12.1"}, "3.12.1"),
    ],
)
def test_the_first_python_that_is_new_enough_is_chosen(programs: Path, versions: dict[str, str], chosen: str) -> None:
    for name, version in versions.items():
        fake_python(programs / name, version)
    done = run(programs, "make", ".venv")

    assert (done.returncode, done.stderr) == (0, "")
    assert made_with(programs) == chosen


def test_a_python_without_venv_is_passed_over(programs: Path) -> None:
    fake_python(programs / "python3", "3.11.7", able=False)
    fake_python(programs / "python3.12", "3.12.1")
    assert run(programs, "make", ".venv").returncode == 0
    assert made_with(programs) == "3.12.1"


def test_a_program_that_does_not_run_is_passed_over(programs: Path) -> None:
    """A version manager has a `python3.13` for each version that it could run, installed or not."""
    (programs / "python3").write_text("#!/bin/sh\nexit 127\n")
    (programs / "python3").chmod(0o755)
    fake_python(programs / "python3.12", "3.12.1")
    assert run(programs, "make", ".venv").returncode == 0
    assert made_with(programs) == "3.12.1"


@pytest.mark.parametrize(
    ("pythons", "wanted", "sentence"),
    [
        (
            {},
            "",
            r"video-gateway needs Python 3\.11 or newer; none was found, .* make install PYTHON=/path/to/python3\S+",
        ),
        ({"python3": ("3.9.18", True)}, "", r"video-gateway needs Python 3\.11 or newer; python3 is 3\.9\.18, .*"),
        ({"python3": ("3.12.1", True)}, "nowhere", r"PYTHON=nowhere does not run\. .* 3\.11 or newer\. .*"),
        (
            {"python3.9": ("3.9.18", True)},
            "python3.9",
            r"PYTHON=python3\.9 is Python 3\.9\.18, but .* 3\.11 or newer.*",
        ),
        ({"python3": ("3.11.2", False)}, "", r"python3 is Python 3\.11\.2, but .*: apt install python3\.11-venv"),
        (
            {"python3": ("3.12.1", False)},
            "python3",
            r"python3 is Python 3\.12\.1, but .*: apt install python3\.12-venv",
        ),
    ],
    ids=["none", "old", "wanted is missing", "wanted is old", "no venv", "wanted has no venv"],
)
def test_without_a_python_that_fits_one_sentence_says_what_is_needed(
    programs: Path, pythons: dict[str, tuple[str, bool]], wanted: str, sentence: str
) -> None:
    for name, (version, able) in pythons.items():
        fake_python(programs / name, version, able=able)
    done = run(programs, "make", ".venv", wanted)

    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(sentence + "\n", done.stderr), done.stderr
    assert not (programs.parent / ".venv").exists()


def test_the_python_that_is_wanted_is_used_and_the_environment_of_another_replaced(programs: Path) -> None:
    fake_python(programs / "python3", "3.11.7", installation="/opt/python 3.11")
    fake_python(programs / "python3.13", "3.13.0", installation="/opt/python 3.13")
    assert run(programs, "make", ".venv").returncode == 0
    stamp = programs.parent / ".venv" / ".installed"
    stamp.touch()

    assert [run(programs, "state", ".venv", name).stdout for name in ("", "python3", "python3.13")] == [
        "",
        "",
        "outdated\n",
    ]
    assert run(programs, "make", ".venv", "python3").returncode == 0
    assert stamp.exists()
    replaced = run(programs, "make", ".venv", "python3.13")

    assert replaced.stderr == ".venv was made by another Python; making it again with python3.13\n"
    assert made_with(programs) == "3.13.0"
    assert not stamp.exists()


def test_an_environment_whose_python_is_gone_is_replaced(programs: Path) -> None:
    fake_python(programs / "python3", "3.11.7")
    assert run(programs, "make", ".venv").returncode == 0
    (programs.parent / ".venv" / "bin" / "python").unlink()

    assert run(programs, "state", ".venv").stdout == "outdated\n"
    assert run(programs, "make", ".venv").returncode == 0
    assert made_with(programs) == "3.11.7"


def test_a_wanted_python_that_does_not_fit_leaves_the_environment_alone(programs: Path) -> None:
    fake_python(programs / "python3", "3.11.7")
    fake_python(programs / "python3.9", "3.9.18", installation="/opt/old")
    assert run(programs, "make", ".venv").returncode == 0

    assert run(programs, "make", ".venv", "python3.9").returncode == 1
    assert made_with(programs) == "3.11.7"


def test_the_minimum_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minimum = re.search(r"^MINIMUM=(\d+)", SCRIPT.read_text(), re.MULTILINE)
    assert minimum is not None
    assert project["requires-python"] == f">=3.{minimum[1]}"


def test_make_passes_on_the_python_that_is_wanted() -> None:
    """`make -n` prints the commands without running them."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS"}}
    done = subprocess.run(
        ["make", "-n", "install", "PYTHON=python3.99", "VENV=nowhere/.venv"],  # noqa: S607  # as a shell finds it
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tools/venv.sh make nowhere/.venv python3.99" in done.stdout.replace('"', "")
