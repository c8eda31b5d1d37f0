"""How a command ends its process."""

import atexit
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process now, after everything that is registered for its end, but without Python's own clean-up.

    The threads of the HTTP client and of the object store belong to their libraries, not to Python. Now and then one of
    them gave an object back while Python was cleaning up, which aborted the process: a command that had succeeded
    ended with the exit code -6.
    """
    atexit._run_exitfuncs()  # noqa: SLF001  # there is no public name, and multiprocessing does the same by its own
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # its reader is gone
            code = code or 1
    os._exit(code)
