"""A store that fails under a real process: what is logged and refused, and that it works again without a restart."""

import json
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from .test_serve import IMAGE, SOON, Process, configure, create, eventually, read, started

Start = Callable[..., Process]
BODY = {"model": "keevx/V", "prompt": "waves", "image": IMAGE}
LEDGER = "video-gateway.db"
FULL_BYTES = 20_000  # less than the ledger has already, and more than the log file gets


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def run(*arguments: str, **environ: str) -> Process:
        env = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
        processes.append(Process(*arguments, cwd=tmp_path, env=env | {"KEEVX_API_KEY": "sandbox"} | environ))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()


@pytest.fixture
def sandbox(start: Start, tmp_path: Path) -> str:
    changes = ("queued_seconds=0.1", "total_seconds=1", "max_short_side=64")
    url = start("sandbox", "--port", "0", *(f"--set={change}" for change in changes)).until(
        r"sandbox on (http://[^;]+)"
    )
    configure(tmp_path, url, "drain_seconds = 3")
    return url


def logged(gateway: Process, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.stderr.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def not_ready(gateway: Process) -> str:
    """Wait until the gateway is not ready, and return the reason that it gives."""

    def look() -> str | None:
        answer = httpx.get(f"{gateway.url}/health/ready", timeout=SOON)
        if answer.status_code == 200:
            return None
        assert int(answer.headers["retry-after"]) > 0
        reason: str = answer.json()["reason"]
        return reason

    reason: str = eventually(look)
    return reason


def ready(gateway: Process) -> bool:
    return httpx.get(f"{gateway.url}/health/ready", timeout=SOON).status_code == 200


def refused(gateway: Process, key: str = "k") -> dict[str, Any]:
    answer = httpx.post(
        f"{gateway.url}/v1/videos/generations", json=BODY, headers={"idempotency-key": key}, timeout=SOON
    )
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == "store_unavailable"
    assert LEDGER not in answer.text
    return error


def ids(gateway: Process) -> list[str]:
    return [
        generation["id"]
        for generation in httpx.get(f"{gateway.url}/v1/videos/generations").raise_for_status().json()["data"]
    ]


def finished(gateway: Process, generation: str) -> dict[str, Any]:
    ended: dict[str, Any] = eventually(lambda: (now := read(gateway.url, generation))["completed_at"] and now)
    return ended


def limit_files(gateway: Process, size: int) -> None:
    """Nearly a full disk, without administrator rights: no file may grow beyond this many bytes."""
    resource.prlimit(gateway.popen.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_disk_is_reported_and_recovers(start: Start, sandbox: str, tmp_path: Path) -> None:
    gateway = start("serve", "--port", "0")
    before = create(gateway.url, "waves")
    finished(gateway, before)
    limit_files(gateway, FULL_BYTES)

    reason = not_ready(gateway)
    error = refused(gateway)

    assert reason.startswith("the store cannot take writes: database.url: the disk ")
    assert ids(gateway) == [before]
    assert read(gateway.url, before)["status"] == "completed"
    assert started(sandbox) == 1
    limit_files(gateway, resource.RLIM_INFINITY)
    eventually(lambda: ready(gateway))
    answer = httpx.post(f"{gateway.url}/v1/videos/generations", json=BODY, headers={"idempotency-key": "k"})
    assert answer.status_code == 200, error
    assert finished(gateway, answer.json()["id"])["status"] == "completed"
    assert started(sandbox) == 2
    assert 0 < len(logged(gateway, "store_failed")) == len(logged(gateway, "store_works_again"))
    assert gateway.stop() == 0


def test_a_lock_of_another_program_is_reported_and_recovers(start: Start, sandbox: str, tmp_path: Path) -> None:
    gateway = start("serve", "--port", "0")
    before = create(gateway.url, "waves")
    other = apsw.Connection(str(tmp_path / LEDGER))
    other.set_busy_timeout(5000)
    other.execute("begin immediate")

    error = refused(gateway)
    reason = not_ready(gateway)

    assert "nothing was accepted" in error["message"]
    assert "another program holds a lock" in reason or "does not answer" in reason
    other.execute("rollback")
    other.close()
    eventually(lambda: ready(gateway))
    assert finished(gateway, before)["status"] == "completed"
    assert ids(gateway) == [before]
    assert gateway.stop() == 0


def test_a_ledger_that_was_moved_away_accepts_nothing_until_it_is_back(
    start: Start, sandbox: str, tmp_path: Path
) -> None:
    gateway = start("serve", "--port", "0")
    before = create(gateway.url, "waves")
    finished(gateway, before)
    (tmp_path / LEDGER).rename(tmp_path / "elsewhere")

    assert "moved, replaced or deleted" in not_ready(gateway)
    refused(gateway)

    (tmp_path / "elsewhere").rename(tmp_path / LEDGER)
    eventually(lambda: ready(gateway))
    again = create(gateway.url, "waves")
    assert finished(gateway, again)["status"] == "completed"
    assert gateway.stop() == 0


def test_a_task_reference_is_held_until_the_store_is_back(start: Start, sandbox: str, tmp_path: Path) -> None:
    gateway = start("serve", "--port", "0")
    generation = create(gateway.url, "waves [[sandbox:keevx:submit:slow?seconds=0.5]]")
    eventually(lambda: started(sandbox))
    limit_files(gateway, FULL_BYTES)
    eventually(lambda: logged(gateway, "submission_receipt"))
    eventually(lambda: logged(gateway, "store_unavailable"))
    assert read(gateway.url, generation)["status"] == "queued"

    limit_files(gateway, resource.RLIM_INFINITY)

    done = finished(gateway, generation)
    assert [attempt["status"] for attempt in done["attempts"]] == ["completed"]
    assert done["attempts"][0]["tasks"] == logged(gateway, "submission_receipt")[0]["tasks"]
    assert started(sandbox) == 1
    assert gateway.stop() == 0


def test_a_result_is_held_until_the_store_is_back(start: Start, sandbox: str, tmp_path: Path) -> None:
    gateway = start("serve", "--port", "0")
    generation = create(gateway.url, "waves")
    eventually(lambda: read(gateway.url, generation)["status"] == "in_progress")
    limit_files(gateway, FULL_BYTES)
    eventually(lambda: logged(gateway, "store_unavailable"))
    assert read(gateway.url, generation)["status"] == "in_progress"

    limit_files(gateway, resource.RLIM_INFINITY)

    assert finished(gateway, generation)["status"] == "completed"
    assert started(sandbox) == 1
    assert gateway.stop() == 0


@pytest.mark.parametrize("fault", ["full", "locked"])
def test_a_stop_while_a_task_reference_cannot_be_stored_leaves_it_in_the_log(
    start: Start, sandbox: str, tmp_path: Path, fault: str
) -> None:
    gateway = start("serve", "--port", "0")
    generation = create(gateway.url, "waves [[sandbox:keevx:submit:slow?seconds=0.5]]")
    eventually(lambda: started(sandbox))
    other = apsw.Connection(str(tmp_path / LEDGER))
    if fault == "full":
        limit_files(gateway, FULL_BYTES)
    else:
        other.set_busy_timeout(5000)
        other.execute("begin immediate")
    receipt = eventually(lambda: logged(gateway, "submission_receipt"))[0]

    began = time.monotonic()
    code = gateway.stop()
    took = time.monotonic() - began
    other.close()

    assert (code, took < 3.5) == (0, True), (took, gateway.stderr)
    second = start("serve", "--port", "0")
    done = finished(second, generation)
    assert [(attempt["status"], attempt["billed"], attempt["tasks"]) for attempt in done["attempts"]] == [
        ("unknown", "maybe", [])
    ]
    assert len(receipt["tasks"]) == 1
    assert started(sandbox) == 1
    assert second.stop() == 0


# --- at the start -----------------------------------------------------------------------------------------------------


def stopped(gateway: Process) -> str:
    """The reason in the line of the log with which a start was refused."""
    assert gateway.ended() == 2
    lines = [json.loads(line) for line in gateway.stderr.splitlines()]
    (reason,) = [line["problem"] for line in lines if line["event"] == "start_refused"]
    assert reason.startswith("database.url: ")
    return str(reason)


def test_a_file_that_is_not_a_ledger_stops_the_start_and_is_not_changed(start: Start, tmp_path: Path) -> None:
    notes = b"these are somebody's notes\n" * 500
    (tmp_path / LEDGER).write_bytes(notes)
    assert "not an SQLite database; name another file" in stopped(start("serve", "--port", "0"))
    assert (tmp_path / LEDGER).read_bytes() == notes


def test_a_newer_schema_stops_the_start(start: Start, tmp_path: Path) -> None:
    first = start("serve", "--port", "0")
    assert first.url
    assert first.stop() == 0
    database = apsw.Connection(str(tmp_path / LEDGER))
    database.execute("insert into schema_migrations select max(number) + 1, 'later', '', 0 from schema_migrations")
    database.close()
    assert re.search(r"has schema \d+, this program knows \d+; run the newer program", stopped(start("serve")))


def test_a_damaged_schema_stops_the_start_with_the_remedy(start: Start, tmp_path: Path) -> None:
    first = start("serve", "--port", "0")
    assert first.url
    assert first.stop() == 0
    with (tmp_path / LEDGER).open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(3996))
    message = stopped(start("serve", "--port", "0"))
    assert "damaged" in message
    assert "restore a backup" in message


def test_a_folder_that_cannot_be_written_stops_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "video-gateway.toml").write_text("[database]\nurl = 'sqlite:////proc/ledger.db'\n")
    assert "/proc" in stopped(start("serve", "--port", "0"))


