"""`backup` while the gateway works, `restore`, and a start after that."""

import json
from hashlib import sha256
from pathlib import Path

import apsw
import pytest
import pytest_asyncio

from gateway.commands.backup import backup
from gateway.commands.restore import restore
from gateway.domain.errors import ConfigurationError
from gateway.store import migrations

from .conftest import IMAGE_URL, Gateway
from .test_restored import KEEVX, RELAY, held, with_operator

COMMANDS = ("VIDEO_GATEWAY_DATABASE_URL", "VIDEO_GATEWAY_ARTIFACTS")


@pytest_asyncio.fixture
async def gateway(idle: Gateway) -> Gateway:
    return await with_operator(idle)


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands find the files of the gateway without any key."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIDEO_GATEWAY_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("VIDEO_GATEWAY_ARTIFACTS", f"file:{tmp_path / 'artifacts'}")


def refused(call: object) -> str:
    with pytest.raises(ConfigurationError) as error:
        call()  # type: ignore[operator]
    return str(error.value)


async def test_a_backup_is_restored_and_the_next_start_buys_nothing_again(
    gateway: Gateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = await gateway.make(model=KEEVX, image=IMAGE_URL)
    gateway.sandbox.fault("keevx", "submit", "429", 1, retry_after=30)
    waiting = (await gateway.post(model=KEEVX, image=IMAGE_URL))["id"]
    await gateway.until_state(waiting, "refused")
    to = tmp_path / "backups" / "one"

    assert backup(to, None, with_files=True) == 0
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["ledger"] | {"lineage": ""} == {
        "schema": len(migrations.load("sqlite")),
        "lineage": "",
        "position": manifest["ledger"]["position"],
        "generations": 2,
    }
    assert manifest["sealed"]["ledger.db"]["sha256"] == sha256((to / "ledger.db").read_bytes()).hexdigest()
    files = [json.loads(line) for line in (to / "files.jsonl").read_text().splitlines()]
    archived = (await gateway.stored(done["id"])).outputs[0].kept
    assert archived is not None
    assert {
        "kind": "result",
        "name": archived.name,
        "bytes": archived.bytes,
        "sha256": archived.sha256,
        "generation": done["id"],
    } in files
    assert list(to.parent.iterdir()) == [to], "nothing is left of the way there"
    assert "exists already" in refused(lambda: backup(to, None, with_files=False))
    assert "another process uses" in refused(lambda: restore(to, None, replace=True))

    assert (await gateway.finish(waiting))["status"] == "completed"
    bought = gateway.paid
    await gateway.stop()
    assert "--replace" in refused(lambda: restore(to, None, replace=False))
    (tmp_path / "artifacts" / "results" / archived.name).unlink()
    assert restore(to, None, replace=True) == 0
    said = capsys.readouterr()
    assert "missing" not in said.err
    assert "is ledger.db.replaced-" in said.out.replace(f"{tmp_path}/", "")

    await gateway.start()
    await gateway.clock.run_for(120)
    assert gateway.paid == bought
    assert await held(gateway) == {waiting: "refused"}
    assert (await gateway.client.get(done["data"][0]["url"])).status_code == 200


async def test_a_damaged_backup_replaces_nothing(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.make(model=RELAY, image=IMAGE_URL)
    await gateway.stop()
    ledger = tmp_path / "ledger.db"
    before = ledger.read_bytes()
    for name, changed in (
        ("ledger.db", "changed"),
        ("files.jsonl", "changed"),
        ("manifest.json", "not a whole backup"),
    ):
        to = tmp_path / f"without-{name}"
        assert backup(to, None, with_files=False) == 0
        with (to / name).open("r+b") as file:
            file.seek(20)
            file.write(b"\0\0\0")
        assert changed in refused(lambda to=to: restore(to, None, replace=True))
        assert ledger.read_bytes() == before
    newer = tmp_path / "newer"
    backup(newer, None, with_files=False)
    copy = apsw.Connection(str(newer / "ledger.db"))
    copy.execute(
        "insert into schema_migrations select number + 1, name, checksum, applied_at from schema_migrations"
        " order by number desc limit 1"
    )
    copy.close()
    manifest = json.loads((newer / "manifest.json").read_text())
    content = (newer / "ledger.db").read_bytes()
    manifest["sealed"]["ledger.db"] |= {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (newer / "manifest.json").write_text(json.dumps(manifest))
    newest = len(migrations.load("sqlite"))
    assert refused(lambda: restore(newer, None, replace=True)) == (
        f"restore: the backup has schema {newest + 1}, this program knows {newest}; run the newer program"
    )
    assert ledger.read_bytes() == before
    assert "is in the folder" in refused(lambda: backup(tmp_path / "artifacts" / "x", None, with_files=False))
    ledger.unlink()
    assert "there is no ledger" in refused(lambda: backup(tmp_path / "none", None, with_files=False))


async def test_writers_go_on_during_a_copy_and_the_copy_is_of_one_moment(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.make(model=RELAY, image=IMAGE_URL)
    source = apsw.Connection(str(tmp_path / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    source.execute("begin")
    before = source.execute("select count(*) from events").get
    target = apsw.Connection(str(tmp_path / "copy.db"))
    with target.backup("main", source, "main") as copying:
        steps = 0
        while not copying.done:
            copying.step(4)
            steps += 1
            if steps == 3:
                await gateway.make(model=RELAY, image=IMAGE_URL)
    assert steps > 10, "it did not begin again"
    target.execute("pragma journal_mode = delete")
    assert target.execute("select count(*) from events").get == before
    assert target.execute("pragma integrity_check").get == "ok"
