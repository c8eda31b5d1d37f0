"""Starts a process for untrusted content, from a gateway that has many threads.

`asyncio.create_subprocess_exec` must not be used here. With uvloop it forks, and the forked copy runs CPython's
handlers before the new program begins. In Python 3.11 these wait for a lock of the interpreter that another thread may
have held at the moment of the fork, such as a thread of the HTTP client. Then the copy never begins its program, and
uvloop waits for it on the thread of the event loop: the whole gateway stops answering for ever. `subprocess.Popen`
without `preexec_fn` runs no such handlers in the copy, and uses `vfork`.
"""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

_THREADS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="child-process")  # callers limit their processes


class Ended(NamedTuple):
    """What a process left."""

    code: int  # its exit code, negative for a signal
    output: bytes  # of its standard output


async def run_process(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    content: bytes | None = None,
    output_max: int | None = None,
    seconds: float,
) -> Ended | None:
    """Run a command with `content` as its standard input; return how it ended.

    A process that writes more than `output_max` bytes has to wait, so that it fills nobody's memory. `None` when it was
    killed after `seconds` of real time. It is killed too when the caller is cancelled. Raises `OSError` when this
    machine has no process, memory or descriptor left for it.
    """
    process = subprocess.Popen(  # noqa: S603, ASYNC220  # the caller's own command; `vfork` takes about a millisecond
        command,
        stdin=subprocess.DEVNULL if content is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    talk = asyncio.get_running_loop().run_in_executor(_THREADS, _talk, process, content, output_max)
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(talk)
    except TimeoutError:
        return None
    finally:
        if not talk.done():
            process.kill()  # ends the thread too: its pipe is closed
            await asyncio.shield(talk)


def _talk(process: subprocess.Popen[bytes], content: bytes | None, output_max: int | None) -> Ended:
    with process:
        if content is not None:
            output, _ = process.communicate(content)
        else:
            output = b"" if process.stdout is None else process.stdout.read(-1 if output_max is None else output_max)
            process.wait()
    return Ended(process.returncode, output)
