"""The meaning of a create request under every name and spelling, and refusals that name the field."""

import base64
import hashlib
import io
import ipaddress
import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image

from gateway.api.generations.create_request import Normalised, normalise
from gateway.api.generations.parameters import VIDEO_PARAMETERS, CreateVideo
from gateway.api.generations.readers import RATIO_NAMES, RESOLUTION_NAMES
from gateway.api.web.json_body import parse_json
from gateway.domain.adapter.request import FramesInput, ReferencesInput, Settings, TextInput
from gateway.domain.errors import GatewayError, InvalidImage, InvalidParameter, UnknownParameter
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.parameters import spellings as spelling
from gateway.domain.parameters.dimensions import ratio_name
from gateway.domain.routing.image_limits import ImageFacts

from ....cases import every


def png(width: int = 32, height: int = 16) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


PNG = png()
PNG_TEXT = base64.b64encode(PNG).decode()
CAT, DOG, FOX = (f"https://example.com/{name}.png" for name in ("cat", "dog", "fox"))


# Each field with all its names.
NAMES: dict[str, list[str]] = {row.name: [row.name, *row.aliases] for row in VIDEO_PARAMETERS.rows}
ALIASES = VIDEO_PARAMETERS.aliases


def name_of(content: bytes) -> str:
    return f"file_{hashlib.sha256(content).hexdigest()[:20]}"


def read(**body: Any) -> Normalised:
    return normalise({"model": "m", **body}, name_of)


def settings(**body: Any) -> Settings:
    return read(**body).request.settings


def refused(kind: type[GatewayError] = InvalidParameter, /, **body: Any) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        read(**body)
    assert type(caught.value) is kind, caught.value
    assert caught.value.status == 400
    assert caught.value.param is not None
    return caught.value


def test_a_body_with_a_model_alone_has_every_default() -> None:
    assert read() == Normalised(request=GenerationRequest(model="m", input=TextInput()), files={})


def test_every_field_arrives_in_the_request() -> None:
    body = {
        "model": "kling",
        "prompt": "A cat",
        "image": CAT,
        "last_image": "file_01",
        "duration": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "n": 2,
        "generate_audio": False,
        "negative_prompt": "dogs",
        "seed": 0,
        "fps": 24,
        "cfg_scale": 0,
        "mode": "pro",
        "provider_options": {"keevx": {"a": [1]}},
        "adapt": "nearest",
        "fallback": ["b", "c"],
        "deadline_seconds": 60,
        "max_cost": 1,
        "webhook_url": "https://example.com/hook",
        "metadata": {"order": ""},
        "user": "u",
    }
    assert normalise(body, name_of).request == GenerationRequest(
        model="kling",
        input=FramesInput(first_frame=CAT, last_frame="file_01"),
        prompt="A cat",
        settings=Settings(
            duration_seconds=5,
            resolution="720p",
            aspect_ratio="16:9",
            generate_audio=False,
            negative_prompt="dogs",
            seed=0,
            fps=24,
            cfg_scale=0.0,
            mode="pro",
        ),
        count=2,
        provider_options={"keevx": {"a": [1]}},
        adapt="nearest",
        fallback=("b", "c"),
        deadline_seconds=60,
        max_cost=1.0,
        webhook_url="https://example.com/hook",
        metadata={"order": ""},
        user="u",
    )
    assert msgspec.convert(body, CreateVideo)


