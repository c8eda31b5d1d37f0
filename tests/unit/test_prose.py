"""`tools/prose.py` finds planted phrases and names with their line, and leaves ordinary English alone."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "prose.py"
_SPEC = importlib.util.spec_from_file_location("prose", SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
prose = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(prose)

MODULE = '''"""A module.

The clock that was
told is wrong.
"""

LIMIT = 3  # seconds, behind which nothing is read
# A comment over two lines, whose row is
# no file.


def read(known: int) -> str:
    found = f"whoever has row {known}"
    return found
'''


def problems(text: str, name: str = "module.py") -> list[tuple[int, str]]:
    return [(line, problem.partition(" →")[0]) for line, problem in prose.problems(name, text)]


def test_a_phrase_and_a_name_are_found_with_their_line() -> None:
    assert problems(MODULE) == [
        (4, "“told”"),
        (7, "“behind”"),
        (8, "“is no”"),
        (13, "“whoever”"),
        (12, "the name `known`"),
        (13, "the name `found`"),
    ]


@pytest.mark.parametrize("name", ["page.md", "query.sql", "settings.toml", "workflow.yaml", "page.html", "Makefile"])
def test_pages_and_other_files_are_read_line_by_line(name: str) -> None:
    assert problems("First line.\n-- This is no file.\n", name) == [(2, "“is no”")]


@pytest.mark.parametrize(
    "binding",
    [
        "one = 1",
        "def _one(): ...",
        "class told: ...",
        "for kept in (): ...",
        "[1 for found in ()]",
        "lambda asked: 1",
        "self.known = 1",
        "def read(*, tell): ...",
    ],
)
def test_every_way_to_bind_an_empty_name_is_found(binding: str) -> None:
    ((line, problem),) = problems(f"\n{binding}\n")
    assert line == 2
    assert problem.startswith("the name `")


@pytest.mark.parametrize(
    "sentence",
    [
        "Run it behind a reverse proxy, or behind your load balancer.",
        "The file is no longer there; it was no more than 3 bytes.",
        "Who pays for the second submit?",
        "The meeting comes to an end, for good reason.",
        "A standalone program; the letters stand alone.",
        "It was found and is known; one of them was kept.",
        "The understanding of withstanding.",
        "The value is None.",
    ],
)
def test_ordinary_english_is_left_alone(sentence: str) -> None:
    assert problems(f'"""{sentence}"""\n') == []
    assert problems(f"{sentence}\n", "page.md") == []


def test_reading_a_name_and_text_of_one_word_are_left_alone() -> None:
    assert problems('import found\nprint(found.one, "told", known)\n') == []


def test_a_phrase_within_a_longer_word_or_after_a_hyphen_is_left_alone() -> None:
    assert problems("# retold and un-told\n") == []


def test_the_program_exits_with_1_if_it_found_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    monkeypatch.setattr(prose, "files", lambda _: [tmp_path / "a.py", tmp_path / "b.md"])
    (tmp_path / "a.py").write_text("# The end is nigh, henceforth.\n")
    (tmp_path / "b.md").write_text("A plain page.\n")

    assert prose.main([]) == 1
    assert capsys.readouterr().out == (
        "a.py:1: “henceforth” → a plain word\n1 places; the four rules are in CONTRIBUTING.md\n"
    )
    (tmp_path / "a.py").write_text("# The end is near.\n")
    assert prose.main([]) == 0
    assert capsys.readouterr().out == ""


def test_ignored_and_recorded_files_are_not_read() -> None:
    names = {path.relative_to(prose.ROOT).as_posix() for path in prose.files([])}
    assert "gateway/cli.py" in names
    assert "tools/prose.py" not in names
    assert not [name for name in names if name.startswith((".venv/", "tests/recordings/")) or name.endswith(".lock")]
