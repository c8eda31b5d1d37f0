"""The short chaos run with three gateways on one PostgreSQL, and the proof that its audit finds defects."""

import re
import secrets
import sys
from collections import Counter
from pathlib import Path

from .replicas.proof import GENERATIONS, drive_everywhere
from .replicas.run import SHORT, play


def show(text: str) -> None:
    """Print to the output that pytest shows if the test fails."""
    sys.stdout.write(f"{text}\n")


async def test_three_gateways_lose_nothing_and_buy_nothing_twice(tmp_path: Path) -> None:
    deck = ("kill", "refuse", "freeze")

    card = await play(tmp_path, SHORT, secrets.randbelow(1_000_000), range(len(deck)), show, deck=deck)

    show(card.text())
    assert card.harms == Counter(deck)
    assert card.report.violations == []
    assert card.report.submits >= card.report.generations >= SHORT.clients
    assert card.report.watched >= SHORT.watchers
    assert card.logged["error heartbeat_failed"] + card.logged["warning signals_lost"] > 0


async def test_gateways_that_drive_the_same_buy_once_because_of_the_guards(tmp_path: Path) -> None:
    report = await drive_everywhere(tmp_path, unfenced=False)

    assert report.violations == []
    assert report.submits >= report.generations == GENERATIONS


async def test_gateways_that_drive_the_same_without_the_guards_are_seen_to_buy_twice(tmp_path: Path) -> None:
    report = await drive_everywhere(tmp_path, unfenced=True)

    assert report.doubled > 0
    assert any(re.search("received [23] submits", violation) for violation in report.violations)
