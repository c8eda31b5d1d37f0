"""A listener is woken at every change of its generation, and leaves nothing in memory when it ends."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.domain.errors import Overloaded
from gateway.generations.event_stream import KEEP_ALIVE_SECONDS, KeepAlive
from gateway.generations.notifier import WAKE_BATCH, Listener, Notifier
from gateway.sharing.room import Room


@contextmanager
def listening(
    notifier: Notifier, generation_id: str, room: Room | None = None, client: str = "key"
) -> Iterator[Listener]:
    """A listener with a place of its own: among the long polls, unless it is in another room."""
    with (room or notifier.long_polls).place(client) as place, notifier.listen(generation_id, place) as listener:
        yield listener


async def test_a_change_wakes_the_listeners_of_its_generation_and_no_others() -> None:
    notifier = Notifier()

    with (
        listening(notifier, "gen_1") as early,
        listening(notifier, "gen_1") as late,
        listening(notifier, "gen_2") as other,
    ):
        notifier.changed("gen_1")

        assert early.is_set()
        assert late.is_set()
        assert not other.is_set()


async def test_every_change_wakes_the_listener_again() -> None:
    notifier = Notifier()

    with listening(notifier, "gen_1") as event:
        for _ in range(2):
            notifier.changed("gen_1")
            await asyncio.wait_for(event.wait(), 1)
            event.clear()


async def test_a_change_before_the_listener_came_does_not_wake_it() -> None:
    notifier = Notifier()
    notifier.changed("gen_1")

    with listening(notifier, "gen_1") as event:
        assert not event.is_set()


async def test_a_listener_that_leaves_does_not_disturb_the_others_and_is_forgotten() -> None:
    notifier = Notifier()

    with listening(notifier, "gen_1") as stays:
        with listening(notifier, "gen_1") as leaves:
            pass
        notifier.changed("gen_1")

        assert stays.is_set()
        assert not leaves.is_set()
    assert notifier._listeners == {}


async def test_a_listener_that_leaves_by_an_error_is_forgotten() -> None:
    notifier = Notifier()

    with pytest.raises(ZeroDivisionError), listening(notifier, "gen_1"):
        _ = 1 / 0

    assert notifier._listeners == {}


async def test_a_change_has_one_number_for_all_its_listeners_and_the_next_change_a_higher_one() -> None:
    notifier = Notifier()

    with listening(notifier, "gen_1") as early, listening(notifier, "gen_1") as late:
        notifier.changed("gen_1")
        first = early.change
        assert first == late.change > 0
        notifier.changed("gen_1")
        assert first < early.change == late.change


async def test_thousands_of_listeners_are_woken_in_batches_so_that_other_work_runs_between() -> None:
    notifier = Notifier(10_000)
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening(notifier, "gen_1")) for _ in range(3 * WAKE_BATCH)]
        notifier.changed("gen_1")
        woken = [sum(listener.is_set() for listener in listeners)]
        notifier.changed("gen_1")
        while woken[-1] < len(listeners):
            await asyncio.sleep(0)
            woken.append(sum(listener.is_set() for listener in listeners))
        assert woken == [WAKE_BATCH, 2 * WAKE_BATCH, 3 * WAKE_BATCH]
        await asyncio.sleep(0)
        assert len({listener.change for listener in listeners}) == 1


async def test_a_listener_woken_late_by_one_change_and_early_by_the_next_keeps_the_number_of_the_next() -> None:
    notifier = Notifier(10_000)
    contexts = [listening(notifier, "gen_1") for _ in range(2 * WAKE_BATCH)]
    listeners = [context.__enter__() for context in contexts]
    notifier.changed("gen_1")
    late = next(place for place, listener in enumerate(listeners) if not listener.is_set())
    for place, context in enumerate(contexts):
        if place != late:
            context.__exit__(None, None, None)
    notifier.changed("gen_1")
    newest = listeners[late].change
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert listeners[late].change == newest > listeners[late - 1].change
    contexts[late].__exit__(None, None, None)


async def test_waiting_calls_and_streams_have_a_limit_each_and_an_end_makes_room() -> None:
    notifier = Notifier(1, 2)

    with listening(notifier, "gen_1"), listening(notifier, "gen_1", notifier.streams):
        with listening(notifier, "gen_2", notifier.streams):
            with (
                pytest.raises(Overloaded, match="2 event streams are open already"),
                listening(notifier, "gen_3", notifier.streams),
            ):
                pass
            with (
                pytest.raises(Overloaded, match="1 calls are waiting already") as refused,
                listening(notifier, "gen_3"),
            ):
                pass
            assert refused.value.retry_after
        with listening(notifier, "gen_3", notifier.streams):
            pass
    with listening(notifier, "gen_3"):
        pass
    assert notifier._listeners == {}


class SecondsClock:
    """A clock that counts timers. `pass_second` calls back the one that waits."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []

    def now(self) -> datetime:
        raise NotImplementedError

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        assert seconds == 1
        self.callbacks.append(callback)
        return SimpleNamespace(cancel=self.callbacks.clear)

    def pass_second(self) -> None:
        (callback,) = self.callbacks
        self.callbacks.clear()
        callback()


async def test_one_timer_wakes_every_listener_regularly_and_a_part_of_them_at_a_time() -> None:
    clock, notifier = SecondsClock(), Notifier()
    pulse = KeepAlive(clock)
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening(notifier, f"gen_{number}")) for number in range(150)]
        for listener in listeners:
            stack.enter_context(pulse.joined(listener))
        for _ in range(2):
            beats = []
            for _ in range(KEEP_ALIVE_SECONDS):
                clock.pass_second()
                beats.append(sum(listener.is_set() for listener in listeners))
                for listener in listeners:
                    listener.clear()
            assert beats == [10] * KEEP_ALIVE_SECONDS
    assert clock.callbacks == [], "without listeners no timer runs"


async def test_a_listener_that_comes_after_the_last_one_left_is_woken_regularly_too() -> None:
    clock, notifier = SecondsClock(), Notifier()
    pulse = KeepAlive(clock)
    with listening(notifier, "gen_1") as gone, pulse.joined(gone):
        pass
    with listening(notifier, "gen_1") as listener, pulse.joined(listener):
        for _ in range(KEEP_ALIVE_SECONDS):
            clock.pass_second()
        assert listener.is_set()
        assert not gone.is_set()


async def test_a_listener_whose_place_another_client_needs_is_woken_and_sent_away() -> None:
    notifier = Notifier(2)

    with (
        listening(notifier, "gen_1") as stays,
        listening(notifier, "gen_1") as newest,
        listening(notifier, "gen_2", client="another") as other,
    ):
        assert newest.is_set()
        assert [stays.is_sent_away, newest.is_sent_away, other.is_sent_away] == [False, True, False]
