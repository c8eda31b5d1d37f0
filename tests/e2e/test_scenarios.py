"""Every row of the table of scenarios has the outcome that it names."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from gateway.domain.generation.model import Generation

from .conftest import IMAGE_URL, PROVIDERS, UPSTREAM_KEY
from .scenario import ROUTE, Scenario, breaches, play, unrecorded_submits
from .scenarios import SCENARIOS, report


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.title) for scenario in SCENARIOS])
async def test_a_scenario_has_the_outcome_of_the_table(tmp_path: Path, scenario: Scenario):
    wrong = [mistake for line in await play(scenario, tmp_path) for mistake in line.wrong]
    assert wrong == []


def test_every_provider_is_first_and_second_and_every_row_has_its_own_name():
    assert len(SCENARIOS) >= 40
    assert set(Counter(scenario.title for scenario in SCENARIOS).values()) == {1}
    for place in (0, 1):
        seen = Counter(scenario.routes[place] for scenario in SCENARIOS if len(scenario.routes) > place)
        assert all(seen[provider] >= 10 for provider in PROVIDERS)


async def test_a_row_with_another_outcome_is_reported():
    scenario = SCENARIOS[0]
    [made] = scenario.made
    false = {"status": "failed", "started": {}, "seconds": (0, 1), "attempts": ()}
    lines: list[str] = []
    assert await report([scenario], lines.append)
    assert not await report([replace(scenario, made=(replace(made, **false),))], lines.append)
    assert not await report([replace(scenario, routes=("keevx/no-such-model",))], lines.append)
    good, _, bad, _, unplayed, _ = lines
    assert "WRONG ConfigurationError: " in unplayed
    assert "WRONG" not in good
    assert f"{scenario.routes[0]}:rate_limited → {scenario.routes[1]}:ok" in good
    for what in false:
        assert f"WRONG {what}: " in bad


async def test_the_common_rule_sees_a_submit_that_the_ledger_does_not_know(gateway):
    gateway.sandbox.fault("foxapi", "submit", "close_after_accept")
    made = await gateway.make(model=ROUTE["foxapi"], prompt="Beach", image=IMAGE_URL)
    generation = await gateway.stored(made["id"])
    assert breaches(gateway, "Beach", generation) == unrecorded_submits(gateway, [generation]) == []
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {UPSTREAM_KEY}"}) as client:
        body = {"model": "kling-v3-image-to-video", "prompt": "Beach", "image_url": IMAGE_URL}
        await client.post(f"{gateway.sandbox.url}/foxapi/v1/videos/generations", json=body)
    assert len(breaches(gateway, "Beach", generation)) == 2
    assert unrecorded_submits(gateway, [generation]) == ["foxapi received 2 submits, the ledger has 1"]
    again = replace_attempts(generation)
    assert "foxapi was asked again after an unclear answer" in breaches(gateway, "Beach", again)


def replace_attempts(generation: Generation) -> Generation:
    """The same generation with its only attempt made twice."""
    [attempt] = generation.attempts
    return structs.replace(generation, attempts=(attempt, structs.replace(attempt, id="att_2", number=2)))
