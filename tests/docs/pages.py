"""The pages of the documentation, as the tests read them: code blocks with their marks, links, headings, tables.

A mark is an HTML comment on the line before a code block. It says what a test does with the block:

- `start PORT`: run in the background until something listens on the port.
- `run`: run to its end, which must be a success. `run, prints TEXT`: the output has this text. `run, makes FILE`: the
  file is an MP4.
- `answer of the block above`: JSON with the names and types of what the block above prints.
- `lines of the summary above`: each line begins a line of the `summary` that the block above prints.
- `configuration with VARIABLE …`, `bucket with VARIABLE …`: a configuration file that loads without a warning.
- `function read_event`: defines a function that a test calls.
- `token kling_token`: defines a function that makes a JWT of a pair of Kling's keys.
- `postgres, prints TEXT`: run where a gateway has worked and stopped, with a database of the test in place of the one
  that is named. The output has this text.
- `not run: REASON`: no test runs it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "generations.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TESTED = [page for page in PAGES if page != GENERATED]
EXECUTABLE = {"bash", "javascript", "python", "toml", "json", "sh"}
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """One code block of a page."""

    page: Path
    line: int  # of its first line of code
    mark: str  # empty: it has none
    language: str
    text: str

    @property
    def name(self) -> str:
        """Where it is, for the report of a test."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def action(self) -> str:
        """The first word of the mark."""
        return self.mark.split(",")[0].split(" ")[0]


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page, from top to bottom."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, match.start("text")) + 1, match["mark"] or "", match["language"], match["text"])
        for match in _BLOCK.finditer(text)
    ]


def prose_of(page: Path) -> str:
    """A page without its code blocks; their lines are empty, so that numbers of lines stay."""
    return _BLOCK.sub(lambda match: "\n" * match[0].count("\n"), page.read_text())


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """(path, anchor) of each link of a page to a page of the repository; either may be empty."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#{1,6} (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table_below(page: Path, heading: str) -> list[list[str]]:
    """The cells of the rows of the first table below a heading, without its two head rows."""
    _, _, section = page.read_text().partition(f"\n{heading}\n")
    assert section, f"{page.name} has no heading {heading!r}"
    section = re.split(r"^#{1,6} ", section, maxsplit=1, flags=re.MULTILINE)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table, f"{page.name} has no table below {heading!r}"
    rows = table[0].splitlines()
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]
