"""`serve` as a process: it starts, prints its address, stops on a signal, and continues open generations."""

import io
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from PIL import Image

from ..postgres_databases import execute, run_apart

SOON = 15.0  # seconds; nothing in these tests takes longer
IMAGE = "https://example.com/first.jpg"
Start = Callable[..., "Process"]


class Process:
    """A running command of the program; a thread reads its standard output."""

    def __init__(self, *arguments: str, cwd: Path, env: dict[str, str]) -> None:
        self.stderr_path = cwd / f"stderr-{time.monotonic_ns()}"
        self.lines: list[str] = []
        with self.stderr_path.open("wb") as stderr:
            self.popen = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "gateway", *arguments],
                cwd=cwd,
                env=env,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text()

    @property
    def url(self) -> str:
        """The address it listens on."""
        return self.until(r"listening on (http://\S+)")

    def until(self, pattern: str) -> str:
        """Wait for a line of output that matches; its first group."""

        def look() -> str | None:
            return next((match[1] for line in self.lines if (match := re.search(pattern, line))), None)

        return eventually(look, lambda: f"{pattern}: {self.lines} {self.stderr}")

    def ended(self) -> int:
        code = self.popen.wait(timeout=SOON)
        self._reader.join()
        return code

    def stop(self, name: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(name)
        return self.ended()

    def kill(self) -> None:
        self.popen.kill()
        self.ended()
        assert self.popen.stdout is not None
        self.popen.stdout.close()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self.lines.append(line.rstrip("\n"))


def eventually(look: Callable[[], Any], describe: Callable[[], str] = lambda: "") -> Any:
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if result := look():
            return result
        time.sleep(0.02)
    raise AssertionError(f"did not happen in time: {describe()}")


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
def sandbox(start: Start) -> str:
    changes = ("queued_seconds=0.1", "total_seconds=3", "max_short_side=64")
    return start("sandbox", "--port", "0", *(f"--set={change}" for change in changes)).until(
        r"sandbox on (http://[^;]+)"
    )


def configure(folder: Path, sandbox: str, more: str = "") -> None:
    (folder / "video-gateway.toml").write_text(
        f"""
        [server]
        log_format = "json"
        {more}
        [providers.keevx]
        api_key = "env:KEEVX_API_KEY"
        base_url = "{sandbox}/keevx/v1"
        first_poll_seconds = 0.2
        poll_seconds = 0.2
        poll_max_seconds = 0.4
        """
    )


def create(url: str, prompt: str) -> str:
    body = {"model": "keevx/V", "prompt": prompt, "image": IMAGE}
    generation_id: str = httpx.post(f"{url}/v1/videos/generations", json=body).raise_for_status().json()["id"]
    return generation_id


def read(url: str, generation: str) -> dict[str, Any]:
    view: dict[str, Any] = httpx.get(f"{url}/v1/videos/generations/{generation}").raise_for_status().json()
    return view


def started(sandbox: str) -> int:
    count: int = httpx.get(f"{sandbox}/_sandbox/state").json()["providers"]["keevx"]["tasks_started"]
    return count


def test_it_says_where_it_listens_answers_and_stops(start: Start, tmp_path: Path) -> None:
    gateway = start("serve", "--port", "0")

    ready = httpx.get(f"{gateway.url}/health/ready")
    began = time.monotonic()
    code = gateway.stop()

    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    assert "server" not in ready.headers
    assert not gateway.url.endswith(":0")
    assert (code, gateway.lines) == (0, [f"listening on {gateway.url}"])
    assert time.monotonic() - began < 5
    events = {event["event"]: event for event in map(json.loads, gateway.stderr.splitlines())}
    assert events["listening"]["url"] == gateway.url
    assert {"started", "stopping", "stopped"} <= set(events)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("video-gateway.db")]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in files} == {0}


def test_sigint_stops_it_too(start: Start) -> None:
    gateway = start("serve", "--port", "0")
    assert gateway.url
    assert gateway.stop(signal.SIGINT) == 0