# Field → values that its reader and the documented type must both accept, and below it values that must be refused.
TAKEN: dict[str, list[Any]] = {
    "model": ["x", "y" * 256],
    "prompt": ["", "x" * 20_000],
    "image": [CAT, PNG_TEXT, "", [], [CAT], {"url": CAT}, {"image_url": {"url": CAT, "detail": "low"}}],
    "reference_images": [[CAT], [CAT] * 16, [""], [{"file_id": "file_1"}]],
    "duration": [1, 3600, 5.0, 5.5, "5", " 5 ", "5s", "5.0", "05", "5 seconds", "1e1", "５", ""],
    "resolution": ["720p", "1080p", "4k", "720", 720, "360p", "8k", "1280x720", "Full HD", ""],
    "aspect_ratio": ["1:1", "99:1", "21:9", "16x9", "16:9 ", "16:9\n", "16：9", 1.7, "2.35:1", "landscape", ""],
    "size": ["1280x720", "1024x1792", "1280*720", " 1280 X 720\n", "auto", ""],
    "n": [1, 4, "2", " 2 ", ""],
    "generate_audio": [True, False, 0, 1, "true", "False", "on", "NO", ""],
    "negative_prompt": ["x", "", " "],
    "seed": [0, 2**63 - 1, "1", str(2**63 - 1)],
    "fps": [1, 120, "24", "24 fps"],
    "cfg_scale": [0, 0.5, -1, "0.5", ".5"],
    "mode": ["std", "PRO", ""],
    "provider_options": [{}, {"a": {"b": [None]}}],
    "adapt": ["none", "nearest"],
    "fallback": [True, False, [], ["a"]],
    "deadline_seconds": [60, 86_400, "60", "600s"],
    "max_cost": [0.01, 5, "1"],
    "webhook_url": ["https://example.com/", "", " https://example.com/hook\n"],
    "metadata": [{}, {"k" * 64: "v" * 512}, {str(at): "" for at in range(16)}],
    "user": ["", "u" * 256],
    "stream": [False],
    "response_format": ["url"],
}
REFUSED: dict[str, list[Any]] = {
    "model": ["", " ", "\ufeff", 1, [], "y" * 257],
    "prompt": [1, ["x"], {}, True, "x" * 20_001],
    "reference_images": [CAT, {}, 1, [CAT] * 17, [""] * 17],
    "duration": [
        -1,
        0,
        True,
        False,
        "0.5",
        "-5",
        "٥",
        "5m",
        "s",
        3601,
        "3601",
        1e5,
        1e300,
        "1e300",
        "1e9999",
        [5],
        {},
        "5" * 64,
        "5 5",
    ],
    "resolution": [True, ["720p"], "1p", "99999p", 1e308, 2**64 - 1, "p", "16:9", "hdr", "x" * 99, "720p" * 20],
    "aspect_ratio": ["0:1", "1:0", "101:1", "16", 16, "16.9", "a:b", "١:١", "1e3:1", "720p", True, "1:1:1", "99999:1"],
    "size": [
        "1280",
        "720p",
        "16:9",
        "0x0",
        "1x1",
        "999x1",
        "16385x9000",
        "1280x",
        1280,
        "1280x720x3",
        [1280],
        "128000x72000",
    ],
    "width": [0, -1, 1.5, "1280.5", True, "wide", 1e308, "1" * 64],
    "n": [0, 5, 1.5, "5", "0", True, -1, [], "1" * 64, "two"],
    "generate_audio": [2, -1, 0.5, "2", "maybe", [], {}],
    "negative_prompt": [1, "x" * 20_001],
    "seed": [-1, 2**63, 1.5, str(2**63), True],
    "fps": [0, 121, "121", True],
    "cfg_scale": ["half", "0,5", "nan", "inf", "1e999", True, [], {}],
    "mode": ["x" * 33, 1, True],
    "provider_options": ["x", {"a": 1}, {"a": []}, {"a": {"b": "x" * 16_384}}],
    "adapt": ["exact", True, 1],
    "fallback": [2, "model", {}, [""], [1], [["a"]], ["a"] * 17],
    "deadline_seconds": [59, 86_401, 60.5, "59", True],
    "max_cost": [0, -1, "0", True, -0.0, "free"],
    "webhook_url": [
        1,
        "x",
        "ftp://example.com",
        "http://example.com/",
        "https://u:p@example.com",
        "https://",
        "https://example.com/a b",
        "https://example.com/" + "a" * 2048,
        "/hook",
        "http://localhost.example.com/",
    ],
    "metadata": [
        "x",
        {"a": 1},
        {"a": True},
        {"": "x"},
        {"k" * 65: "v"},
        {"k": "v" * 513},
        {"k": {}},
        {str(at): "" for at in range(17)},
    ],
    "user": [1, "u" * 257, {}],
    "stream": [True, 1, "yes", [], {}],
    "response_format": ["b64_json", "mp4", 1, True, [], {"type": "url"}],
}


@every(("field", "value"), [(field, value) for field, values in TAKEN.items() for value in values])
def test_a_value_of_the_documented_type_is_accepted(field: str, value: Any) -> None:
    assert read(**{field: value})
    msgspec.convert({"model": "m", field: value}, CreateVideo)


