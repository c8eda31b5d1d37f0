"""The type and size of an image by its header, and the meaning of a client's text for an image."""

import base64
import io
import struct
import zlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.errors import InvalidImage
from gateway.domain.routing.image_limits import ImageFacts
from gateway.media.image_header import IMAGE_MAX, PIXELS_MAX, inspect
from gateway.media.image_text import from_text

from ...cases import every
from ..cost import ratio


def made(form: str, size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, form, **options)
    return out.getvalue()


PNG = made("PNG")
WEBP_WITH_PROFILE = made("WEBP", icc_profile=b"profile")


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (made("JPEG"), "image/jpeg"),
        (made("JPEG", progressive=True), "image/jpeg"),
        (made("JPEG", icc_profile=b"x" * 100_000, comment=b"\xff\xc0 in a comment"), "image/jpeg"),
        (PNG, "image/png"),
        (made("GIF"), "image/gif"),
        (made("BMP"), "image/bmp"),
        (made("WEBP"), "image/webp"),
        (made("WEBP", lossless=True), "image/webp"),
        (WEBP_WITH_PROFILE, "image/webp"),
    ],
)
def test_type_and_size_come_from_the_header(data: bytes, content_type: str) -> None:
    assert inspect(data) == ImageFacts(content_type=content_type, bytes=len(data), width=64, height=48)


def test_every_webp_form_was_tried() -> None:
    assert made("WEBP")[12:16] == b"VP8 "
    assert made("WEBP", lossless=True)[12:16] == b"VP8L"
    assert WEBP_WITH_PROFILE[12:16] == b"VP8X"


def riff(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def test_large_dimensions_are_read_with_all_bytes() -> None:
    canvas = b"VP8X\x0a\0\0\0" + bytes(4) + (299).to_bytes(3, "little") + (65_534).to_bytes(3, "little")
    assert inspect(riff(canvas, b"VP8 \2\0\0\0ab")).height == 65_535
    lossless = inspect(riff(b"VP8L\x05\x00\x00\x00\x2f" + struct.pack("<I", 8191 | 8190 << 14) + b"\0"))
    assert (lossless.width, lossless.height) == (8192, 8191)


def test_bmp_of_both_headers() -> None:
    start = b"BM" + bytes(12)
    pixels = bytes(24 * 9)
    assert inspect(start + struct.pack("<IHHHH", 12, 7, 9, 1, 24) + pixels).height == 9
    assert inspect(start + struct.pack("<IiiHH", 40, 7, -9, 1, 24) + bytes(24) + pixels).height == 9
    with pytest.raises(InvalidImage):
        inspect(start + struct.pack("<IiiHH", 40, -7, 9, 1, 24) + bytes(24) + pixels)


def png_of(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II", width, height) + PNG[24:29]
    return PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]


def test_absurd_dimensions_are_refused() -> None:
    assert inspect(png_of(10_000, 10_000)).width * 10_000 == PIXELS_MAX
    for width, height in [(0, 48), (64, 0), (10_000, 10_001), (65_536, 1), (2**32 - 1, 2**32 - 1)]:
        with pytest.raises(InvalidImage, match=f"{width}x{height}"):
            inspect(png_of(width, height))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"\x00\x00\x00\x18ftypavif",
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"BMW is a make of cars, and this is a text",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff" * 100_000 + b"\x00",
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * 100_000,
        b"\xff\xd8" + b"\xff\xe0\x00\x00" * 10,
    ],
)
def test_anything_else_is_not_an_image(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        inspect(data)


def test_too_many_bytes_are_refused() -> None:
    assert inspect(PNG.ljust(IMAGE_MAX, b"\0")).bytes == IMAGE_MAX
    with pytest.raises(InvalidImage, match="20 MB"):
        inspect(PNG.ljust(IMAGE_MAX + 1, b"\0"))


@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda start, rest: start + rest,
            st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF1234WEBP", PNG[:20]]),
            st.binary(max_size=60),
        ),
    )
)
def test_any_bytes_are_facts_or_refused(data: bytes) -> None:
    try:
        facts = inspect(data)
    except InvalidImage:
        return
    assert facts.width > 0
    assert facts.height > 0


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "HTTPS://Example.com/a.png?sig=a%20b#x",
        "http://localhost:8000/a",
        "http://[::1]:8000/a",
        "https://例え.jp/画像.png",
        "https://example.com:443",
        "https://example.com/" + "a" * (8192 - 20),
    ],
)
def test_a_url_is_not_changed(url: str) -> None:
    assert from_text(url, "image") == url


