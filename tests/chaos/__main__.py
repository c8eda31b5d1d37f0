"""`python -m tests.chaos`: a full run, then the proof that its audit can fail.

Environment: `SEED` and `ROUNDS`, or `ROUND` for a single round; `WINDOWS=downtime,slow_reads` limits the run to these
actions. `DB=postgres` hurts three gateways on one PostgreSQL instead of one on SQLite, for example `WINDOWS=kill,hole`;
`CLIENTS` is the number of open generations there, less on a slow machine.
"""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from .drill import UNGUARDED, WAYS, drill
from .extent import FULL, SHORT
from .proof import decide_unread, drive_twice
from .replicas import run as replicas
from .replicas.harms import HARMS
from .replicas.proof import drive_everywhere
from .run import ACTIONS, ChaosError, play


def main() -> int:
    seed = int(os.environ.get("SEED") or secrets.randbelow(1_000_000))
    databases = {"": _alone, "sqlite": _alone, "postgres": _several}
    database = os.environ.get("DB") or ""
    if database not in databases:
        show(f"DB: unknown: {database}; expected sqlite or postgres")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="video-gateway-chaos-"))
    show(f"seed {seed}, everything is in {folder}")
    try:
        is_safe = databases[database](folder, seed)
    except WindowsError as error:
        show(str(error))
        return 2
    except ChaosError as error:
        show(str(error))
        return 1
    shutil.rmtree(folder)
    return 0 if is_safe else 1


class WindowsError(ValueError):
    """The variable `WINDOWS` names something that there is not."""


def _several(folder: Path, seed: int) -> bool:
    """Hurt several gateways on PostgreSQL, and show that the audit sees a defect; False if it does not."""
    extent = replicas.SHORT if "--short" in sys.argv else replicas.FULL
    if clients := os.environ.get("CLIENTS"):
        extent = replace(extent, clients=int(clients))
    deck = replicas.shuffled(seed, _windows(tuple(HARMS)))
    for name in ("run", "unfenced"):
        (folder / name).mkdir()
    card = asyncio.run(replicas.play(folder / "run", extent, seed, _rounds(extent.rounds), show, deck=deck))
    show(f"\n{card.text()}\n\nlogged: {', '.join(f'{line} {count}' for line, count in sorted(card.logged.items()))}")
    doubled = asyncio.run(drive_everywhere(folder / "unfenced", unfenced=True)).doubled
    show(f"without the guards of the ledger, the same audit finds {doubled} submits doubled")
    return bool(doubled)


def _alone(folder: Path, seed: int) -> bool:
    """Hurt one gateway on SQLite, and show that the audit sees defects; False if it does not, or if some were seen."""
    extent = SHORT if "--short" in sys.argv else FULL
    actions = _windows(ACTIONS)
    for name in ("unguarded", "unread", "unmarked", *WAYS):
        (folder / name).mkdir()
    card = asyncio.run(play(folder, extent, seed, _rounds(extent.rounds), show, actions=actions))
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
    is_safe = all(outcome.again == outcome.astray == 0 for outcome in outcomes)
    return bool(doubled and bought and unmarked.again and is_safe)


def _rounds(count: int) -> range:
    if chosen := os.environ.get("ROUND"):
        return range(int(chosen), int(chosen) + 1)
    return range(int(os.environ.get("ROUNDS") or count))


def _windows(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of `WINDOWS`, or all. Raises `WindowsError`."""
    chosen = tuple(filter(None, (os.environ.get("WINDOWS") or "").split(","))) or names
    if unknown := set(chosen) - set(names):
        raise WindowsError(f"WINDOWS: unknown: {', '.join(sorted(unknown))}; expected {', '.join(names)}")
    return chosen


def show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