@every(("field", "value"), [(field, value) for field, values in REFUSED.items() for value in values])
def test_a_wrong_value_is_refused_under_its_own_name(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert error.param is not None
    assert error.param.split(".")[0].split("[")[0] == field
    assert f"`{field}" in error.detail
    assert error.code == "invalid_parameter"
    assert len(error.detail) < 400


@every("alias", sorted(ALIASES))
def test_an_alias_is_named_in_its_own_errors(alias: str) -> None:
    with pytest.raises(GatewayError, match=f"`{alias}") as caught:
        read(**{alias: {"a": 1} if alias in {"image_urls", "fallbacks"} else 0})
    assert caught.value.param == alias


def test_a_missing_model_is_an_invalid_parameter() -> None:
    for body in ({}, {"model": None}):
        with pytest.raises(InvalidParameter) as caught:
            normalise(body, name_of)
        assert (caught.value.param, caught.value.code) == ("model", "invalid_parameter")


def test_messages_say_what_was_sent_and_what_is_accepted() -> None:
    assert refused(duration="5m").detail == '`duration` must be a number of seconds from 1 to 3600, not "5m".'
    assert refused(seconds=0).detail == "`seconds` must be a number of seconds from 1 to 3600, not 0."
    assert refused(resolution="8").detail == '`resolution` must be a resolution such as 720p, 1080p or 4k, not "8".'
    assert refused(generate_audio=2).detail == "`generate_audio` must be true or false, not 2."
    assert "`data[].url`" in refused(response_format="b64_json").detail
    assert "/events" in refused(stream=True).detail
    assert refused(prompt="x" * 30_000).detail.endswith("at most 20,000 characters, not a string of 30,000 characters.")
    assert refused(metadata={"order": 7}).param == "metadata.order"
    assert refused(provider_options={"keevx": 7}).param == "provider_options.keevx"
    assert refused(fallback=["a", 1]).param == "fallback[1]"


@every(
    ("field", "value", "meant"),
    [
        ("resolution", "16:9", "`aspect_ratio` 16:9 in place of `resolution`"),
        ("resolution", "1080i", "`1080p`"),
        ("resolution", "1080p (full hd)", "`1080p`"),
        ("resolution", "4k!", "`4k`"),
        ("size", "16:9", "`aspect_ratio` 16:9 in place of `size`"),
        ("size", "landscape", "`aspect_ratio` 16:9 in place of `size`"),
        ("size", "720p", "`resolution` 720p in place of `size`"),
        ("size", "1280 -> 720", "`1280x720`"),
        ("aspect_ratio", "720p", "`resolution` 720p in place of `aspect_ratio`"),
        ("aspect_ratio", "16.9", "`16:9`"),
        ("aspect_ratio", "aspect_16_9", "`16:9`"),
        ("aspect_ratio", "16:9 (wide)", "`16:9`"),
    ],
)
def test_a_refusal_names_what_was_probably_meant(field: str, value: str, meant: str) -> None:
    assert refused(**{field: value}).detail.endswith(f' not "{value}". Did you mean {meant}?')


@every("duration", [5, 5.0, "5", " 5\n", "5.0", "05", "5s", "5 sec", "5S", "５"])
@every("name", ["duration", "seconds"])
def test_a_duration_is_a_whole_number_however_it_is_written(name: str, duration: Any) -> None:
    seconds = settings(**{name: duration}).duration_seconds
    assert seconds == 5
    assert type(seconds) is int


def test_words_are_read_in_upper_and_lower_case() -> None:
    assert settings(resolution="4K").resolution == "4k"
    assert settings(aspect_resolution="720P").resolution == "720p"
    assert read(adapt="Nearest").request.adapt == "nearest"


@every("name", sorted(NAMES.keys() - {"model"}) + sorted(ALIASES))
def test_null_is_the_same_as_absent(name: str) -> None:
    assert read(**{name: None}) == read()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {"order": "1", "note": None}}, "metadata.note"),
        ({"provider_options": {"keevx": {"style": None}}}, "provider_options.keevx.style"),
        ({"provider_options": {"foxapi": None}}, "provider_options.foxapi"),
    ],
)
def test_null_within_an_object_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    error = refused(**body)
    assert error.param == param
    assert f"`{param}`" in error.detail


def test_null_deep_within_an_option_is_passed_on_unchanged() -> None:
    options = {"keevx": {"shots": [None, {"a": None}]}}
    assert read(provider_options={**options, "foxapi": {}}).request.provider_options == options


@every("name", sorted(NAMES.keys() - {"model", "prompt"}) + sorted(ALIASES))
@every("blank", ["", " ", "\r\n\t", "\ufeff", "\u00a0\u3000"])
def test_a_blank_is_the_same_as_absent(name: str, blank: str) -> None:
    assert read(**{name: blank}) == read()


