"""A create request as a form means the same as in JSON; other bytes are refused with a reason."""

import base64
import io
import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.api.generations.create_request import Normalised, normalise
from gateway.api.generations.form import create_body
from gateway.api.generations.foxapi_fields import with_options
from gateway.api.generations.parameters import VIDEO_PARAMETERS
from gateway.api.web import multipart
from gateway.api.web.json_body import parse_json
from gateway.api.web.multipart import PARTS_MAX, Part, parse_form
from gateway.domain.errors import (
    GatewayError,
    InvalidForm,
    InvalidImage,
    InvalidParameter,
    UnknownParameter,
    UnsupportedMediaType,
)
from providers.foxapi.models import OPTIONS

from ....cases import every

B = "edge"
TYPE = f"multipart/form-data; boundary={B}"
CAT = "https://example.com/cat.png"
FIELDS = {row.name for row in VIDEO_PARAMETERS.rows}
ALIASES = VIDEO_PARAMETERS.aliases


def png(width: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, 16)).save(out, "PNG")
    return out.getvalue()


PNG, OTHER = png(), png(64)


def name_of(content: bytes) -> str:
    return f"file_{len(content)}_{hash(content) % 10**9}"


def part(disposition: str, content: bytes = b"x", *headers: str) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}", *headers]
    return b"\r\n".join([f"--{B}".encode(), *(line.encode() for line in lines), b"", content, b""])


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{B}--\r\n".encode()


def field(name: str, value: str | bytes) -> bytes:
    return part(f'name="{name}"', value.encode() if isinstance(value, str) else value)


def file(name: str, content: bytes = PNG, filename: str = "a.png") -> bytes:
    return part(f'name="{name}"; filename="{filename}"', content, "Content-Type: image/png")


def parsed(raw: bytes, content_type: str | None = TYPE) -> list[Part]:
    return parse_form(raw, content_type, None)


def read(*parts: bytes) -> Normalised:
    return normalise(create_body(parsed(form(field("model", "m"), *parts))), name_of)


def from_json(**body: Any) -> Normalised:
    raw = json.dumps({"model": "m", **body}).encode()
    return normalise(parse_json(raw, "application/json", None), name_of)


def refused(kind: type[GatewayError], *parts: bytes, param: str | None = None) -> str:
    with pytest.raises(GatewayError) as caught:
        read(*parts)
    assert (type(caught.value), caught.value.param) == (kind, param), caught.value
    return caught.value.detail


SCALARS: list[tuple[str, str, Any]] = [
    ("prompt", "A cat — ü\r\nand a dog", "A cat — ü\r\nand a dog"),
    ("prompt", "12", "12"),
    ("image", CAT, CAT),
    ("input_reference", CAT, CAT),
    ("duration", "5", 5),
    ("duration", "5.0", 5.0),
    ("seconds", "8", "8"),
    ("resolution", "1080P", "1080P"),
    ("aspect_ratio", "16:9", "16:9"),
    ("size", "1280x720", "1280x720"),
    ("n", "2", 2),
    ("generate_audio", "true", True),
    ("generate_audio", "False", False),
    ("negative_prompt", "", ""),
    ("seed", str(2**62), 2**62),
    ("fps", "24", 24),
    ("cfg_scale", "0.5", 0.5),
    ("cfg_scale", "1", 1),
    ("cfg_scale", "1" + "0" * 20, 1e20),
    ("mode", "1", "1"),
    ("provider_options", '{"keevx": {"a": [1, "1", true]}}', {"keevx": {"a": [1, "1", True]}}),
    ("adapt", "nearest", "nearest"),
    ("fallback", "false", False),
    ("fallbacks", "kling", ["kling"]),
    ("fallback[]", "kling", ["kling"]),
    ("deadline_seconds", "60", 60),
    ("max_cost", "1.5", 1.5),
    ("webhook_url", "https://example.com/hook", "https://example.com/hook"),
    ("user", "5", "5"),
    ("stream", "false", False),
    ("response_format", "url", "url"),
]


@every(("name", "text", "value"), SCALARS, ids=[f"{name}={text[:12]}" for name, text, _ in SCALARS])
def test_a_text_field_means_the_same_as_in_json(name: str, text: str, value: Any) -> None:
    assert read(field(name, text)) == from_json(**{name.removesuffix("[]"): value})


