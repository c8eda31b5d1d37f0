"""Work that becomes due at once runs in portions, and other work of the event loop comes in between."""

import asyncio

from gateway.sharing.turns import Turns, Wait


async def test_each_round_of_the_loop_lets_one_portion_go_on_in_the_order_of_arrival() -> None:
    turns, begun, rounds = Turns(portion=4), list[int](), list[int]()

    async def work(number: int) -> None:
        await turns.next()
        begun.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(20)]
    while len(begun) < 20:
        before = len(begun)
        await asyncio.sleep(0)
        rounds.append(len(begun) - before)
    await asyncio.gather(*tasks)
    assert begun == list(range(20))
    assert max(rounds) == 4


async def test_work_that_was_cancelled_uses_no_turn() -> None:
    turns, begun = Turns(portion=1), list[int]()

    async def work(number: int) -> None:
        await turns.next()
        begun.append(number)

    tasks = [asyncio.create_task(work(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == [0, 1, 3]
    await asyncio.wait_for(turns.next(), 1)


async def test_a_wait_that_something_else_has_ended_uses_no_turn() -> None:
    turns = Turns(portion=1)
    waits: list[Wait] = [asyncio.get_running_loop().create_future() for _ in range(4)]
    for wait in waits:
        turns.end(wait)
    assert [wait.done() for wait in waits] == [True, False, False, False]
    waits[1].set_result(None)
    await asyncio.sleep(0)
    assert [wait.done() for wait in waits] == [True, True, True, False]
    await asyncio.wait_for(waits[3], 1)
