"""The processes of a chaos run: a sandbox with a journal, and a gateway that is started again and again."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import apsw
import httpx

from gateway.failpoints import VARIABLE

from .receiver import SECRET, Receiver

SOON_SECONDS = 20.0  # what has not come by then does not come
SUBMIT_SECONDS = 2.0
DRAIN_SECONDS = 10.0
FAILED = '"event":"store_failed","reason":null,"error":"FailpointError: commit_fails"'
ROUTES = ("keevx/V", "kling_relay/kling-v1", "foxapi/kling-v3-image-to-video")
MODELS = {
    "m0": (ROUTES, "fall_back"),
    "m1": ((ROUTES[1], ROUTES[2], ROUTES[0]), "fall_back"),
    "m2": ((ROUTES[2], ROUTES[0], ROUTES[1]), "fall_back"),
    "m3": ((ROUTES[2], ROUTES[1]), "fail"),
    "held": (ROUTES, "hold"),
}
Fault = tuple[str, str, float, dict[str, Any]]  # operation, name, the part of the calls it happens to, arguments
ROOT = Path(__file__).parents[2]
# Of every kind of answer to a submit some, and of the reads.
FAULTS: tuple[Fault, ...] = (
    ("submit", "close_before_read", 0.01, {}),
    ("submit", "429", 0.02, {"retry_after": 1}),
    ("submit", "503_no_channel", 0.02, {}),
    ("submit", "502_html", 0.01, {}),
    ("submit", "close", 0.01, {"started": 1, "reset": 1}),
    ("submit", "close_after_accept", 0.02, {}),
    ("submit", "truncated_json", 0.01, {}),
    ("submit", "slow", 0.1, {"seconds": 1}),
    ("submit", "hang_after_accept", 0.005, {}),
    ("submit", "fail", 0.03, {}),
    ("submit", "slow_task", 0.05, {"seconds": 4}),
    ("poll", "lost", 0.005, {}),
    ("poll", "500", 0.02, {}),
    ("poll", "close", 0.01, {}),
    ("poll", "garbage", 0.01, {}),
    ("result", "close", 0.02, {}),
    ("result", "502_html", 0.02, {}),
)


class World:
    """A folder with all that a run leaves behind, and the processes in it."""

    def __init__(self, folder: Path, *, task_seconds: float, attempt_seconds: float) -> None:
        self.folder = folder
        self.ledger, self.journal = folder / "ledger.db", folder / "journal.jsonl"
        self.acknowledged = folder / "acknowledged.jsonl"
        self.acknowledged.touch()
        self.journal.touch()
        self.told = folder / "told.jsonl"
        self.artifacts = folder / "artifacts"
        self.receiver = Receiver(self.told)
        self._task_seconds = task_seconds
        self._attempt_seconds = attempt_seconds
        self._log = (folder / "gateway.log").open("ab")
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)
        self.sandbox_url = ""
        self.started_at = 0.0  # of the gateway, by the wall clock
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._sandbox: asyncio.subprocess.Process | None = None
        self._gateway: asyncio.subprocess.Process | None = None

    @property
    def gateway(self) -> asyncio.subprocess.Process:
        assert self._gateway is not None
        return self._gateway

    @property
    def lives(self) -> bool:
        return self._gateway is not None and self._gateway.returncode is None

    async def open(self) -> None:
        """Start the sandbox, write the configuration of the gateway."""
        await self.receiver.open()
        settings = {"queued_seconds": self._task_seconds / 4, "total_seconds": self._task_seconds}
        settings |= {"max_short_side": 64, "plain_results": "true"}
        changes = [f"--set={name}={value}" for name, value in settings.items()]
        self._sandbox = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "sandbox", "--port", "0", "--journal", str(self.journal), *changes),
            cwd=ROOT,
            env=_environ(),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._sandbox.stdout is not None
        async with asyncio.timeout(SOON_SECONDS):
            line = (await self._sandbox.stdout.readline()).decode()
        found = re.search(r"sandbox on (http://[^;]+)", line)
        assert found, f"the sandbox says {line!r}"
        self.sandbox_url = found[1]
        (self.folder / "video-gateway.toml").write_text(self._configuration())

    def _configuration(self) -> str:
        lines = ["[server]", f"port = {self.url.rpartition(':')[2]}", f"drain_seconds = {DRAIN_SECONDS}"]
        lines += ['log_format = "json"', "[database]", f'url = "sqlite:///{self.ledger}"', "[artifacts]"]
        lines += [f'url = "file:{self.artifacts}"', "thumbnails = false", "[fetch]", 'allow = ["127.0.0.0/8"]']
        lines += ["[webhooks]", 'secret = "env:WEBHOOK_SECRET"']
        for provider, base in (("keevx", "keevx/v1"), ("kling_relay", "kling_relay"), ("foxapi", "foxapi")):
            lines += [f"[providers.{provider}]", 'api_key = "env:KEY"', f'base_url = "{self.sandbox_url}/{base}"']
            lines += ["first_poll_seconds = 0.3", "poll_seconds = 0.4", "poll_max_seconds = 1", "grace_seconds = 2"]
            lines += [f"submit_timeout_seconds = {SUBMIT_SECONDS}", "concurrency = 64"]
            lines += [f"attempt_timeout_seconds = {self._attempt_seconds}"]
        for name, (routes, policy) in MODELS.items():
            named = ", ".join(f'"{route}"' for route in routes)
            lines += [f"[models.{name}]", f"routes = [{named}]", 'adapt = "nearest"', f'on_ambiguous = "{policy}"']
        return "\n".join(lines) + "\n"

    async def faults(self, seed: int, *first: Fault) -> None:
        """From now on these, and those of every run; each is drawn by its rate."""
        await self.no_faults()
        for place, (operation, name, rate, args) in enumerate((*first, *FAULTS)):
            fault = {"fault": name, "operation": operation, "times": None}
            wanted = fault | {"args": args | {"rate": rate, "seed": seed * 100 + place}}
            (await self._http.post(f"{self.sandbox_url}/_sandbox/faults", json=wanted)).raise_for_status()

    async def no_faults(self) -> None:
        (await self._http.delete(f"{self.sandbox_url}/_sandbox/faults")).raise_for_status()

    async def start(self, failpoint: str = "", module: str = "gateway", **environ: str) -> None:
        """Start the gateway, without waiting for it."""
        self.started_at = time.time()
        secrets = {"KEY": "sandbox", "WEBHOOK_SECRET": SECRET}
        self._gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "serve", "--config", str(self.folder / "video-gateway.toml")),
            cwd=ROOT,
            env=_environ() | secrets | ({VARIABLE: failpoint} if failpoint else {}) | environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=self._log,
        )

    async def probe(self) -> asyncio.subprocess.Process:
        """Reads readiness from now on, a line each time, until nobody answers."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.probe", host, port),
            cwd=ROOT,
            env=_environ(),
            stdout=asyncio.subprocess.PIPE,
        )

    async def second(self) -> tuple[int, str]:
        """What comes of another gateway on the same ledger: its exit code and its last words."""
        other = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
            *("--config", str(self.folder / "video-gateway.toml")),
            cwd=ROOT,
            env=_environ() | {"KEY": "sandbox", "WEBHOOK_SECRET": SECRET},
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

    async def ready(self) -> None:
        """Until it takes work; the process must live."""
        async with asyncio.timeout(SOON_SECONDS):
            while await self.readiness() != 200:
                if self.gateway.returncode is not None:
                    raise RuntimeError(f"the gateway has ended with {self.gateway.returncode}: {self.last_words()}")
                await asyncio.sleep(0.03)

    async def readiness(self) -> int:
        """The status of a readiness call over a connection of its own; 0 without an answer."""
        try:
            return (
                await self._http.get(f"{self.url}/health/ready", headers={"connection": "close"}, timeout=2)
            ).status_code
        except httpx.TransportError:
            return 0

    async def ended(self, seconds: float = SOON_SECONDS) -> int | None:
        """The exit code; `None` when it lives on."""
        try:
            async with asyncio.timeout(seconds):
                return await self.gateway.wait()
        except TimeoutError:
            return None

    def signal(self, name: signal.Signals) -> None:
        self.gateway.send_signal(name)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.gateway.wait()

    def said(self, word: str) -> int:
        """How often the gateway's log has a word."""
        return (self.folder / "gateway.log").read_bytes().count(word.encode())

    def errors(self) -> list[str]:
        """What it logged that is no warning and was not asked for, and what it wrote beside its log."""
        lines = (self.folder / "gateway.log").read_text().splitlines()
        wrong = [line for line in lines if not line.startswith("{") or '"level":"error"' in line[:80]]
        return [line for line in wrong if FAILED not in line]

    def last_words(self) -> str:
        return (self.folder / "gateway.log").read_text()[-2000:]

    def left(self) -> int:
        """How many submits of the process that was there last are between their intent and their outcome."""
        sql = f"select count(*) from attempts where state = 'submitting' and sent_at > {self.started_at}"  # noqa: S608  # a number
        found: int = self.count(sql)
        return found

    def count(self, sql: str) -> Any:
        """A value of the ledger, as another process sees it."""
        connection = apsw.Connection(str(self.ledger), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql).get
        finally:
            connection.close()

    async def audit(self, *, final: bool) -> tuple[int, bytes, list[str]]:
        """What the auditor says: its exit code, its report, the violations."""
        auditor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.audit", *map(str, (self.ledger, self.journal, self.acknowledged))),
            *("--told", str(self.told), "--artifacts", str(self.artifacts / "results")),
            *(("--final",) if final else ()),
            cwd=ROOT,
            env=_environ(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        report, violations = await auditor.communicate()
        assert auditor.returncode is not None
        return auditor.returncode, report, violations.decode().splitlines()

    async def close(self) -> None:
        for process in (self._gateway, self._sandbox):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        await self.receiver.close()
        await self._http.aclose()
        self._log.close()


def _environ() -> dict[str, str]:
    """Ours, without what would set the gateway up or measure its coverage: most of these processes are killed."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("VIDEO_GATEWAY_", "COVERAGE_"))}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
