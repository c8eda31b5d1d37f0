"""What `component_schemas` does with wire structures that the document cannot show."""

from typing import Literal

import pytest
from msgspec import Struct, defstruct

from gateway.api.generations.request_echo import SettingsView
from gateway.api.openapi.schemas import component_schemas


class Answer(Struct):
    """An answer."""

    beach: int  # waves in a minute


def test_a_comment_beside_a_field_describes_it() -> None:
    assert (
        component_schemas([Answer, SettingsView])["Answer"]["properties"]["beach"]["description"]
        == "Waves in a minute."
    )


def test_two_structures_with_one_name_are_refused() -> None:
    with pytest.raises(LookupError, match="named Answer"):
        component_schemas([Answer, defstruct("Answer", [("sea", int)], module="elsewhere")])


class Refusal(Struct):
    """A refusal."""

    done: Literal[False]  # always false
    data: None = None  # always null


def test_what_is_always_null_or_one_boolean_is_shown_in_words_that_generators_read() -> None:
    schema = component_schemas([Refusal, SettingsView])["Refusal"]
    assert schema["properties"] == {
        "done": {"type": "boolean", "description": "Always false."},
        "data": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "Always null."},
    }
    assert schema["required"] == ["done"]
