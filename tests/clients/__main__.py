"""`python -m tests.clients`: run every client package, record the results, renew `docs/clients.md`.

Arguments are words: with them only the clients whose names have one of them are run, and only their results change.
"""

import sys
import tempfile
from pathlib import Path

from .clients import CLIENTS, Result, install, run
from .differences import faults
from .results import record
from .world import running


def main() -> int:
    """Run the clients. The exit code is 1 if a call fails without a reason in `differences.py`, or works with one."""
    words = sys.argv[1:]
    chosen = [client for client in CLIENTS if not words or any(word in client.name for word in words)]
    install()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as world:
        for client in chosen:
            results += run(client, world)
    for result in results:
        print(f"{result.client} | {result.call} | {'works' if result.ok else f'differs: {result.why}'}")
    record(results)
    wrong = faults(results)
    print(*wrong, sep="\n", file=sys.stderr)
    return int(bool(wrong))


sys.exit(main())
