"""Thumbnails of archived results that came without one, drawn in the background: a small image, or the first frame.

A result is announced without waiting for its thumbnail. The drawing starts when the ledger has the archived file, and
ends in one guarded update of the ledger. A restart loses the drawings under way: these results get no thumbnail.
"""

import asyncio
import importlib.util
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from gateway.artifacts.store import ArtifactStore, remove_files
from gateway.clock import Clock, sleep
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import StoreUnavailable
from gateway.live import Live
from gateway.media import first_frame
from gateway.media.decoder_process import run_decoder
from gateway.media.first_frame import BYTES_MAX
from gateway.media.image_result import draw_thumbnail, is_small_jpeg
from gateway.store.artifacts import BEGUN_LIFE
from gateway.store.port import Store
from gateway.telemetry import Observer, ThumbnailDropped

log = structlog.get_logger()
PROCESSES_MAX = 1  # decoders at the same time: thumbnails must not take the machine from the requests
FRAME_SECONDS = 20.0  # for one frame, the start of the process included
PENDING_MAX = 1000  # results that wait for their record in the ledger; each holds a local file
QUEUE_MAX = 100  # results that wait for their drawing; each holds a local file
STORE_RETRY_SECONDS = 1.0  # until a ledger that was not available is tried again
CONTENT_TYPE = "image/jpeg"


class _Result(Struct, frozen=True):
    """A result whose thumbnail is to be drawn."""

    kind: Kind
    generation_id: str
    index: int
    name: str  # in the artifact store
    path: Path  # a copy, or another hard link, on this machine; removed after the drawing


class Thumbnails:
    """Draws thumbnails in the background and adds them to their outputs."""

    def __init__(
        self,
        *,
        store: Store,
        artifacts: ArtifactStore,
        clock: Clock,
        enabled: Live[bool],
        on_change: Callable[[str], None],
        observer: Observer,
    ) -> None:
        """`on_change` gets the id of a generation whose output has a thumbnail now, to wake the clients that wait."""
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self.enabled = enabled
        self._on_change = on_change
        self._observer = observer
        self._waiting: dict[str, _Result] = {}  # by the name of the file, until the ledger has that file
        self._queue: deque[_Result] = deque()  # those that are in the ledger; the oldest first
        self._dropped = 0
        self._tasks: set[asyncio.Task[None]] = set()  # the drawings, and the removal of files
        self._drawing = 0

    async def prepare(self, generation_id: str, index: int, name: str, path: Path, kind: Kind = "video") -> None:
        """Take over a local file of a result for `begin`, which is called when the ledger has the result.

        `name` is that of the result in the artifact store. The file is removed after the drawing, or by `forget`. Where
        too many results wait, as when the ledger is not available, those that have waited longest get no thumbnail.
        """
        self._waiting[name] = _Result(kind, generation_id, index, name, path)
        for oldest in list(self._waiting)[:-PENDING_MAX]:
            self._drop(self._waiting.pop(oldest))

    def begin(self, name: str) -> None:
        """Draw the thumbnail of this result as soon as earlier ones are drawn, if `prepare` was called for it.

        Where more than `QUEUE_MAX` results wait, the one that has waited longest gets no thumbnail.
        """
        result = self._waiting.pop(name, None)
        if result is None:
            return
        self._queue.append(result)
        self._draw_next()
        if len(self._queue) > QUEUE_MAX:
            self._drop(self._queue.popleft())

    def _draw_next(self) -> None:
        while self._queue and self._drawing < PROCESSES_MAX:
            self._drawing += 1
            task = self._start(self._draw(self._queue.popleft()))
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._drawing -= 1
        if not task.cancelled():
            self._draw_next()

    def _drop(self, result: _Result) -> None:
        self._dropped += 1
        self._start(asyncio.to_thread(remove_files, result.path))
        self._observer.observe(
            ThumbnailDropped(generation=result.generation_id, index=result.index, count=self._dropped)
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="thumbnail")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def forget(self, generation_id: str) -> None:
        """Remove the local files for which `begin` will not be called: the driver of their generation has ended.

        Without this, the result of a generation that was deleted at that moment would stay on the disk until the stop.
        """
        names = [name for name, result in self._waiting.items() if result.generation_id == generation_id]
        if names:
            await asyncio.to_thread(remove_files, *[self._waiting.pop(name).path for name in names])

    async def close(self) -> None:
        """Cancel the drawings under way and remove the local files."""
        paths = [result.path for result in (*self._waiting.values(), *self._queue)]
        self._waiting.clear()
        self._queue.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(remove_files, *paths)

    async def _draw(self, result: _Result) -> None:
        spare = [result.path]
        name = thumbnail_name(result.name.rpartition(".")[0], result.kind, "jpg")
        try:
            if result.kind == "video" and importlib.util.find_spec("av") is None:  # the extra `demo`
                return
            partial = self._artifacts.partial()
            spare.append(partial)
            draw = draw_first_frame if result.kind == "video" else draw_thumbnail
            drawn = await draw(result.path, partial)
            if not drawn:
                return
            # The name is recorded before there is a file, so that no file is without a row that lets it be removed.
            if not await self._store.archived_files.announce(
                result.generation_id, [name], self._clock.now() + BEGUN_LIFE
            ):
                return
            await self._artifacts.put(name, partial, CONTENT_TYPE)
            if await self._record(result, name):
                self._on_change(result.generation_id)
        except (StoreUnavailable, OSError) as error:
            log.info("thumbnail_not_stored", generation=result.generation_id, error=str(error))
        except Exception:  # a failed thumbnail must not make anything else fail
            log.exception("thumbnail_not_stored", generation=result.generation_id)
        finally:
            await asyncio.shield(asyncio.to_thread(remove_files, *spare))

    async def _record(self, result: _Result, name: str) -> bool:
        """Add the thumbnail to its output, however long the ledger takes to be available."""
        while True:
            try:
                return await self._store.archived_files.set_thumbnail(
                    result.generation_id, result.index, video=result.name, thumbnail=name, content_type=CONTENT_TYPE
                )
            except StoreUnavailable as error:
                log.warning("store_unavailable", error=error.reason or error.detail, generation=result.generation_id)
            await sleep(self._clock, STORE_RETRY_SECONDS)


def thumbnail_name(stem: str, kind: Kind, extension: str) -> str:
    """The name of a thumbnail in the artifact store. That of an image could have the extension of the image itself."""
    return f"{stem}.{extension}" if kind == "video" else f"{stem}-thumbnail.{extension}"


async def draw_first_frame(video: Path, to: Path, *, seconds: float = FRAME_SECONDS) -> bool:
    """Write the first frame of the video to `to` as a small JPEG; False, with no file there, if that is not possible.

    A process of its own decodes the video, and is killed after `seconds`.
    """
    try:
        ended = await run_decoder(first_frame.__name__, video, to, seconds=seconds)
    except OSError:  # the machine has no process, memory or descriptor left, and others need the next one more
        return False
    drawn = ended is not None and ended[0] == 0 and await asyncio.to_thread(is_small_jpeg, to, BYTES_MAX)
    if not drawn:
        await asyncio.to_thread(to.unlink, missing_ok=True)
    return drawn
