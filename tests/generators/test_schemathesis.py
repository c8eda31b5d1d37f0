"""schemathesis calls every operation of a running gateway in ways that the document allows and forbids.

`make generators` runs every phase, which takes minutes: see `run.py`. Here are the phases that take seconds.
"""

import re
import tomllib
from pathlib import Path

from .checked import CONFIG, checked
from .test_python_client import DOCUMENT
from .world import running


def test_all_checks_pass(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        output = checked(world, tmp_path, phases="fuzzing,stateful", examples=2, seconds=300)
    selected = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", output)
    assert selected is not None
    assert selected[1] == selected[2] == selected[3], "an operation was left out"


def test_no_exclusion_is_without_a_reason() -> None:
    lines = CONFIG.read_text().splitlines()
    excluded = [at for at, line in enumerate(lines) if line.startswith(("checks.", "exclude", "enabled"))]
    assert excluded
    for at in excluded:
        assert lines[at - 1].startswith("# "), lines[at]
    switched_off = {lines[at] for at in excluded if ".expected-statuses = " not in lines[at]}
    assert switched_off == {"checks.response_schema_conformance.enabled = false"}, "only of streams of events"


def test_every_exclusion_names_operations_of_the_document() -> None:
    named = [
        name for block in tomllib.loads(CONFIG.read_text())["operations"] for name in block["include-operation-id"]
    ]
    assert len(named) == len(set(named)), "one block for each operation"
    assert set(named) <= set(re.findall(r'"operationId": "(\w+)"', DOCUMENT.read_text()))
