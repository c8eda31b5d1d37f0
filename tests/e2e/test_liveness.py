"""A process that may have been replaced by another one sends no submit, and goes on when it is sure again."""

import asyncio
from typing import Any

import pytest

from .conftest import IMAGE_URL, Gateway


class Switch:
    """Implements `Liveness`: sure until the test says otherwise."""

    def __init__(self) -> None:
        self.is_sure = True
        self._again = asyncio.Event()

    async def sure(self) -> None:
        while not self.is_sure:
            await self._again.wait()

    def resume(self) -> None:
        self.is_sure = True
        self._again.set()


async def test_a_process_that_is_suspended_before_it_sends_does_not_send(
    idle: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = Switch()
    monkeypatch.setattr("gateway.build.ALONE", switch)
    gateway = await idle.start()

    permitted: list[str] = []

    def suspended(begin: Any) -> Any:
        async def call(*args: Any) -> Any:
            permitted.append(args[0])
            permission = await begin(*args)
            switch.is_sure = switch._again.is_set()  # it is suspended after the first permission
            return permission

        return call

    gateway.replace_in_store("begin_submit", suspended)
    made = await gateway.post(model="keevx/V", image=IMAGE_URL)
    await gateway.clock.run_for(5)
    stored = await gateway.stored(made["id"])
    assert stored.attempts[0].state == "not_sent"
    assert gateway.submits == {}
    assert len(permitted) == 1, "it does not ask while it is not sure"

    switch.resume()
    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert gateway.submits == gateway.paid == {"keevx": 1}
