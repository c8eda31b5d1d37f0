"""The card of a run: what each attack cost, and whether that is within the limits."""

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .measure import FREE_SECONDS, Cost

PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
BEGIN, END = "<!-- made by `make hostile` -->\n", "<!-- end of what `make hostile` made -->\n"
MB = 1e6
GROWN_MAX = 5 * MB  # memory that one flood of a connection may cost permanently
PEAK_MAX = (
    2 * 2**28
)  # memory that any attack may cost for a moment: the default of `max_bodies_bytes`, read and decoded
CHILD_MAX = 512 * MB  # of the process that converts images
P99_MAX_MS = 100.0
HEADINGS = ("attack", "sent", "memory", "peak", "child", "p99", "longest", "free after", "answers")
ALIGN = "|---|---|--:|--:|--:|--:|--:|--:|---|"


@dataclass
class Row:
    """One attack, what it cost, and what others got meanwhile."""

    attack: str
    sent: str  # what was sent, for a reader
    cost: Cost
    answers: Counter[str] = field(default_factory=Counter)  # by status; "ended": without an answer
    with_key: bool = False  # sent by a client with a key: what that costs in time is shown, and has no limit
    is_flood: bool = False  # sent over one connection, so that `GROWN_MAX` applies
    note: str = ""  # what else was observed
    faults: list[str] = field(default_factory=list)  # what should not have happened, besides the common limits

    @property
    def errors(self) -> int:
        """Answers that say that the gateway itself failed: 5xx, except 503 for a limit."""
        return sum(count for status, count in self.answers.items() if status.startswith("5") and status != "503")

    def cells(self) -> Iterator[str]:
        """The cells of the table."""
        cost = self.cost
        yield from (self.attack, self.sent)
        yield from (f"{cost.grown / MB:+.1f} MB", f"{cost.peak / MB:.1f} MB")
        yield f"{cost.child / MB:.0f} MB" if cost.child else ""
        yield from (f"{cost.p99_ms:.0f} ms", f"{cost.longest_ms:.0f} ms")
        yield "never" if cost.free_seconds is None else f"{cost.free_seconds:.1f} s"
        answers = ", ".join(f"{status} ×{count}" for status, count in sorted(self.answers.items()))
        yield "; ".join(filter(None, (answers, self.note, *(f"**{fault}**" for fault in self.faults))))


@dataclass(frozen=True)
class Verdict:
    """Whether a run has kept one limit."""

    limit: str
    broken: tuple[str, ...]  # what broke it, with the figure
    counts: bool = True  # False: it depends on what else the machine does, and is only reported

    def cells(self) -> tuple[str, str]:
        """The limit, and whether it was kept."""
        if not self.broken:
            return self.limit, "kept"
        word = "**broken**" if self.counts else "not kept while the machine did other work"
        return self.limit, f"{word}: {'; '.join(self.broken)}"


def verdicts(rows: list[Row], *, strict: bool) -> list[Verdict]:
    """The limits, and the attacks that broke them. Times count only if `strict`."""

    def over(figure: Callable[[Row], float], limit: float, unit: str, scale: float = 1) -> tuple[str, ...]:
        return tuple(f"{row.attack}: {figure(row) / scale:.0f} {unit}" for row in rows if figure(row) >= limit)

    free = f"every connection is free within {FREE_SECONDS:.0f} s"
    others = "others are served, nothing is bought for a web page, no secret leaves, the gateway stops when it is to"
    floods = Verdict(
        f"a flood over one connection costs less than {GROWN_MAX / MB:.0f} MB of memory",
        over(lambda row: row.cost.grown if row.is_flood else 0, GROWN_MAX, "MB", MB),
    )
    return [
        *([floods] if any(row.is_flood for row in rows) else []),  # a run of other parts says nothing about it
        Verdict(
            f"no attack costs more than {PEAK_MAX / MB:.0f} MB for a moment",
            over(lambda row: row.cost.peak, PEAK_MAX, "MB", MB),
        ),
        Verdict(
            f"no process that decodes images takes more than {CHILD_MAX / MB:.0f} MB",
            over(lambda row: row.cost.child, CHILD_MAX, "MB", MB),
        ),
        Verdict(
            free,
            over(
                lambda row: FREE_SECONDS if row.cost.free_seconds is None else row.cost.free_seconds, FREE_SECONDS, "s"
            ),
        ),
        Verdict("no answer is 5xx, except 503", over(lambda row: row.errors, 1, "answers")),
        Verdict("`/health/live` always answers 200", over(lambda row: row.cost.failures, 1, "failures")),
        Verdict(others, tuple(f"{row.attack}: {fault}" for row in rows for fault in row.faults)),
        Verdict(
            f"p99 of `/health/live` stays below {P99_MAX_MS:.0f} ms under every attack without a key",
            over(lambda row: 0 if row.with_key else row.cost.p99_ms, P99_MAX_MS, "ms"),
            counts=strict,
        ),
    ]


def is_broken(rows: list[Row], *, strict: bool) -> bool:
    """Whether a limit that counts is broken."""
    return any(verdict.broken and verdict.counts for verdict in verdicts(rows, strict=strict))


def text(rows: list[Row], seconds: float, *, strict: bool) -> str:
    """The card in Markdown."""
    tables = (
        (HEADINGS, ALIGN, [tuple(row.cells()) for row in rows]),
        (("limit", "result"), "|---|---|", [verdict.cells() for verdict in verdicts(rows, strict=strict)]),
    )
    lines = [f"{machine()}, {seconds:.0f} s"]
    for headings, align, cells in tables:
        lines += ["", _line(headings), align, *map(_line, cells)]
    return "\n".join(lines) + "\n"


def renew(card: str) -> None:
    """Write the card into its page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + card + END + rest.partition(END)[2])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def machine() -> str:
    """Where and when, and how much the machine did."""
    load = os.getloadavg()[0]
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"{os.cpu_count()} cores, load {load:.1f} at the end, {platform.system()} {platform.machine()}, {when}"
