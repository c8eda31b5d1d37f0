"""The processes of a run with several gateways: PostgreSQL, a proxy before it for each gateway, sandbox, receiver."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from ...postgres_server import Server
from ..auditor import run_audit
from ..configuration import configuration
from ..drill import UNGUARDED
from ..gateway_process import CONFIGURATION, GatewayProcess
from ..receiver import Receiver
from ..sandbox import Sandbox
from .proxies import Proxies
from .proxy import Proxy

COUNT = 3
NARROW = "kling_relay"  # the account that takes one submit at a time, so that gateways wait for its place
DRAIN_SECONDS = 15.0
READY_SECONDS = 180.0
DATABASE = "chaos"
LATE_SECONDS = 120.0  # after a deadline: all gateways may have been hurt then, and a death is noticed after 20 s
# Errors of a log that the run itself causes; each with what has to be in its line.
_EXPECTED = {
    "store_failed": '"reason":"',
    "heartbeat_failed": '"error":"database.url: ',
    "replica_declared_dead": '"generations":',
    "start_refused": "PostgreSQL",
}
_AGE = "update replicas set heartbeat_at = heartbeat_at - interval '20 seconds' where name like $1"
_LEVELS = {"warning", "error", "critical"}


class Replica(GatewayProcess):
    """One of the gateways. `is_hurt`: something was done to it that is not over."""

    def __init__(self, folder: Path, number: int, defect: str | None = None) -> None:
        """`defect` is one of `unguarded.py`."""
        folder.mkdir()
        super().__init__(folder)
        self.number = number
        self._options = {} if defect is None else {"module": UNGUARDED, "DEFECT": defect}
        self.is_hurt = False
        self.is_frozen = False

    async def revive(self, failpoint: str = "") -> None:
        """Start it, again and again until it is ready, as whatever keeps processes running does."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                if not self.lives:
                    await self.start(failpoint, **self._options)
                with contextlib.suppress(RuntimeError):
                    return await self.ready(READY_SECONDS)
                await asyncio.sleep(0.5)

    def freeze(self) -> None:
        """Stop the process with SIGSTOP until `thaw`."""
        self.signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        """Let it go on."""
        self.is_frozen = False
        self.signal(signal.SIGCONT)

    def logged(self) -> list[dict[str, Any]]:
        """The lines of its log that are above the level `info`; other text than JSON has the level `critical`."""
        lines = []
        for line in (self.folder / "gateway.log").read_text().splitlines():
            if not line.startswith("{"):
                lines.append({"level": "critical", "event": line, "line": line})
            elif any(f'"level":"{level}"' in line[:80] for level in _LEVELS):
                lines.append(msgspec.json.decode(line) | {"line": line})
        return lines


