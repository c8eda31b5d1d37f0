"""Writes the first frame of a video as a JPEG: `python -m gateway.media.first_frame VIDEO JPEG`.

This runs as a process of its own, within narrow limits: video decoders are large C code, and the file comes from a
stranger. `artifacts/thumbnails.py` starts it.
"""

import sys
from pathlib import Path
from typing import Any

from gateway.media.confinement import confine

SIDE_MAX = 640  # pixels of the longer side of the JPEG
BYTES_MAX = 1024 * 1024  # of the JPEG
MEMORY_BYTES, CPU_SECONDS = 1024**3, 10
CODECS = "h264,hevc,av1,libdav1d,libaom-av1,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mjpeg,prores"


def draw(video: Path, to: Path) -> None:
    """Write the first frame of `video` to `to`. Any error of the decoder is raised unchanged."""
    import av  # noqa: PLC0415  # part of the extra `demo`

    with video.open("rb") as file:
        # If the library may guess the format, it also accepts playlists, which make it open other files and URLs.
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


if __name__ == "__main__":
    confine(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=BYTES_MAX)
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
