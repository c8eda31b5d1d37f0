"""Checks that the file of a result is an image that really decodes, and draws its thumbnail.

A complete header proves nothing about the pixels: a provider's "done" counts only if the whole first frame decodes
within limits of bytes, pixels, memory and time. The decoder runs in a process of its own.
"""

import asyncio
import signal
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway.domain.routing.image_limits import ImageFacts
from gateway.media import image_decode
from gateway.media.decoder_process import run_decoder
from gateway.media.image_decode import BYTES_MAX, JPEG_BYTES_MAX, NO_MEMORY, NOT_AN_IMAGE
from gateway.media.image_formats import name_of, type_of

HEAD_BYTES = 4096  # of a file that show what it is
PROCESSES_MAX = 1  # decoders at the same time: they must not take the machine from the requests
SECONDS = 60.0  # of real time for one image, the start of the process included
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/bmp": "bmp",
    "image/avif": "avif",
    "image/tiff": "tiff",
}
# How a process ends whose file crashed the decoder, or took too much of its time.
_FATAL = frozenset({signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL})


class NotChecked(Exception):
    """The machine could not decode the image at the moment. That says nothing about the image."""


class _Refusal(Struct):
    error: str


class ImageChecker:
    """Decodes the images of results, a few at the same time."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._processes = asyncio.Semaphore(PROCESSES_MAX)
        self._seconds = seconds

    async def read(self, path: Path) -> ImageFacts | str:
        """What the image is, or the reason why it is not an image that decodes within the limits.

        The reason continues a sentence that begins with "The file". Width and height are in pixels of the picture as
        it is shown. Raises `NotChecked`, and `OSError` when the file cannot be read.
        """
        reason = await asyncio.to_thread(_by_its_start, path)
        if reason is not None:
            return reason
        async with self._processes:
            try:
                ended = await run_decoder(image_decode.__name__, path, seconds=self._seconds)
            except OSError as error:
                raise NotChecked(f"no process could be started to decode the image: {error.strerror}") from error
        if ended is None:
            raise NotChecked(f"the image was not decoded within {self._seconds:g} seconds of a busy machine")
        return _outcome(*ended)


async def draw_thumbnail(image: Path, to: Path, *, seconds: float = SECONDS) -> bool:
    """Write a small JPEG of the image to `to`; False, with no file there, if that is not possible."""
    try:
        ended = await run_decoder(image_decode.__name__, image, to, seconds=seconds)
    except OSError:  # the machine has no process, memory or descriptor left, and others need the next one more
        ended = None
    drawn = ended is not None and ended[0] == 0 and await asyncio.to_thread(is_small_jpeg, to)
    if not drawn:
        await asyncio.to_thread(to.unlink, missing_ok=True)
    return drawn


def is_small_jpeg(path: Path, max_bytes: int = JPEG_BYTES_MAX) -> bool:
    """True if the file begins as a JPEG and has at most so many bytes. It reads from the disk."""
    try:
        with path.open("rb") as file:
            return file.read(3) == b"\xff\xd8\xff" and path.stat().st_size <= max_bytes
    except OSError:
        return False


def begins_image(head: bytes) -> bool:
    """True if a file with these first bytes, of which it needs at least 64, may be an image."""
    return type_of(head) is not None


def _by_its_start(path: Path) -> str | None:
    """Why a file is certainly not an image, by its size and its first bytes: no process is started for it."""
    size = path.stat().st_size
    if size == 0:
        return "is empty"
    if size > BYTES_MAX:
        return f"has {size:,} bytes, more than the {BYTES_MAX:,} of an image"
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if type_of(head) is None:
        return f"is {name_of(head) or 'of no known kind'}, not an image"
    return None


def _outcome(code: int, output: bytes) -> ImageFacts | str:
    if code == NO_MEMORY:
        return "takes too much memory to decode"
    if code == -signal.SIGXCPU:
        return "takes too much time to decode"
    if -code in _FATAL:
        return "crashes the decoder"
    try:
        if code == NOT_AN_IMAGE:
            return f"is not a sound image: {msgspec.json.decode(output, type=_Refusal).error}"
        if code == 0:
            content_type, size, width, height = msgspec.json.decode(output, type=tuple[str, int, int, int])
            return ImageFacts(content_type=content_type, bytes=size, width=width, height=height)
    except msgspec.MsgspecError as error:
        raise NotChecked(f"the decoder answered with what cannot be read: {error}") from error
    raise NotChecked(f"the decoder ended with code {code}")  # killed from outside, or it could not start
