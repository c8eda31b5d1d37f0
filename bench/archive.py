"""How fast results are archived, and how much memory that takes: `python bench/archive.py`.

A process serves large videos over loopback, and the gateway's own archiver stores them in a local folder.
"""

import asyncio
import os
import platform
import sys
import tempfile
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path

import structlog

from gateway.artifacts.archiver import Archiver
from gateway.artifacts.folder import ArtifactFolder
from gateway.artifacts.result_download import ResultDownloads
from gateway.artifacts.thumbnails import Thumbnails
from gateway.clock import SystemClock
from gateway.domain.adapter.request import TextInput
from gateway.domain.adapter.task import Artifact, Status
from gateway.domain.generation.archiving import FileArchived
from gateway.domain.generation.model import Attempt, AttemptState, Generation, GenerationRequest, Output, Plan, Route
from gateway.fetch.fetcher import Fetcher
from gateway.ids import new_id
from gateway.live import Live
from gateway.log_observer import LogObserver
from gateway.store.sqlite.open import open_sqlite
from gateway.upstream.client import Upstream

MEGABYTE = 10**6
SIZE = 512 * MEGABYTE
STREAMS = 8  # at the same time, in the second and third line
PORT_LINE = "port "


def head() -> bytes:
    """The beginning of an MP4; the rest of the file is its pictures."""
    from gateway.sandbox.media import Spec, render  # noqa: PLC0415  # the source alone draws

    small = render(Spec(prompt="bench", width=64, height=64, seconds=1))
    return small + (SIZE - len(small)).to_bytes(4) + b"free"


async def serve() -> None:
    """The source: it answers every request with a video of `SIZE` bytes."""
    begins = head()
    block = bytes(256 * 1024)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: video/mp4\r\ncontent-length: %d\r\n\r\n" % SIZE + begins)
        left = SIZE - len(begins)
        while left:
            writer.write(block[: min(left, len(block))])
            left -= min(left, len(block))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    sys.stdout.write(f"{PORT_LINE}{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def generation(number: int, port: int, now: datetime) -> Generation:
    """A generation whose only output has a link and is not archived yet."""
    link = Artifact(url=f"http://127.0.0.1:{port}/{number}.mp4")
    attempt = Attempt(id=f"att_{number}", number=1, route=0, slots=(0,), state=AttemptState.ACCEPTED, reserved_at=now)
    output = Output(index=0, attempt_id=attempt.id, artifact=link, status=Status.IN_PROGRESS)
    return Generation(
        id=new_id("gen_", now),
        owner="bench",
        kind="video",
        request=GenerationRequest(model="m", input=TextInput(), prompt="bench"),
        plan=Plan(routes=(Route(provider="acme", model="m", capability_name="m"),)),
        status=Status.IN_PROGRESS,
        created_at=now,
        deadline_at=now + timedelta(hours=1),
        outputs=(output,),
        attempts=(attempt,),
        fence=1,
    )


async def keep(folder: Path, port: int, streams: int) -> tuple[float, float]:
    """Seconds of wall time and of CPU for `streams` archived files at the same time."""
    clock = SystemClock()
    store = open_sqlite(folder / "bench.db", clock.now())
    fetcher, upstream, artifacts = Fetcher(Live((ip_network("127.0.0.0/8"),))), Upstream(None), ArtifactFolder(folder)
    archiver = Archiver(
        store=store,
        artifacts=artifacts,
        fetcher=fetcher,
        downloads=ResultDownloads(fetcher=fetcher, providers={}, upstream=upstream, clock=clock),
        providers={},
        clock=clock,
        keep=Live(timedelta(days=1)),
        observer=LogObserver(),
        thumbnails=Thumbnails(
            store=store,
            artifacts=artifacts,
            clock=clock,
            enabled=Live(current=False),
            on_change=lambda _: None,
            observer=LogObserver(),
        ),
    )
    pending = [generation(number, port, clock.now()) for number in range(streams)]
    for unarchived in pending:
        await store.create(unarchived)
    began, spent = time.perf_counter(), time.process_time()
    facts = await asyncio.gather(*(archiver.archive(unarchived, 0) for unarchived in pending))
    seconds, processor = time.perf_counter() - began, time.process_time() - spent
    for fact in facts:
        if not isinstance(fact, FileArchived) or fact.file.bytes != SIZE:
            raise RuntimeError(fact)
    archiver.close()
    await fetcher.close()
    await upstream.close()
    await store.close()
    return seconds, processor


def plain(folder: Path) -> tuple[float, float]:
    """Seconds of wall time and of CPU for bytes in memory: what disk and CPU allow without a network."""
    block = bytes(256 * 1024)
    began, spent = time.perf_counter(), time.process_time()
    digest = sha256()
    with (folder / "plain").open("wb", buffering=0) as file:
        for _ in range(SIZE // len(block)):
            digest.update(block)
            file.write(block)
        os.fsync(file.fileno())
    return time.perf_counter() - began, time.process_time() - spent


async def main() -> None:
    """Measure one stream, several streams, and the memory of a stream."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}")
    source = await asyncio.create_subprocess_exec(sys.executable, __file__, "serve", stdout=asyncio.subprocess.PIPE)
    if source.stdout is None:
        raise RuntimeError("the source did not start")
    port = int((await source.stdout.readline()).decode().removeprefix(PORT_LINE))
    try:
        print(f"{'results kept, fsynced and hashed':34}{'MB/s':>8}{'CPU s a GB':>12}")
        for streams in (0, 1, STREAMS):
            with tempfile.TemporaryDirectory() as folder:
                measured = await keep(Path(folder), port, streams) if streams else plain(Path(folder))
            seconds, processor = measured
            total = SIZE * max(streams, 1)
            label = f"{streams} at once, {SIZE // MEGABYTE} MB each" if streams else "a plain loop, nothing fetched"
            print(f"{label:34}{total / seconds / MEGABYTE:>8.0f}{processor / total * 10**9:>12.2f}")
        tracemalloc.start()
        with tempfile.TemporaryDirectory() as folder:
            await keep(Path(folder), port, STREAMS)
        print(f"memory of a stream, at most: {tracemalloc.get_traced_memory()[1] / STREAMS / 1024:.0f} KB")
    finally:
        source.kill()
        await source.wait()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        import uvloop

        uvloop.run(main())
