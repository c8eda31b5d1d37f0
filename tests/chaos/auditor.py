"""Starts the auditor, a process of its own; see `audit.py`."""

import asyncio
import sys

from .sandbox import ROOT, environment


async def run_audit(*arguments: object) -> tuple[int, bytes, list[str]]:
    """Its exit code, its report, the violations."""
    auditor = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.audit", *map(str, arguments)),
        cwd=ROOT,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    report, violations = await auditor.communicate()
    assert auditor.returncode is not None
    return auditor.returncode, report, violations.decode().splitlines()
