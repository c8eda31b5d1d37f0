"""Every captured exchange, sent to the gateway: its answers have what the clients read in the captured ones."""

import pytest

from ..e2e.conftest import Gateway
from ..e2e.receiver import receiving
from .differences import DIFFERENCES, NOT_SPOKEN
from .replay import CAPTURES, Replay, load

NAMES = sorted(path.stem for path in CAPTURES.glob("*.json"))
SPOKEN = [name for name in NAMES if name not in NOT_SPOKEN]


@pytest.mark.parametrize("name", SPOKEN)
async def test_answers_have_what_the_client_reads(gateway: Gateway, name: str) -> None:
    async with receiving(gateway.clock.now) as receiver:
        differences = await Replay(gateway, receiver.url).run(load(name))

    assert sorted(differences) == sorted(DIFFERENCES.get(name, {}))


def test_every_list_names_a_capture() -> None:
    assert set(DIFFERENCES) | set(NOT_SPOKEN) <= set(NAMES)
