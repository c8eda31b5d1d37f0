"""Draws the first frame of a video: `python -m gateway.media.first_frame VIDEO JPEG`, within narrow limits.

A process of its own, because what decodes videos is large, written in C, and fed with a stranger's file.
"""

import resource
import sys
from pathlib import Path
from typing import Any

SIDE_MAX = 640  # pixels
BYTES_MAX = 1024 * 1024  # of the JPEG
LIMITS = {
    resource.RLIMIT_CPU: 10,  # seconds
    resource.RLIMIT_AS: 1024**3,
    resource.RLIMIT_FSIZE: BYTES_MAX,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_CORE: 0,
}
CODECS = "h264,hevc,av1,libdav1d,libaom-av1,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mjpeg,prores"


def draw(video: Path, to: Path) -> None:
    """Write the first frame; what goes wrong is raised as it comes."""
    import av  # noqa: PLC0415  # an extra

    with video.open("rb") as file:
        # Left to guess, the library also takes playlists, which name other files and URLs to open.
        kind = "matroska" if file.read(4) == b"\x1a\x45\xdf\xa3" else "mov"
        file.seek(0)
        only = {"protocol_whitelist": "none", "codec_whitelist": CODECS, "enable_drefs": "0"}
        opened: Any = av.open(file, format=kind, options=only)
        with opened as container:
            stream = container.streams.video[0]
            if stream.codec_context.name not in CODECS.split(","):
                raise ValueError("a codec that no provider uses")
            stream.codec_context.thread_count = 1
            frame = next(container.decode(stream))
    share = min(SIDE_MAX / max(frame.width, frame.height), 1.0)
    size = {name: max(round(getattr(frame, name) * share), 1) for name in ("width", "height")}
    picture = frame.to_image(**size)
    if frame.rotation:
        picture = picture.rotate(frame.rotation, expand=True)
    picture.save(to, "JPEG", quality=80)


def confine() -> None:
    """Bind this process to its limits, for good."""
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    confine()
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
