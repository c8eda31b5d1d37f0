"""Measures the whole: `make bench`, or `python -m bench [PART…] [--quick] [--peers] [--against PATH]`.

Every system is a process of its own on one core; load and provider are on the other one. CPU is read from the
operating system. Machines differ, and the same machine differs from hour to hour, so compare systems of one run.

Without names of parts, those of `PARTS` are measured, and their sections of `docs/figures.md` are renewed. A quick run
prints only. `MORE` are measured if they are named.
"""

import argparse
import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from bench import calls, growth, lives, peers, poll_plan, polls
from bench.effort import QUICK, WHOLE, Effort
from bench.processes import OTHER_CORE, machine
from bench.report import Section, write
from bench.systems import GATEWAY, YARDSTICKS, System, before

Part = Callable[[Path, Sequence[System], Effort], Awaitable[list[Section]]]
PARTS: dict[str, Part] = {
    "requests": calls.requests,
    "polls": polls.polls,
    "lives": lives.lives,
    "growth": growth.growth,
    "plans": poll_plan.plans,
}


async def measured(names: Sequence[str], effort: Effort, *, with_peers: bool, against: Path | None) -> None:
    """Measure these parts, print what was found, and write it down unless this is a quick run."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that every process is ended
    others = await peers.install() if with_peers else ()
    compared = () if against is None else (before(against),)
    systems = (GATEWAY, *compared, *YARDSTICKS, *others)
    described = machine()
    print(described, flush=True)
    os.sched_setaffinity(0, {OTHER_CORE})
    for name in names:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            for section in await PARTS[name](Path(folder), systems, effort):
                print(f"\n{section.text()}", flush=True)
                if effort is WHOLE and against is None:
                    write(section, described)


def main() -> None:
    """Read the arguments, and measure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="measure the whole")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a look of two minutes that writes nothing")
    parser.add_argument("--peers", action="store_true", help="measure LiteLLM and Portkey as well")
    parser.add_argument("--against", type=Path, metavar="PATH", help="measure the gateway of this checkout as well")
    arguments = parser.parse_args()
    names = arguments.parts or list(PARTS)
    if unknown := set(names) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    against = arguments.against.resolve() if arguments.against else None
    uvloop.run(measured(names, QUICK if arguments.quick else WHOLE, with_peers=arguments.peers, against=against))


if __name__ == "__main__":
    main()
