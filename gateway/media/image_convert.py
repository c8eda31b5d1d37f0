"""Converts and shrinks input images to what a route takes, in a process of its own.

Decoders are large C code, and the image comes from a stranger: a crash, a hang or a flood of memory must hit nothing
but that one process. Run as a program this module is that process: it reads the image from its standard input and
writes the converted image to its standard output.
"""

import asyncio
import io
import sys
from typing import TYPE_CHECKING

import structlog

from gateway.domain.routing.image_limits import CONVERT_PIXELS_MAX, Remake
from gateway.media.child_process import run_process
from gateway.media.confinement import confine, program
from gateway.media.image_header import PIXELS_MAX

if TYPE_CHECKING:
    from PIL.Image import Image

log = structlog.get_logger()
CPU_SECONDS = 30
TIMEOUT_SECONDS = 60.0  # of real time: a busy machine leaves a decoder little of its processors
MEMORY_BYTES = 512 * 1024**2  # of address space: three copies of the largest image that is converted
FILE_BYTES = 0  # the result goes to the standard output
PROCESSES_MAX = 1  # at the same time
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
_QUALITIES = (90, 80, 70, 60, 50, 40)  # tried in this order until the result is small enough
_UNDECODABLE, _TOO_LARGE, _TOO_MANY_PIXELS = 3, 4, 5  # exit codes
_REASONS = {
    _UNDECODABLE: "it is damaged, or not what it says it is",
    _TOO_MANY_PIXELS: f"it has more than {CONVERT_PIXELS_MAX // 10**6} megapixels; send a smaller image",
    _TOO_LARGE: "it stays over the limit of bytes at every quality",
}


class NotConverted(Exception):
    """The image cannot be converted to what was wanted. The text gives the reason and is safe to show to clients."""


class _TooManyPixels(Exception):
    """The image would take too much memory, also while it is decoded at a smaller size."""


class UndecodableImage(NotConverted):
    """The image cannot be decoded: it would fail at every provider too."""


class ImageConverter:
    """Converts images, a few at the same time. Equal images and equal wishes give identical bytes."""

    def __init__(self) -> None:
        self._processes = asyncio.Semaphore(PROCESSES_MAX)

    async def convert(self, content: bytes, wanted: Remake) -> bytes:
        """The image in the wanted type, size and number of bytes. Raises `NotConverted`."""
        async with self._processes:
            try:
                ended = await run_process(
                    program(__name__, *_arguments(wanted)),
                    environment={},  # the keys of providers may be in the environment
                    content=content,
                    seconds=TIMEOUT_SECONDS,
                )
            except OSError as error:
                log.warning("image_convert_failed", error=str(error), bytes=len(content))
                raise NotConverted("the gateway has no memory or process left to convert it now") from error
        if ended is None:
            log.warning("image_convert_failed", code=None, bytes=len(content))
            raise NotConverted("it takes too long to convert")
        if ended.code:
            log.warning("image_convert_failed", code=ended.code, bytes=len(content))
            refusal = UndecodableImage if ended.code == _UNDECODABLE else NotConverted
            raise refusal(_REASONS.get(ended.code, "it takes too much memory or time to convert; send a smaller image"))
        return ended.output


def _arguments(wanted: Remake) -> tuple[str | int, ...]:
    """Return what `_main` reads."""
    return (wanted.content_type, wanted.width, wanted.height, wanted.max_bytes or 0)


def _main() -> int:
    """Convert standard input as the arguments say: type, width, height, the most bytes (0: any number)."""
    content_type, width, height, max_bytes = sys.argv[1], *map(int, sys.argv[2:5])
    confine(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=FILE_BYTES)
    content = sys.stdin.buffer.read()
    try:
        image = _decode(content, width, height)
    except MemoryError:
        raise
    except _TooManyPixels:
        return _TOO_MANY_PIXELS
    except Exception:  # noqa: BLE001  # a decoder raises errors of any type about an image that it cannot read
        return _UNDECODABLE
    kind = content_type.removeprefix("image/").upper()
    if kind == "JPEG":
        image = _on_white(image)
    for quality in _QUALITIES:
        out = io.BytesIO()
        image.save(out, kind, quality=quality, icc_profile=image.info.get("icc_profile"))
        if not max_bytes or out.tell() <= max_bytes:
            sys.stdout.buffer.write(out.getvalue())
            return 0
    return _TOO_LARGE


def _decode(content: bytes, width: int, height: int) -> "Image":
    """The first frame, upright, in RGB or RGBA. `width` and `height` apply to it as stored, before it is turned."""
    from PIL import AvifImagePlugin, Image, ImageOps  # noqa: PLC0415  # only this process needs it

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread reserves memory, and the limit would depend on the machine
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX  # Pillow's own limit would refuse, or warn about, what the gateway accepts
    with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        if opened.width * opened.height > PIXELS_MAX:
            raise ValueError("the image is larger than its header declared")
        profile = opened.info.get("icc_profile") if opened.mode in {"RGB", "RGBA", "P"} else None
        opened.draft(None, (width, height))  # a JPEG can be decoded at a smaller size at once
        if opened.width * opened.height > CONVERT_PIXELS_MAX:
            raise _TooManyPixels
        image = _in_colour(opened)
        # Turning a small image is cheap, so it is resized first; the orientation is kept from the original file.
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        image.info.clear()
        image.getexif().update({_ORIENTATION: opened.getexif().get(_ORIENTATION, 1)})
    turned = ImageOps.exif_transpose(image)
    turned.info.clear()
    if profile:
        turned.info["icc_profile"] = profile
    return turned


_ORIENTATION = 0x0112  # the EXIF tag that says how a viewer must turn the image


def _in_colour(image: "Image") -> "Image":
    if image.mode.startswith(("I", "F")):  # 16 bits or more a pixel: the upper 8 of 16 are used
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    has_alpha = image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info
    mode = "RGBA" if has_alpha else "RGB"
    return image if image.mode == mode else image.convert(mode)  # a copy of the largest image takes 100 MB


def _on_white(image: "Image") -> "Image":
    """Without transparency, which JPEG does not have: transparent areas become white."""
    from PIL import Image  # noqa: PLC0415  # only this process needs it

    if image.mode == "RGB":
        return image
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    if "icc_profile" in image.info:
        flat.info["icc_profile"] = image.info["icc_profile"]
    return flat


if __name__ == "__main__":
    sys.exit(_main())
