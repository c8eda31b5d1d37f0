"""Which replicas of a machine have ended: only what this kernel itself has locked on its own disk is believed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store.postgres.local_locks import BOOT, LocalLocks

from ....cases import every

FIRST, SECOND = f"rep_{1:024x}", f"rep_{2:024x}"
HOLD = """
import sys
from pathlib import Path
from gateway.store.postgres.local_locks import LocalLocks
LocalLocks(Path(sys.argv[1])).hold(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_has_ended_and_a_stopped_one_has_not(tmp_path: Path) -> None:
    command = (sys.executable, "-c", HOLD, str(tmp_path), FIRST)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603  # our own program
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        locks = LocalLocks(tmp_path)
        locks.hold(SECOND)
        assert locks.ended() == []
        process.kill()
    assert locks.ended() == [FIRST]
    assert LocalLocks(tmp_path).ended() == [FIRST], "another start sees it until it is forgotten"
    locks.forget([FIRST])
    assert locks.ended() == []
    locks.release()
    assert list(tmp_path.iterdir()) == []


@every(
    "boot, mounts",
    [
        (BOOT.read_text().replace("-", "0", 1), "/dev/sda / ext4 rw 0 0\n"),
        ("", "/dev/sda / ext4 rw 0 0\n"),
        (BOOT.read_text(), "server:/ / nfs4 rw 0 0\n"),
        (BOOT.read_text(), ""),
    ],
)
def test_nothing_is_said_where_it_is_not_certain(boot: str, mounts: str, tmp_path: Path) -> None:
    folder = tmp_path / "replicas"
    killed = LocalLocks(folder)
    killed.hold(FIRST)
    file, _ = killed._held or (-1, None)
    os.close(file)
    assert LocalLocks(folder).ended() == [FIRST]
    (tmp_path / "boot").write_text(boot)
    (tmp_path / "mounts").write_text(mounts)
    locks = LocalLocks(folder, boot=tmp_path / "boot", mounts=tmp_path / "mounts")
    locks.hold(SECOND)
    assert locks.ended() == []
    locks.release()
    assert LocalLocks(None).ended() == []
    assert [path.name[:28] for path in folder.iterdir()] == [FIRST]
    (folder / f"{FIRST}.{BOOT.read_text().strip()}").unlink()


def test_a_folder_that_cannot_be_used_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    locks = LocalLocks(tmp_path / "file")
    locks.hold(FIRST)
    assert locks.ended() == []
    locks.release()
