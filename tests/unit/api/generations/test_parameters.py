"""The tables of the fields of a create request: everything that is computed from them has every row."""

from functools import cache
from typing import Any

import msgspec
import pytest

from gateway.api.generations.create_request import normalise
from gateway.api.generations.form import create_body
from gateway.api.generations.image_parameters import IMAGE_PARAMETERS, PARAMETERS_OF, CreateImage
from gateway.api.generations.parameter import FormStyle, Holder, Parameter, Parameters, Shown, read_field
from gateway.api.generations.parameters import VIDEO_PARAMETERS, CreateVideo
from gateway.api.generations.request_echo import SettingsView, request_view, settings_view
from gateway.api.generations.unknown_field import nearest_field, unknown_field
from gateway.api.openapi.document import document
from gateway.api.web.multipart import Part
from gateway.domain.adapter.request import FramesInput, Kind, ReferencesInput, Settings
from gateway.domain.errors import InvalidParameter, UnknownParameter
from gateway.domain.generation.model import GenerationRequest

from ....cases import every

CAT, DOG = "https://example.com/cat.png", "https://example.com/dog.png"
# A value of each field that is not its default, and the text or texts that a form has for it. A new row needs one here.
EXAMPLES: dict[str, tuple[Any, str | list[str]]] = {
    "model": ("m", "m"),
    "prompt": ("A cat.", "A cat."),
    "image": (CAT, CAT),
    "last_image": (DOG, DOG),
    "reference_images": ([CAT, DOG], [CAT, DOG]),
    "duration": (5, "5"),
    "resolution": ("1080p", "1080p"),
    "aspect_ratio": ("9:16", "9:16"),
    "size": ("1280x720", "1280x720"),
    "width": (1280, "1280"),
    "height": (720, "720"),
    "n": (2, "2"),
    "generate_audio": (False, "false"),
    "negative_prompt": ("rain", "rain"),
    "seed": (7, "7"),
    "fps": (24, "24"),
    "quality": ("2K", "2K"),
    "output_format": ("png", "png"),
    "cfg_scale": (0.5, "0.5"),
    "mode": ("pro", "pro"),
    "provider_options": ({"keevx": {"a": 1}}, '{"keevx": {"a": 1}}'),
    "adapt": ("nearest", "nearest"),
    "fallback": (["b", "c"], ["b", "c"]),
    "deadline_seconds": (60, "60"),
    "max_cost": (1.5, "1.5"),
    "webhook_url": ("https://example.com/hook", "https://example.com/hook"),
    "metadata": ({"order": "1"}, "1"),
    "user": ("u", "u"),
    "stream": (False, "false"),
    "response_format": ("url", "url"),
    "background": ("opaque", "opaque"),
    "moderation": ("auto", "auto"),
    "output_compression": (100, "100"),
    "partial_images": (0, "0"),
    "input_fidelity": ("low", "low"),
}
# What a field needs beside it.
BESIDE: dict[str, dict[str, Any]] = {
    "last_image": {"image": CAT},
    "width": {"height": 720},
    "height": {"width": 1280},
}
each_table = pytest.mark.parametrize("table", PARAMETERS_OF.values(), ids=PARAMETERS_OF)
each_row = every(
    ("table", "row"),
    [(table, row) for table in PARAMETERS_OF.values() for row in table.rows],
    ids=[f"{kind}-{row.name}" for kind, table in PARAMETERS_OF.items() for row in table.rows],
)


def read(body: dict[str, Any], kind: Kind = "video") -> GenerationRequest:
    return normalise({"model": "m", **body}, lambda content: f"file_{len(content)}", kind=kind).request


def parts(row: Parameter, name: str) -> list[Part]:
    texts = EXAMPLES[row.name][1]
    shown = f"{name}[order]" if row.form is FormStyle.PAIRS else name
    return [
        Part(name=shown, content=text.encode(), filename=None)
        for text in ([texts] if isinstance(texts, str) else texts)
    ]


def is_refused(row: Parameter) -> bool:
    """Return whether the reader raises for a value of a type that no JSON body has."""
    try:
        row.read(object(), "x")
    except Exception:  # noqa: BLE001 - whichever error it is
        return True
    return False


@each_table
def test_every_name_belongs_to_one_field(table: Parameters) -> None:
    names = [name for row in table.rows for name in (row.name, *row.aliases, *row.hints)]
    assert sorted(names) == sorted(set(names))
    assert {name: row.name for name, row in table.by_name.items() if name != row.name} == table.aliases
    assert not {*names} & table.not_here.keys(), "a field is not refused with a reason why it is not there"


def test_every_field_has_an_example() -> None:
    assert set(EXAMPLES) == {row.name for table in PARAMETERS_OF.values() for row in table.rows}


OF_SIZES = {"size", "plain_quality"}  # how a size of images was written, for the warning that it was changed


def test_every_field_of_the_request_is_in_a_table() -> None:
    fields = {
        holder: {field for table in PARAMETERS_OF.values() for field in table.held[holder].values()}
        for holder in Holder
    }
    assert fields[Holder.SETTINGS] == set(Settings.__struct_fields__)
    assert fields[Holder.REQUEST] | {"input", "settings", "kind", "webhook_format", *OF_SIZES} == set(
        GenerationRequest.__struct_fields__
    )
    assert fields[Holder.INPUT] == {*FramesInput.__struct_fields__, *ReferencesInput.__struct_fields__}


