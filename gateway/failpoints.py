"""Named windows in the life of a process, in which it dies or a call fails when `VIDEO_GATEWAY_FAILPOINT` asks for it.

The variable is read once, at import: `NAME:NTH` or `NAME:NTH:kill` ends the process as `kill -9` does when the window
is reached for the NTH time; `NAME:NTH:error` raises `FailpointError` there. Without it, `reach` does nothing.
"""

import os
import re
import signal
import threading
from collections.abc import Callable

VARIABLE = "VIDEO_GATEWAY_FAILPOINT"
WINDOWS = (
    "create_before_commit",  # a create is carried out and not committed
    "create_committed",  # it is durable and not answered
    "reserved",  # an attempt is reserved and its inputs are not made ready
    "submitting_nothing_sent",  # the intent is durable and no byte has left
    "sent_no_reply",  # a submit is on its way
    "reply_read_not_committed",  # the tasks are known and not stored
    "accepted",  # the tasks are stored and nobody was told
    "commit_fails",  # a batch of writes is carried out and not committed
    "done_not_kept",  # a provider is done and its file is not being fetched yet
    "file_written",  # a file is written and has not its name
    "renamed",  # it has its name and no row tells of it
    "terminal",  # a generation has ended and nobody was told
    "event_sent",  # a webhook is sent and not noted
)
LATER_SECONDS = {"sent_no_reply": 0.1}  # reached in the middle of a call: so long after its begin
_ASKED = re.compile(r"(\w+):([1-9][0-9]{0,8})(?::(kill|error))?")


class FailpointError(Exception):
    """Raised in a window because that was asked for."""


def _nothing(_: str) -> None:
    """Go on."""


def armed(asked: str) -> Callable[[str], None]:
    """What `reach` is when the variable has this value; a `ValueError` says what is wrong with it."""
    found = _ASKED.fullmatch(asked)
    if found is None or found[1] not in WINDOWS or (found[1] in LATER_SECONDS and found[3] == "error"):
        raise ValueError(f"{VARIABLE}: {asked!r} is not NAME:NTH[:kill|error] with one of {', '.join(WINDOWS)}")
    window, left, fails = found[1], int(found[2]), found[3] == "error"

    def reach(name: str) -> None:
        nonlocal left
        if name != window:
            return
        left -= 1
        if left != 0:
            return
        if fails:
            raise FailpointError(window)
        if name in LATER_SECONDS:
            threading.Timer(LATER_SECONDS[name], _die).start()
        else:
            _die()

    return reach


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # nothing is flushed, nobody is told


reach = armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _nothing