class Cluster:
    """Everything of a run."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        task_seconds: float,
        attempt_seconds: float,
        hastens_death: bool = False,
        defect: str | None = None,
    ) -> None:
        """With `hastens_death` the 20 s that a killed gateway counts as living are over at once."""
        self.folder = folder
        self._hastens_death = hastens_death
        self.acknowledged, self.watched = folder / "acknowledged.jsonl", folder / "watched.jsonl"
        for file in (self.acknowledged, self.watched):
            file.touch()
        self.deliveries, self.artifacts = folder / "deliveries.jsonl", folder / "artifacts"
        self.receiver = Receiver(self.deliveries)
        self.sandbox = Sandbox(folder / "journal.jsonl", task_seconds)
        self.server = Server()
        self.replicas = [Replica(folder / f"gateway-{number}", number, defect) for number in range(COUNT)]
        self.proxies = Proxies(seed, COUNT)
        self.front = Proxy(self._ports, seed)  # where providers call back: one address before all gateways
        self._random = random.Random(f"front {seed}")
        self._attempt_seconds = attempt_seconds
        self._database_is_up = asyncio.Lock()

    @property
    def url(self) -> str:
        """The URL of the database, without a proxy."""
        return f"{self.server.url}/{DATABASE}"

    @property
    def urls(self) -> Sequence[str]:
        """The URLs of the gateways."""
        return [replica.url for replica in self.replicas]

    async def open(self) -> None:
        """Start everything; the gateways all at once, on a database without a schema."""
        await asyncio.gather(self._open_database(), self.sandbox.open(), self.receiver.open(), self.front.open())
        await self.proxies.open(self.server.port)
        for replica, port in zip(self.replicas, self.proxies.ports, strict=True):
            text = configuration(
                port=replica.port,
                public_url=f"http://127.0.0.1:{self.front.port}",
                database_url=f"postgresql://postgres@127.0.0.1:{port}/{DATABASE}",
                artifacts=self.artifacts,
                sandbox_url=self.sandbox.url,
                attempt_seconds=self._attempt_seconds,
                server=[f"drain_seconds = {DRAIN_SECONDS}"],
                is_shared=True,
                narrow=NARROW,
            )
            (replica.folder / CONFIGURATION).write_text(text)
        await asyncio.gather(*(replica.revive() for replica in self.replicas))

    async def _open_database(self) -> None:
        await asyncio.to_thread(self.server.start)
        connection = await asyncpg.connect(f"{self.server.url}/postgres")
        await connection.execute(f"create database {DATABASE} template template0 encoding 'UTF8'")
        await connection.close()

    async def kill(self, replica: Replica) -> None:
        """Kill a gateway."""
        await replica.kill()
        if self._hastens_death:
            await self.rows(_AGE, f"%:{replica.gateway.pid}")

    async def restart_database(self, *, crash: bool, seconds: float = 0.0) -> None:
        """Stop PostgreSQL, with a checkpoint or without, and start it again after these seconds."""
        async with self._database_is_up:
            await asyncio.to_thread(self.server.stop, hard=crash)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.server.start)

    async def rows(self, sql: str, *values: object) -> list[Any]:
        """The rows of a query; waits while the database is being restarted."""
        async with self._database_is_up:
            connection = await asyncpg.connect(self.url)
            try:
                rows: list[Any] = await connection.fetch(sql, *values)
                return rows
            finally:
                await connection.close()

    async def count(self, sql: str) -> int:
        """The one number of a query."""
        return int((await self.rows(sql))[0][0])

    async def left(self, sql: str, seconds: float) -> int:
        """The one number of a query, when it is 0 or after this time."""
        deadline = time.monotonic() + seconds
        while (count := await self.count(sql)) and time.monotonic() < deadline:  # noqa: ASYNC110  # the ledger changes
            await asyncio.sleep(0.2)
        return count

    def logged(self) -> Counter[str]:
        """How often each warning and each error was logged."""
        return Counter(f"{line['level']} {line['event']}" for each in self.replicas for line in each.logged())

    def errors(self) -> list[str]:
        """Lines of the logs that nothing explains that was done to the gateways."""
        return [
            f"gateway {replica.number}: {line['line']}"
            for replica in self.replicas
            for line in replica.logged()
            if line["level"] != "warning" and not _is_expected(line)
        ]

    async def audit(self, *, final: bool) -> tuple[int, bytes, list[str]]:
        """Run the auditor; its exit code, its report, the violations."""
        async with self._database_is_up:
            return await run_audit(
                self.url,
                self.sandbox.journal,
                self.acknowledged,
                *("--attempt-seconds", self._attempt_seconds, "--deliveries", self.deliveries),
                *(
                    "--late-seconds",
                    LATE_SECONDS,
                    "--artifacts",
                    self.artifacts / "results",
                    "--watched",
                    self.watched,
                    "--shared",
                ),
                *(("--final",) if final else ()),
            )

    async def close(self) -> None:
        for replica in self.replicas:
            await replica.close()
        await self.proxies.close()
        self.front.close()
        await self.sandbox.close()
        await self.receiver.close()
        await asyncio.to_thread(self.server.remove)

    def _ports(self) -> list[int]:
        """The ports of the gateways in some order; nothing is listening on that of a dead one."""
        replicas = [replica for replica in self.replicas if not replica.is_frozen] or self.replicas
        return [replica.port for replica in self._random.sample(replicas, len(replicas))]


def _is_expected(line: dict[str, Any]) -> bool:
    needed = _EXPECTED.get(line["event"])
    return needed is not None and needed in line["line"]
