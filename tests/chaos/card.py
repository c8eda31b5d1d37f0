"""The card of a chaos run: what was done to the gateway, and what was observed."""

import os
import platform
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gateway.failpoints import WINDOWS

from .audit import Report

FAILS = ("commit_fails", "marker_fails")  # in these windows something fails, and the process lives
KILLS = tuple(window for window in WINDOWS if window not in FAILS)


@dataclass(kw_only=True)
class Card:
    """The counters of a run; `text` prints them."""

    seed: int
    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    undecided: Counter[str] = field(default_factory=Counter)  # submits whose outcome is unknown because of a kill
    stops: int = 0
    drain_seconds: list[float] = field(default_factory=list)
    unready_seen: int = 0  # drains in which readiness was false before the port closed
    waiting: list[int] = field(default_factory=list)  # open tasks in each long downtime
    slow_reads: int = 0  # periods in which every poll was slow
    in_flight: list[int] = field(default_factory=list)  # running submits at each drain with slow submits
    open_least: int | None = None
    seconds: float = 0.0
    clients: Counter[str] = field(default_factory=Counter)
    report: Report = field(default_factory=Report)

    def text(self) -> str:
        """Plain text."""
        report = self.report
        width = max(map(len, (*WINDOWS, "at a random moment")))
        lines = [f"{'killed':{width}}  kills  submits left without a known outcome"]
        lines += [
            f"{name:{width}}  {self.kills[name]:5}  {self.undecided[name]:5}" for name in (*KILLS, "at a random moment")
        ]
        lines += [f"{name:{width}}  {self.kills[name]:5}      -  (it raises, the process lives)" for name in FAILS]
        unready = f"readiness seen false first in {self.unready_seen}"
        longest = f"{max(self.drain_seconds, default=0):.1f} s"
        ended = ", ".join(f"{status} {count}" for status, count in sorted(report.ended.items()))
        slow_drains, under_way = len(self.in_flight), sum(self.in_flight)
        lines += [
            "",
            f"stopped (SIGSTOP) for longer than a submit may take  {self.stops}, a second process refused each time",
            f"drained (SIGTERM) under load  {len(self.drain_seconds)}, exit code 0, longest {longest}, {unready}",
            f"down for longer than an attempt may take  {len(self.waiting)}, {sum(self.waiting)} tasks open then",
            f"every read slower than its interval, around the time-out  {self.slow_reads}, {report.slow_reads} reads",
            f"drained (SIGTERM) during slow submits  {slow_drains}, {under_way} running, each with its outcome",
            f"refusals and replies contradicted by callbacks  {report.contradicted}, tasks adopted  {report.adopted}",
            f"open generations whenever something was done  {self.open_least} or more",
            "",
            f"generations acknowledged and ended  {report.generations} ({ended})",
            f"creates repeated by clients without an answer  {self.clients['repeated']}",
            f"submits received  {report.submits}, tasks started  {report.tasks}",
            f"attempts with an unknown outcome  {report.attempts.get('unknown', 0)}",
            f"generations lost  {report.lost}",
            f"submits doubled  {report.doubled}",
            f"bought although a paid result existed or could have been read  {report.bought}",
            f"other violations  {len(report.violations) - report.lost - report.doubled - report.bought}",
            f"spent or perhaps spent  {report.spent_usd:.2f} USD; sums, accounts and generations agree",
            f"results archived  {report.archived}, each complete at the end of the run",
            f"ends announced  {report.announced} of {report.generations}, {report.deliveries} deliveries, all signed",
            "",
            f"seed {self.seed}, rounds {self.rounds}, {self.seconds / 60:.1f} min, {machine()}",
        ]
        return "\n".join(lines)


def machine() -> str:
    """Where and when."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}"
