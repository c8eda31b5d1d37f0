"""Named windows in which the process dies, or a call fails, if `VIDEO_GATEWAY_FAILPOINT` says so. For tests.

The variable is read once, at import. `NAME:NTH` and `NAME:NTH:kill` end the process as `kill -9` does, when the window
is reached for the NTH time. `NAME:NTH:error` raises `FailpointError` there. Without the variable `reach` does nothing.
"""

import os
import re
import signal
import threading
from collections.abc import Callable

VARIABLE = "VIDEO_GATEWAY_FAILPOINT"
WINDOWS = (
    "create_before_commit",  # a create has been executed, but not committed
    "create_committed",  # the create is durable, but the client has no answer yet
    "reserved",  # an attempt is reserved, and its inputs are not prepared yet
    "submitting_nothing_sent",  # the intent of a submit is durable, but no byte has left
    "sent_no_reply",  # a submit has been sent, and no reply has come
    "reply_read_not_committed",  # the ids of the tasks are known, but not stored
    "accepted",  # the tasks are stored, but the driver does not know it yet
    "commit_fails",  # a batch of writes has been executed, but not committed
    "marker_fails",  # a batch of writes is durable, but the marker beside the ledger does not say so yet
    "done_not_kept",  # a provider is done, and the download of its file has not begun
    "file_written",  # a file is written, but does not have its final name
    "renamed",  # the file has its final name, but the ledger does not name it
    "terminal",  # the end of a generation is stored, but not announced
    "event_sent",  # a webhook has been sent, but that is not stored
)
LATER_SECONDS = {"sent_no_reply": 0.1}  # the window is in the middle of a call: this long after its start
_SETTING = re.compile(r"(\w+):([1-9][0-9]{0,8})(?::(kill|error))?")


class FailpointError(Exception):
    """Raised in a window because the variable says so."""


def _nothing(_: str) -> None:
    """What `reach` is without the variable."""


def armed(setting: str) -> Callable[[str], None]:
    """What `reach` is when the variable has this value. Raises `ValueError`, which says what is wrong with it."""
    match = _SETTING.fullmatch(setting)
    if match is None or match[1] not in WINDOWS or (match[1] in LATER_SECONDS and match[3] == "error"):
        raise ValueError(f"{VARIABLE}: {setting!r} is not NAME:NTH[:kill|error] with one of {', '.join(WINDOWS)}")
    window, left, fails = match[1], int(match[2]), match[3] == "error"

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
    os.kill(os.getpid(), signal.SIGKILL)  # nothing is flushed, and no handler runs


reach = armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else _nothing