def test_every_field_of_json_has_a_form() -> None:
    with_a_form = {ALIASES.get(name.removesuffix("[]"), name.removesuffix("[]")) for name, _, _ in SCALARS}
    apart = {"model", "last_image", "reference_images", "width", "height", "metadata"}
    assert with_a_form | apart == FIELDS
    assert read(field("width", "1280"), field("height", "720")) == from_json(width=1280, height=720)


def test_repeated_fields_make_lists_and_brackets_make_members() -> None:
    normalised = read(
        *(field("reference_images", image) for image in (CAT, "file_01")),
        *(field("fallback", model) for model in ("true", "keevx/V")),
        field("metadata[order]", "1"),
        field("metadata[a[b]c]", ""),
        field("image[image_url]", CAT),
        field("end_image_url[file_id]", "file_02"),
    )
    assert normalised == from_json(
        reference_images=[CAT, "file_01"],
        fallback=["true", "keevx/V"],
        metadata={"order": "1", "a[b]c": ""},
        image={"image_url": CAT},
        last_image="file_02",
    )


def test_a_file_means_the_same_as_its_base64() -> None:
    text = base64.b64encode(PNG).decode()
    images = ("image", "last_image")
    in_json = from_json(image=text, last_image=base64.b64encode(OTHER).decode(), reference_images=[text, CAT])
    named = [file(name, content) for name, content in zip(images, (PNG, OTHER), strict=True)]
    references = [file("image_urls[]"), field("image_urls[]", CAT)]
    assert read(*named, *references) == in_json
    assert len(in_json.files) == 2
    nameless = part('name="image"', PNG, "Content-Type: image/png")
    assert read(nameless) == read(file("input_reference")) == read(field("image", text)) == from_json(image=text)


@every("name", [*sorted(FIELDS - {"model"}), *sorted(ALIASES), "image_urls[]", "fallback[]"])
def test_an_empty_part_counts_as_absent(name: str) -> None:
    left_alone = part(f'name="{name}"; filename=""', b"", "Content-Type: application/octet-stream")
    assert read(field(name, "")) == read(left_alone) == read()
    if name not in {"prompt", "fallback[]", "metadata"}:
        assert read(field(name, " \r\n")) == read()


def test_an_empty_file_box_beside_a_file_is_ignored() -> None:
    assert (
        read(field("image", ""), file("image"))
        == read(file("image"), field("image[image_url]", ""))
        == read(file("image"))
    )


def test_two_names_of_one_field_must_agree() -> None:
    assert read(file("image"), file("input_reference")) == read(file("image"))
    refused(InvalidParameter, file("image"), file("input_reference", OTHER), param="input_reference")
    refused(InvalidParameter, field("duration", "5"), field("seconds", "6"), param="seconds")


def test_forms_of_client_libraries_are_accepted() -> None:
    request = httpx.Request(
        "POST",
        "http://a",
        data={"model": "m", "prompt": 'A "cat"', "duration": 5, "generate_audio": True, "metadata[a]": "b"},
        files=[("input_reference", ("ö “x”.png", PNG, "image/png")), ("reference_images", ("b.png", OTHER))],
    )
    body = create_body(parse_form(request.read(), request.headers["content-type"], None))
    assert body == {
        "model": "m",
        "prompt": 'A "cat"',
        "duration": "5",
        "generate_audio": "true",
        "metadata": {"a": "b"},
        "input_reference": PNG,
        "reference_images": [OTHER],
    }


