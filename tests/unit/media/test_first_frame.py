"""The process that decodes videos of strangers: its codecs and its limits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from gateway.media.first_frame import draw


def test_a_codec_that_no_provider_uses_is_refused(tmp_path: Path) -> None:
    opened: Any = av.open(str(tmp_path / "odd.mov"), "w")
    with opened as container:
        stream = container.add_stream("rawvideo", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8, 8, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (8, 8)))))
    with pytest.raises(ValueError, match="a codec that no provider uses"):
        draw(tmp_path / "odd.mov", tmp_path / "frame")


def test_the_process_is_bound_to_its_limits(tmp_path: Path) -> None:
    tries = (
        "import pathlib, sys\n"
        "import os\n"
        "from gateway.media.confinement import confine\n"
        "confine(memory_bytes=1 << 30, cpu_seconds=10, file_bytes=1 << 20)\n"
        "print('priority', os.nice(0))\n"
        "try: bytearray(2 << 30)\n"
        "except MemoryError: print('memory')\n"
        "try: pathlib.Path(sys.argv[1]).write_bytes(bytes(2 << 20))\n"
        "except OSError: print('disk')\n"
    )
    done = subprocess.run([sys.executable, "-c", tries, tmp_path / "large"], capture_output=True, text=True, check=True)  # noqa: S603  # our own
    assert done.stdout == "priority 10\nmemory\ndisk\n"
