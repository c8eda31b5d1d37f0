"""`serve` with a defect that the audit must find.

`DEFECT=twice` drives every generation twice; the guard of the ledger must prevent a second purchase.
`DEFECT=unguarded` does the same without the guard: a submit may begin in any state and with any fence.
`DEFECT=everywhere` lets each gateway drive what all of them have made; the guards of the ledger must prevent purchases.
`DEFECT=unfenced` does the same without the guard of the program; those of the database are removed from outside.
`DEFECT=stale` repeats the first answer to each poll from memory, so that decisions are made without polling.
`DEFECT=unmarked` ignores the markers of the ledger, so that a restored one goes on as if it were the newest.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from gateway.cli import main
from gateway.domain.adapter.contract import HttpCall, HttpReply
from gateway.domain.generation.model import Generation
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.replicated import ReplicatedEngine
from gateway.store.port import Permission, SubmitPlace
from gateway.store.sql.attempts import event_of_move
from gateway.store.sql.database import Transaction
from gateway.store.sql.store import SqlStore
from gateway.store.sqlite import lineage
from gateway.upstream.client import Upstream

EVERYWHERE_SECONDS = 0.05  # between two looks for generations of others
_begin = EmbeddedEngine.begin
_start = ReplicatedEngine.start
_send = Upstream.send
_remembered: dict[tuple[str, str], HttpReply] = {}


def begin_twice(self: EmbeddedEngine, generation: Generation) -> None:
    _begin(self, generation)
    first = self._tasks.pop(generation.id)
    _begin(self, generation)
    self._tasks[f"{generation.id} again"] = first


async def start_everywhere(self: ReplicatedEngine) -> None:
    await _start(self)
    self._tasks.append(asyncio.create_task(_drive_everything(self._inner)))


async def _drive_everything(engine: EmbeddedEngine) -> None:
    while True:
        for generation_id in await engine._store.open_ids(engine._clock.now()):
            generation = None if engine.drives(generation_id) else await engine._store.get(generation_id)
            if generation is not None and not generation.status.terminal:
                engine.begin(generation)
        await asyncio.sleep(EVERYWHERE_SECONDS)


async def begin_anyhow(
    self: SqlStore, attempt_id: str, fence: int, now: datetime, place: SubmitPlace | None = None
) -> Permission:
    async def work(transaction: Transaction) -> Permission:
        generation_id = await transaction.value(
            "update attempts set state = 'submitting', sent_at = ? where id = ? returning generation_id",
            (now.timestamp(), attempt_id),
        )
        await transaction.run(*event_of_move(generation_id, attempt_id, "submitting", now))
        await transaction.run("update generations set version = version + 1 where id = ?", (generation_id,))
        return Permission.GRANTED

    return await self._writer.run(work)


async def send_unless_remembered(self: Upstream, call: HttpCall, *, base_url: str, **options: Any) -> HttpReply:
    place = base_url, call.path
    if call.method != "GET" or place not in _remembered:
        reply = await _send(self, call, base_url=base_url, **options)
        if call.method != "GET":
            return reply
        _remembered[place] = reply
    return _remembered[place]


def twice() -> None:
    EmbeddedEngine.begin = begin_twice  # type: ignore[method-assign]  # the defect this is about


def unguarded() -> None:
    twice()
    SqlStore.begin_submit = begin_anyhow  # type: ignore[method-assign]  # and this


def everywhere() -> None:
    ReplicatedEngine.start = start_everywhere  # type: ignore[method-assign]  # and this


def unfenced() -> None:
    everywhere()
    SqlStore.begin_submit = begin_anyhow  # type: ignore[method-assign]  # and this


def stale() -> None:
    Upstream.send = send_unless_remembered  # type: ignore[method-assign]  # and this


def unmarked() -> None:
    lineage.verdict = lambda *_args, **_options: None  # type: ignore[assignment]  # and this


DEFECTS: Mapping[str, Callable[[], None]] = {
    "twice": twice,
    "unguarded": unguarded,
    "everywhere": everywhere,
    "unfenced": unfenced,
    "stale": stale,
    "unmarked": unmarked,
}

if __name__ == "__main__":
    DEFECTS[os.environ["DEFECT"]]()
    sys.argv[0] = "video-gateway"
    main()
