"""How a message shows what a client sent."""

from typing import Any

import pytest

from gateway.domain.adapter.shown_value import shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (0.5, "0.5"),
        ("beach.mp4", '"beach.mp4"'),
        ("x" * 41, "a string of 41 characters"),
        ("a\nb", "a string of 3 characters"),
        ({"a": 1}, "an object"),
        ([1, 2], "a list of 2"),
        (b"x", "a bytes"),
    ],
)
def test_a_value_is_shown_in_a_few_words(value: Any, text: str) -> None:
    assert shown(value) == text
