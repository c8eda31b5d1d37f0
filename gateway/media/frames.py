"""The first frame of a result as a small JPEG. A process of its own decodes it: that may fail, or break."""

import asyncio
import importlib.util
import sys
from pathlib import Path

from gateway.media.first_frame import BYTES_MAX

AT_ONCE = 2  # processes that draw: a frame is worth no more of a machine than that
FRAME_SECONDS = 20.0  # for one frame, the start of the process included


async def first_frame(video: Path, to: Path, *, seconds: float = FRAME_SECONDS) -> bool:
    """Draw it at `to`; false, and nothing there, where that cannot be done."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "gateway.media.first_frame", video, to),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={},  # no key of ours is there to be read
        )
    except OSError:  # no process, no memory or no descriptor is left: a picture is not worth more
        return False
    drawn = False
    try:
        async with asyncio.timeout(seconds):
            drawn = await process.wait() == 0
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        drawn = drawn and await asyncio.to_thread(_is_small_jpeg, to)
        if not drawn:
            await asyncio.to_thread(to.unlink, missing_ok=True)
    return drawn


class Frames:
    """Draws first frames, a few at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def draw(self, video: Path, to: Path) -> bool:
        """See `first_frame`, when its turn has come; false without the extra `demo`."""
        if importlib.util.find_spec("av") is None:
            return False
        async with self._places:
            return await first_frame(video, to)


def _is_small_jpeg(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(3) == b"\xff\xd8\xff" and path.stat().st_size <= BYTES_MAX
    except OSError:
        return False
