"""First frames of results, drawn behind their backs: a result is told of before its picture is there."""

import asyncio
from pathlib import Path

import structlog

from gateway.artifacts.store import ArtifactStore, remove_files
from gateway.clock import Clock
from gateway.domain.errors import StoreUnavailable
from gateway.media.frames import Frames
from gateway.store.artifacts import BEGUN_LIFE
from gateway.store.port import Store

log = structlog.get_logger()
DRAWINGS_MAX = 1000  # pictures that are drawn, or wait to be asked for


class Thumbnails:
    """Draws, and keeps what was drawn until somebody asks for it."""

    def __init__(self, *, store: Store, artifacts: ArtifactStore, clock: Clock, enabled: bool) -> None:
        self._store = store
        self._artifacts = artifacts
        self._clock = clock
        self.enabled = enabled
        self._frames = Frames()
        self._drawing: dict[str, asyncio.Task[str | None]] = {}  # by the name of the video

    def begin(self, generation_id: str, name: str, video: Path) -> None:
        """Draw the first frame of the file, which is removed thereafter; `name` is that of the video in the store."""
        self._drawing[name] = asyncio.create_task(self._draw(generation_id, name, video))
        for abandoned in list(self._drawing)[:-DRAWINGS_MAX]:  # of drivers that were gone before they could ask
            self._drawing.pop(abandoned)

    async def of(self, name: str) -> str | None:
        """The name of a video's first frame, once it is in the store; `None` where there is none, or was none begun."""
        drawing = self._drawing.pop(name, None)
        return None if drawing is None else await drawing

    async def close(self) -> None:
        """Draw no more."""
        drawing = list(self._drawing.values())
        for task in drawing:
            task.cancel()
        await asyncio.gather(*drawing, return_exceptions=True)

    async def _draw(self, generation_id: str, name: str, video: Path) -> str | None:
        picture = self._artifacts.partial()
        named = f"{name.rpartition('.')[0]}.jpg"
        try:
            if not await self._frames.draw(video, picture):
                return None
            if not await self._store.results.tell(generation_id, [named], self._clock.now() + BEGUN_LIFE):
                return None
            await self._artifacts.put(named, picture, "image/jpeg")
        except (StoreUnavailable, OSError) as error:
            log.info("thumbnail_not_kept", generation=generation_id, error=str(error))
            return None
        finally:
            await asyncio.shield(asyncio.to_thread(remove_files, video, picture))
        return named