@each_row
def test_a_body_of_json_has_the_field_under_all_its_names(table: Parameters, row: Parameter) -> None:
    value = EXAMPLES[row.name][0]
    beside = BESIDE.get(row.name, {})
    bodies = [read({**beside, name: value}, table.kind) for name in (row.name, *row.aliases)]
    assert all(body == bodies[0] for body in bodies)
    if row.name != "model" and row.target.holder not in {Holder.ANSWER, Holder.NOTHING}:
        assert bodies[0] != read({}, table.kind), "the value of the field arrives in the request"


@each_row
def test_a_form_has_the_field_under_all_its_names(table: Parameters, row: Parameter) -> None:
    value = EXAMPLES[row.name][0]
    beside = BESIDE.get(row.name, {})
    for name in (row.name, *row.aliases):
        form = create_body(parts(row, name), table)
        assert read({**beside, **form}, table.kind) == read({**beside, row.name: value}, table.kind)


@each_row
def test_a_value_of_another_type_is_refused_by_the_readers_own_check(table: Parameters, row: Parameter) -> None:
    assert is_refused(row)
    if row.required:
        with pytest.raises(InvalidParameter):
            read_field(row, " ", row.name)
    else:
        assert read_field(row, None, row.name) is None


@each_row
def test_the_answer_shows_the_field_unless_it_is_shown_elsewhere(table: Parameters, row: Parameter) -> None:
    value = EXAMPLES[row.name][0]
    request = read({**BESIDE.get(row.name, {}), row.name: value}, table.kind)
    view = request_view(request)
    if row.target.holder in {Holder.SIZE, Holder.ANSWER, Holder.NOTHING} or row.target.shown is Shown.NEVER:
        assert row.name not in view
    else:
        assert msgspec.to_builtins(view[row.name]) in (value, tuple(value) if isinstance(value, list) else value)
    if row.target.holder is Holder.SETTINGS:
        settings = settings_view(request.settings)
        assert settings == {row.name: value}
        assert msgspec.to_builtins(msgspec.convert(settings, SettingsView)) == {row.name: value}, "of the shown type"


def test_the_answer_shows_the_least_request_in_two_fields() -> None:
    assert request_view(read({})) == {"prompt": "", "n": 1}
    assert settings_view(Settings()) == {}
    names = [name for table in PARAMETERS_OF.values() for name in table.held[Holder.SETTINGS]]
    assert SettingsView.__struct_fields__ == tuple(dict.fromkeys(names))


@cache
def openapi() -> dict[str, Any]:
    """The document, made once for all fields: making it takes half a second."""
    return document()


@each_row
def test_the_openapi_document_has_the_field_in_both_kinds_of_body(table: Parameters, row: Parameter) -> None:
    schemas = openapi()["components"]["schemas"]
    body = {"video": CreateVideo, "image": CreateImage}[table.kind]
    in_json, in_form = schemas[body.__name__], schemas[f"{body.__name__}Form"]
    assert (row.name in in_json["required"]) is row.required
    for name in (row.name, *row.aliases):
        schema = in_json["properties"][name]
        if name == row.name:
            assert row.schema.items() <= schema.items()
        else:
            assert schema["description"] == f"Another name of `{row.name}`."
        assert name in in_form["properties"]
    assert msgspec.convert({"model": "m", row.name: EXAMPLES[row.name][0]}, body) is not None


@each_row
def test_a_name_that_is_almost_the_fields_is_answered_with_the_field(table: Parameters, row: Parameter) -> None:
    for name in (row.name, *row.aliases):
        assert nearest_field(name + name[-1], table) == name or len(name) < 4
        assert nearest_field(name.title().replace("_", "-"), table) == name
    for hint in row.hints:
        error = unknown_field(hint, table)
        assert isinstance(error, UnknownParameter)
        assert f"Did you mean `{row.name}`?" in error.detail
    assert f"{row.name}," in unknown_field("zzzzzz", table).detail or row is table.rows[-1]


@every(
    ("name", "nearest"),
    [
        *((name, "image") for name in ("file", "files", "file[]", "File", "image_file", "imageFile", "input_image")),
        ("images", "reference_images"),
        ("images[0][image_url]", "reference_images"),
        ("deadline", "deadline_seconds"),
        ("title", None),
        ("format", None),
        ("id", None),
        ("x", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_only_a_name_that_is_near_is_suggested(name: str, nearest: str | None) -> None:
    assert nearest_field(name, VIDEO_PARAMETERS) == nearest


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("duration", "An image has no length"),
        ("Seconds", "An image has no length"),
        ("last_image", "An image has no frames"),
        ("input_reference", "An image has no frames"),
        ("generate_audio", "An image has no sound"),
        ("mask", "No model can change a part of an image"),
        ("mask[file_id]", "No model can change a part of an image"),
        ("resolution", "The size of an image is `quality`"),
    ],
)
def test_a_field_that_images_cannot_have_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UnknownParameter) as caught:
        read({name: "5"}, "image")
    assert reason in caught.value.detail
    assert caught.value.param == name


def test_every_field_that_only_videos_have_says_why_images_do_not_have_it() -> None:
    only_videos = VIDEO_PARAMETERS.by_name.keys() - IMAGE_PARAMETERS.by_name.keys() - IMAGE_PARAMETERS.hints.keys()
    assert only_videos <= IMAGE_PARAMETERS.not_here.keys()