def test_warnings_of_the_configuration_are_logged(start: Start, tmp_path: Path) -> None:
    configure(tmp_path, "http://127.0.0.1:9", "drain_seconds = 30")
    gateway = start("serve", "--port", "0", FOXAPI_BASE_URL="http://127.0.0.1:9")
    assert gateway.url
    assert gateway.stop() == 0
    warned = [event for event in map(json.loads, gateway.stderr.splitlines()) if event["level"] == "warning"]
    assert any("providers.foxapi" in event.get("detail", "") for event in warned)
    assert any(re.match(r"server\.drain_seconds: 30 s .* 65 s ", event.get("detail", "")) for event in warned)


def test_a_stop_finishes_the_submit_in_flight_and_the_next_start_goes_on(
    start: Start, sandbox: str, tmp_path: Path
) -> None:
    configure(tmp_path, sandbox)
    first = start("serve", "--port", "0")
    generation = create(first.url, "waves [[sandbox:keevx:submit:slow?seconds=1]]")
    eventually(lambda: started(sandbox))  # the provider has the submit and has not answered yet

    assert first.stop() == 0
    second = start("serve", "--port", "0")
    done = eventually(lambda: (view := read(second.url, generation))["status"] == "completed" and view)

    assert [attempt["status"] for attempt in done["attempts"]] == ["completed"]
    assert started(sandbox) == 1


def test_generate_outlives_a_restart_of_the_gateway(start: Start, sandbox: str, tmp_path: Path) -> None:
    configure(tmp_path, sandbox)
    gateway = start("serve", "--port", "0")
    url = gateway.url
    client = start("generate", "waves", "--model=keevx/V", f"--image={IMAGE}", "--output=waves.mp4", f"--url={url}")
    client.until(r"(in_progress)")

    assert gateway.stop() == 0
    eventually(lambda: "trying again" in client.stderr)
    start("serve", "--port", url.rpartition(":")[2])

    assert client.ended() == 0, client.stderr
    assert client.stderr.count("trying again") == 1
    assert client.stderr.count("answers again") == 1
    assert client.lines[-1] == "waves.mp4"
    assert (tmp_path / "waves.mp4").read_bytes()[4:8] == b"ftyp"
    assert started(sandbox) == 1


