"""Gateways of the last release and of this version work together on one database, which this version has migrated."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from gateway.sandbox.server import SandboxServer
from gateway.store import migrations

from .last_release import PRESENT, environment, unpacked

SOON = 60.0  # seconds; a busy machine takes ten for a start
SECONDS = 1.0  # that a task takes
IMAGE = "https://example.com/first.jpg"
GENERATIONS = "/v1/videos/generations"


class Gateway:
    """A gateway as a process, of the program in a folder."""

    def __init__(self, folder: Path, database: str, program: Path) -> None:
        self._folder, self._database, self.program = folder, database, program
        self.process: asyncio.subprocess.Process
        self.client: httpx.AsyncClient
        self.log = folder / f"log-{'new' if program is None else 'old'}"

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "serve", "--config", "gateway.toml", "--port", "0"),
                cwd=self._folder,
                env=environment(self.program) | {"VIDEO_GATEWAY_DATABASE_URL": self._database, "KEY": "sandbox"},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(SOON):
            async for line in self.process.stdout:
                if match := re.search(r"listening on (http://\S+)", line.decode()):
                    self.client = httpx.AsyncClient(base_url=match[1], trust_env=False, timeout=SOON)
                    return
        raise AssertionError(self.log.read_text())

    async def end(self, name: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(name)
        async with asyncio.timeout(SOON):
            await self.process.wait()
        await self.client.aclose()

    async def create(self, prompt: str) -> str:
        body = {"model": "keevx/V", "prompt": prompt, "image": IMAGE}
        answer = await self.client.post(GENERATIONS, json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def ended(self, generation_id: str) -> str:
        """Wait for the end of a generation; its status."""
        async with asyncio.timeout(SOON):
            while True:
                now = (await self.client.get(f"{GENERATIONS}/{generation_id}?wait=5")).raise_for_status().json()
                if now["status"] not in {"queued", "in_progress"}:
                    return str(now["status"])

    async def warnings(self) -> str:
        answer = (await self.client.get("/health/ready")).raise_for_status().json()
        return " ".join(answer.get("warnings", ()))


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(queued_seconds=0.0, total_seconds=SECONDS, max_short_side=64) as server:
        yield server


@pytest.fixture
def gateways(tmp_path: Path, empty_postgres_url: str, sandbox: SandboxServer) -> tuple[Gateway, Gateway]:
    """The last release and the present program, with one configuration."""
    (tmp_path / "gateway.toml").write_text(
        f"""
        [server]
        log_format = "json"
        [artifacts]
        url = "file:{tmp_path / "artifacts"}"
        shared = true
        [providers.keevx]
        api_key = "env:KEY"
        base_url = "{sandbox.base_urls()["keevx"]}"
        first_poll_seconds = 0.2
        poll_seconds = 0.2
        poll_max_seconds = 0.4
        """
    )
    with unpacked(tmp_path / "last") as program:
        return Gateway(tmp_path, empty_postgres_url, program), Gateway(tmp_path, empty_postgres_url, PRESENT)


async def test_versions_work_together(
    gateways: tuple[Gateway, Gateway], sandbox: SandboxServer, empty_postgres_url: str
) -> None:
    old, new = gateways
    database: Any = None
    try:
        await old.start()
        database = await asyncpg.connect(empty_postgres_url)
        first = await old.create("before the upgrade")
        await new.start()
        assert await database.fetchval("select max(number) from schema_migrations") == len(migrations.load("postgres"))
        created = [first, await old.create("at the old one"), await new.create("at the new one")]
        for gateway in (old, new):
            assert {await gateway.ended(generation_id) for generation_id in created} == {"completed"}

        created.append(await old.create("taken over by the new one"))
        await until_accepted(database, created[-2:])
        await old.end(signal.SIGKILL)
        await database.execute(  # as if it had been dead for long
            "update replicas set heartbeat_at = heartbeat_at - interval '1 minute' where name like $1",
            f"%:{old.process.pid}",
        )
        assert await new.ended(created[-1]) == "completed"

        await old.start()
        shipped = len(list((old.program / "gateway/store/postgres/migrations").glob("*.sql")))
        assert ("has made the schema" in await old.warnings()) == (shipped < len(migrations.load("postgres")))
        created += [await old.create("after a start on the new schema"), await new.create("taken over by the old one")]
        await until_accepted(database, created[-2:])
        await new.end(signal.SIGTERM)
        assert new.process.returncode == 0
        assert {await old.ended(generation_id) for generation_id in created} == {"completed"}
        assert sorted(sandbox.state.prompts_started.values()) == [1] * len(created)
        assert not re.findall(r'"level":"error".*', old.log.read_text() + new.log.read_text())
    finally:
        for gateway in gateways:
            if hasattr(gateway, "process"):
                await gateway.end(signal.SIGKILL)
        if database is not None:
            await database.close()


async def until_accepted(database: Any, generation_ids: list[str]) -> None:
    statement = "select count(*) from attempts where generation_id = any($1) and accepted_at is not null"
    async with asyncio.timeout(SOON):
        while await database.fetchval(statement, generation_ids) < len(generation_ids):
            pass
