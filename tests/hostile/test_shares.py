"""All attacks of one client at once, in a short form, while another client must be served."""

from pathlib import Path

import pytest

from .shares import ATTACKS, LIMITS, against
from .world import gateway, sandbox


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="measures with the files of Linux")
async def test_a_client_that_takes_all_it_can_keeps_no_other_from_being_served(tmp_path: Path) -> None:
    async with (
        sandbox(queued_seconds=0.1, total_seconds=0.2, max_short_side=64, plain_results="true") as url,
        gateway(tmp_path, url, LIMITS) as target,
        against(target) as measure,
    ):
        row = await measure(
            "all of one client", "", [each._replace(callers=min(each.callers, 120)) for each in ATTACKS], 1
        )

    assert row.faults == []
    assert row.errors == 0
    assert row.answers["503"] > 0  # the limits were reached
    assert row.cost.failures == 0
    assert row.cost.free_seconds is not None