@pytest.mark.parametrize(
    "empty", [[], {}, [""], [None], [{}], {"url": ""}, {"image_url": {"url": " "}}, {"file_id": None}]
)
def test_an_empty_image_is_the_same_as_absent(empty: Any) -> None:
    assert read(image=empty, last_image=empty) == read()
    if isinstance(empty, list):
        assert read(reference_images=[], metadata=[], provider_options=[]) == read()
    else:
        assert read(reference_images=[empty, CAT, "", None]) == read(reference_images=[CAT])
        assert read(reference_images=[empty]) == read()


@pytest.mark.parametrize("odd", [{"data": {}}, {"file_id": []}, {"b64_json": [""]}])
def test_an_image_whose_text_is_an_object_or_a_list_is_refused_also_in_a_list(odd: Any) -> None:
    for image in (odd, [odd]):
        with pytest.raises(InvalidImage) as raised:
            read(image=image)
        assert raised.value.param == f"image.{next(iter(odd))}"


def test_white_space_around_free_text_is_kept() -> None:
    request = read(prompt=" a\n", negative_prompt=" b ", metadata={"order": " 1 "}).request
    assert (request.prompt, request.settings.negative_prompt, request.metadata) == (" a\n", " b ", {"order": " 1 "})


@every(
    ("value", "meant"),
    [
        ("32:18", "16:9"),
        ("1280:720", "16:9"),
        ("16 / 9", "16:9"),
        ("9∶16", "9:16"),
        ("landscape", "16:9"),
        ("Portrait", "9:16"),
        ("square", "1:1"),
        ("7:3", "21:9"),
        ("2.35:1", "2.35:1"),
        ("47:20", "2.35:1"),
        ("1.78", "16:9"),
        (1.7777777777777777, "16:9"),
        ("1:1.78", "9:16"),
        ("0.5625", "9:16"),
        (1.0, "1:1"),
        ("auto", None),
    ],
)
def test_a_ratio_has_one_name(value: Any, meant: str | None) -> None:
    assert settings(aspect_ratio=value).aspect_ratio == meant


@every(
    ("value", "meant"),
    [
        ("1080", "1080p"),
        (1080, "1080p"),
        ("1080 P", "1080p"),
        ("2160p", "4k"),
        ("UHD", "4k"),
        ("Full HD", "1080p"),
        ("fhd", "1080p"),
        ("hd", "720p"),
        ("2K", "1440p"),
        ("qhd", "1440p"),
        ("768p", "768p"),
        ("auto", None),
    ],
)
def test_a_resolution_has_one_name(value: Any, meant: str | None) -> None:
    assert settings(resolution=value).resolution == meant


def test_a_name_that_skips_the_parsing_is_what_parsing_would_give() -> None:
    assert all(ratio_name(spelling.ratio(name) or Fraction(1)) == name for name in RATIO_NAMES)
    assert all(spelling.resolution(name) == name for name in RESOLUTION_NAMES)


def test_a_mode_has_one_name() -> None:
    assert {settings(mode=name).mode for name in ("pro", "PRO", " Professional ")} == {"pro"}
    assert settings(mode="standard").mode == "std"


def test_a_list_of_several_images_is_refused_naming_reference_images() -> None:
    for name in ("image", "input_reference", "last_image"):
        error = refused(InvalidImage, **{name: [CAT, DOG]})
        assert (error.param, "`reference_images`" in error.detail) == (name, True)


def test_an_unknown_field_that_is_null_is_ignored() -> None:
    assert read(style=None, logprobs=None) == read()
    assert refused(UnknownParameter, style="").param == "style"


def test_null_for_the_other_name_of_an_image_is_the_same_as_absent() -> None:
    assert read(image={"image_url": CAT, "file_id": None}) == read(image=CAT)


def test_an_empty_value_is_the_same_as_absent() -> None:
    assert read(reference_images=[], negative_prompt="", metadata={}, provider_options={}, prompt="") == read()
    assert read(image_urls=[], reference_images=[CAT]) == read(reference_images=[CAT])


SIZES = {
    "1280x720": ("720p", "16:9"),
    "720x1280": ("720p", "9:16"),
    "720x720": ("720p", "1:1"),
    "960x720": ("720p", "4:3"),
    "1680x720": ("720p", "21:9"),
    "1920x1080": ("1080p", "16:9"),
    "1080x1920": ("1080p", "9:16"),
    "3840x2160": ("4k", "16:9"),
    "1024x1792": ("1024p", "4:7"),
    "1792x1024": ("1024p", "7:4"),
    "1920x1088": ("1088p", "30:17"),
    "832x480": ("480p", "26:15"),
}


