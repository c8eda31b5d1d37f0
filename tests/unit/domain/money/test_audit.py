"""The audit of money finds every kind of contradiction."""

from typing import Any

from msgspec.structs import replace

from gateway.domain.money.account import Account
from gateway.domain.money.audit import StoredAccount, contradictions

from ....cases import every
from ...builders import generation

MADE = generation(count=1)
MADE = replace(MADE, plan=replace(MADE.plan, routes=(replace(MADE.plan.routes[0], cost_usd=0.5),)))
RIGHT = Account(reserved=500_000)
GONE = Account(settled=7, maybe=3)
ROWS = (
    StoredAccount("gen_1", "key", "2026-01-01", RIGHT, deleted=False),
    StoredAccount("gen_2", "other", "2026-01-31", GONE, deleted=True),
)
CLOSED = {("other", "2025-12-31"): Account(settled=2)}
SUMS = {
    ("key", "2026-01-01"): RIGHT,
    ("key", "2026-01"): RIGHT,
    ("key", "total"): RIGHT,
    ("other", "2026-01-31"): GONE,
    ("other", "2026-01"): GONE,
    ("other", "2025-12-31"): Account(settled=2),
    ("other", "2025-12"): Account(settled=2),
    ("other", "total"): Account(0, 9, 3),
    ("", "2026-01-01"): RIGHT,
    ("", "2026-01-31"): GONE,
    ("", "2026-01"): Account(500_000, 7, 3),
    ("", "2025-12-31"): Account(settled=2),
    ("", "2025-12"): Account(settled=2),
    ("", "total"): Account(500_000, 9, 3),
}


def audit(*, generations: Any = (MADE,), rows: Any = ROWS, closed: Any = CLOSED, sums: Any = SUMS) -> list[str]:
    return list(contradictions(generations, rows, closed, sums))


def test_a_ledger_that_agrees_has_no_contradiction() -> None:
    assert audit() == []


@every(
    ("changes", "text"),
    [
        ({"rows": ROWS[1:]}, "gen_1: the account is None"),
        ({"rows": (replace(ROWS[0], account=Account(1)), ROWS[1])}, "gen_1: the account is Account(reserved=1"),
        ({"rows": (replace(ROWS[0], owner="other"), ROWS[1])}, "belongs to 'other', the generation to 'key'"),
        ({"rows": (replace(ROWS[0], deleted=True), ROWS[1])}, "is marked as deleted, and the generation exists"),
        ({"generations": ()}, "gen_1: the account has no generation"),
        ({"rows": (ROWS[0], replace(ROWS[1], account=Account(5, 7, 3)))}, "gen_2: deleted, and 5 are reserved"),
        ({"sums": SUMS | {("", "total"): RIGHT}}, "the sum of ('', 'total')"),
        ({"sums": {**SUMS, ("key", "2026-02"): Account(settled=1)}}, "the sum of ('key', '2026-02')"),
        ({"closed": {}}, "the sum of ('other', '2025-12-31')"),
    ],
)
def test_each_contradiction_is_found(changes: Any, text: str) -> None:
    assert any(text in line for line in audit(**changes)), audit(**changes)