WRONG: list[tuple[str, tuple[bytes, ...], type[GatewayError], str | None]] = [
    ("no number", (field("duration", "five"),), InvalidParameter, "duration"),
    ("a number too large", (field("n", "1" * 100),), InvalidParameter, "n"),
    ("an endless number", (field("cfg_scale", "1e400"),), InvalidParameter, "cfg_scale"),
    ("not quite true", (field("generate_audio", "maybe"),), InvalidParameter, "generate_audio"),
    ("text that is not an image", (field("image", "a cat"),), InvalidImage, "image"),
    ("a file that is not an image", (file("image_url", b"a cat"),), InvalidImage, "image_url"),
    ("an empty file", (file("image", b"", "a.png"),), InvalidImage, "image"),
    ("an empty file among references", (file("image_urls", b"", "a.png"),), InvalidImage, "image_urls[0]"),
    ("two images for one", (file("image[]"), file("image[]", OTHER)), InvalidForm, "image[]"),
    ("an image by two spellings", (file("image"), file("image[0]", OTHER)), InvalidForm, "image[0]"),
    ("another file without a name", (part('name="image"', b"%PDF-1.4 \xff"),), InvalidImage, "image"),
    (
        "a broken reference",
        (file("reference_images"), file("reference_images", PNG[:20])),
        InvalidImage,
        "reference_images[1]",
    ),
    ("a file for text", (file("prompt"),), InvalidParameter, "prompt"),
    ("a file for a list of text", (file("fallback"),), InvalidParameter, "fallback"),
    ("a file for a member", (file("metadata[a]"),), InvalidParameter, "metadata[a]"),
    ("an unknown field", (field("promt", "a"),), UnknownParameter, "promt"),
    ("an unknown file", (file("first_frame"),), UnknownParameter, "first_frame"),
    ("an unknown list", (field("prompt[]", "a"),), UnknownParameter, "prompt[]"),
    ("an unknown member", (field("image[uri]", "a"),), UnknownParameter, "image.uri"),
    ("options in brackets", (field("provider_options[keevx]", "a"),), InvalidForm, "provider_options[keevx]"),
    ("twice", (field("prompt", "a"), field("prompt", "a")), InvalidForm, "prompt"),
    ("a member twice", (field("metadata[a]", "1"), field("metadata[a]", "1")), InvalidForm, "metadata[a]"),
    ("whole and in members", (file("image"), field("image[file_id]", "file_1")), InvalidForm, "image[file_id]"),
    ("members and whole", (field("image[file_id]", "file_1"), file("image")), InvalidForm, "image"),
    ("metadata as a list", (field("metadata", "[]"),), InvalidParameter, "metadata"),
    ("options that are not JSON", (field("provider_options", "{"),), InvalidParameter, "provider_options"),
    ("options that are not an object", (field("provider_options", "[]"),), InvalidParameter, "provider_options"),
    (
        "options with NUL",
        (field("provider_options", r'{"a":{"b":"\u0000"}}'),),
        InvalidParameter,
        "provider_options.a.b",
    ),
    ("options too large", (field("provider_options", " " * 40_000),), InvalidParameter, "provider_options"),
    ("no UTF-8", (field("prompt", b"\xff"),), InvalidForm, "prompt"),
    ("NUL", (field("prompt", "a\0"),), InvalidParameter, "prompt"),
    (
        "another charset",
        (part('name="prompt"', b"a", "Content-Type: text/plain; charset=utf-16"),),
        InvalidForm,
        "prompt",
    ),
    (
        "no such character",
        (part('name="prompt"', b"\x81", "Content-Type: a/b; charset=latin1"),),
        InvalidForm,
        "prompt",
    ),
    ("another transfer", (part('name="image"', b"a", "Content-Transfer-Encoding: uuencode"),), InvalidForm, "image"),
    ("a charset for all", (field("_charset_", "gbk"), field("prompt", "a")), InvalidForm, "_charset_"),
    ("base64 by header", (part('name="image"', b"a", "Content-Transfer-Encoding: base64"),), InvalidForm, "image"),
    ("a form inside", (part('name="image"', b"a", "Content-Type: multipart/mixed; boundary=x"),), InvalidForm, "image"),
]


