"""Whether the body of a content call is a file of the asked kind, by its type and its first bytes."""

import gzip
import io
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from PIL import Image

from gateway.domain.adapter.request import Kind
from gateway.engine.content_check import _begins_a_file

packed = partial(gzip.compress, mtime=0)  # always the same bytes, because they are in the names of the tests

VIDEO = b"\0\0\0\x18ftypisom\0\0\2\0" + bytes(5000)
WEBM = b"\x1a\x45\xdf\xa3" + bytes(50)
PAGE = b"<html><body>Sign in</body></html>"


async def begins(body: bytes, *, step: int = 10**6, kind: Kind = "video", **headers: str) -> bool:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), step):
            yield body[start : start + step]

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await _begins_a_file(httpx.Response(200, headers=named, content=pieces()), kind)


@pytest.mark.parametrize("step", [1, 10**6])
@pytest.mark.parametrize("body", [VIDEO, WEBM, VIDEO.replace(b"ftyp", b"moov"), packed(VIDEO)])
async def test_a_video_is_recognised_by_its_first_bytes_in_parts_of_any_size(body: bytes, step: int) -> None:
    assert await begins(body, step=step, content_type="application/octet-stream")
    assert await begins(body, step=step, content_encoding="utf-8")


@pytest.mark.parametrize("body", [b"", PAGE, packed(PAGE), b"\x1f\x8b\x08\0" + b"\xff" * 50, b"\0\0\0\x18ft"])
async def test_another_body_is_a_video_only_if_its_type_says_so(body: bytes) -> None:
    assert not await begins(body, content_type="text/html")
    # The declared type is believed until the file is fetched.
    assert await begins(body, content_type="Video/MP4; codecs=avc1")


def picture(form: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, form)
    return out.getvalue()


FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF")


@pytest.mark.parametrize("step", [1, 10**6])
@pytest.mark.parametrize("form", FORMATS)
async def test_an_image_is_recognised_by_its_first_bytes_in_parts_of_any_size(form: str, step: int) -> None:
    assert await begins(picture(form), step=step, kind="image", content_type="application/octet-stream")
    assert await begins(packed(picture(form)), step=step, kind="image")


@pytest.mark.parametrize("body", [b"", PAGE, VIDEO, WEBM, b"\x89PNG"])
async def test_what_is_not_an_image_is_not_the_file_of_an_image(body: bytes) -> None:
    assert not await begins(body, kind="image", content_type="video/mp4")
    assert await begins(body, kind="image", content_type="Image/PNG")  # believed until the file is fetched


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "AVIF"])  # AVIF has the boxes of a video
async def test_an_image_is_not_the_file_of_a_video(form: str) -> None:
    assert not await begins(picture(form), content_type="image/png")
