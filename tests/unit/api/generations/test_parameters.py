"""The table of the fields of a create request: everything that is computed from it has every row."""

from typing import Any

import msgspec
import pytest

from gateway.api.generations.create_request import normalise
from gateway.api.generations.form import create_body
from gateway.api.generations.parameters import (
    ALIASES,
    BY_NAME,
    PARAMETERS,
    CreateVideo,
    FormStyle,
    Holder,
    Parameter,
    Shown,
    read_field,
)
from gateway.api.generations.request_echo import SettingsView, request_view, settings_view
from gateway.api.generations.unknown_field import nearest_field, unknown_field
from gateway.api.openapi.document import document
from gateway.api.web.multipart import Part
from gateway.domain.adapter.request import FramesInput, ReferencesInput, Settings
from gateway.domain.errors import InvalidParameter, UnknownParameter
from gateway.domain.generation.model import GenerationRequest

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
}
# What a field needs beside it.
BESIDE: dict[str, dict[str, Any]] = {
    "last_image": {"image": CAT},
    "width": {"height": 720},
    "height": {"width": 1280},
}
each_row = pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.name)


def read(body: dict[str, Any]) -> GenerationRequest:
    return normalise({"model": "m", **body}, lambda content: f"file_{len(content)}").request


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


def test_every_name_belongs_to_one_field_and_has_an_example() -> None:
    names = [name for row in PARAMETERS for name in (row.name, *row.aliases, *row.hints)]
    assert sorted(names) == sorted(set(names))
    assert set(EXAMPLES) == {row.name for row in PARAMETERS}
    assert {name: row.name for name, row in BY_NAME.items() if name != row.name} == ALIASES


def test_every_field_of_the_request_is_in_the_table() -> None:
    fields = {holder: {row.target.field for row in PARAMETERS if row.target.holder is holder} for holder in Holder}
    assert fields[Holder.SETTINGS] == set(Settings.__struct_fields__)
    assert fields[Holder.REQUEST] | {"input", "settings"} == set(GenerationRequest.__struct_fields__)
    assert fields[Holder.INPUT] == {*FramesInput.__struct_fields__, *ReferencesInput.__struct_fields__}


@each_row
def test_a_body_of_json_has_the_field_under_all_its_names(row: Parameter) -> None:
    value = EXAMPLES[row.name][0]
    beside = BESIDE.get(row.name, {})
    bodies = [read({**beside, name: value}) for name in (row.name, *row.aliases)]
    assert all(body == bodies[0] for body in bodies)
    if row.name != "model" and row.target.holder is not Holder.NOTHING:
        assert bodies[0] != read({}), "the value of the field arrives in the request"


@each_row
def test_a_form_has_the_field_under_all_its_names(row: Parameter) -> None:
    value = EXAMPLES[row.name][0]
    beside = BESIDE.get(row.name, {})
    for name in (row.name, *row.aliases):
        assert read({**beside, **create_body(parts(row, name))}) == read({**beside, row.name: value})


@each_row
def test_a_value_of_another_kind_is_refused_by_the_readers_own_check(row: Parameter) -> None:
    assert is_refused(row)
    if row.required:
        with pytest.raises(InvalidParameter):
            read_field(row, " ", row.name)
    else:
        assert read_field(row, None, row.name) is None


@each_row
def test_the_answer_shows_the_field_unless_it_is_shown_elsewhere(row: Parameter) -> None:
    value = EXAMPLES[row.name][0]
    request = read({**BESIDE.get(row.name, {}), row.name: value})
    view = request_view(request)
    if row.target.holder in {Holder.SIZE, Holder.NOTHING} or row.target.shown is Shown.NEVER:
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
    assert SettingsView.__struct_fields__ == tuple(
        row.name for row in PARAMETERS if row.target.holder is Holder.SETTINGS
    )


@each_row
def test_the_openapi_document_has_the_field_in_both_kinds_of_body(row: Parameter) -> None:
    schemas = document()["components"]["schemas"]
    in_json, in_form = schemas["CreateVideo"], schemas["CreateVideoForm"]
    assert (row.name in in_json["required"]) is row.required
    for name in (row.name, *row.aliases):
        schema = in_json["properties"][name]
        if name == row.name:
            assert row.schema.items() <= schema.items()
        else:
            assert schema["description"] == f"Another name of `{row.name}`."
        assert name in in_form["properties"]
    assert msgspec.convert({"model": "m", row.name: EXAMPLES[row.name][0]}, CreateVideo)


@each_row
def test_a_name_that_is_almost_the_fields_is_answered_with_the_field(row: Parameter) -> None:
    for name in (row.name, *row.aliases):
        assert nearest_field(name + name[-1]) == name or len(name) < 4
        assert nearest_field(name.title().replace("_", "-")) == name
    for hint in row.hints:
        error = unknown_field(hint)
        assert isinstance(error, UnknownParameter)
        assert f"Did you mean `{row.name}`?" in error.detail
    assert f"{row.name}," in unknown_field("zzzzzz").detail or row is PARAMETERS[-1]


@pytest.mark.parametrize(
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
    assert nearest_field(name) == nearest
