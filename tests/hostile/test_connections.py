"""Every attack of `connections.py` in a short form, against one gateway."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .connections import FLOODS, HOLDS, attack_once
from .measure import Target, probing

BUDGET = 8_000_000  # bytes of each flood; more than the buffers of both sides
GROWN_MAX = 5_000_000
CONFIGURATION = """
[server]
api_keys = ["env:CLIENT_KEY"]
[providers.keevx]
api_key = "env:PROVIDER_KEY"
"""
READ_TO_THE_END = {"a body after 401", "large chunks after 401"}  # up to 256 MB


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "video-gateway.toml").write_text(CONFIGURATION)
    keys = {"CLIENT_KEY": "vg_" + "a" * 40, "PROVIDER_KEY": "k" * 20}
    with subprocess.Popen(  # our own program
        [sys.executable, "-m", "gateway", "serve", "--port", "0"],
        cwd=folder,
        env=os.environ | keys,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = re.search(r"http://\S+", process.stdout.readline())
        assert url is not None
        httpx.get(f"{url[0]}/openapi.json", timeout=20)  # made once, and kept in memory
        yield Target(url[0], process.pid)
        process.kill()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="measures with the files of Linux")
async def test_no_attack_takes_memory_or_keeps_others_from_being_answered(target: Target) -> None:
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
