"""The processes of a chaos run: a sandbox with a journal, and a gateway that is started many times."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import httpx
import msgspec

from gateway.failpoints import VARIABLE

from .audit import POLL_MAX_SECONDS
from .money import PRICES
from .receiver import SECRET, Receiver

SOON_SECONDS = 20.0  # what does not happen within this time counts as failed
SUBMIT_SECONDS = 2.0
DRAIN_SECONDS = 10.0
CLIENT_KEY = "chaos-client"
CONFIGURATION = "video-gateway.toml"
SLOW_SUBMITS = "slow-submits.toml"  # with a longer time for submits, and the default time for a stop
FAILED = '"event":"store_failed","reason":null,"error":"FailpointError: '
SECRETS = {"KEY": "sandbox", "WEBHOOK_SECRET": SECRET, "CLIENT_KEY": CLIENT_KEY}
ROUTES = ("keevx/V", "kling_relay/kling-v1", "foxapi/kling-v3-image-to-video")
MODELS = {
    "m0": (ROUTES, "fall_back"),
    "m1": ((ROUTES[1], ROUTES[2], ROUTES[0]), "fall_back"),
    "m2": ((ROUTES[2], ROUTES[0], ROUTES[1]), "fall_back"),
    "m3": ((ROUTES[2], ROUTES[1]), "fail"),
    "held": (ROUTES, "hold"),
    "alone": ((ROUTES[0],), "fall_back"),  # after a refusal that asks to wait, the same route is tried again
}


class Fault(NamedTuple):
    """A fault of the sandbox, for a share of the calls."""

    operation: str
    name: str
    rate: float = 1.0
    args: dict[str, Any] = {}  # noqa: RUF012  # never changed
    provider: str = "any"


ROOT = Path(__file__).parents[2]
# Some of every kind of answer to submits and polls.
FAULTS = (
    Fault("submit", "close_before_read", 0.01),
    Fault("submit", "429", 0.02, {"retry_after": 1}),
    Fault("submit", "503_no_channel", 0.02),
    Fault("submit", "502_html", 0.01),
    Fault("submit", "close", 0.01, {"started": 1, "reset": 1}),
    Fault("submit", "close_after_accept", 0.02),
    Fault("submit", "truncated_json", 0.01),
    Fault("submit", "slow", 0.1, {"seconds": 1}),
    Fault("submit", "hang_after_accept", 0.005),
    Fault("submit", "fail", 0.03),
    Fault("submit", "slow_task", 0.05, {"seconds": 4}),
    Fault("poll", "lost", 0.005),
    Fault("poll", "500", 0.02),
    Fault("poll", "close", 0.01),
    Fault("poll", "garbage", 0.01),
    Fault("result", "close", 0.02),
    Fault("result", "502_html", 0.02),
)


class World:
    """A folder with all files of a run, and its processes."""

    def __init__(
        self, folder: Path, *, task_seconds: float, attempt_seconds: float, first_poll_seconds: float = 0.3
    ) -> None:
        self.folder = folder
        self.ledger, self.journal = folder / "ledger.db", folder / "journal.jsonl"
        self.acknowledged = folder / "acknowledged.jsonl"
        self.acknowledged.touch()
        self.journal.touch()
        self.deliveries = folder / "deliveries.jsonl"
        self.artifacts = folder / "artifacts"
        self.receiver = Receiver(self.deliveries)
        self._task_seconds = task_seconds
        self._attempt_seconds = attempt_seconds
        self._first_poll_seconds = first_poll_seconds
        self._log = (folder / "gateway.log").open("ab")
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)
        self.sandbox_url = ""
        self.started_at = 0.0  # start of the gateway, by the wall clock
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
        """Start the sandbox and write the configuration of the gateway."""
        await self.receiver.open()
        settings = {"queued_seconds": self._task_seconds / 4, "total_seconds": self._task_seconds}
        settings |= {"max_short_side": 64, "plain_results": "true"}
        changes = [f"--set={name}={value}" for name, value in settings.items()]
        self._sandbox = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "sandbox", "--port", "0", "--journal", str(self.journal), *changes),
            cwd=ROOT,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._sandbox.stdout is not None
        async with asyncio.timeout(SOON_SECONDS):
            line = (await self._sandbox.stdout.readline()).decode()
        match = re.search(r"sandbox on (http://[^;]+)", line)
        assert match, f"the sandbox printed {line!r}"
        self.sandbox_url = match[1]
        self.configure(CONFIGURATION, SUBMIT_SECONDS, f"drain_seconds = {DRAIN_SECONDS}")

    def configure(self, name: str, submit_seconds: float, *server: str) -> None:
        """Write a configuration; `server` are further lines of the table `[server]`."""
        lines = ["[server]", f"port = {self.url.rpartition(':')[2]}", *server, f'public_url = "{self.url}"']
        lines += [
            'api_keys = ["env:CLIENT_KEY"]',
            'log_format = "json"',
            "[database]",
            f'url = "sqlite:///{self.ledger}"',
            "[artifacts]",
        ]
        lines += [f'url = "file:{self.artifacts}"', "thumbnails = false", "[fetch]", 'allow = ["127.0.0.0/8"]']
        # A delivery that a kill interrupted is tried again ten seconds after its time-out.
        lines += ["[webhooks]", 'secret = "env:WEBHOOK_SECRET"', "timeout_seconds = 3"]
        for provider, base in (("keevx", "keevx/v1"), ("kling_relay", "kling_relay"), ("foxapi", "foxapi")):
            lines += [f"[providers.{provider}]", 'api_key = "env:KEY"', f'base_url = "{self.sandbox_url}/{base}"']
            lines += [f"first_poll_seconds = {self._first_poll_seconds}", "poll_seconds = 0.4", "grace_seconds = 2"]
            lines += [f"poll_max_seconds = {POLL_MAX_SECONDS}", "concurrency = 64"]
            lines += [f"submit_timeout_seconds = {submit_seconds}"]
            lines += [f"attempt_timeout_seconds = {self._attempt_seconds}"]
        for route, price in PRICES.items():
            provider, _, model = route.partition("/")
            lines += [f'[providers.{provider}.models."{model}"]', f"prices = [{{ per_clip = {price} }}]"]
        lines += ["[budgets]", "total = 1_000_000"]  # checked at each create, and never reached
        for model, (routes, policy) in MODELS.items():
            named = ", ".join(f'"{route}"' for route in routes)
            lines += [f"[models.{model}]", f"routes = [{named}]", 'adapt = "nearest"', f'on_ambiguous = "{policy}"']
        (self.folder / name).write_text("\n".join(lines) + "\n")

    async def faults(self, seed: int, *first: Fault, usual: bool = True) -> None:
        """Set these faults and, if `usual`, those of every run. Each affects calls at its rate."""
        await self.no_faults()
        for place, (operation, name, rate, args, provider) in enumerate((*first, *(FAULTS if usual else ()))):
            fault = {"fault": name, "operation": operation, "provider": provider, "times": None}
            wanted = fault | {"args": args | {"rate": rate, "seed": seed * 100 + place}}
            (await self._http.post(f"{self.sandbox_url}/_sandbox/faults", json=wanted)).raise_for_status()

    async def no_faults(self) -> None:
        (await self._http.delete(f"{self.sandbox_url}/_sandbox/faults")).raise_for_status()

    async def start(
        self, failpoint: str = "", module: str = "gateway", configuration: str = CONFIGURATION, **environ: str
    ) -> None:
        """Start the gateway without waiting until it is ready."""
        self.started_at = time.time()
        self._gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "serve", "--config", str(self.folder / configuration)),
            cwd=ROOT,
            env=environment() | SECRETS | ({VARIABLE: failpoint} if failpoint else {}) | environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=self._log,
        )

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

    async def ready(self) -> None:
        """Wait until the gateway is ready. Raises `RuntimeError` if the process ends."""
        async with asyncio.timeout(SOON_SECONDS):
            while await self.readiness() != 200:
                if self.gateway.returncode is not None:
                    raise RuntimeError(f"the gateway has ended with {self.gateway.returncode}: {self.last_words()}")
                await asyncio.sleep(0.03)

    async def readiness(self) -> int:
        """The status of a readiness call over a new connection; 0 without an answer."""
        try:
            return (
                await self._http.get(f"{self.url}/health/ready", headers={"connection": "close"}, timeout=2)
            ).status_code
        except httpx.TransportError:
            return 0

    async def ended(self, seconds: float = SOON_SECONDS) -> int | None:
        """Wait for the end of the gateway; the exit code, or `None` if it still runs."""
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
        """How often a word is in the log of the gateway."""
        return (self.folder / "gateway.log").read_bytes().count(word.encode())

    def errors(self) -> list[str]:
        """Unexpected errors in the log of the gateway, and lines on its standard error that are not log lines."""
        lines = (self.folder / "gateway.log").read_text().splitlines()
        wrong = [line for line in lines if not line.startswith("{") or '"level":"error"' in line[:80]]
        return [line for line in wrong if FAILED not in line]

    def last_words(self) -> str:
        return (self.folder / "gateway.log").read_text()[-2000:]

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
        auditor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.audit", *map(str, (self.ledger, self.journal, self.acknowledged))),
            *("--attempt-seconds", str(self._attempt_seconds)),
            *("--deliveries", str(self.deliveries), "--artifacts", str(self.artifacts / "results")),
            *(("--final",) if final else ()),
            cwd=ROOT,
            env=environment(),
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


def environment() -> dict[str, str]:
    """Our environment without variables that configure the gateway, or measure coverage of killed processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("VIDEO_GATEWAY_", "COVERAGE_"))}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
