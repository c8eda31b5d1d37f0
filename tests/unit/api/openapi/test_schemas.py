"""What `component_schemas` does with wire structures that the document cannot show."""

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
