"""A process for untrusted content is started without the fork of uvloop, and always ends."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

import gateway
from gateway.media.child_process import run_process

ECHO = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1]); sys.exit(3)"
WRITE = "import sys; sys.stdout.write('x' * 100_000)"
HANG = "import time; time.sleep(1000)"


async def test_the_process_gets_the_content_and_its_output_and_code_come_back() -> None:
    ended = await run_process((sys.executable, "-c", ECHO), environment={}, content=b"abc" * 50_000, seconds=60)
    assert ended is not None
    assert (ended.code, ended.output) == (3, b"cba" * 50_000)


async def test_a_process_that_writes_too_much_is_stopped() -> None:
    assert await run_process((sys.executable, "-c", WRITE), environment={}, output_max=10, seconds=1) is None


async def test_a_cancelled_caller_leaves_no_process(tmp_path: Path) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    written = asyncio.Event()
    asyncio.get_running_loop().add_reader(reading, written.set)
    code = f"import os, pathlib; pathlib.Path({str(pipe)!r}).write_text(str(os.getpid())); {HANG}"
    task = asyncio.create_task(run_process((sys.executable, "-c", code), environment={}, seconds=1000))
    async with asyncio.timeout(60):
        await written.wait()
    asyncio.get_running_loop().remove_reader(reading)
    pid = int(os.read(reading, 100))
    os.close(reading)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_the_copy_of_the_gateway_runs_no_handlers_before_its_program() -> None:
    """A handler that waits for a lock which another thread holds would stop the event loop for ever."""
    ran: list[int] = []
    os.register_at_fork(before=lambda: ran.append(threading.get_ident()))
    ended = await run_process((sys.executable, "-c", "pass"), environment={}, seconds=60)
    assert ended is not None
    assert (ended.code, ran) == (0, [])


def test_nothing_else_in_the_gateway_starts_a_process_by_asyncio() -> None:
    sources = Path(gateway.__file__).parent.rglob("*.py")
    calls = [path.name for path in sources if "create_subprocess_exec(" in path.read_text()]
    assert calls == []
