"""Runs a decoder of this package as a process of its own, because the file that it decodes comes from a stranger.

Decoders are large C code: a crash, a hang or a flood of memory must end that one process and nothing else.
"""

from pathlib import Path

from gateway.media.child_process import run_process
from gateway.media.confinement import program

OUTPUT_MAX = 4096  # bytes of the standard output that are returned


async def run_decoder(module: str, *paths: Path, seconds: float) -> tuple[int, bytes] | None:
    """Run `python -m module PATH…`; return its exit code, negative for a signal, and the start of its output.

    `None` when it was killed after `seconds` of real time: on a busy machine that says nothing about the file. The
    process gets none of the environment, where the provider keys are. Raises `OSError` when this machine has no
    process, memory or descriptor left for it.
    """
    return await run_process(program(module, *paths), environment={}, output_max=OUTPUT_MAX, seconds=seconds)