@every(("size", "meant"), SIZES.items())
def test_every_size_is_its_resolution_and_ratio(size: str, meant: tuple[str, str]) -> None:
    width, height = map(int, size.split("x"))
    expected = read(resolution=meant[0], aspect_ratio=meant[1])
    assert expected.request.settings == Settings(resolution=meant[0], aspect_ratio=meant[1])
    for sign in ("x", "X", "×", "*", ":", " x ", " * ", "ｘ"):
        assert read(size=size.replace("x", sign)) == expected
    assert read(width=width, height=float(height)) == read(width=str(width), height=height, size=size) == expected
    assert read(size=size, resolution=meant[0].upper(), aspect_ratio=meant[1]) == expected
    assert read(resolution=size) == expected


def test_a_frame_as_resolution_says_the_shape_only_where_nothing_else_does() -> None:
    assert settings(resolution="1080x1920") == Settings(resolution="1080p", aspect_ratio="9:16")
    assert settings(resolution="1920x1080", aspect_ratio="9:16") == Settings(resolution="1080p", aspect_ratio="9:16")
    assert settings(resolution="1920x1080", image=CAT) == Settings(resolution="1080p")


def test_a_size_that_contradicts_names_both_fields() -> None:
    for body, names in [
        ({"size": "1280x720", "resolution": "1080p"}, ("size", "resolution")),
        ({"aspect_resolution": "4k", "size": "1280x720"}, ("size", "aspect_resolution")),
        ({"size": "1280x720", "aspect_ratio": "9:16"}, ("size", "aspect_ratio")),
        ({"width": 1280, "height": 720, "aspect_ratio": "9:16"}, ("width", "height", "aspect_ratio")),
        ({"width": 1280, "height": 720, "size": "720x1280"}, ("width", "height", "size")),
    ]:
        detail = refused(**body).detail
        assert all(f"`{name}`" in detail for name in names), detail


def test_one_side_needs_the_other() -> None:
    assert refused(width=1280).param == "height"
    assert refused(height=720, size="1280x720").param == "width"
    assert refused(width=1000, height=5).param == "width"
    assert "64 to 16,384 pixels" in refused(width=1000, height=5).detail
    assert "1280x720" in refused(size="1000x5").detail


def test_two_names_with_one_value_are_fine() -> None:
    assert read(duration=5, seconds="5") == read(duration=5)
    assert read(image=PNG_TEXT, image_url=f"data:image/png;base64,{PNG_TEXT}").request == read(image=PNG_TEXT).request
    assert read(image=None, input_reference=CAT) == read(image=CAT)


def test_two_names_with_two_values_are_refused_with_both_names() -> None:
    cases: list[dict[str, Any]] = [
        {"duration": 5, "seconds": 6},
        {"image_url": CAT, "input_reference": DOG},
        {"image_tail": CAT, "image_tail_url": DOG},
        {"n": 1, "generate_count": 2},
        {"fallback": True, "fallbacks": ["a"]},
        {"webhook_url": "https://a.example/", "callback_url": "https://b.example/"},
        {"reference_images": [CAT], "image_urls": [DOG]},
        {"resolution": "720p", "aspect_resolution": "1080p"},
    ]
    for body in cases:
        detail = refused(**body).detail
        assert all(f"`{name}`" in detail for name in body), detail


def test_the_images_choose_the_input() -> None:
    assert read(image=CAT).request.input == FramesInput(first_frame=CAT)
    assert read(image_url=CAT, end_image_url=DOG).request.input == FramesInput(first_frame=CAT, last_frame=DOG)
    assert read(image_urls=[CAT, DOG]).request.input == ReferencesInput(references=(CAT, DOG))
    assert read(image=CAT, image_tail=DOG, reference_images=[FOX]).request.input == ReferencesInput(
        references=(FOX,), first_frame=CAT, last_frame=DOG
    )
    assert read(image_tail=DOG, reference_images=[FOX]).request.input == ReferencesInput(
        references=(FOX,), last_frame=DOG
    )


def test_a_last_frame_needs_a_first_one() -> None:
    error = refused(image_tail=DOG, reference_images=[])
    assert error.param == "image_tail"
    assert "`image`" in error.detail


