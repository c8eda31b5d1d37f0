"""The marker in the artifact store, where several gateways work on one ledger. Its contract: tests/e2e."""

from pathlib import Path

import pytest

from gateway.artifacts.far_marker import AHEAD, FarMarker, FolderPlace
from gateway.domain.lineage import Marker


def at(position: int) -> Marker:
    return Marker(lineage="a" * 32, position=position)


@pytest.mark.parametrize(("ledger", "trouble"), [(5, None), (4, AHEAD)])
async def test_a_marker_that_is_further_than_the_ledger_is_that_of_a_copy(
    tmp_path: Path, ledger: int, trouble: str | None
) -> None:
    async def newest() -> Marker:
        return at(ledger)

    place = FolderPlace(tmp_path)
    first, second = FarMarker(place), FarMarker(place)
    await first.follow(at(5))
    await second.follow(at(4), newest)
    assert second.trouble == trouble
    assert place.read("a" * 32) == at(5), "it never goes back"
    await second.follow(at(6))
    assert place.read("a" * 32) == at(6)
    assert second.trouble is None
    assert [path.name for path in (tmp_path / "lineage").iterdir()] == ["a" * 32]
