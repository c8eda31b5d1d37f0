"""The restore drill: an older ledger is put back while the sandbox knows what was bought since. Nothing may be bought.

Three ways to an older ledger: `backup` and `restore` of the command line; a copy of the file alone, put in the place of
the ledger; a snapshot of its whole folder with the marker, as a volume is put back.
"""

import asyncio
import random
import shutil
import signal
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Literal

import apsw
import httpx
import msgspec
from msgspec import Struct

from .client import IMAGE, PATH
from .configuration import CLIENT_KEY, SECRETS, SUBMIT_SECONDS
from .gateway_process import CONFIGURATION
from .run import ChaosError, eventually
from .sandbox import ROOT, environment
from .world import DRAIN_SECONDS, World

Way = Literal["backup", "copy", "snapshot"]
WAYS: tuple[Way, ...] = ("backup", "copy", "snapshot")
ADMIN_KEY = "chaos-operator"
UNGUARDED = "tests.chaos.unguarded"  # ignores the markers
QUIET_SECONDS = 2.5  # so long is watched that nothing is bought again; attempts are repeated and time out within it
FAR_SECONDS = 1.5  # after so long the marker in the folder of artifacts has followed
_SIDES = ("", "-wal", "-shm", "-marker")


class Outcome(Struct, frozen=True, kw_only=True):
    """What a drill has observed."""

    way: Way
    lost: int  # generations of which the restored ledger knows nothing
    held: int  # generations that the restored ledger holds
    bought_before: int  # of these, generations for which a provider had received a submit when the ledger was put back
    again: int  # of these, generations for which another submit was received before anybody has released them
    released: int  # generations for which a submit was received after the release
    astray: int  # submits after the release for generations that were not held

    def text(self) -> str:
        """One line of the card."""
        return (
            f"restored by {self.way}: {self.held} open generations held, {self.bought_before} of them bought before,"
            f" bought again {self.again}; bought after the release {self.released}, others {self.astray};"
            f" created after the copy {self.lost}"
        )


async def drill(folder: Path, way: Way, seed: int, *, generations: int, module: str = "gateway") -> Outcome:
    """Put an older ledger back once. `module` runs the gateway after that. Raises `ChaosError` if nothing was held."""
    world = World(folder, task_seconds=1.0, attempt_seconds=6)
    random_ = random.Random(seed)
    (folder / "ledger").mkdir()
    world.ledger = folder / "ledger" / "ledger.db"
    await world.open()
    admin = 'admin_keys = ["env:ADMIN_KEY"]'
    world.configure(CONFIGURATION, SUBMIT_SECONDS, f"drain_seconds = {DRAIN_SECONDS}", admin)
    await world.faults(seed, usual=True)
    client = httpx.AsyncClient(base_url=world.url, trust_env=False, timeout=10)
    try:
        await world.start(ADMIN_KEY=ADMIN_KEY)
        await world.ready()
        half = generations // 2
        await _create(client, range(half))
        creating = asyncio.create_task(_create(client, range(half, generations)))
        await asyncio.sleep(random_.random() * 0.3)
        await _keep(world, way)
        await creating
        await _create(client, range(generations, generations + half))
        await asyncio.sleep(FAR_SECONDS + random_.random())
        if random_.random() < 0.5:
            await world.kill()
        else:
            world.signal(signal.SIGTERM)
            await world.ended()
        await _put_back(world, way)
        return await _observe(world, client, way, module=module)
    finally:
        await client.aclose()
        await world.close()


async def _observe(world: World, client: httpx.AsyncClient, way: Way, *, module: str) -> Outcome:
    stored = _prompts(world, "true")
    before = _submits(world)
    await world.no_faults()
    await world.start(module=module, DEFECT="unmarked", ADMIN_KEY=ADMIN_KEY)
    await world.ready()
    await asyncio.sleep(QUIET_SECONDS)
    held = _prompts(world, "restored_at is not null") if module == "gateway" else _open_before(world, before)
    again = _submits(world) - before
    if not held:
        raise ChaosError("nothing was open in the restored ledger")
    operator = {"authorization": f"Bearer {ADMIN_KEY}"}
    (await client.post("/v1/admin/restored/release", headers=operator)).raise_for_status()
    await eventually(
        lambda: world.count("select count(*) from generations where status in ('queued', 'in_progress')") == 0
    )
    after = _submits(world) - before - again
    return Outcome(
        way=way,
        lost=len(before.keys() - stored),
        held=len(held),
        bought_before=len(held & before.keys()),
        again=len(again),
        released=len(after.keys() & held),
        astray=len(after.keys() - held),
    )


async def _create(client: httpx.AsyncClient, numbers: range) -> None:
    """Create a generation for each number. Each has a prompt of its own, by which the sandbox's journal names it."""
    for number in numbers:
        body = {"model": f"m{number % 3}", "prompt": f"Beach {number}", "image": IMAGE, "deadline_seconds": 60}
        headers = {"authorization": f"Bearer {CLIENT_KEY}", "idempotency-key": f"key-{number}"}
        (await client.post(PATH, json=body, headers=headers)).raise_for_status()


async def _keep(world: World, way: Way) -> None:
    copy = world.folder / "kept"
    match way:
        case "backup":
            await _command(world, "backup", str(copy))
        case "copy":
            copy.mkdir()
            with closing(apsw.Connection(str(world.ledger))) as connection:
                connection.execute("vacuum into ?", (str(copy / "ledger.db"),))
        case "snapshot":
            world.signal(signal.SIGSTOP)
            shutil.copytree(world.ledger.parent, copy)
            world.signal(signal.SIGCONT)


async def _put_back(world: World, way: Way) -> None:
    copy = world.folder / "kept"
    if way == "backup":
        await _command(world, "restore", str(copy), "--replace")
        return
    for side in _SIDES[:3]:
        world.ledger.with_name(world.ledger.name + side).unlink(missing_ok=True)
    for path in copy.iterdir():
        number = world.ledger.with_name(path.name)
        if way == "snapshot" and path.name.endswith("-marker") and number.exists():
            text = path.read_bytes()  # the numbers of files are those of before, as in a volume that is put back
            number.write_bytes(text)
        elif not path.name.endswith("-lock"):
            shutil.copyfile(path, number)


async def _command(world: World, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments, "--config", str(world.folder / CONFIGURATION)),
        cwd=ROOT,
        env=environment() | SECRETS,
        stdout=asyncio.subprocess.DEVNULL,
    )
    if (code := await process.wait()) != 0:
        raise ChaosError(f"{arguments[0]} ended with {code}")


def _submits(world: World) -> Counter[str]:
    """How many submits the providers have received for each prompt."""
    lines = [msgspec.json.decode(line) for line in world.journal.read_bytes().splitlines()]
    return Counter(line["prompt"] for line in lines if line["event"] == "submit")


def _prompts(world: World, where: str) -> set[str]:
    texts = world.count(f"select json_group_array(request ->> '$.prompt') from generations where {where}")  # noqa: S608  # `where` is written below
    return set(msgspec.json.decode(texts, type=list[str]))


def _open_before(world: World, before: Counter[str]) -> set[str]:
    return _prompts(world, "true") & before.keys()
