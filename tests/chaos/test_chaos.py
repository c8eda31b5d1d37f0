"""The short chaos run, and the proof that its audit finds the defects that it looks for."""

import secrets
import sys
from pathlib import Path

from gateway.failpoints import WINDOWS

from .extent import SHORT
from .proof import GENERATIONS, decide_unread, drive_twice
from .run import play


def show(text: str) -> None:
    """Print to the output that pytest shows if the test fails."""
    sys.stdout.write(f"{text}\n")


async def test_a_run_loses_nothing_and_buys_nothing_twice(tmp_path: Path) -> None:
    card = await play(tmp_path, SHORT, secrets.randbelow(1_000_000), range(SHORT.rounds), show)

    show(card.text())
    assert card.kills == dict.fromkeys(WINDOWS, SHORT.rounds) | {"at a random moment": SHORT.random_kills}
    assert (card.stops, len(card.drain_seconds)) == (SHORT.stops, SHORT.drains)
    assert (len(card.waiting), card.slow_reads, len(card.in_flight)) == (1, 1, 1)
    assert card.report.slow_reads > 0
    assert card.report.adopted == card.report.contradicted > 0
    assert card.report.submits >= card.report.generations >= SHORT.clients
    assert card.undecided["sent_no_reply"] >= SHORT.rounds


async def test_two_drivers_buy_once_because_of_the_guard(tmp_path: Path) -> None:
    report = await drive_twice(tmp_path, unguarded=False)

    assert report.violations == []
    assert report.submits >= report.generations == GENERATIONS


async def test_two_drivers_without_the_guard_are_seen_to_buy_twice(tmp_path: Path) -> None:
    report = await drive_twice(tmp_path, unguarded=True)

    assert report.doubled >= GENERATIONS // 2
    assert any("received 2 submits" in violation for violation in report.violations)


async def test_decisions_without_a_reading_are_seen_to_buy_needlessly(tmp_path: Path) -> None:
    report = await decide_unread(tmp_path)

    assert report.bought > 0, "how many depends on the speed of the machine"
    assert (report.lost, report.doubled) == (0, 0)
