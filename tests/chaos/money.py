"""The money of a chaos run: the prices of its world, and what the ledger must have counted."""

from collections.abc import Mapping
from typing import Any

from gateway.domain.usd import micros, usd
from gateway.settings.load import DatabaseSettings
from gateway.store.snapshot import snapshot
from gateway.store.sql.database import Row, Transaction
from gateway.store.sql.money_audit import audit_money

PRICES: Mapping[str, float] = {"keevx/V": 0.3, "kling_relay/kling-v1": 0.41, "foxapi/kling-v3-image-to-video": 0.07}


def examine_money(database: DatabaseSettings, lines: list[Any], *, final: bool) -> tuple[float, list[str]]:
    """What was spent, in USD, and every contradiction within the ledger and with the sandbox's journal.

    Each task that a provider has started is counted, either by its id or as a submit without a clear answer. A task
    that its reply withheld is left out, because nobody may have named it. In the end nothing is reserved.
    """
    withheld = {name for line in lines if line["event"] == "withheld" for name in line["tasks"]}
    started = sum(
        micros(PRICES[f"{line['provider']}/{line['model']}"]) * len(set(line["tasks"]) - withheld)
        for line in lines
        if line["event"] == "start"
    )
    contradictions, (reserved, settled) = snapshot(database, _read)
    violations = [f"money: {text}" for text in contradictions]
    if reserved + settled < started:
        violations.append(f"money: {reserved + settled} are reserved or settled, the tasks that started cost {started}")
    if final and reserved:
        violations.append(f"money: {reserved} are reserved, and nothing is running")
    return usd(settled), violations


async def _read(transaction: Transaction) -> tuple[list[str], Row]:
    """What the audit says, and what all clients together have reserved and settled."""
    sums = await transaction.first("select reserved, settled from spending where key = '' and period = 'total'")
    return await audit_money(transaction), sums or (0, 0)
