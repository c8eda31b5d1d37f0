"""Pictures made into what a route takes: in a process of its own, which may fail without harm to anybody.

Run as a program this module is that process: bytes come in by its standard input, and leave by its standard output.
"""

import asyncio
import io
import os
import resource
import sys
from typing import TYPE_CHECKING

import structlog

from gateway.domain.routing.image_limits import Remake
from gateway.media.image_header import PIXELS_MAX

if TYPE_CHECKING:
    from PIL.Image import Image

log = structlog.get_logger()
TIMEOUT_SECONDS = 30.0
MEMORY_BYTES = 2 * 1024**3  # of one process: the largest picture that is let in takes 400 MB, more than once
AT_ONCE = 2  # processes
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")
_QUALITIES = (90, 80, 70, 60, 50, 40)
_UNREADABLE, _TOO_LARGE = 3, 4  # exit codes
_WHY = {
    _UNREADABLE: "it is damaged, or not what it says it is",
    _TOO_LARGE: "it stays over the limit of bytes at every quality",
}


class NotMade(Exception):
    """The picture cannot be made into what was wanted; the text says why and is safe to show."""


class Unreadable(NotMade):
    """The picture cannot be decoded: no route would make anything of it either."""


class Pictures:
    """Converts and shrinks, a few pictures at a time. The same picture and wish give the same bytes."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def make(self, content: bytes, wanted: Remake) -> bytes:
        """The picture as it is wanted. Raises `NotMade`."""
        async with self._places:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", __name__),
                    *(wanted.content_type, str(wanted.width), str(wanted.height), str(wanted.max_bytes or 0)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # no key of a provider's goes along
                )
            except OSError as error:
                log.warning("picture_not_made", error=str(error), bytes=len(content))
                raise NotMade("there is no room to convert it now") from error
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    made, _ = await process.communicate(content)
            except TimeoutError as error:
                log.warning("picture_not_made", code=None, bytes=len(content))
                raise NotMade("it takes too long to convert") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            log.warning("picture_not_made", code=process.returncode, bytes=len(content))
            refusal = Unreadable if process.returncode == _UNREADABLE else NotMade
            raise refusal(_WHY.get(process.returncode, "it takes too much memory or time to convert"))
        return made


def _main() -> int:
    content_type, width, height, max_bytes = sys.argv[1], *map(int, sys.argv[2:5])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(TIMEOUT_SECONDS), int(TIMEOUT_SECONDS)))
    content = sys.stdin.buffer.read()
    try:
        picture = _read(content, width, height)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # a decoder raises whatever it likes: the picture is what it does not like
        return _UNREADABLE
    kind = content_type.removeprefix("image/").upper()
    if kind == "JPEG":
        picture = _on_white(picture)
    for quality in _QUALITIES:
        out = io.BytesIO()
        picture.save(out, kind, quality=quality, icc_profile=picture.info.get("icc_profile"))
        if not max_bytes or out.tell() <= max_bytes:
            sys.stdout.buffer.write(out.getvalue())
            return 0
    return _TOO_LARGE


def _read(content: bytes, width: int, height: int) -> "Image":
    """The first frame, the right way up, in RGB or RGBA, at the size that is wanted of it as it lies in its file."""
    from PIL import Image, ImageOps  # noqa: PLC0415  # only this process needs it

    Image.MAX_IMAGE_PIXELS = PIXELS_MAX  # Pillow's own would refuse, or warn of, what was let in
    with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        if opened.width * opened.height > PIXELS_MAX:
            raise ValueError("the picture is larger than its header was found to say")
        profile = opened.info.get("icc_profile") if opened.mode in {"RGB", "RGBA", "P"} else None
        opened.draft(None, (width, height))  # a JPEG need not be decoded larger than it is wanted
        picture = _in_colour(opened)
        # Once it is small, turning it costs little; the turn is told by the file, so it is looked for there.
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        picture.info.clear()
        picture.getexif().update({_ORIENTATION: opened.getexif().get(_ORIENTATION, 1)})
    turned = ImageOps.exif_transpose(picture)
    turned.info.clear()
    if profile:
        turned.info["icc_profile"] = profile
    return turned


_ORIENTATION = 0x0112


def _in_colour(picture: "Image") -> "Image":
    if picture.mode.startswith(("I", "F")):  # 16 bits a pixel: their upper half
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    clear = picture.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in picture.info
    return picture.convert("RGBA" if clear else "RGB")


def _on_white(picture: "Image") -> "Image":
    from PIL import Image  # noqa: PLC0415  # only this process needs it

    if picture.mode == "RGB":
        return picture
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    if "icc_profile" in picture.info:
        flat.info["icc_profile"] = picture.info["icc_profile"]
    return flat


if __name__ == "__main__":
    sys.exit(_main())
