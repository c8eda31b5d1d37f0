"""Failpoints do nothing without the variable. With it they act once, at the pass that it names."""

import os
import signal
import subprocess
import sys

import pytest

from gateway import failpoints
from gateway.failpoints import LATER_SECONDS, VARIABLE, WINDOWS, FailpointError, armed

REACH = "from gateway.failpoints import reach; reach('accepted'); print('once', flush=True); reach('accepted')"


def run(code: str, setting: str) -> subprocess.CompletedProcess[str]:
    environ = dict(os.environ) | {VARIABLE: setting}
    return subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False, timeout=30
    )


def test_nothing_happens_unless_the_environment_asks() -> None:
    for window in WINDOWS:
        failpoints.reach(window)

    assert run(f"{REACH}; print('twice')", "").stdout == "once\ntwice\n"


@pytest.mark.parametrize("setting", ["accepted:2", "accepted:2:kill"])
def test_the_process_dies_the_second_time(setting: str) -> None:
    ended = run(f"{REACH}; print('twice')", setting)

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "once\n")


def test_it_fails_once_in_its_window_alone() -> None:
    reach = armed("terminal:2:error")

    reach("accepted")
    reach("terminal")
    with pytest.raises(FailpointError, match="terminal"):
        reach("terminal")
    reach("terminal")


@pytest.mark.parametrize("window", LATER_SECONDS)
def test_in_the_middle_of_a_call_it_dies_a_little_later(window: str) -> None:
    reached = f"from gateway.failpoints import reach; reach({window!r}); print('on', flush=True)"

    ended = run(f"{reached}; import time; time.sleep(20)", f"{window}:1")

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "on\n")


@pytest.mark.parametrize(
    "setting", ["accepted", "accepted:0", "nowhere:1", "accepted:1:sleep", "sent_no_reply:1:error"]
)
def test_what_it_does_not_understand_stops_the_start(setting: str) -> None:
    ended = run("import gateway.failpoints", setting)

    assert ended.returncode == 1
    assert f"{VARIABLE}: {setting!r} is not NAME:NTH[:kill|error]" in ended.stderr
