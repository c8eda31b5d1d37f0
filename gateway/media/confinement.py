"""Takes from a process what decoding a stranger's file does not need: memory, time, descriptors and priority.

A program that decodes calls `confine` before it reads the file. The parent process cannot do it for the program: what
runs between the fork and the program may wait for a lock that nobody releases, see `gateway.media.child_process`.
"""

import os
import resource
import sys

# Of 0 to 19. Beside a busy process a decoder gets a tenth of a core, enough to end in time. With 19 it would get a
# seventieth, and the images of a busy machine would all run out of time.
NICENESS = 10


def program(module: str, *arguments: object) -> tuple[str, ...]:
    """The command that runs a module of the gateway without the environment and the working directory of anybody."""
    return (sys.executable, "-I", "-m", module, *map(str, arguments))


def confine(*, memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """Limit this process. The limits cannot be raised again.

    `memory_bytes` limits the address space. At `cpu_seconds` the process gets a signal that no other cause has.
    `file_bytes` limits each file that it writes.
    """
    os.nice(NICENESS)
    for limit, soft, hard in (
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 5),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(limit, (soft, hard))
