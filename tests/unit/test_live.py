"""A value of the configuration that services read while it changes."""

import pytest

from gateway.live import Live


def test_everything_changes_at_once_and_then_the_watchers_are_called() -> None:
    root = Live(1)
    double = root.of(lambda value: value * 2)
    text = double.of(str)
    seen: list[tuple[object, ...]] = []
    text.watch(lambda old, new: seen.append((old, new, root.current, double.current)))
    root.watch(lambda old, new: seen.append((old, new, text.current)))

    commit = root.prepared(5)
    assert (root.current, double.current, text.current, seen) == (1, 2, "2", [])
    commit()

    assert (root.current, double.current, text.current) == (5, 10, "10")
    assert seen == [(1, 5, "10"), ("2", "10", 5, 10)]


def test_a_value_that_cannot_be_derived_changes_nothing() -> None:
    root = Live(4)
    increased, divided = root.of(lambda value: value + 1), root.of(lambda value: 8 // value)

    with pytest.raises(ZeroDivisionError):
        root.prepared(0)

    assert (root.current, increased.current, divided.current) == (4, 5, 2)
