"""The card of a run with several gateways: what was done to them, and what was observed."""

from collections import Counter
from dataclasses import dataclass, field

from ..audit import Report
from ..card import machine
from .cluster import COUNT, NARROW
from .harms import HARMS


@dataclass(kw_only=True)
class Card:
    """The counters of a run; `text` prints them."""

    seed: int
    rounds: int = 0
    harms: Counter[str] = field(default_factory=Counter)
    open_least: int | None = None
    undriven_seconds: float = 0.0  # the longest time that a generation was without a gateway that lives
    connections: int = 0
    narrow: int = 0  # the most submits under way to the account that takes one at a time
    waiting: int = 0  # the most that waited for its place
    broken: int = 0  # streams of events, or calls for one
    seconds: float = 0.0
    clients: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    report: Report = field(default_factory=Report)

    def text(self) -> str:
        """Plain text."""
        report = self.report
        width = max(map(len, HARMS))
        ended = ", ".join(f"{status} {count}" for status, count in sorted(report.ended.items()))
        others = len(report.violations) - report.lost - report.doubled - report.bought
        lines = [f"{'done to ' + str(COUNT) + ' gateways':{width}}  rounds"]
        lines += [f"{name:{width}}  {self.harms[name]:6}" for name in HARMS if self.harms[name]]
        lines += [
            "",
            f"open generations at the end of a round  {self.open_least} or more",
            f"longest time without a living gateway, after 20 s of silence  {self.undriven_seconds:.0f} s",
            f"connections to PostgreSQL  {self.connections} or fewer",
            f"submits under way to {NARROW}, which takes one  {self.narrow} or fewer, waiting {self.waiting} or fewer",
            "",
            f"generations acknowledged and ended  {report.generations} ({ended})",
            f"creates repeated by clients without an answer  {self.clients['repeated']}",
            f"submits received  {report.submits}, tasks started  {report.tasks}",
            f"attempts with an unknown outcome  {report.attempts.get('unknown', 0)}",
            f"generations lost  {report.lost}",
            f"submits doubled  {report.doubled}",
            f"bought although a paid result existed or could have been read  {report.bought}",
            f"other violations  {others}",
            f"spent or perhaps spent  {report.spent_usd:.2f} USD; sums, accounts and generations agree",
            f"streams of events  {report.watched}, broken {self.broken} times, each complete and in order at the end",
            f"results archived  {report.archived}, each complete at the end of the run",
            f"ends announced  {report.announced} of {report.generations}, {report.deliveries} deliveries, all signed",
            "",
            f"seed {self.seed}, rounds {self.rounds}, {self.seconds / 60:.1f} min, {machine()}",
        ]
        return "\n".join(lines)
