"""Names what a file is by its first bytes, so that the refusal of an image can say what was received."""

import re
import struct

TAKEN = "JPEG, PNG, WebP, GIF or BMP"
CONVERTED = {"image/avif": "AVIF", "image/tiff": "TIFF"}  # accepted for conversion only: no provider takes them
INSTEAD = (
    f'Send {TAKEN}. The gateway converts {" and ".join(CONVERTED.values())} alone, with `"adapt": "nearest"`; '
    "any other format must be converted before it is sent."
)

_HEIC = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})
_HEIF = frozenset({b"mif1", b"msf1", b"mif2", b"miaf"})
_AVIF = frozenset({b"avif", b"avis"})
_QUICKTIME = b"qt  "
_BRANDS_MAX = 64  # bytes of the first box that are read: its kind and its brands
_BMP_HEADERS = frozenset(struct.pack("<I", size) for size in (12, 16, 40, 52, 56, 64, 108, 124))

# First bytes → what the file is. Of two entries that begin alike the longer comes first.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript file (EPS)"),
    (b"8BPS", "a Photoshop file (PSD)"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"\0\0\1\0", "an icon file (ICO)"),
    (b"\0\0\2\0", "a cursor file (CUR)"),
    (b"icns", "an icon file (ICNS)"),
    (b"II+\0", "a BigTIFF image"),
    (b"MM\0+", "a BigTIFF image"),
    (b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)"),
    (b"II\x1a\0\0\0HEAPCCDR", "a camera's raw file (CRW)"),
    (b"IIRO", "a camera's raw file (ORF)"),
    (b"IIU\0", "a camera's raw file (RW2)"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "a Radiance HDR image"),
    (b"DDS ", "a DirectDraw surface (DDS)"),
    (b"qoif", "a QOI image"),
    (b"BPG\xfb", "a BPG image"),
    (b"gimp xcf", "a GIMP file (XCF)"),
    (b"AT&TFORM", "a DjVu document"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)"),
    (b"FLV\1", "a video (FLV)"),
    (b"\0\0\1\xba", "a video (MPEG)"),
    (b"\0\0\1\xb3", "a video (MPEG)"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an audio file (MP3)"),
    (b"fLaC", "an audio file (FLAC)"),
    (b"PK\3\4", "a ZIP archive, or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
)
_NETPBM = re.compile(rb"P[1-7][ \t\r\n]")
_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*<(?:svg\b|[?!](?=.*<svg\b))", re.IGNORECASE | re.DOTALL), "an SVG image"),
    (re.compile(rb"\s*<\?xml", re.IGNORECASE), "an XML document"),
    (re.compile(rb"\s*\{\s*[\"}]"), "a JSON text"),
    (re.compile(rb"data:[\w.+-]*/?[\w.+-]*[;,]"), "a data: URL as text"),
    (re.compile(rb"https?://", re.IGNORECASE), "a URL as text"),
    (re.compile(rb"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR)[\w+/-]{8}"), "an image as base64 text, encoded once too often"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS in the place of the file"),
)
_TEXT_READ_MAX = 4096  # bytes of a text that are read: a comment may come before the first telling tag


def type_of(data: bytes) -> str | None:
    """The media type by the signature alone, for an image that is accepted or can be converted; else `None`."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    # Two letters are a weak signature; together with the size of the second header they are a safe one.
    if data.startswith(b"BM") and data[14:18] in _BMP_HEADERS:
        return "image/bmp"
    if data.startswith((b"II*\0", b"MM\0*")):
        return "image/tiff"
    return "image/avif" if _brands(data) & _AVIF else None


def not_an_image(data: bytes) -> str:
    """Describe bytes that are not an image: "a PDF document of 9 bytes", "5 bytes that are not a JPEG, … image: …"."""
    name = name_of(data)
    if name is not None:
        return f"{name} of {len(data):,} bytes"
    count = "1 byte that is" if len(data) == 1 else f"{len(data):,} bytes that are"
    start = data[:8]
    shown = repr(start.decode()) if start.isascii() and start.decode().isprintable() else f"the bytes {start.hex(' ')}"
    kinds = f"{TAKEN.replace(' or ', ', ')}, {' or '.join(CONVERTED.values())}"
    return f"{count} not a {kinds} image: {'they begin' if len(data) > 1 else 'it begins'} with {shown}"


def name_of(data: bytes) -> str | None:
    """What a file is by its first bytes, with an article: "a PDF document"; `None` where they are not recognised."""
    brands = _brands(data)
    if brands:
        return _by_brand(brands, data)
    if data.startswith(b"RIFF"):
        return {b"AVI ": "a video (AVI)", b"WAVE": "an audio file (WAV)"}.get(data[8:12])
    for start, name in _SIGNATURES:
        if data.startswith(start):
            return name
    if _NETPBM.match(data):
        return "a Netpbm image (PPM)"
    if data[4:8] in {b"moov", b"mdat", b"wide"} or (data[:1] == b"G" and data[188:189] == b"G"):
        return "a video"
    text = data[:_TEXT_READ_MAX].removeprefix(b"\xef\xbb\xbf")
    return next((name for pattern, name in _TEXTS if pattern.match(text)), None)


def _brands(data: bytes) -> frozenset[bytes]:
    """The brands of a file that begins with a box `ftyp`: its own brand and the compatible ones."""
    if data[4:8] != b"ftyp":
        return frozenset()
    stop = min(int.from_bytes(data[:4]), _BRANDS_MAX, len(data))
    return frozenset({data[8:12], *(data[at : at + 4] for at in range(16, stop, 4))})


def _by_brand(brands: frozenset[bytes], data: bytes) -> str:
    if brands & _AVIF:
        return "an AVIF image"
    if brands & _HEIC or (data[8:12] in _HEIF):
        return "a HEIC image (HEIF)"
    if b"jxl " in brands:
        return "a JPEG XL image"
    if brands & {b"crx "}:
        return "a camera's raw file (CR3)"
    if brands & {b"M4A ", b"M4B "}:
        return "an audio file (M4A)"
    return "a video (QuickTime)" if _QUICKTIME in brands else "a video (MP4)"