def test_a_long_poll_gets_an_answer_when_the_gateway_stops(start: Start, sandbox: str, tmp_path: Path) -> None:
    configure(tmp_path, sandbox, "drain_seconds = 3")
    gateway = start("serve", "--port", "0")
    generation = create(gateway.url, "waves [[sandbox:keevx:submit:stuck]]")
    eventually(lambda: read(gateway.url, generation)["status"] == "in_progress")
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as poll:
        poll.sendall(f"GET /v1/videos/generations/{generation}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        # The gateway handles this call after it has received the long poll.
        assert read(gateway.url, generation)["status"] == "in_progress"
        code = gateway.stop()
        answer = poll.makefile("rb").read()

    assert code == 0
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"status":"in_progress"' in answer
    assert "Traceback" not in gateway.stderr


def test_a_second_signal_ends_it_at_once(start: Start, sandbox: str, tmp_path: Path) -> None:
    configure(tmp_path, sandbox)
    gateway = start("serve", "--port", "0")
    create(gateway.url, "waves [[sandbox:keevx:submit:hang?started=1]]")
    eventually(lambda: started(sandbox))

    gateway.popen.send_signal(signal.SIGTERM)
    eventually(lambda: '"stopping"' in gateway.stderr)
    gateway.popen.send_signal(signal.SIGTERM)  # launchers pass on a signal that the whole process group got already
    eventually(lambda: '"signal_repeated"' in gateway.stderr)
    assert gateway.popen.poll() is None  # it still waits for the submit

    def ended() -> bool:
        gateway.popen.send_signal(signal.SIGTERM)
        return gateway.popen.poll() is not None

    eventually(ended)
    assert gateway.popen.returncode == -signal.SIGTERM


def refusal(process: Process) -> str:
    """Why a start was refused: the only line of the log, in the format of all its lines."""
    [event] = map(json.loads, process.stderr.splitlines())
    assert (event["event"], event["level"]) == ("start_refused", "error")
    return str(event["problem"])


def test_a_start_that_gets_too_few_connections_of_postgresql_fails_and_says_why(
    start: Start, empty_postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "video-gateway.toml").write_text("artifacts.shared = true\n")
    role = f"few_{os.getpid()}"
    run_apart(execute(empty_postgres_url, f"create role {role} login connection limit 1"))
    database = urlsplit(empty_postgres_url)
    run_apart(execute(empty_postgres_url, f"alter database {database.path[1:]} owner to {role}"))
    url = urlunsplit(database._replace(netloc=f"{role}@{database.netloc.rpartition('@')[2]}"))
    gateway = start("serve", "--port", "0", VIDEO_GATEWAY_DATABASE_URL=url)
    assert gateway.ended() not in {0, 2}, "a supervisor starts it again"
    lines = [json.loads(line) for line in gateway.stderr.splitlines()]
    (problem,) = [line["problem"] for line in lines if line["event"] == "start_refused"]
    assert problem.startswith("database.url: PostgreSQL has no free connection; raise its `max_connections`")
    run_apart(
        execute(empty_postgres_url, f"reassign owned by {role} to postgres; drop owned by {role}; drop role {role}")
    )


def test_a_port_in_use_is_one_line_of_error(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        gateway = start("serve", "--port", str(port))
        assert gateway.ended() == 2
    assert re.fullmatch(rf"server\.port: {port} on 127\.0\.0\.1 is taken .*", refusal(gateway))
    assert gateway.lines == []


def test_a_second_gateway_on_one_database_is_refused(start: Start) -> None:
    first = start("serve", "--port", "0")
    assert first.url
    second = start("serve", "--port", "0")
    assert second.ended() == 2
    assert re.fullmatch(r"database\.url: another process .*", refusal(second))
    assert first.stop() == 0


def test_a_clock_far_behind_the_ledger_stops_the_start_until_it_is_accepted(start: Start, tmp_path: Path) -> None:
    note = tmp_path / "video-gateway.db-lock"
    note.write_text(f"{time.time() + 3653 * 86_400:.3f}\n")
    for _ in range(2):  # a supervisor would start it again
        refused = start("serve", "--port", "0")
        assert refused.ended() == 2
        [event] = map(json.loads, refused.stderr.splitlines())
        assert (event["event"], event["problem"], event["remedy"]) == (
            "clock_refused",
            "behind",
            "video-gateway serve --accept-clock",
        )
        assert event["clock"] < event["ledger"]
        assert re.fullmatch(
            r"clock: the system clock .* UTC, .* UTC, .*`video-gateway serve --accept-clock`.*", event["detail"]
        )
    check = start("check")
    assert check.ended() == 2
    assert any(re.match(r"clock +ERROR clock: ", line) for line in check.lines)

    accepted = start("serve", "--port", "0", "--accept-clock")
    assert accepted.url
    assert accepted.stop() == 0
    again = start("serve", "--port", "0")
    assert again.url
    assert again.stop() == 0
    assert abs(float(note.read_text()) - time.time()) < 60


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("[server]\nport = 'eighty'\n", [], r"server\.port: expected .*"),
        ("[server]\n", ["--host", "0.0.0.0"], r"server\.auth: .*--host.*"),
        ("[server]\nhost = 'no-such-host.invalid'\nauth = 'none'\n", [], r"server\.auth: .*loopback.*"),
        ("[database]\nurl = 'sqlite:///nowhere/x.db'\n", [], r"database\.url: the folder .* does not exist.*"),
    ],
)
def test_a_wrong_configuration_stops_the_start_with_the_key(
    start: Start, tmp_path: Path, text: str, arguments: list[str], message: str
) -> None:
    (tmp_path / "video-gateway.toml").write_text(text)
    gateway = start("serve", "--port", "0", *arguments)
    assert gateway.ended() == 2
    assert re.fullmatch(message, refusal_of(gateway)), gateway.stderr


def refusal_of(gateway: Process) -> str:
    """The one line with which a start was refused: plain while no log is configured, and then a line of the log."""
    (line,) = gateway.stderr.splitlines()
    return str(json.loads(line)["problem"]) if line.startswith("{") else line