def test_bytes_that_are_sent_several_times_become_one_file() -> None:
    other = base64.b64encode(png(8, 8)).decode()
    normalised = read(
        image=PNG_TEXT, last_image=f"data:image/jpeg;base64,{PNG_TEXT}", reference_images=[PNG_TEXT, other, CAT]
    )
    name, second = name_of(PNG), name_of(png(8, 8))
    assert normalised.request.input == ReferencesInput(
        references=(name, second, CAT), first_frame=name, last_frame=name
    )
    assert set(normalised.files) == {name, second}
    assert normalised.files[name].content == PNG
    assert normalised.files[name].facts == ImageFacts(content_type="image/png", bytes=len(PNG), width=32, height=16)


def test_an_image_may_be_an_object() -> None:
    assert read(input_reference={"image_url": CAT}) == read(image=CAT)
    assert (
        read(input_reference={"image_url": f"data:image/png;base64,{PNG_TEXT}"}).request == read(image=PNG_TEXT).request
    )
    assert read(reference_images=[{"file_id": "file_1"}]) == read(reference_images=["file_1"])
    assert refused(UnknownParameter, image={"uri": CAT}).param == "image.uri"
    for value, param in [
        ({"type": "image_url"}, "image"),
        ({"image_url": CAT, "file_id": "file_1"}, "image"),
        ({"image_url": 1}, "image.image_url"),
        ({"image_url": "no"}, "image.image_url"),
        ({"file_id": CAT}, "image.file_id"),
        (1, "image"),
        (True, "image"),
        ([CAT, DOG], "image"),
        ([CAT] * 17, "image"),
        ([[CAT]], "image"),
        ({"url": {"url": {"url": {"url": CAT}}}}, "image.url.url.url"),
        ("ftp://example.com/a.png", "image"),
        ("data:image/png;base64," + base64.b64encode(b"text").decode(), "image"),
        (base64.b64encode(PNG[:20]).decode(), "image"),
    ]:
        assert refused(InvalidImage, image=value).param == param
    assert refused(InvalidImage, image_urls=[CAT, 1]).param == "image_urls[1]"
    assert refused(InvalidImage, image_urls=[CAT, "data:;base64,aGk="]).param == "image_urls[1]"


@pytest.mark.parametrize("key", ["b64_json", "base64"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("aGVsbG8=", "decodes to 5 bytes that are not a JPEG, PNG, WebP"),
        (base64.b64encode(b"%PDF-1.4 page").decode(), "decodes to a PDF document of 13 bytes, which is not accepted. "),
        ("====", "must be the base64 text of an image"),
        ("not base64!", "must be the base64 text of an image, but it is not base64: character '!' at position 10."),
    ],
)
def test_text_that_is_called_base64_is_refused_for_what_it_decodes_to(key: str, content: str, words: str) -> None:
    for body, param in [
        ({"image": {key: content}}, f"image.{key}"),
        ({"image_urls": [CAT, {key: content}]}, f"image_urls[1].{key}"),
    ]:
        error = refused(InvalidImage, **body)
        assert (error.param, error.detail.startswith(f"`{param}` {words}")) == (param, True), error.detail
        assert "http(s)" not in error.detail
    assert read(image={key: PNG_TEXT}).request == read(image=PNG_TEXT).request
    assert read(image={key: f"data:image/png;base64,{PNG_TEXT}"}).request == read(image=PNG_TEXT).request


def test_fallback_keeps_each_model_once() -> None:
    assert read(fallbacks=["b", "a", "b"]).request.fallback == ("b", "a")
    assert read(fallback=[]).request.fallback is False


@pytest.mark.parametrize(
    "url",
    ["http://localhost:9000/h", "http://10.1.2.3/h", "http://[::1]/h", "http://LOCALHOST/h", "HTTPS://Example.com"],
)
def test_http_is_for_addresses_that_are_allowed(url: str) -> None:
    allowed = [ipaddress.ip_network(text) for text in ("127.0.0.0/8", "10.1.0.0/16", "::1/128")]
    read = normalise({"model": "m", "callback_url": url}, name_of, allowed)
    assert read.request.webhook_url == url
    assert url.startswith("HTTPS") or refused(callback_url=url).param == "callback_url"


