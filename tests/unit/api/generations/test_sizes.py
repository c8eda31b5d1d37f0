"""How the size and the quality of an image are read."""

from typing import Any

import pytest

from gateway.api.generations.create_request import normalise
from gateway.domain.adapter.request import ReferencesInput, Settings, TextInput
from gateway.domain.errors import InvalidImage, InvalidParameter
from gateway.domain.generation.model import GenerationRequest

from ....cases import every

CAT, DOG = "https://example.com/cat.png", "https://example.com/dog.png"


def read(**body: Any) -> GenerationRequest:
    return normalise({"model": "m", **body}, lambda content: f"file_{len(content)}", kind="image").request


@every(
    ("body", "settings"),
    [
        ({"size": "1024x1024"}, {"quality": "1K", "aspect_ratio": "1:1"}),
        ({"size": "512x512"}, {"quality": "1K", "aspect_ratio": "1:1"}),
        ({"size": "1536x1024"}, {"quality": "1K", "aspect_ratio": "3:2"}),
        ({"size": "1920x1080"}, {"quality": "1K", "aspect_ratio": "16:9"}),
        ({"size": "2048x2048"}, {"quality": "2K", "aspect_ratio": "1:1"}),
        ({"size": "3840x2160"}, {"quality": "2K", "aspect_ratio": "16:9"}),
        ({"size": "4096x4096"}, {"quality": "4K", "aspect_ratio": "1:1"}),
        ({"width": 2048, "height": "2048"}, {"quality": "2K", "aspect_ratio": "1:1"}),
        ({"size": "2048x2048", "quality": "2k", "aspect_ratio": "1/1"}, {"quality": "2K", "aspect_ratio": "1:1"}),
        ({"size": "auto"}, {}),
        ({"size": "auto", "quality": "auto"}, {}),
        ({"size": None, "quality": " "}, {}),
        ({"quality": "4k"}, {"quality": "4K"}),
        ({"quality": "low"}, {"quality": "1K"}),
        ({"quality": "Standard"}, {"quality": "1K"}),
        ({"quality": "medium"}, {"quality": "2K"}),
        ({"quality": "hd"}, {"quality": "2K"}),
        ({"quality": "HIGH"}, {"quality": "4K"}),
        ({"image_quality": "high"}, {"quality": "4K"}),
        # OpenAI's clients send both: the size says the number of pixels.
        ({"size": "1024x1024", "quality": "high"}, {"quality": "1K", "aspect_ratio": "1:1"}),
        ({"image_ratio": "16:9"}, {"aspect_ratio": "16:9"}),
        ({"module": "PRO"}, {"mode": "pro"}),
        ({"output_format": "JPG"}, {"output_format": "jpeg"}),
    ],
)
def test_the_settings_that_a_body_asks_for(body: dict[str, Any], settings: dict[str, Any]) -> None:
    assert read(**body).settings == Settings(**settings)


@pytest.mark.parametrize(
    ("body", "param", "detail"),
    [
        (
            {"size": "1024x1024", "quality": "4K"},
            "quality",
            "`size` 1024x1024 means `quality` 1K, but `quality` is 4K.",
        ),
        (
            {"size": "1024x1024", "image_ratio": "16:9"},
            "image_ratio",
            "`size` 1024x1024 means `image_ratio` 1:1, but `image_ratio` is 16:9.",
        ),
        (
            {"width": 1024, "height": 1024, "quality": "2K"},
            "quality",
            "`width` and `height`: 1024x1024 means `quality` 1K, but `quality` is 2K.",
        ),
        ({"width": 1024}, "height", "`width` needs `height` beside it."),
        ({"quality": "8K"}, "quality", "one of 1K, 2K, 4K, low, medium, high, standard, hd or auto"),
        ({"quality": 4}, "quality", "one of 1K, 2K, 4K"),
        ({"quality": ["4K"]}, "quality", "one of 1K, 2K, 4K"),
        ({"output_format": "gif"}, "output_format", "one of png, jpeg, webp"),
        ({"n": 9}, "n", "a whole number from 1 to 8"),
    ],
)
def test_a_contradiction_or_an_unknown_value_is_refused(body: dict[str, Any], param: str, detail: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        read(**body)
    assert caught.value.param == param
    assert detail in caught.value.detail


@pytest.mark.parametrize("name", ["reference_images", "image_urls", "image", "images"])
def test_images_come_as_a_list_or_alone_under_each_name(name: str) -> None:
    assert read(**{name: CAT}).input == ReferencesInput(references=(CAT,))
    assert read(**{name: {"url": CAT}}).input == ReferencesInput(references=(CAT,))
    assert read(**{name: [CAT, DOG]}).input == ReferencesInput(references=(CAT, DOG))
    assert read(**{name: []}).input == read(**{name: None}).input == read(**{name: [" "]}).input == TextInput()
    with pytest.raises((InvalidParameter, InvalidImage), match=name):
        read(**{name: 7})
