"""Results: real MP4 files, images and thumbnails, drawn from the input image or from the prompt."""

import hashlib
import io
import re
import struct
import tempfile
import textwrap
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

CODECS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "ultrafast", "crf": "30"}),
    ("libopenh264", {}),
    ("mpeg4", {"qscale:v": "6"}),
)
PIXELS_A_SECOND = 12 * 1280 * 720  # larger pictures get fewer frames a second, so that a clip is drawn quickly
MAGIC = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif", b"BM": "bmp"}
THUMBNAIL = "thumb.webp"  # the extension of a thumbnail's file name
ImageFormat = Literal["png", "jpeg", "webp"]
# How images are encoded. Speed counts here, not size.
ENCODERS: dict[ImageFormat, dict[str, int]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 85},
    "webp": {"quality": 80, "method": 0},
}
_MARKERS = re.compile(r"\[\[.*?\]\]")


class MissingExtraError(RuntimeError):
    """Results cannot be drawn: install the extra `demo` (pip install 'video-gateway[demo]': av and pillow)."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"{missing} is not installed. {self.__doc__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """How a result is drawn."""

    prompt: str
    width: int
    height: int
    seconds: int = 0  # 0: an image
    image: bytes | None = None
    image_format: ImageFormat = "png"  # of an image

    @property
    def extension(self) -> str:
        """The extension of the result's file name."""
        return "mp4" if self.seconds else self.image_format.replace("jpeg", "jpg")

    @property
    def content_type(self) -> str:
        """The result's media type."""
        return "video/mp4" if self.seconds else f"image/{self.image_format}"

    def key(self) -> str:
        """Cache key: equal for specs whose results are equal."""
        image = hashlib.sha256(self.image or b"").hexdigest()
        parts = (self.prompt, self.width, self.height, self.seconds, image, self.image_format)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def missing() -> str | None:
    """Why results cannot be drawn; `None` if they can."""
    try:
        import av  # noqa: F401, PLC0415  # an extra: the sandbox runs without it until something is drawn
        import PIL  # noqa: F401, PLC0415  # as above
    except ImportError as error:
        return str(MissingExtraError(str(error.name)))
    return None


def sniff(data: bytes) -> str | None:
    """The format of an image, judged by its first bytes; `None` if it is unknown."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)


def dimensions(data: bytes) -> tuple[int, int] | None:
    """Width and height of an image; `None` if it cannot be read, or the extra `demo` is missing."""
    try:
        from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except (UnidentifiedImageError, OSError):
        return None


@cache
def blank_png(side: int) -> bytes:
    """A black PNG image with `side` pixels in width and height, in few bytes: decoded it may be very large."""
    packer = zlib.compressobj()
    row = bytes(1 + -(-side // 8))  # no filter, one bit a pixel
    packed = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def size_for(ratio: float, short_side: int, ceiling: int | None = None) -> tuple[int, int]:
    """Width and height in pixels, both even, for this ratio and shorter side."""
    short = min(short_side, ceiling or short_side)
    width, height = (short * ratio, float(short)) if ratio >= 1 else (float(short), short / ratio)
    return max(round(width / 2) * 2, 2), max(round(height / 2) * 2, 2)


def render(spec: Spec) -> bytes:
    """The bytes of the result. Slow: call it in a thread."""
    why = missing()
    if why:
        raise MissingExtraError(why.partition(" ")[0])
    picture = _picture(spec)
    return _video(spec, picture) if spec.seconds else _image(spec, picture)


def thumbnail(spec: Spec) -> bytes:
    """The first frame as a small WebP. Slow: call it in a thread."""
    why = missing()
    if why:
        raise MissingExtraError(why.partition(" ")[0])
    picture = _picture(spec)
    picture.thumbnail((320, 320))
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=70)
    return out.getvalue()


def _picture(spec: Spec) -> "Image":
    """The input image, cropped to the ratio of the result; a placeholder without an input image."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415  # an extra

    if spec.image is not None:
        try:
            with Image.open(io.BytesIO(spec.image)) as image:
                return ImageOps.fit(image.convert("RGB"), (spec.width, spec.height), Image.Resampling.BILINEAR)
        except (UnidentifiedImageError, OSError):
            pass  # a submit with checks has refused it; without checks, a placeholder is drawn
    return _placeholder(spec)


def _placeholder(spec: Spec) -> "Image":
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  # an extra

    seed = hashlib.sha256(spec.prompt.encode()).digest()
    top, bottom = tuple(seed[:3]), tuple(byte // 3 for byte in seed[3:6])
    mask = Image.linear_gradient("L").resize((spec.width, spec.height))
    image = Image.composite(
        Image.new("RGB", mask.size, (bottom[0], bottom[1], bottom[2])),
        Image.new("RGB", mask.size, (top[0], top[1], top[2])),
        mask,
    )
    text_size = max(min(spec.width, spec.height) // 16, 8)
    words = " ".join(_MARKERS.sub("", spec.prompt).split())[:160] or "sandbox"
    text = "\n".join(textwrap.wrap(words, max(int(spec.width * 1.6 / text_size), 8)))
    ImageDraw.Draw(image).multiline_text(
        (spec.width / 2, spec.height / 2),
        text,
        font=ImageFont.load_default(text_size),
        fill="white",
        stroke_width=max(text_size // 16, 1),
        stroke_fill="black",
        anchor="mm",
        align="center",
    )
    return image


def _image(spec: Spec, picture: "Image") -> bytes:
    out = io.BytesIO()
    picture.save(out, spec.image_format, **ENCODERS[spec.image_format])
    return out.getvalue()


def _video(spec: Spec, picture: "Image") -> bytes:
    """An MP4 with a slow zoom into the picture."""
    import av  # noqa: PLC0415  # an extra

    rate = max(min(PIXELS_A_SECOND // (spec.width * spec.height), 24), 2)
    frames = rate * spec.seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "result.mp4")  # a real file, because PyAV can move the index to the front only there
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = _stream(container, spec, rate)
            for number in range(frames):
                frame: Any = av.VideoFrame
                container.mux(stream.encode(frame.from_image(_zoomed(picture, number / frames))))
            container.mux(stream.encode())
        return path.read_bytes()


def _zoomed(picture: "Image", share: float) -> "Image":
    """The picture at this part of the zoom, from 0 to 1."""
    from PIL import Image  # noqa: PLC0415  # an extra

    width, height = picture.size
    inset = 0.08 * share / 2
    box = (width * inset, height * inset, width * (1 - inset), height * (1 - inset))
    return picture.resize(picture.size, Image.Resampling.BILINEAR, box)


def _stream(container: Any, spec: Spec, rate: int) -> Any:
    import av  # noqa: PLC0415  # an extra

    for name, options in CODECS:
        try:
            av.codec.Codec(name, "w")
        except ValueError:  # UnknownCodecError: this build lacks the codec
            continue
        stream = container.add_stream(name, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
        return stream
    raise RuntimeError("This build of PyAV has no codec of " + ", ".join(name for name, _ in CODECS))
