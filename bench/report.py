"""Tables as text, plots as SVG, and their places in `docs/figures.md`."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.plots import Plot
from bench.processes import ROOT

FIGURES = ROOT / "docs" / "figures.md"
PLOTS = ROOT / "docs" / "figures"
Cell = float | str | None


@dataclass(frozen=True)
class Table:
    """Rows with a name. A number is printed with the first three of its digits."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]

    def __str__(self) -> str:
        """The table as text."""
        lines = [(self.title, *self.columns), *((name, *map(shown, cells)) for name, cells in self.rows)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns) + 1)]
        return "\n".join(
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(widths[at]) for at, cell in enumerate(line[1:], 1))]
            ).rstrip()
            for line in lines
        )


@dataclass(frozen=True)
class Section:
    """What a part of the benchmark found."""

    part: str
    tables: Sequence[Table]
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()  # lines below the tables

    def text(self) -> str:
        """The tables and notes, as printed."""
        return "\n\n".join([*map(str, self.tables), *(["\n".join(self.notes)] if self.notes else [])])


def shown(cell: Cell) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest of several measurements."""
    return f"{shown(min(values))}-{shown(max(values))}"


def middle(values: Iterable[float]) -> float:
    """The median of several measurements."""
    return median(list(values))


def write(section: Section, machine: str) -> None:
    """Replace the section of a part in `docs/figures.md`, and its plots."""
    PLOTS.mkdir(exist_ok=True)
    images = []
    for plot in section.plots:
        (PLOTS / f"{plot.name}.svg").write_text(plot.svg(), encoding="utf-8")
        images.append(f"![{plot.title}](figures/{plot.name}.svg)")
    body = "\n\n".join([f"```\n{machine}\n\n{section.text()}\n```", *images])
    begin, end = f"<!-- make bench: {section.part} -->", f"<!-- end of {section.part} -->"
    text = FIGURES.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise RuntimeError(f"{FIGURES} has no place for the part {section.part}: {begin}")
    FIGURES.write_text(pattern.sub(lambda _: f"{begin}\n{body}\n{end}", text), encoding="utf-8")
