"""The proxies between the gateways and PostgreSQL, in a process of their own, so that nobody's load slows them down.

`python -m tests.chaos.replicas.proxies TARGET SEED COUNT` prints their ports, reads a command as a JSON list
`[number, name, …]` from each line of its input, and prints a line when it is done. It ends with its input.
"""

import asyncio
import sys
from typing import Any

import msgspec

from ..sandbox import ROOT, environment
from .proxy import Flow, Proxy


class Proxies:
    """Starts the process and sends it commands."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        self._count = count
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self.ports: list[int] = []

    async def open(self, target: int) -> None:
        """Start proxies before this port."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.replicas.proxies", str(target), str(self._seed), str(self._count)),
            cwd=ROOT,
            env=environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.ports = msgspec.json.decode(await self._process.stdout.readline())

    async def refuse(self, number: int) -> None:
        """Break the connections of one proxy and refuse new ones until `heal`."""
        await self._command(number, "refuse")

    async def reset(self, number: int) -> None:
        """Reset the connections of one proxy."""
        await self._command(number, "reset")

    async def flow(self, number: int, up: Flow, down: Flow) -> None:
        """What happens to the bytes of one proxy, to PostgreSQL and back, until `heal`."""
        await self._command(number, "flow", up.value, down.value)

    async def heal(self, number: int) -> None:
        """Let the network be good again."""
        await self._command(number, "heal")

    async def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _command(self, *command: object) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._turn:
            process.stdin.write(msgspec.json.encode(command) + b"\n")
            assert await process.stdout.readline()


async def _serve(target: int, seed: int, count: int) -> None:
    proxies = [Proxy(lambda: [target], seed + number) for number in range(count)]
    for proxy in proxies:
        await proxy.open()
    _say([proxy.port for proxy in proxies])
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        number, name, *values = msgspec.json.decode(line)
        await _do(proxies[number], name, *map(Flow, values))
        _say("done")


async def _do(proxy: Proxy, name: str, up: Flow = Flow.PASS, down: Flow = Flow.PASS) -> None:
    if name == "heal":
        await proxy.open()
    if name == "refuse":
        proxy.refuse()
    if name in {"heal", "flow"}:
        proxy.flow(up, down)
    else:
        proxy.reset()


def _say(value: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
