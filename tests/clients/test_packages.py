"""Client packages against the gateway and the sandbox as processes; `make clients` runs further ones.

What each call did is recorded in `results.json`, and `docs/clients.md` shows it.
"""

import re
from collections.abc import Iterator

import pytest

from ..cases import every
from .clients import CLIENTS, HERE, PYTHON, Client, Result, run
from .differences import NOT_SPOKEN, REASONS, faults, reason_of
from .results import BEGIN, END, PAGE, REPLAYED, captures, recorded, tables
from .world import World, running


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gateway for all clients."""
    with running(tmp_path_factory.mktemp("world")) as world:
        yield world


@pytest.mark.parametrize("client", PYTHON, ids=lambda client: client.name)
def test_every_call_does_what_is_recorded(client: Client, world: World) -> None:
    results = run(client, world)

    outcomes = [(result.call, result.ok, result.why) for result in results]
    assert outcomes == [(result.call, result.ok, result.why) for result in recorded() if result.client == client.name]


def test_every_call_that_fails_has_a_reason_and_no_other_call() -> None:
    assert faults(recorded()) == []


def test_every_reason_is_of_a_recorded_call() -> None:
    assert set(REASONS.values()) <= {reason_of(result) for result in recorded()}


def test_a_failure_without_a_reason_and_a_stale_reason_are_faults() -> None:
    fails, stale = (
        Result("openai 1 (Python)", "videos.create", ok=False, why="Error: 500"),
        Result("openai 1 (Python)", "videos.remix", ok=True, why=""),
    )

    assert faults([fails, stale]) == [
        "openai 1 (Python): videos.create fails: Error: 500",
        "openai 1 (Python): videos.remix works, but has a reason",
    ]


def test_the_page_has_the_recorded_results() -> None:
    _, _, rest = PAGE.read_text().partition(BEGIN)
    assert rest.partition(END)[0] == tables(recorded()), "`make clients` renews the page"


@every("client", CLIENTS, ids=lambda client: client.name)
def test_every_call_of_a_script_is_recorded(client: Client) -> None:
    calls = {result.call for result in recorded() if result.client == client.name}
    script = (HERE / client.script[-1 if client.script[-1].endswith(".sh") else 0]).read_text()
    pattern = r"^\n# (.+)$" if client.script[-1].endswith(".sh") else r"""\bcall\(\s*"([^"]+)\""""
    assert calls
    assert set(re.findall(pattern, script, re.MULTILINE)) <= calls


def test_every_capture_is_on_the_page() -> None:
    packages = ["openai", "openrouter", "litellm", "curl", "ai-", "evolink", "kling-api"]
    for name in captures():
        assert name in NOT_SPOKEN or name in REPLAYED or any(name.startswith(package) for package in packages), name
