"""The processes of a chaos run: a sandbox with a journal, and a gateway that is started many times."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import apsw
import msgspec

from .auditor import run_audit
from .configuration import SECRETS, SUBMIT_SECONDS, configuration
from .gateway_process import CONFIGURATION, GatewayProcess
from .receiver import Receiver
from .sandbox import ROOT, SOON_SECONDS, Fault, Sandbox, environment

DRAIN_SECONDS = 10.0
SLOW_SUBMITS = "slow-submits.toml"  # with a longer time for submits, and the default time for a stop
FAILED = '"event":"store_failed","reason":null,"error":"FailpointError: '


class World(GatewayProcess):
    """A gateway, the folder with all files of a run, and what is around the gateway."""

    def __init__(
        self, folder: Path, *, task_seconds: float, attempt_seconds: float, first_poll_seconds: float = 0.3
    ) -> None:
        super().__init__(folder)
        self.ledger = folder / "ledger.db"
        self.acknowledged = folder / "acknowledged.jsonl"
        self.acknowledged.touch()
        self.deliveries = folder / "deliveries.jsonl"
        self.artifacts = folder / "artifacts"
        self.receiver = Receiver(self.deliveries)
        self.sandbox = Sandbox(folder / "journal.jsonl", task_seconds)
        self._attempt_seconds = attempt_seconds
        self._first_poll_seconds = first_poll_seconds

    @property
    def journal(self) -> Path:
        return self.sandbox.journal

    async def open(self) -> None:
        """Start the sandbox and write the configuration of the gateway."""
        await self.receiver.open()
        await self.sandbox.open()
        self.configure(CONFIGURATION, SUBMIT_SECONDS, f"drain_seconds = {DRAIN_SECONDS}")

    def configure(self, name: str, submit_seconds: float, *server: str) -> None:
        """Write a configuration; `server` are further lines of the table `[server]`."""
        text = configuration(
            port=self.port,
            public_url=self.url,
            database_url=f"sqlite:///{self.ledger}",
            artifacts=self.artifacts,
            sandbox_url=self.sandbox.url,
            attempt_seconds=self._attempt_seconds,
            submit_seconds=submit_seconds,
            first_poll_seconds=self._first_poll_seconds,
            server=server,
        )
        (self.folder / name).write_text(text)

    async def faults(self, seed: int, *first: Fault, usual: bool = True) -> None:
        """See `Sandbox`."""
        await self.sandbox.faults(seed, *first, usual=usual)

    async def no_faults(self) -> None:
        """See `Sandbox`."""
        await self.sandbox.no_faults()

    async def probe(self) -> asyncio.subprocess.Process:
        """Start a process that prints the readiness, a line for each reading, until the port is closed."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.probe", host, port),
            cwd=ROOT,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
        )

    async def second(self) -> tuple[int, str]:
        """Start a second gateway on the same ledger; its exit code and its last words."""
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
            *("--config", str(self.folder / CONFIGURATION)),
            cwd=ROOT,
            env=environment() | SECRETS,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SOON_SECONDS):
                _, words = await other.communicate()
        except TimeoutError:
            other.kill()
            await other.wait()
            return 0, "it runs"
        assert other.returncode is not None
        return other.returncode, words.decode()

    def said(self, word: str) -> int:
        """How often a word is in the log of the gateway."""
        return (self.folder / "gateway.log").read_bytes().count(word.encode())

    def errors(self) -> list[str]:
        """Unexpected errors in the log of the gateway, and lines on its standard error that are not log lines."""
        lines = (self.folder / "gateway.log").read_text().splitlines()
        wrong = [line for line in lines if not line.startswith("{") or '"level":"error"' in line[:80]]
        return [line for line in wrong if FAILED not in line]

    def left(self) -> int:
        """How many submits of the last process are between their intent and their outcome."""
        return len(self.in_flight())

    def in_flight(self) -> list[str]:
        """The ids of the attempts with those submits."""
        is_sent = f"state = 'submitting' and sent_at > {self.started_at}"
        ids = self.count(f"select json_group_array(id) from attempts where {is_sent}")  # noqa: S608  # a number
        return msgspec.json.decode(ids, type=list[str])

    def count(self, sql: str) -> Any:
        """A value of the ledger, read as another process."""
        connection = apsw.Connection(str(self.ledger), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql).get
        finally:
            connection.close()

    async def audit(self, *, final: bool) -> tuple[int, bytes, list[str]]:
        """Run the auditor; its exit code, its report, the violations."""
        return await run_audit(
            f"sqlite:///{self.ledger}",
            self.journal,
            self.acknowledged,
            *("--attempt-seconds", str(self._attempt_seconds)),
            *("--deliveries", str(self.deliveries), "--artifacts", str(self.artifacts / "results")),
            *(("--final",) if final else ()),
        )

    async def close(self) -> None:
        await super().close()
        await self.sandbox.close()
        await self.receiver.close()