@every(("parts", "kind", "param"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_fault_names_its_field(parts: tuple[bytes, ...], kind: type[GatewayError], param: str | None) -> None:
    message = refused(kind, *parts, param=param)
    assert param is not None
    assert param.partition("[")[0].partition(".")[0] in message


@pytest.mark.parametrize("at_top", [False, True])
def test_options_in_brackets_mean_the_same_as_in_json(at_top: bool) -> None:
    parts = {
        "[multi_prompt][1][duration]": "3",
        "[multi_prompt][0][prompt]": "a",
        "[multi_prompt][0][duration]": "2",
        "[multi_prompt][1][prompt]": "b",
        "[keep_audio]": "true",
        "[shot_type]": "",
    }

    def named(name: str) -> str:
        option, _, rest = name.removeprefix("[").partition("]")
        return option + rest if at_top else f"provider_options[foxapi]{name}"

    raw = form(
        field("model", "m"),
        *(field(named(name), value) for name, value in parts.items()),
        *(field(named("[voice_ids][]"), voice) for voice in ("v", "w")),
    )
    shapes = {"foxapi": {name: (shape,) for name, shape in OPTIONS.items()}}
    request = normalise(with_options(create_body(parsed(raw))), name_of, option_shapes=shapes).request
    assert request.provider_options == {
        "foxapi": {
            "multi_prompt": [{"prompt": "a", "duration": 2}, {"prompt": "b", "duration": 3}],
            "keep_audio": True,
            "voice_ids": ["v", "w"],
        }
    }


@pytest.mark.parametrize("name", ["[foxapi]", "[foxapi][elements][][frontal_image_url]", "[][voice_ids]"])
def test_options_in_unclear_brackets_are_refused_with_the_form_that_they_have(name: str) -> None:
    path = f"provider_options{name}"
    assert "`provider_options[PROVIDER][OPTION][0][FIELD]`" in refused(InvalidForm, field(path, "1"), param=path)


@pytest.mark.parametrize(
    ("parts", "param", "words"),
    [
        ({"voice_ids": '["v"]'}, "voice_ids", "must be a list"),
        ({"voice_ids[": "v"}, "voice_ids[", "`voice_ids[]`"),
        ({"elements[][video_url]": "v"}, "elements[][video_url]", "`elements[0][FIELD]`"),
        ({"voice_ids": "v", "voice_ids[]": "w"}, "voice_ids[]", "twice"),
        ({"elements[0][nothing]": "v"}, "elements[0].nothing", "does not exist"),
        ({"keep_audio": "maybe"}, "keep_audio", "true or false"),
    ],
)
def test_an_option_at_the_top_of_a_form_is_refused_by_its_own_name(
    parts: dict[str, str], param: str, words: str
) -> None:
    shapes = {"foxapi": {name: (shape,) for name, shape in OPTIONS.items()}}
    sent = parsed(form(field("model", "m"), *(field(name, text) for name, text in parts.items())))

    def read() -> Normalised:
        return normalise(with_options(create_body(sent)), name_of, option_shapes=shapes)

    with pytest.raises(GatewayError) as raised:
        read()
    assert raised.value.param == param
    assert words in raised.value.detail


def test_an_option_in_brackets_beside_json_is_refused() -> None:
    path = "provider_options[foxapi][keep_audio]"
    assert "twice" in refused(InvalidForm, field("provider_options", "{}"), field(path, "1"), param=path)


WHOLE = form(field("model", "m"), file("image"))
BROKEN: list[tuple[str, bytes, str]] = [
    ("nothing", b"", TYPE),
    ("no boundary", WHOLE, "multipart/form-data"),
    ("an empty boundary", WHOLE, 'multipart/form-data; boundary=""'),
    ("a long boundary", WHOLE.replace(B.encode(), b"x" * 71), f"multipart/form-data; boundary={'x' * 71}"),
    ("a boundary of forbidden characters", WHOLE, 'multipart/form-data; boundary="edge\\"'),
    ("another boundary", WHOLE, "multipart/form-data; boundary=other"),
    ("cut short in a file", WHOLE[:-40], TYPE),
    ("without its end", WHOLE.removesuffix(b"--edge--\r\n"), TYPE),
    ("a part after its end", WHOLE + field("prompt", "b"), TYPE),
    ("another form after its end", WHOLE + WHOLE, TYPE),
    ("a part before its beginning", field("prompt", "b").replace(B.encode(), b"other") + WHOLE, TYPE),
    ("much text before its beginning", b"x" * 20_000 + b"\r\n" + WHOLE, TYPE),
    ("much text after its end", WHOLE + b"x" * 20_000, TYPE),
    ("one bare line feed", WHOLE.replace(b"edge\r\nContent", b"edge\nContent", 1), TYPE),
    ("line feeds around a line", WHOLE.replace(b"\r\n", b"\n").replace(b"\n--edge\n", b"\r\n--edge\n"), TYPE),
    ("more in the line of a boundary", WHOLE.replace(b"edge\r\n", b"edge;\r\n"), TYPE),
    ("two boundaries", WHOLE, TYPE + "; boundary=other"),
    ("a part without a name", form(part("", b"a")), TYPE),
    ("a part with an empty name", form(field("", "a")), TYPE),
    ("NUL in a name", form(field("a\0b", "a")), TYPE),
    ("another disposition", form(field("a", "b").replace(b"form-data", b"attachment")), TYPE),
    ("no disposition", form(field("a", "b").replace(b"Content-Disposition", b"X-Other")), TYPE),
    ("a name that is not UTF-8", form(field("a", "b").replace(b'"a"', b'"\xff"')), TYPE),
    ("a header without end", form(part(f'name="{"a" * 5000}"')), TYPE),
    ("too many headers", form(part('name="a"', b"", *(f"X-{at}: 1" for at in range(9)))), TYPE),
    ("too many parts", form(*(field(f"a{at}", "") for at in range(PARTS_MAX + 1))), TYPE),
    ("a wrong length", form(part('name="a"', b"abc", "Content-Length: 2")), TYPE),
]


@every(("raw", "content_type"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_form_is_refused(raw: bytes, content_type: str) -> None:
    with pytest.raises(InvalidForm) as caught:
        parsed(raw, content_type)
    assert caught.value.status == 400
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("length", [len(WHOLE) - 40, len(WHOLE) - 6])
def test_a_truncated_form_is_refused_as_such(length: int) -> None:
    with pytest.raises(InvalidForm, match="is it complete"):
        parsed(WHOLE[:length])


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (None, None),
        ("multipart/mixed; boundary=edge", None),
        ("application/x-www-form-urlencoded", None),
        (TYPE + "; charset=latin1", None),
        (TYPE, "gzip"),
    ],
)
def test_other_media_types_are_refused(content_type: str | None, encoding: str | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        parse_form(WHOLE, content_type, encoding)


EXPECTED = create_body(parsed(form(field("model", "m"), field("seconds", "5"), file("image"))))
NAMED = part('name="seconds"; filename="seconds"', b"5")
ODD: dict[str, tuple[list[bytes], bytes, str]] = {
    "an image without a name": ([part('name="image"', PNG)], b"", ""),
    "an image of bytes": ([part('name="image"', PNG, "Content-Type: application/octet-stream")], b"", ""),
    "an image with a name and no type": ([part('name="image"; filename="x"', PNG)], b"", ""),
    "an image in a list": ([file("image[]")], b"", ""),
    "an image with a number": ([file("image[0]")], b"", ""),
    "an image whose type is text": ([part('name="image"; filename="x"', PNG, "Content-Type: text/plain")], b"", ""),
    "an image in base64": (
        [part('name="image"', base64.encodebytes(PNG), "content-transfer-encoding: BASE64", "content-type: image/png")],
        b"",
        "",
    ),
    "a header in two lines": ([part('name="image";\r\n\tfilename="b"', PNG)], b"", ""),
    "a name that only the extended form has": ([part("name=image; filename*=UTF-8''%C3%B6.png", PNG)], b"", ""),
    "a name in another alphabet": (
        [part('name="image"; filename="?"', PNG).replace(b'"?"', b'"\xc4\xe3.png"')],
        b"",
        "",
    ),
    "a file that was not chosen": ([file("image"), file("last_image", b"", "")], b"", ""),
    "a charset for all": ([field("_charset_", "UTF-8"), file("image")], b"", ""),
    "text before": ([file("image")], b"This is a multi-part message in MIME format.\r\n", ""),
    "a line before": ([file("image")], b"\r\n", ""),
    "text behind": ([file("image")], b"", "Bye."),
}


@every("name", ODD)
@every("ends", [b"\r\n", b"\n"])
def test_unusual_forms_mean_the_same_as_plain_ones(name: str, ends: bytes) -> None:
    parts, before, behind = ODD[name]
    raw = before + form(field("model", "m"), NAMED, *parts) + behind.encode()
    if ends == b"\n":
        raw = raw.replace(PNG, b"@").replace(b"\r\n", ends).replace(b"@", PNG)
    assert create_body(parsed(raw)) == EXPECTED


@pytest.mark.parametrize(
    ("boundary", "declared"),
    [
        ("----=_Part_1_12:3", "{}"),
        ("----=_Part_1_12:3", '"{}"'),
        ("a b", "{}"),
        ("(x)/?,'", "{}; charset=utf-8"),
        ("x" * 70, " {} "),
    ],
)
def test_a_boundary_may_lack_its_quotation_marks(boundary: str, declared: str) -> None:
    raw = WHOLE.replace(f"--{B}".encode(), f"--{boundary}".encode())
    parts = parsed(raw, f"multipart/form-data; boundary={declared.format(boundary)}")
    assert [part_of_form.name for part_of_form in parts] == ["model", "image"]


def test_text_is_read_in_the_charsets_that_clients_use() -> None:
    java = part('name="prompt"', "für".encode("latin-1"), "Content-Type: text/plain; charset=ISO-8859-1")
    mail = part('name="prompt"', b"f=C3=BCr", "Content-Transfer-Encoding: quoted-printable")
    assert read(java) == read(mail) == from_json(prompt="für")


def test_a_file_that_contains_a_url_counts_as_the_url() -> None:
    named = part('name="image"; filename="blob"', CAT.encode(), "Content-Type: application/octet-stream")
    assert read(named) == from_json(image=CAT)
    assert "an SVG image" in refused(InvalidImage, part('name="image"', b"<svg/>"), param="image")


def test_numbers_in_brackets_make_a_list() -> None:
    parts = [field("reference_images[0]", CAT), file("reference_images[1]"), field("fallback[0]", "kling")]
    text = base64.b64encode(PNG).decode()
    assert read(*parts) == from_json(reference_images=[CAT, text], fallback=["kling"])


def test_the_largest_possible_request_fits() -> None:
    fields = [field(name, "x") for name in FIELDS if name not in {"metadata", "fallback", "reference_images"}]
    many = [field(name, "x") for name in ("fallback", "reference_images") for _ in range(16)]
    pairs = [field(f"metadata[{at}]", "x") for at in range(16)]
    assert len(parsed(form(*fields, *many, *pairs))) == len(fields) + 48


def test_a_file_may_contain_something_like_a_boundary() -> None:
    content = b"\r\n--edg\r\n--\r\n\r\n--\r--edge\r\n"
    assert [part_of_form.content for part_of_form in parsed(form(file("image", content)))] == [content]


@settings(max_examples=60)
@given(
    content=st.lists(st.sampled_from([b"\r\n", b"--", b"-", B.encode(), b"ed", b"x", b"\r"]), max_size=12),
    behind=st.sampled_from([b"", b" ", b"\r\n\r\n", b"x", b"--edge--"]),
    size=st.integers(12, 80),
)
def test_a_search_in_pieces_gives_the_same_parts(content: list[bytes], behind: bytes, size: int) -> None:
    raw = form(field("a", "b"), file("image", b"".join(content))) + behind

    def meaning() -> object:
        try:
            return parsed(raw)
        except InvalidForm as error:
            return error.detail

    whole = meaning()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multipart, "PIECE", size)
        assert meaning() == whole


def test_a_quoted_boundary_may_have_unusual_characters() -> None:
    raw = WHOLE.replace(B.encode(), b"a b'()+_,-./:=?c")
    parts = parsed(raw, 'Multipart/Form-Data; charset=UTF-8; boundary="a b\'()+_,-./:=?c"')
    assert [part_of_form.name for part_of_form in parts] == ["model", "image"]


NAMES = st.sampled_from(
    [*sorted(FIELDS), *ALIASES, "metadata[a]", "fallback[]", "image[file_id]", "image[]"]
) | st.text(max_size=9)
VALUES = st.sampled_from([b"1", b"true", b"{}", b"720p", b"file_1", CAT.encode(), PNG, PNG[:30]]) | st.binary(
    max_size=30
)
DISPOSITIONS = st.sampled_from(
    ['name="{}"', 'name="{}"; filename="a.png"', "name={}", '; filename="x"; name="{}"', "{}"]
)
HEADERS = st.sampled_from(["Content-Type: image/png", "Content-Type: ;", "Content-Length: 1", "A: b", "x", ""])
PARTS = st.builds(
    lambda name, shape, value, headers: part(shape.format(name), value, *headers),
    NAMES,
    DISPOSITIONS,
    VALUES,
    st.lists(HEADERS, max_size=2),
)


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A form with some of its bytes changed."""
    raw = bytearray(form(*draw(st.lists(PARTS, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 3))] = draw(
            st.sampled_from([b"", b"\r\n", b"\n", b"--edge", b"--", b'"', b"\0"])
        )
    return bytes(raw)


TYPES = st.sampled_from([TYPE, 'multipart/form-data; boundary="edge"', "multipart/form-data; boundary=", "multipart/;"])


@settings(max_examples=300)
@given(raw=spoilt() | st.binary(max_size=60), content_type=TYPES | st.text(max_size=40).map("multipart/{}".format))
@example(raw=form(), content_type=TYPE)
@example(raw=form(part("name=image; filename*=UTF-8''a.png", PNG)), content_type=TYPE)
def test_any_bytes_are_parsed_or_refused_with_a_reason(raw: bytes, content_type: str) -> None:
    with suppress(GatewayError):
        assert normalise(create_body(parsed(raw, content_type)), name_of).request.model


def test_pairs_may_come_as_one_json_object_as_generated_clients_send_them() -> None:
    assert read(field("metadata", '{"a": "b"}')) == from_json(metadata={"a": "b"})
    assert read(field("metadata[a]", "b")) == from_json(metadata={"a": "b"})
    refused(
        InvalidForm,
        field("metadata", '{"a": "b"}'),
        field("metadata[a]", "b"),
        field("metadata[a]", "c"),
        param="metadata[a]",
    )
