"""The short chaos run with three gateways on one PostgreSQL."""

import secrets
import sys
from collections import Counter
from pathlib import Path

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
