"""`python -m tests.hostile`: run every attack, print the card, renew it in `docs/hostile.md`.

Words choose the parts that are run, by their names; then the page stays as it is. With `--strict` the times count as
well, which needs a machine that does nothing else. The exit code is 1 if a limit is broken.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from bench.history import fill

from . import card, decoding
from .browsers import browsers
from .card import Row
from .connections import floods, holds
from .log_pipe import log_pipe
from .measure import costing
from .shares import LIMITS, shares
from .world import KEYS, Gateway, gateway, sandbox

HISTORY = 50_000  # generations in the ledger, for lists
QUIET_SECONDS = 3.0
PAGE = Path(__file__).parents[2] / "docs" / "hostile.md"
BEGIN, END = "<!-- made by `make hostile` -->\n", "<!-- end of what `make hostile` made -->\n"
WITHOUT_KEYS = 'auth = "none"'

Part = Callable[[str, Path], AsyncIterator[Row]]


async def _quiet(target: Gateway) -> AsyncIterator[Row]:
    async with costing(target) as cost:
        await asyncio.sleep(QUIET_SECONDS)
    yield Row("nothing, for comparison", "nothing", cost)


def _alone(part: Callable[[Gateway], AsyncIterator[Row]], server: str, history: int = 0) -> Part:
    """A part against a gateway of its own, with these lines in `[server]` and a ledger of so many generations."""

    async def run(sandbox_url: str, folder: Path) -> AsyncIterator[Row]:
        if history:
            owner = f"key_{sha256(KEYS['ATTACKER_KEY'].encode()).hexdigest()[:24]}"
            fill(folder / "video-gateway.db", history, owner, datetime.now(UTC))
        async with gateway(folder, sandbox_url, server) as target:
            async with aclosing(part(target)) as rows:  # type: ignore[type-var]
                async for row in rows:
                    yield row

    return run
