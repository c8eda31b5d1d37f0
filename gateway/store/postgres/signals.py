"""Signals between the gateways on one PostgreSQL, with LISTEN and NOTIFY on a connection of their own.

Triggers of the schema (`migrations/003_signals.sql`) notify of what a transaction has changed, when it is committed.
Notifications are lost while the connection is. So every few seconds, and first of all on a new connection, one
statement looks for what was missed: generations with newer events, and revisions that have grown. It shows at the same
time that the connection still works. A change without an event, as that of a progress, is noticed with the next one.

As `LISTEN` belongs to a session, a connection pooler must leave this one its session.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from time import monotonic
from typing import Any

import msgspec
import structlog

from gateway import log_context
from gateway.store.postgres.errors import explain
from gateway.store.postgres.server import Connection, Server
from gateway.store.signals import ClientsChanged, GenerationChanged, Hear, HoldsChanged, Message, Signal

log = structlog.get_logger()
CHANNEL = "video_gateway"
LOOK_SECONDS = 5.0  # between two looks
LOOK_EVENTS_MAX = 5000  # events of one look; another one follows at once if there may be more
ANSWER_SECONDS = 10.0  # without an answer within this time the connection is given up
_PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0)  # seconds before each new connection; the last one is repeated
_WAITING_MAX = 1000  # messages that wait for a connection; a newer one takes the place of the oldest
_CLOSING_SECONDS = 2.0
_NOTED_MAX = 50_000  # versions, about 10 MB; what is forgotten too early is announced twice
# So the server ends the session of a machine that is gone or a process that is stopped: notifications that such a
# session does not read would fill the queue of all sessions, and no transaction with a notification could be committed.
_LIMITS = (
    f"set statement_timeout = '{ANSWER_SECONDS:.0f}s'; set tcp_user_timeout = '15s';"
    " set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"
)
_NEWEST = "(select coalesce(max(seq), 0) from events)"
# Rows are a kind, a number and a text. With $1, the newest event of the look before, they name what has changed since.
# Each version is a select of its own, so that no planner decides to read the whole table of generations.
_LOOK = (
    "with recent as materialized (select seq, generation_id from events"
    f" where seq > coalesce(cast($1 as bigint), {_NEWEST}) order by seq limit $2)"
    f" select 'seen' as kind, coalesce(max(seq), cast($1 as bigint), {_NEWEST}) as number,"
    " case when count(*) = $2 then 'more' end as name from recent"
    " union all select name, number, null from revisions"
    " union all select 'generation', (select g.version from generations as g where g.id = changed.generation_id),"
    " changed.generation_id from (select distinct generation_id from recent) as changed"
)
_SEND = "select pg_notify($1, message) from unnest(cast($2 as text[])) as each (message)"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class Versions:
    """Which version of each generation is known, so that neither a look nor a notification announces it again.

    Only a look is sure to read what is stored, so that no forged notification keeps a look from its announcement.
    """

    def __init__(self) -> None:
        self._newer: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def is_news(self, generation_id: str, version: int) -> bool:
        """Whether a notification names a later version than was noted, which it is now."""
        if version <= self._noted(generation_id):
            return False
        self._note(generation_id, version)
        return True

    def is_missed(self, generation_id: str, version: int) -> bool:
        """Whether a look has read another version than was noted, which it is now."""
        if version == self._noted(generation_id):
            return False
        self._note(generation_id, version)
        return True

    def forget(self) -> None:
        """Forget what was noted before the last call. A look finds only what has changed since the look before."""
        self._older, self._newer = self._newer, {}

    def _noted(self, generation_id: str) -> int:
        return self._newer.get(generation_id, self._older.get(generation_id, -1))

    def _note(self, generation_id: str, version: int) -> None:
        if len(self._newer) >= _NOTED_MAX:
            self.forget()
        self._newer[generation_id] = version


class PostgresSignals:
    """Implements `Signals`. It connects again by itself. It serves one event loop."""

    def __init__(self, server: Server, replica: Callable[[], str]) -> None:
        """`replica` gives the id of this replica, which its transactions name as well; empty: it has none yet."""
        self.trouble: str | None = None
        self.losses = 0
        self._server = server
        self._replica = replica
        self._hear: Hear = _ignore
        self._task: asyncio.Task[None] | None = None
        self._stirred = asyncio.Event()  # set when a message waits or the connection has ended
        self._waiting: deque[str] = deque(maxlen=_WAITING_MAX)
        self._pauses: Iterator[float] = _pauses()
        self._versions = Versions()
        self._newest_event: int | None = None  # of the last look
        self._revisions = {"clients": 0, "holds": 0}  # by the kind of what has changed
        self._unreadable_count = 0  # notifications since the last look that could not be read

    def start(self, hear: Hear) -> None:
        """See `Signals`."""
        self._hear = hear
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="signals", context=log_context.nothing())

    def send(self, message: Message) -> None:
        """See `Signals`. A message that cannot be sent now waits for the next connection."""
        self._waiting.append(f"message {self._replica()} {_encode(message).decode()}")
        self._stirred.set()

    async def stop(self) -> None:
        """See `Signals`."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001  # whatever it is, another connection may work
                self._note_trouble(error)
            await asyncio.sleep(next(self._pauses))

    async def _listen(self) -> None:
        """Listen, look and send on a new connection, until it breaks. Raises what breaks it."""
        connection = await self._server.connect()
        try:
            connection.add_termination_listener(lambda _: self._stirred.set())
            await connection.execute(_LIMITS, timeout=ANSWER_SECONDS)
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.add_listener(CHANNEL, self._on_notification)
            look_at = monotonic()
            while True:
                self._stirred.clear()
                await self._send_waiting(connection)
                if monotonic() >= look_at:
                    await self._look(connection)
                    self._note_success()
                    look_at = monotonic() + LOOK_SECONDS
                if connection.is_closed():
                    raise ConnectionResetError("the server has ended the connection")
                with suppress(TimeoutError):
                    async with asyncio.timeout(look_at - monotonic()):
                        await self._stirred.wait()
        finally:
            await _close(connection)

    async def _send_waiting(self, connection: Connection) -> None:
        if not self._waiting:
            return
        messages = list(self._waiting)
        self._waiting.clear()
        try:
            await connection.execute(_SEND, CHANNEL, messages, timeout=ANSWER_SECONDS)
        except BaseException:
            self._waiting.extendleft(reversed(messages))
            raise

    async def _look(self, connection: Connection) -> None:
        """Announce what has changed since the last look and was not announced yet."""
        while await self._look_once(connection):
            pass
        self._versions.forget()
        if self._unreadable_count > 1:
            log.info("signals_unreadable", count=self._unreadable_count)
        self._unreadable_count = 0

    async def _look_once(self, connection: Connection) -> bool:
        """Whether there may be more."""
        is_cut = False
        rows = await connection.fetch(_LOOK, self._newest_event, LOOK_EVENTS_MAX, timeout=ANSWER_SECONDS)
        for kind, number, name in rows:
            if kind == "seen":
                self._newest_event, is_cut = number, name is not None
            elif kind != "generation":
                self._revised(kind, number, None, is_sure=True)
            elif self._versions.is_missed(name, number):
                self._announce(GenerationChanged(name))
        return is_cut

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        """A notification. Anybody who may use the database can send one, and a newer gateway may send other kinds."""
        kind, _, rest = payload.partition(" ")
        try:
            if kind == "generation":
                generation_id, version, replica = rest.split(" ")
                if self._versions.is_news(generation_id, int(version)) and not self._is_own(replica):
                    self._announce(GenerationChanged(generation_id))
            elif kind == "message":
                replica, _, text = rest.partition(" ")
                if not self._is_own(replica):
                    self._announce(_decode(text))
            else:
                number, _, name = rest.partition(" ")
                self._revised(kind, int(number), name)
        except (ValueError, msgspec.MsgspecError):
            self._unreadable_count += 1
            if self._unreadable_count == 1:  # a line for each of thousands would hold the event loop up
                log.info("signal_unreadable", payload=payload[:200])

    def _is_own(self, replica: str) -> bool:
        return replica != "" and replica == self._replica()

    def _revised(self, kind: str, number: int, name: str | None, *, is_sure: bool = False) -> None:
        """Announce that one thing of a kind has changed; or any of them, if it is not the next change of its kind.

        Only a look is sure of the number: a notification may be late or forged. A newer gateway has other kinds.
        """
        before = self._revisions.get(kind)
        if before is None or number == before or (number < before and not is_sure):
            return
        self._revisions[kind] = number
        if kind == "clients":
            self._announce(ClientsChanged(name if number == before + 1 else None))
        elif kind == "holds":
            self._announce(HoldsChanged())

    def _announce(self, signal: Signal) -> None:
        try:
            self._hear(signal)
        except Exception:  # a defect that concerns one signal must not keep the others away
            log.exception("signal_failed", signal=type(signal).__name__)

    def _note_trouble(self, error: Exception) -> None:
        """Log a fault when it begins."""
        if self.trouble is None:
            self.losses += 1
            log.warning("signals_lost", reason=explain(error), error=f"{type(error).__name__}: {error}")
        self.trouble = (
            "the connection for notifications of PostgreSQL is lost; what other gateways change is noticed late:"
            f" {explain(error) or type(error).__name__}"
        )

    def _note_success(self) -> None:
        if self.trouble is not None:
            log.warning("signals_work_again")
        self.trouble = None
        self._pauses = _pauses()


def _pauses() -> Iterator[float]:
    return chain(_PAUSES, repeat(_PAUSES[-1]))


def _ignore(_: Signal) -> None:
    return


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=_CLOSING_SECONDS)
    except Exception:  # noqa: BLE001  # the server sees the end of the connection in any case
        connection.terminate()
