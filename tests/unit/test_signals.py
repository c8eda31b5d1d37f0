"""Who listens to a generation hears of every change, and leaves nothing behind."""

import asyncio

import pytest

from gateway.services.signals import Signals


async def test_everybody_who_listens_is_told_and_nobody_else() -> None:
    signals = Signals()

    with signals.listen("gen_1") as one, signals.listen("gen_1") as two, signals.listen("gen_2") as other:
        signals.changed("gen_1")

        assert one.is_set()
        assert two.is_set()
        assert not other.is_set()


async def test_every_change_is_heard_again() -> None:
    signals = Signals()

    with signals.listen("gen_1") as event:
        for _ in range(2):
            signals.changed("gen_1")
            await asyncio.wait_for(event.wait(), 1)
            event.clear()


async def test_a_change_before_listening_is_not_heard() -> None:
    signals = Signals()
    signals.changed("gen_1")

    with signals.listen("gen_1") as event:
        assert not event.is_set()


async def test_who_leaves_takes_nothing_from_the_others_and_nothing_stays() -> None:
    signals = Signals()

    with signals.listen("gen_1") as stays:
        with signals.listen("gen_1") as leaves:
            pass
        signals.changed("gen_1")

        assert stays.is_set()
        assert not leaves.is_set()
    assert signals._events == {}


async def test_an_error_while_listening_leaves_nothing_behind() -> None:
    signals = Signals()

    with pytest.raises(ZeroDivisionError), signals.listen("gen_1"):
        _ = 1 / 0

    assert signals._events == {}
