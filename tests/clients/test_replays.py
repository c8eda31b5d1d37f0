"""Every captured exchange, sent to the gateway: its answers have what the clients read in the captured ones."""

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.settings.load import ModelSettings

from ..e2e.conftest import Gateway, sandboxed
from ..e2e.receiver import receiving
from .differences import DIFFERENCES, NOT_SPOKEN, PENDING
from .replay import CAPTURES, Replay, load

NAMES = sorted(path.stem for path in CAPTURES.glob("*.json"))
SPOKEN = [name for name in NAMES if name not in NOT_SPOKEN]
TEXT_AND_IMAGE = tuple(f"foxapi/kling-o3-{kind}-to-video" for kind in ("text", "image"))


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway with the model names of the captures."""
    async with sandboxed(tmp_path) as gateway:
        gateway.models["sora-2"] = ModelSettings(routes=TEXT_AND_IMAGE, adapt="nearest")
        gateway.fetch_allow = (ipaddress.ip_network("127.0.0.0/8"),)
        yield await gateway.start()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.xfail] if name in PENDING else []) for name in SPOKEN]
)
async def test_answers_have_what_the_client_reads(gateway: Gateway, name: str) -> None:
    async with receiving(gateway.clock.now) as receiver:
        differences = await Replay(gateway, receiver.url).run(load(name))

    assert differences == list(DIFFERENCES.get(name, {}))


def test_every_list_names_a_capture() -> None:
    assert set(DIFFERENCES) | set(NOT_SPOKEN) <= set(NAMES)