def test_without_a_provider_it_says_how_to_get_one(start: Start) -> None:
    gateway = start("serve", "--port", "0", KEEVX_API_KEY="")
    assert gateway.ended() == 2
    assert re.fullmatch(r"providers: none is configured; .*FOXAPI_API_KEY.*", refusal_of(gateway))


def test_an_endless_head_of_a_request_is_refused(start: Start) -> None:
    gateway = start("serve", "--port", "0")
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=SOON) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        for _ in range(40):
            try:
                client.sendall(b"x" * 4096)
            except OSError:
                break
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")
    assert httpx.get(f"{gateway.url}/health/live").status_code == 200
    assert gateway.stop() == 0


def test_a_stop_cuts_a_download_that_is_too_slow_without_an_error(start: Start) -> None:
    gateway = start("serve", "--port", "0")
    out = io.BytesIO()
    Image.new("RGB", (400, 300)).save(out, "PNG")
    content = out.getvalue() + bytes(12 * 2**20)  # more than the system buffers for a client
    stored = httpx.post(
        f"{gateway.url}/v1/files", data={"purpose": "vision"}, files={"file": ("a.png", content)}, timeout=SOON
    ).json()
    with socket.create_connection(("127.0.0.1", httpx.URL(gateway.url).port)) as client:
        client.sendall(f"GET /v1/files/{stored['id']}/content HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert gateway.stop() == 0
    lines = [json.loads(line) for line in gateway.stderr.splitlines()]
    assert {"responses_aborted", "stopped"} <= {line["event"] for line in lines}
    assert [line for line in lines if line["level"] in {"error", "critical"}] == []


def test_a_signal_a_command_and_a_changed_file_reload_the_configuration(start: Start, tmp_path: Path) -> None:
    keys = {"VIDEO_GATEWAY_API_KEY": "vg_a-key-of-a-client", "VIDEO_GATEWAY_ADMIN_KEY": "vg_the-key-of-an-operator"}
    configure(tmp_path, "http://127.0.0.1:9")
    gateway = start("serve", "--port=0", **keys)
    url = gateway.url
    bearer = {"authorization": f"Bearer {keys['VIDEO_GATEWAY_ADMIN_KEY']}"}

    def generation_is(number: int) -> Callable[[], bool]:
        path = f"{url}/v1/admin/configuration"
        return lambda: bool(httpx.get(path, headers=bearer).json()["generation"] == number)

    def reload() -> "tuple[int, str, str]":
        process = start("reload", VIDEO_GATEWAY_URL=url, **keys)
        return process.ended(), "\n".join(process.lines), process.stderr

    configure(tmp_path, "http://127.0.0.1:9", "max_body_bytes = 5000")
    gateway.popen.send_signal(signal.SIGHUP)
    eventually(generation_is(2), lambda: gateway.stderr)
    configure(tmp_path, "http://127.0.0.1:9", "max_body_bytes = 5\nmax_downloads = 0")
    refused = reload()
    configure(tmp_path, "http://127.0.0.1:9", "max_body_bytes = 6000\nwatch_config = true")
    accepted = reload()
    configure(tmp_path, "http://127.0.0.1:9", "max_body_bytes = 7000\nwatch_config = true\nlog_level = 'error'")
    eventually(generation_is(4), lambda: gateway.stderr)

    assert (refused[0], [line.partition(":")[0] for line in refused[2].splitlines()[1:]]) == (
        2,
        ["server.max_body_bytes", "server.max_downloads"],
    )
    assert accepted[:2] == (0, "server.max_body_bytes\nserver.watch_config"), accepted
    logged = [json.loads(line) for line in gateway.stderr.splitlines()]
    changes = [(line["cause"], line["changed"]) for line in logged if line["event"] == "configuration_reloaded"]
    assert changes[:2] == [
        ("signal", ["server.max_body_bytes"]),
        ("request", ["server.max_body_bytes", "server.watch_config"]),
    ]
    assert [line["at"] for line in logged if line["event"] == "configuration_fault"] == [
        "server.max_body_bytes",
        "server.max_downloads",
    ]
    assert gateway.stop() == 0
