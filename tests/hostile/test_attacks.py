"""The attacks on connections and on shares in a short form, against one gateway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from .connections import FLOODS, HOLDS, attack_once
from .measure import probing
from .shares import ATTACKS, LIMITS, against
from .world import Gateway, gateway, sandbox

BUDGET = 8_000_000  # bytes of each flood; more than the buffers of both sides
GROWN_MAX = 5_000_000
READ_TO_THE_END = {"a body after 401", "large chunks after 401"}  # up to 256 MB
CALLERS_MAX = 120  # of each attack; more than the limits allow

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="measures with the files of Linux"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with (
        sandbox(queued_seconds=0.1, total_seconds=0.2, max_short_side=64, plain_results="true") as url,
        gateway(tmp_path_factory.mktemp("gateway"), url, LIMITS) as started,
    ):
        yield started


async def test_no_attack_takes_memory_or_keeps_others_from_being_answered(target: Gateway) -> None:
    for attack in FLOODS:  # the first run of each takes what later ones share
        await attack_once(attack, target.address, budget=200_000, seconds=0.1)
    async with probing(target) as answers:
        holds = await asyncio.gather(
            *(attack_once(attack, target.address, budget=BUDGET, seconds=0.5) for attack in HOLDS)
        )
        memory = target.resident()
        floods = [
            await attack_once(attack, target.address, budget=BUDGET, seconds=20.0, hold=0.05) for attack in FLOODS
        ]
        grown = target.resident() - memory
    assert grown < GROWN_MAX
    assert answers
    assert min(answers) > 0  # a negative one was not a 200
    read = {attack.name for attack, sent in zip(FLOODS, floods, strict=True) if sent.count > BUDGET - 2**17}
    assert read == READ_TO_THE_END
    assert {sent.status for sent in holds} <= {b"", b"200", b"401"}


async def test_a_client_that_takes_all_it_can_keeps_no_other_from_being_served(target: Gateway) -> None:
    attacks = [attack._replace(callers=min(attack.callers, CALLERS_MAX)) for attack in ATTACKS]
    async with against(target) as measure:
        row = await measure("all of one client", "", attacks, 1)

    assert row.faults == []
    assert row.errors == 0
    assert row.answers["503"] > 0  # the limits were reached
    assert row.cost.failures == 0
    assert row.cost.free_seconds is not None
