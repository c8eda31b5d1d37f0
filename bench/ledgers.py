"""Ledgers with a past: ended generations and open ones. They are made once, and kept in `build/bench/`.

The open ones are written through the store, each with a task that the provider accepted a minute ago. Ledgers of
another version of the gateway are not used.
"""

import asyncio
import logging
import shutil
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import structlog
from msgspec.structs import replace

from bench.history import fill
from bench.load import KEY
from bench.processes import ROOT
from bench.systems import CONFIGURATION, CREATE, PATH, polling
from gateway.app import Application
from gateway.domain.adapter.task import Status, TaskRef
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Output, Task
from gateway.ids import new_id
from gateway.settings.load import load
from gateway.upstream.registry import load_adapters
from tests.asgi import scope_of

FOLDER = ROOT / "build" / "bench" / "ledgers"
AT_ONCE = 2000  # generations in one transaction while the ledger is made
OPEN_FOR = timedelta(days=30)
NAME = "ledger.db"


async def copied(folder: Path, stored: int, opened: int) -> None:
    """Put a ledger with `stored` ended and `opened` open generations into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = FOLDER / f"{_version()}-{stored}-{opened}"
    if not made.exists():
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.ledgers", str(made), str(stored), str(opened), cwd=ROOT
        )
        if await process.wait() != 0:
            raise RuntimeError(f"the ledger {made.name} was not made")
    await asyncio.to_thread(shutil.copytree, made, folder, dirs_exist_ok=True)


def _version() -> str:
    """A digest of what decides how a ledger is written."""
    digest = sha256()
    for part in ("gateway/store", "gateway/domain/generation", "bench"):
        for path in sorted((ROOT / part).rglob("*.sql" if part != "bench" else "*histor*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


async def _make(folder: Path, stored: int, opened: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    owner = f"key_{sha256(KEY.encode()).hexdigest()[:24]}"
    fill(partial / NAME, stored, owner, datetime.now(UTC) - timedelta(hours=1))
    config = partial / "gateway.toml"
    config.write_text(CONFIGURATION.format(folder=partial, provider="http://127.0.0.1:9", polling=polling(None)))
    application = Application(load(config, {"BENCH_KEY": KEY}, load_adapters()), said="moved")
    application.engine.begin = lambda _: None  # type: ignore[method-assign, assignment]  # nothing is sent
    if opened:
        await create_first(application)
        (name,) = await application.store.open_ids(datetime.now(UTC))
        template = await application.store.get(name)
        assert template is not None
        for start in range(0, opened - 1, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, opened - 1))
            await asyncio.gather(*(application.store.create(running(template, number)) for number in numbers))
    await application.store.close()
    for copy in partial.glob(f"{NAME}.schema-*"):  # that the gateway made before it migrated the history
        copy.unlink()
    partial.rename(folder)


async def create_first(application: Application) -> None:
    """One create by the gateway itself, so that request and plan are real; the others are copies of it."""
    headers = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(CREATE)),
    }
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": CREATE, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        statuses.extend(value for key, value in message.items() if key == "status" and isinstance(value, int))

    await application.asgi(scope_of("POST", PATH, headers), receive, send)  # type: ignore[arg-type]
    assert statuses == [200]


def running(template: Generation, number: int) -> Generation:
    """A copy of a generation, with a task at its first provider."""
    now = datetime.now(UTC)
    accepted_at = now - timedelta(seconds=60)
    attempt = Attempt(
        id=new_id("att_", now),
        number=1,
        route=0,
        slots=(0,),
        state=AttemptState.ACCEPTED,
        reserved_at=accepted_at,
        sent_at=accepted_at,
        accepted_at=accepted_at,
        tasks=(Task(ref=TaskRef(id=f"open-{number}"), slot=0, status=Status.IN_PROGRESS, raw_status="pending"),),
    )
    route = template.plan.routes[0]
    return replace(
        template,
        id=new_id("gen_", now),
        request=replace(template.request, prompt=f"{template.request.prompt}, number {number}"),
        status=Status.IN_PROGRESS,
        provider=route.provider,
        provider_model=route.model,
        created_at=accepted_at,
        deadline_at=now + OPEN_FOR,
        outputs=(Output(index=0),),
        attempts=(attempt,),
    )


if __name__ == "__main__":
    asyncio.run(_make(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
