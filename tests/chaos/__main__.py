"""`python -m tests.chaos`: a full run, then the proof that its audit can fail.

Environment: `SEED` and `ROUNDS`, or `ROUND` for a single round; `WINDOWS=downtime,slow_reads` limits the run to these
actions.
"""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from .drill import UNGUARDED, WAYS, drill
from .extent import FULL, SHORT
from .proof import decide_unread, drive_twice
from .run import ACTIONS, ChaosError, play


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(1_000_000))
    extent = SHORT if "--short" in sys.argv else FULL
    rounds = range(int(os.environ.get("ROUNDS") or extent.rounds))
    if chosen := os.environ.get("ROUND"):
        rounds = range(int(chosen), int(chosen) + 1)
    actions = tuple(filter(None, (os.environ.get("WINDOWS") or "").split(","))) or ACTIONS
    if unknown := set(actions) - set(ACTIONS):
        show(f"WINDOWS: unknown: {', '.join(sorted(unknown))}; expected {', '.join(ACTIONS)}")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="video-gateway-chaos-"))
    for name in ("unguarded", "unread", "unmarked", *WAYS):
        (folder / name).mkdir()
    show(f"seed {seed}, everything is in {folder}")
    try:
        card = asyncio.run(play(folder, extent, seed, rounds, show, actions=actions))
    except ChaosError as error:
        show(str(error))
        return 1
    show(f"\n{card.text()}")
    doubled = asyncio.run(drive_twice(folder / "unguarded", unguarded=True)).doubled
    show(f"without the guard of the ledger, the same audit finds {doubled} submits doubled")
    bought = asyncio.run(decide_unread(folder / "unread")).bought
    show(f"with decisions without a reading, the same audit finds {bought} bought although a paid result existed")
    outcomes = [asyncio.run(drill(folder / way, way, seed, generations=200)) for way in WAYS]
    for outcome in outcomes:
        show(outcome.text())
    unmarked = asyncio.run(drill(folder / "unmarked", "copy", seed, generations=40, module=UNGUARDED))
    show(f"without the marker of the ledger, the same drill finds {unmarked.again} generations bought again")
    shutil.rmtree(folder)
    is_safe = all(outcome.again == outcome.astray == 0 for outcome in outcomes)
    return 0 if doubled and bought and unmarked.again and is_safe else 1


def show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