@every(
    "url",
    [
        "https://",
        "https:///path",
        "https://.",
        "http://user:pass@example.com/a",
        "http://user@example.com/a",
        "https://exam ple.com/",
        "https://example.com/a b",
        "https://example.com/a\n",
        "https://example.com/\x00",
        "https://example.com/\u00a0",
        "https://example.com\\@evil.example/",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://example.com:port/",
        "https://[::1/",
        "https://[zz]/",
        "https://exa%6dple.com/",
        "https://example.com/" + "a" * 8192,
    ],
)
def test_a_broken_url_is_refused_and_names_the_parameter(url: str) -> None:
    with pytest.raises(InvalidImage, match="`image_url`") as caught:
        from_text(url, "image_url")
    assert caught.value.param == "image_url"


@every(
    "text",
    [
        "",
        " ",
        "not-a-url",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "images/cat.png",
        "images/cat",
        "/a/b.png",
        "not-a-url1",
        "https:example.com",
        "//example.com/a.png",
        "file_",
        "file_a b",
        "file_../x",
        "javascript:alert(1)",
        "iVBORw0KGgo=====",
        "iVBORw0KGgo*",
        "iVBORw0KGgoé",
        base64.b64encode(b"plain text").decode(),
        "\x00",
    ],
)
def test_anything_else_says_what_is_accepted(text: str) -> None:
    with pytest.raises(
        InvalidImage, match=r"`last_image` .*(http\(s\) URL|of a file|characters? .* (position|padding))"
    ) as caught:
        from_text(text, "last_image")
    assert caught.value.param == "last_image"


def test_the_id_of_a_file_is_not_changed() -> None:
    assert from_text("file_01JDKQabc", "image") == "file_01JDKQabc"


# All sixty-four characters occur, so that the alphabets differ.
CONTENT = PNG + bytes(range(256)) + b"\xfb\xff\xbe" * 3


@every("extra", [b"", b"1", b"12"])
@every("wrap", ["{}", "data:image/png;base64,{}", "DATA:Image/JPEG;charset=x;BASE64,{}", "data:;base64,{}"])
@every("spell", ["standard", "url-safe", "bare", "lines", "spaces"])
def test_every_spelling_of_base64_gives_the_bytes(extra: bytes, wrap: str, spell: str) -> None:
    data = CONTENT + extra
    text = base64.b64encode(data).decode()
    text = {
        "standard": text,
        "url-safe": base64.urlsafe_b64encode(data).decode(),
        "bare": text.rstrip("="),
        "lines": base64.encodebytes(data).decode().replace("\n", "\r\n"),
        "spaces": f" {text[:10]} \t{text[10:]} ",
    }[spell]
    assert from_text(wrap.format(text), "image") == data


def test_a_data_url_may_be_percent_encoded() -> None:
    data = CONTENT.ljust(len(CONTENT) // 3 * 3 + 4, b"1")
    text = base64.b64encode(data).decode()
    assert "+" in text
    assert "=" in text
    assert from_text("data:image/png;base64," + quote(text, safe=""), "image") == data
    assert from_text("data:image/png;base64," + quote(text, safe="").replace("%2B", "%2b"), "image") == data


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:,",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png,abc",
        "data:image/svg+xml,<svg/>",
        "data:image/png;base64,*",
        "data:image/png;base64,%00",
        "data:image/png;base64,A",
        "data:image/png;base64,====",
        "data:" + "x" * 5000 + ";base64,aGk=",
    ],
)
def test_a_data_url_without_readable_data_is_refused(url: str) -> None:
    with pytest.raises(InvalidImage, match="`image`"):
        from_text(url, "image")


def test_the_limit_holds_for_text_too_and_large_images_are_read_quickly() -> None:
    data = PNG.ljust(IMAGE_MAX, b"\x7f")
    text = base64.b64encode(data).decode()
    url = "data:image/png;base64," + text
    assert from_text(url, "image") == data
    assert ratio(lambda: from_text(url, "image"), lambda: base64.b64decode(text), rounds=3) < 6  # less than twice
    with pytest.raises(InvalidImage, match=r"`image` is over the limit of 20 MB"):
        from_text(base64.b64encode(data + b"1").decode(), "image")


@given(st.text(max_size=80) | st.sampled_from(["data:", "http://", "file_", "data:;base64,"]).flatmap(
    lambda start: st.text(max_size=60).map(lambda rest: start + rest)
))  # fmt: skip
def test_any_text_has_a_meaning_or_is_refused(text: str) -> None:
    assert outcome(text)


def outcome(text: str) -> str | bytes:
    try:
        return from_text(text, "image")
    except InvalidImage as error:
        return error.param or ""


def test_credentials_in_a_url_are_refused_without_showing_them() -> None:
    with pytest.raises(InvalidImage, match="credentials") as caught:
        from_text("https://user:secret@example.com/a", "image")
    assert "secret" not in caught.value.detail