def test_pages_that_are_damaged_take_the_gateway_out_of_service(start: Start, sandbox: str, tmp_path: Path) -> None:
    first = start("serve", "--port", "0")
    generation = create(first.url, "waves")
    finished(first, generation)
    assert first.stop() == 0
    database = apsw.Connection(str(tmp_path / LEDGER))
    root = database.execute("select rootpage from sqlite_schema where name = 'outputs'").get
    database.close()
    with (tmp_path / LEDGER).open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(os.urandom(4096))
    gateway = start("serve", "--port", "0")

    answer = httpx.get(f"{gateway.url}/v1/videos/generations/{generation}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert "damaged" in not_ready(gateway)
    refused(gateway)
    assert started(sandbox) == 1
    assert gateway.stop() == 0


def test_a_ledger_that_was_cut_short_stops_the_start(start: Start, tmp_path: Path) -> None:
    first = start("serve", "--port", "0")
    assert first.url
    assert first.stop() == 0
    os.truncate(tmp_path / LEDGER, 5000)
    assert "damaged" in stopped(start("serve", "--port", "0"))


# --- a stop under load ------------------------------------------------------------------------------------------------


def ended_by_another(gateway: Process, name: signal.Signals) -> bool:
    """Send another signal. Signals within a moment of the first count as the same one."""
    gateway.popen.send_signal(name)
    return gateway.popen.poll() is not None


def test_after_a_second_signal_a_submit_is_unknown_and_never_repeated(start: Start, sandbox: str) -> None:
    gateway = start("serve", "--port", "0")
    generation = create(gateway.url, "waves [[sandbox:keevx:submit:hang?started=1]]")
    eventually(lambda: started(sandbox))
    gateway.popen.send_signal(signal.SIGTERM)
    eventually(lambda: logged(gateway, "stopping"))
    eventually(lambda: ended_by_another(gateway, signal.SIGINT))
    assert gateway.popen.returncode == -signal.SIGINT

    second = start("serve", "--port", "0")

    done = finished(second, generation)
    assert [(attempt["status"], attempt["billed"]) for attempt in done["attempts"]] == [("unknown", "maybe")]
    assert started(sandbox) == 1
    assert second.stop() == 0


def test_a_stop_under_load_ends_in_time_without_loss_or_duplicates(start: Start, sandbox: str) -> None:
    gateway = start("serve", "--port", "0")
    made: list[str] = []
    with httpx.Client(base_url=gateway.url) as client:
        for number in range(60):
            if number == 40:
                gateway.popen.send_signal(signal.SIGTERM)
            try:
                answer = client.post(
                    "/v1/videos/generations",
                    json={**BODY, "prompt": f"waves {number} [[sandbox:keevx:submit:slow?seconds=0.3]]"},
                )
            except httpx.TransportError:
                break
            if answer.status_code == 200:
                made.append(answer.json()["id"])
            else:
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
                assert int(answer.headers["retry-after"]) > 0
    assert gateway.ended() == 0
    assert not logged(gateway, "drain_timed_out")

    second = start("serve", "--port", "0")

    ends = [finished(second, generation) for generation in made]
    assert len(made) >= 40
    assert [generation["status"] for generation in ends] == ["completed"] * len(made)
    assert {len(attempt["attempts"]) for attempt in ends} == {1}
    assert started(sandbox) == len(made)
    assert second.stop() == 0
