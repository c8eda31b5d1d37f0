"""What the card of `make hostile` counts as broken, and that its page has every attack."""

from collections import Counter
from typing import Any

from ..cases import every
from .browsers import ORIGINS
from .card import BEGIN, END, PAGE, Row, is_broken, text
from .connections import FLOODS
from .measure import Cost
from .shares import ATTACKS

MB = 1_000_000


def row(answers: Counter[str] | None = None, **cost: Any) -> Row:
    return Row("a", "b", Cost(**cost), answers or Counter({"200": 1, "503": 1}), is_flood=True)


@every(
    "broken",
    [
        row(grown=5 * MB),
        row(peak=600 * MB),
        row(child=600 * MB),
        row(failures=1),
        row(free_seconds=None),
        row(free_seconds=61.0),
        row(Counter({"500": 1})),
        Row("a", "b", Cost(), faults=["a secret"]),
    ],
)
def test_a_limit_that_is_not_kept_breaks_the_run(broken: Row) -> None:
    assert not is_broken([row()], strict=True)
    assert is_broken([row(), broken], strict=False)
    assert "**broken**" in text([row(), broken], 1.0, strict=False)


def test_times_count_only_on_request() -> None:
    slow = [row(p99_ms=100.0)]
    assert (is_broken(slow, strict=False), is_broken(slow, strict=True)) == (False, True)
    assert "not kept while the machine did other work: a: 100 ms" in text(slow, 1.0, strict=False)


def test_the_page_has_every_attack_and_no_broken_limit() -> None:
    page = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    names = (
        [attack.name for attack in FLOODS]
        + [attack.name for attack in ATTACKS]
        + [f"requests {name}" for name in ORIGINS]
    )
    names += ["held connections", "lists that search", "replies to polls", "costly images", "a log that nobody reads"]
    assert [name for name in names if f"\n| {name} | " not in page] == []
    assert "**" not in page


def test_a_run_without_floods_says_nothing_about_them() -> None:
    assert "| a flood over one connection" in text([row()], 1.0, strict=False)
    assert "| a flood over one connection" not in text([Row("a", "b", Cost())], 1.0, strict=False)
