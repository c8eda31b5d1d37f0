"""`python -m tests.hostile`: run every attack, print the card, renew it in `docs/hostile.md`.

Words choose the parts that are run, by their names; then the page stays as it is. With `--strict` the times count as
well, which needs a machine that does nothing else. The exit code is 1 if a limit is broken.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from bench.history import fill

from . import card
from .browsers import browsers
from .card import Row
from .connections import floods, holds
from .decoding import bodies, images, lists, replies
from .echoes import echoed
from .log_pipe import log_pipe
from .measure import costing
from .shares import LIMITS, shares
from .world import KEYS, WITH_KEYS, Gateway, gateway, sandbox

HISTORY = 50_000  # generations in the ledger, for lists
QUIET_SECONDS = 3.0
WITHOUT_KEYS = 'auth = "none"'

Part = Callable[[str, Path], AsyncIterator[Row]]


async def _quiet(target: Gateway) -> AsyncIterator[Row]:
    async with costing(target) as cost:
        await asyncio.sleep(QUIET_SECONDS)
    yield Row("nothing, for comparison", "nothing", cost)


async def _attacks(target: Gateway) -> AsyncIterator[Row]:
    """What one gateway with the default limits can be attacked with. Memory is measured best while it is new."""
    for part in (_quiet, floods, lists, replies, images, bodies):
        async for row in part(target):
            yield row


def _alone(part: Callable[[Gateway], AsyncIterator[Row]], server: str, history: int = 0) -> Part:
    """A part against a gateway of its own, with these lines in `[server]` and a ledger of so many generations."""

    async def run(sandbox_url: str, folder: Path) -> AsyncIterator[Row]:
        if history:
            owner = f"key_{sha256(KEYS['ATTACKER_KEY'].encode()).hexdigest()[:24]}"
            fill(folder / "video-gateway.db", history, owner, datetime.now(UTC))
        async with gateway(folder, sandbox_url, server) as target:
            async for row in part(target):
                yield row

    return run


PARTS: dict[str, Part] = {
    "attacks": _alone(_attacks, WITH_KEYS, HISTORY),
    "shares": _alone(shares, LIMITS),
    "browsers": _alone(browsers, WITHOUT_KEYS),
    "log": log_pipe,
    "echoes": echoed,
    "holds": _alone(holds, WITH_KEYS),
}


async def _run(names: list[str]) -> list[Row]:
    """Run these parts one after the other, each in a folder of its own, and print each row as soon as it is there."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        async with sandbox(queued_seconds=0.2, total_seconds=0.6, max_short_side=64, plain_results="true") as url:
            for name in names:
                own = Path(tempfile.mkdtemp(dir=folder))
                async for row in PARTS[name](url, own):
                    print(f"{name}: {' | '.join(row.cells())}", file=sys.stderr, flush=True)  # noqa: T201  # progress
                    rows.append(row)
    return rows


def main() -> int:
    """Run, print, and renew the page if everything was run."""
    words = [word for word in sys.argv[1:] if word != "--strict"]
    is_strict = "--strict" in sys.argv
    if unknown := set(words) - set(PARTS):
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)  # noqa: T201
        return 2
    began = time.monotonic()
    rows = asyncio.run(_run(words or list(PARTS)))
    text = card.text(rows, time.monotonic() - began, strict=is_strict)
    print(text)  # noqa: T201  # the card
    if not words:
        card.renew(text)
    return int(card.is_broken(rows, strict=is_strict))


if __name__ == "__main__":
    sys.exit(main())
