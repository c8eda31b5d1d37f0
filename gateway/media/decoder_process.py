"""Runs a decoder of this package as a process of its own, because the file that it decodes comes from a stranger.

Decoders are large C code: a crash, a hang or a flood of memory must end that one process and nothing else.
"""

import asyncio
import sys
from pathlib import Path

OUTPUT_MAX = 4096  # bytes of the standard output that are returned


async def run_decoder(module: str, *paths: Path, seconds: float) -> tuple[int, bytes] | None:
    """Run `python -m module PATH…`; return its exit code, negative for a signal, and the start of its output.

    `None` when it was killed after `seconds` of real time: on a busy machine that says nothing about the file. The
    process gets none of the environment, where the provider keys are. Raises `OSError` when this machine has no
    process, memory or descriptor left for it.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", module, *map(str, paths)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(seconds):
            output = await _start_of(process.stdout)
            await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return (1 if process.returncode is None else process.returncode), output


async def _start_of(stream: asyncio.StreamReader | None) -> bytes:
    """The first bytes of the output. A process that writes more has to wait, so that it fills nobody's memory."""
    output = b""
    while stream is not None and len(output) < OUTPUT_MAX:
        piece = await stream.read(OUTPUT_MAX - len(output))
        if not piece:
            break
        output += piece
    return output
