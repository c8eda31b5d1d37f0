"""A gateway as a process that is started, hurt and started again; its log goes to one file."""

import asyncio
import signal
import socket
import sys
import time
from pathlib import Path

import httpx

from gateway.failpoints import VARIABLE

from .configuration import SECRETS
from .sandbox import ROOT, SOON_SECONDS, environment

CONFIGURATION = "video-gateway.toml"
READY_SECONDS = 6.0  # the gateway itself answers after 5 s at the latest


class GatewayProcess:
    """The gateway of a folder, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.started_at = 0.0  # by the wall clock
        self._log = (folder / "gateway.log").open("ab")
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)
        self._gateway: asyncio.subprocess.Process | None = None

    @property
    def gateway(self) -> asyncio.subprocess.Process:
        assert self._gateway is not None
        return self._gateway

    @property
    def lives(self) -> bool:
        return self._gateway is not None and self._gateway.returncode is None

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

    async def ready(self, seconds: float = SOON_SECONDS) -> None:
        """Wait until the gateway is ready. Raises `RuntimeError` if the process ends."""
        async with asyncio.timeout(seconds):
            while await self.readiness() != 200:
                if self.gateway.returncode is not None:
                    raise RuntimeError(f"the gateway has ended with {self.gateway.returncode}: {self.last_words()}")
                await asyncio.sleep(0.03)

    async def readiness(self) -> int:
        """The status of a readiness call over a new connection; 0 without an answer."""
        try:
            return (
                await self._http.get(f"{self.url}/health/ready", headers={"connection": "close"}, timeout=READY_SECONDS)
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

    def last_words(self) -> str:
        return (self.folder / "gateway.log").read_text()[-2000:]

    async def close(self) -> None:
        """Kill it."""
        if self.lives:
            await self.kill()
        await self._http.aclose()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
