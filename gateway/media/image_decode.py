"""Decodes the image of a result: `python -m gateway.media.image_decode IMAGE [JPEG]`.

It writes what the image is to its standard output, as JSON, and a small JPEG of it to the second path if there is one.
This runs as a process of its own, within narrow limits: image decoders are large C code, and the file comes from a
stranger. `gateway.media.image_result` starts it.
"""

import json
import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.domain.errors import InvalidImage
from gateway.domain.routing.image_limits import ImageFacts
from gateway.media.confinement import confine
from gateway.media.image_header import inspect
from gateway.media.image_pixels import check_png_pixels, filled_jpeg
from gateway.media.image_structure import DamagedImage

if TYPE_CHECKING:
    from PIL.Image import Image

BYTES_MAX = 64 * 1024**2  # of the file; an uncompressed image of 4096x4096 pixels has 48 MB
# Four times the pixels of the largest image that a provider documents (4K, about 4096x4096). A few kilobytes can
# declare a hundred times as many, and decoding them takes gigabytes of memory.
PIXELS_MAX = 64_000_000
SIDE_MAX = 640  # pixels of the longer side of the JPEG, as of the thumbnail of a video
JPEG_BYTES_MAX = 1024 * 1024
CPU_SECONDS = 20  # the largest accepted image takes 6 seconds on one slow core
MEMORY_BYTES = 1024**3  # of address space: a result has been paid for, so it may be larger than an image of a client
NOT_AN_IMAGE, NO_MEMORY = 3, 4  # exit codes
_ROWS = 256  # that are compared at once
_ORIENTATION = 0x0112  # the EXIF tag that says how a viewer must turn the image
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})  # its values for a turn by 90 or 270 degrees


def decode(path: Path, to: Path | None = None) -> ImageFacts:
    """What the image is, with its size in pixels as a viewer shows it. Write its small JPEG to `to`, if given.

    Of an animation the first frame is decoded. Raises `InvalidImage` for a file that is not a whole image or declares
    more than the limits, and whatever the decoder raises.
    """
    from PIL import AvifImagePlugin, Image, ImageOps  # noqa: PLC0415  # a file with a wrong structure is refused without it

    data = path.read_bytes()
    facts = inspect(data, max_bytes=BYTES_MAX, max_pixels=PIXELS_MAX)
    Image.MAX_IMAGE_PIXELS = None  # the limit above holds, and Pillow's own only warns
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread reserves memory, and the limit would depend on the machine
    with Image.open(path, formats=[facts.content_type.removeprefix("image/").upper()]) as image:
        if image.width * image.height > PIXELS_MAX:
            raise InvalidImage("The image is larger than its header declared.")
        image.load()
        if to is None:  # a thumbnail is drawn of an image that has passed this check
            _check_pixels(facts.content_type, data, image)
        width, height = image.size
        if _orientation(image) in _ON_ITS_SIDE:
            width, height = height, width
        if to is not None:
            picture = _without_transparency(image)
            picture.thumbnail((SIDE_MAX, SIDE_MAX))
            picture.getexif()[_ORIENTATION] = _orientation(image)
            ImageOps.exif_transpose(picture).save(to, "JPEG", quality=80, exif=b"")
    return ImageFacts(content_type=facts.content_type, bytes=facts.bytes, width=width, height=height)


def _check_pixels(content_type: str, data: bytes, image: "Image") -> None:
    """Raise `DamagedImage` if pixels are missing that the decoder has filled in without an error."""
    from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415  # see above

    if content_type == "image/png":
        check_png_pixels(data)
    if content_type != "image/jpeg":
        return
    try:
        filled = filled_jpeg(data)
    except (IndexError, KeyError, ValueError, ZeroDivisionError, struct.error) as error:
        raise DamagedImage("The JPEG image is damaged: its headers contradict one another.") from error
    if filled is None:
        return
    with JpegImageFile(BytesIO(filled)) as again:
        again.load()
        for top in range(0, image.height, _ROWS):
            rows = (0, top, image.width, min(top + _ROWS, image.height))
            if image.crop(rows).tobytes() != again.crop(rows).tobytes():
                raise DamagedImage("The JPEG image is cut off: data of its pixels is missing before its end marker.")


def _orientation(image: "Image") -> int:
    """How a viewer turns the image; 1, upright, if its metadata cannot be read: the picture itself is sound."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # readers of metadata raise errors of any type
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _without_transparency(image: "Image") -> "Image":
    """The image in RGB, which JPEG takes; transparent areas become white."""
    from PIL import Image  # noqa: PLC0415  # see above

    if image.mode.startswith(("I", "F")):  # 16 bits or more a pixel: the upper 8 of 16 are used
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if image.mode not in {"RGBA", "LA", "PA", "RGBa", "La"} and "transparency" not in image.info:
        return image.convert("RGB")
    solid = image.convert("RGBA")
    flat = Image.new("RGB", solid.size, "white")
    flat.paste(solid, mask=solid.getchannel("A"))
    return flat


def main() -> int:
    """Decode the file that the arguments name, within the limits; return the exit code."""
    confine(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=JPEG_BYTES_MAX)
    try:
        facts = decode(*map(Path, sys.argv[1:3]))
    except MemoryError:
        return NO_MEMORY
    except InvalidImage as error:
        sys.stdout.write(json.dumps({"error": error.detail}))
        return NOT_AN_IMAGE
    except Exception as error:  # noqa: BLE001  # a decoder raises errors of any type about an image that it cannot read
        sys.stdout.write(json.dumps({"error": f"The image cannot be decoded: {error}"[:500]}))
        return NOT_AN_IMAGE
    sys.stdout.write(json.dumps([facts.content_type, facts.bytes, facts.width, facts.height]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
