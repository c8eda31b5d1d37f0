"""schemathesis calls every operation of a running gateway in every way that the document allows and forbids."""

import os
import re
import subprocess
import sys
from pathlib import Path

from .world import running

CONFIG = Path(__file__).with_name("schemathesis.toml")
TOOL = Path(sys.executable).with_name("schemathesis")


def test_all_checks_pass(tmp_path: Path) -> None:
    with running(tmp_path) as world:
        done = subprocess.run(  # noqa: S603  # its own arguments
            [str(TOOL), "--config-file", str(CONFIG), "run", f"{world.url}/openapi.json", "--no-color"],
            env={**os.environ, "KEY": world.key, "ADMIN_KEY": world.admin_key},
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2000:]
    selected = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert selected is not None
    assert selected[1] == selected[2] == selected[3], "an operation was left out"


def test_no_exclusion_is_without_a_reason() -> None:
    lines = CONFIG.read_text().splitlines()
    excluded = [at for at, line in enumerate(lines) if line.startswith(("checks.", "exclude", "enabled"))]
    assert excluded
    for at in excluded:
        assert lines[at - 1].startswith("# "), lines[at]
    switched_off = [lines[at] for at in excluded if "positive_data_acceptance.expected-statuses" not in lines[at]]
    assert switched_off == ["checks.response_schema_conformance.enabled = false"], "only of streams of events"