@every(
    ("name", "nearest"),
    [
        ("promt", "prompt"),
        ("imageUrl", "image_url"),
        ("negativePrompt", "negative_prompt"),
        ("cfgScale", "cfg_scale"),
        ("Duration", "duration"),
        ("aspect-ratio", "aspect_ratio"),
        ("model_name", "model"),
        ("reference_image", "reference_images"),
        ("callback", "webhook_url"),
        ("sound", "generate_audio"),
        ("start_image", "image"),
        ("web_hook_url", "webhook_url"),
        ("max_costs", "max_cost"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest(name: str, nearest: str) -> None:
    error = refused(UnknownParameter, **{name: 1})
    assert error.param == name
    assert error.code == "unknown_parameter"
    assert f"`{name}`" in error.detail
    assert f"Did you mean `{nearest}`?" in error.detail


def test_a_field_that_is_like_no_other_is_answered_with_the_list() -> None:
    assert "`prompt`" not in refused(UnknownParameter, zzzzzz=1).detail
    assert "The fields are: model, prompt," in refused(UnknownParameter, zzzzzz=1).detail
    assert len(refused(UnknownParameter, **{"é\n" * 500_000: 0}).detail) < 800


# Two bodies that mean the same: each pair below is one meaning in two spellings.

IMAGES = st.sampled_from([CAT, DOG, "file_1", PNG_TEXT])


def is_not_a_list(value: Any) -> bool:
    return not isinstance(value, list)


def image_spellings(image: str) -> st.SearchStrategy[Any]:
    if image.startswith("file_"):
        return st.sampled_from([image, {"file_id": image}, [{"type": "file", "file_id": f" {image}\n"}]])
    if image == PNG_TEXT:
        bare = image.rstrip("=")
        spelt = [image, bare, bare.replace("+", "-").replace("/", "_"), f"data:image/gif;base64,{image}", f" {image}\n"]
        return st.sampled_from([*spelt, {"image_url": spelt[3]}])
    objects = [
        {"image_url": image},
        {"image_url": image, "file_id": None},
        {"url": image},
        {"url": "", "image_url": image},
    ]
    nested = [{"type": "image_url", "image_url": {"url": image, "detail": "auto"}}, [image], [{"url": image}]]
    return in_blanks(image) | st.sampled_from([*objects, *nested])


BLANKS = ["", " ", "\n", "\t", "\ufeff", "\u00a0", "\u3000", " \r\n\u200b"]


def in_blanks(*texts: str) -> st.SearchStrategy[str]:
    blanks = st.sampled_from(BLANKS)
    return st.builds("".join, st.tuples(blanks, st.sampled_from(texts), blanks))


def spellings(field: str, value: Any) -> st.SearchStrategy[Any]:
    match field:
        case "image" | "last_image":
            return image_spellings(value)
        case "reference_images":
            return st.tuples(*(image_spellings(image).filter(is_not_a_list) for image in value)).map(list)
        case "duration":
            return st.sampled_from([value, float(value)]) | in_blanks(
                str(value), f"0{value}", f"{value}.0", f"{value}s"
            )
        case "resolution" | "adapt" | "mode" | "model" | "webhook_url":
            return in_blanks(value, *([] if field in {"model", "webhook_url"} else [value.upper(), value.title()]))
        case "n" | "fps" | "seed" | "deadline_seconds" | "cfg_scale" | "max_cost":
            return st.sampled_from([value, float(value)]) | in_blanks(str(value), f"{value}.0")
        case "generate_audio":
            return st.sampled_from([value, int(value), float(value)]) | in_blanks(
                *(("true", "TRUE", "1", "on", "Yes") if value else ("false", "False", "0", "off", "no"))
            )
        case "aspect_ratio":
            width, height = map(int, value.split(":"))
            same = [
                f"{width * times}{sign}{height * times}"
                for times in (1, 2, 80)
                for sign in (":", "/", "x", " : ", "：")
            ]
            return in_blanks(*same)
        case "metadata":
            return st.permutations(list(value.items())).map(dict)
        case _:
            return st.just(value)


@st.composite
def spelt(draw: st.DrawFn, meaning: Mapping[str, Any]) -> dict[str, Any]:
    members: list[tuple[str, Any]] = []
    for field, value in meaning.items():
        if field == "size" and draw(st.booleans()):
            width, height = map(int, value.split("x"))
            members += [("width", width), ("height", height)]
            continue
        if field == "size":
            members.append(
                ("size", draw(in_blanks(*(value.replace("x", sign) for sign in ("x", "X", "×", "*", " x ")))))
            )
            continue
        for name in draw(st.lists(st.sampled_from(NAMES[field]), min_size=1, max_size=2, unique=True)):
            members.append((name, draw(spellings(field, value))))
    absent = set(NAMES) - {name for name, _ in members} - {"model"}
    for name in draw(st.lists(st.sampled_from(sorted(absent)), max_size=3, unique=True)):
        members.append((name, draw(st.sampled_from([None, "" if name == "prompt" else draw(st.sampled_from(BLANKS))]))))
    members += draw(st.sampled_from([[], [("stream", False)], [("response_format", "url"), ("style", None)]]))
    return dict(draw(st.permutations(members)))


MEANINGS = st.fixed_dictionaries(
    {"model": st.sampled_from(["kling", "keevx/V"])},
    optional={
        "prompt": st.sampled_from(["", "a cat", "猫"]),
        "image": IMAGES,
        "reference_images": st.lists(IMAGES, min_size=1, max_size=3),
        "duration": st.integers(1, 3600),
        "size": st.sampled_from(sorted(SIZES)),
        "mode": st.sampled_from(["std", "pro", "fast"]),
        "n": st.integers(1, 4),
        "generate_audio": st.booleans(),
        "seed": st.integers(0, 2**53),
        "fps": st.integers(1, 120),
        "cfg_scale": st.integers(0, 10),
        "provider_options": st.just({"keevx": {"a": {"b": [1, 2.5, None]}}}),
        "adapt": st.sampled_from(["none", "nearest"]),
        "fallback": st.sampled_from([True, False, ["a", "b"]]),
        "deadline_seconds": st.integers(60, 86_400),
        "max_cost": st.integers(1, 9),
        "webhook_url": st.just("https://example.com/hook"),
        "metadata": st.dictionaries(st.sampled_from("abcd"), st.text("xyz", max_size=3)),
    },
)
PAIRS = MEANINGS.flatmap(lambda meaning: st.tuples(spelt(meaning), spelt(meaning)))


@limits(max_examples=70)
@given(PAIRS)
def test_two_bodies_that_mean_the_same_are_equal(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, second = (normalise(body, name_of) for body in pair)
    assert first.request == second.request
    assert first.files == second.files
    assert msgspec.json.encode(first.request, order="sorted") == msgspec.json.encode(second.request, order="sorted")


@limits(max_examples=30)
@given(PAIRS)
def test_a_request_is_the_same_after_it_was_stored(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    request = normalise(pair[0], name_of).request
    assert msgspec.json.decode(msgspec.json.encode(request), type=GenerationRequest) == request


def test_bodies_that_ask_for_different_things_are_different_requests() -> None:
    bodies: list[dict[str, Any]] = [{}, {"generate_audio": False}, {"seed": 0}, {"cfg_scale": 0}, {"fallback": False}]
    bodies += [{"adapt": "none"}, {"adapt": "nearest"}]  # without either, the model's configuration decides
    bodies += [{"duration": 5}, {"duration": 6}, {"user": "u"}, {"image": CAT}, {"reference_images": [CAT]}]
    requests = [read(**body).request for body in bodies]
    assert all(request != other for index, request in enumerate(requests) for other in requests[:index])


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(
        [CAT, "720p", "16:9", "1280x720", "data:", "data:;base64,AAAA", "file_1", "5", "https://[", "http://"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*NAMES, *ALIASES]) | st.text(max_size=12)


@given(st.dictionaries(FIELDS, ANYTHING, max_size=6), st.booleans())
def test_any_body_has_a_meaning_or_is_refused(body: dict[str, Any], with_model: bool) -> None:
    """The body goes through its bytes, as a client sends it, so NaN and lone surrogates are included."""
    if with_model:
        body["model"] = "m"
    result = outcome(json.dumps(body).encode())
    if isinstance(result, GatewayError):
        assert 400 <= result.status < 500
        msgspec.json.encode([result.detail, result.param])
    else:
        assert msgspec.json.decode(msgspec.json.encode(result.request), type=GenerationRequest) == result.request


def outcome(raw: bytes) -> Normalised | GatewayError:
    try:
        return normalise(parse_json(raw, "application/json", None), name_of)
    except GatewayError as error:
        return error


@given(st.sampled_from([*NAMES, *ALIASES]), ANYTHING)
def test_any_value_of_any_field_has_a_meaning_or_is_refused(field: str, value: Any) -> None:
    test_any_body_has_a_meaning_or_is_refused.hypothesis.inner_test({field: value}, True)  # type: ignore[attr-defined]  # hypothesis adds it
