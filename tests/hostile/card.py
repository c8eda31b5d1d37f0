"""The card of a run: what each attack cost, and whether that is within the limits."""

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .measure import FREE_SECONDS, Cost

MB = 1e6
GROWN_MAX = 5 * MB  # memory that one flood of a connection may cost for good
PEAK_MAX = 160 * MB  # memory that any attack may cost for a moment: a few bodies of the largest size
CHILDREN_MAX = 512 * MB  # of the process that converts images
P99_MAX_MS = 100.0
HEADINGS = ("attack", "sent", "memory", "peak", "children", "p99", "longest", "free after", "answers")
ALIGN = "|---|---|--:|--:|--:|--:|--:|--:|---|"


@dataclass
class Row:
    """One attack, what it cost, and what others got meanwhile."""

    attack: str
    sent: str  # what was sent, for a reader
    cost: Cost
    answers: Counter[str] = field(default_factory=Counter)  # the statuses of all answers, "ended" where there was none
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
        yield f"{cost.children / MB:.0f} MB" if cost.children else ""
        yield from (f"{cost.p99_ms:.0f} ms", f"{cost.longest_ms:.0f} ms")
        yield "never" if cost.free_seconds is None else f"{cost.free_seconds:.1f} s"
        answers = ", ".join(f"{status} ×{count}" for status, count in sorted(self.answers.items()))  # noqa: RUF001
        yield "; ".join(filter(None, (answers, self.note, *(f"**{fault}**" for fault in self.faults))))


@dataclass(frozen=True)
class Verdict:
    """Whether a run has kept one limit."""

    limit: str
    broken: tuple[str, ...]  # what broke it
    counts: bool = True  # False: it depends on what else the machine does, and is only reported

    def line(self) -> str:
        """A line of the card."""
        word = "kept" if not self.broken else "BROKEN" if self.counts else "not kept on this machine now"
        return f"- {word}: {self.limit}" + "".join(f"\n  - {each}" for each in self.broken)


def verdicts(rows: Iterable[Row], *, strict: bool) -> list[Verdict]:
    """The limits, and the attacks that broke them. Times count only if `strict`."""
    rows = list(rows)
    return [
        Verdict(
            f"a flood over one connection costs less than {GROWN_MAX / MB:.0f} MB of memory",
            _where(rows, lambda row: row.is_flood and row.cost.grown >= GROWN_MAX),
        ),
        Verdict(
            f"no attack costs more than {PEAK_MAX / MB:.0f} MB for a moment,"
            f" or {CHILDREN_MAX / MB:.0f} MB in a process that converts images",
            _where(rows, lambda row: row.cost.peak > PEAK_MAX or row.cost.children > CHILDREN_MAX),
        ),
        Verdict(
            f"every connection is free within {FREE_SECONDS:.0f} s",
            _where(rows, lambda row: row.cost.free_seconds is None or row.cost.free_seconds > FREE_SECONDS),
        ),
        Verdict("no answer is 5xx, except 503", _where(rows, lambda row: bool(row.errors))),
        Verdict("`/health/live` always answers 200", _where(rows, lambda row: bool(row.cost.failures))),
        Verdict(
            "others are served, nothing is bought for a stranger, and no secret leaves",
            tuple(f"{row.attack}: {fault}" for row in rows for fault in row.faults),
        ),
        Verdict(
            f"p99 of `/health/live` stays below {P99_MAX_MS:.0f} ms",
            _where(rows, lambda row: row.cost.p99_ms >= P99_MAX_MS),
            counts=strict,
        ),
    ]


def _where(rows: Iterable[Row], is_broken: Callable[[Row], bool]) -> tuple[str, ...]:
    return tuple(f"{row.attack}: {', '.join(list(row.cells())[2:])}" for row in rows if is_broken(row))


def text(rows: list[Row], seconds: float, *, strict: bool) -> str:
    """The card in Markdown."""
    lines = [f"| {' | '.join(HEADINGS)} |", ALIGN]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row.cells())} |" for row in rows]
    lines += ["", *(verdict.line() for verdict in verdicts(rows, strict=strict)), "", f"{machine()}, {seconds:.0f} s"]
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Where and when, and how much the machine did besides."""
    load = os.getloadavg()[0]
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"{os.cpu_count()} cores with a load of {load:.1f}, {platform.system()} {platform.machine()}, {when}"
