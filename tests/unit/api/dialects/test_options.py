"""Options of a provider that a client gives as fields of their own."""

from ipaddress import ip_network

import jsonschema
import pytest

from gateway.api.generations.create_request import Given, normalise
from gateway.api.generations.foxapi_fields import with_options
from gateway.domain.adapter.options import Option, OptionFault, read_option, schema_of
from gateway.domain.errors import InvalidParameter
from providers.foxapi.models import OPTIONS

URL = "https://a.example/v.mp4"
BODY = {"model": "m", "prompt": "A boat."}


def options_of(**body: object) -> object:
    return normalise(with_options({**BODY, **body}), str).request.provider_options


def test_an_option_joins_the_others_of_its_provider() -> None:
    given = {"foxapi": {"shot_type": "a"}, "keevx": {"x": 1}}
    assert options_of(voice_ids=["v"], provider_options=given) == {
        "foxapi": {"shot_type": "a", "voice_ids": ["v"]},
        "keevx": {"x": 1},
    }


def test_the_same_option_by_both_names_is_the_same_request() -> None:
    assert options_of(voice_ids=["v"]) == options_of(provider_options={"foxapi": {"voice_ids": ["v"]}})
    assert options_of(voice_ids=["v"], provider_options={"foxapi": {"voice_ids": ["v"]}}) == options_of(voice_ids=["v"])


@pytest.mark.parametrize("nothing", [None, "", []])
def test_an_option_without_a_value_asks_for_nothing(nothing: object) -> None:
    assert options_of(elements=nothing, keep_audio=nothing) == {}


def test_false_is_a_value() -> None:
    assert options_of(keep_audio=False) == {"foxapi": {"keep_audio": False}}


SHAPES = {"foxapi": {name: (shape,) for name, shape in OPTIONS.items()}}
SHOT = {"prompt": "a", "duration": 5}


@pytest.mark.parametrize(
    ("name", "value", "path", "message"),
    [
        ("video_url", {}, "", "must be the http(s) URL of a public address, not an object"),
        ("video_url", "http://169.254.169.254/x", "", "is not the URL of a public address"),
        ("video_url", "http://2130706433/x", "", "is not the URL of a public address"),
        ("video_url", "https://a.example:22/x", "", "port that is not for the web"),
        ("video_url", "file:///etc/passwd", "", "is not an http(s) URL"),
        ("keep_audio", "maybe", "", 'must be true or false, not "maybe"'),
        ("keep_original_sound", [1], "", 'must be "yes" or "no"'),
        ("shot_type", "any", "", 'must be "customize"'),
        ("voice_ids", "v", "", "must be a list of 0 to 2 members"),
        ("voice_ids", {"0": "v"}, "", "must be a list"),
        ("voice_ids", ["v"] * 3, "", "must be a list of 0 to 2 members"),
        ("voice_ids", ["v", 1], "[1]", "must be a string of 1 to 128 characters, not 1"),
        ("voice_ids", ["v" * 129], "[0]", "must be a string of 1 to 128 characters"),
        ("voice_ids", ["v\x1b"], "[0]", "control character"),
        ("multi_prompt", [{**SHOT, "duration": "long"}], "[0].duration", "must be a whole number from 1 to 15"),
        ("multi_prompt", [{**SHOT, "duration": True}], "[0].duration", "must be a whole number from 1 to 15"),
        ("multi_prompt", [{**SHOT, "duration": 1.5}], "[0].duration", "must be a whole number from 1 to 15"),
        ("multi_prompt", [SHOT, {"prompt": "b"}], "[1].duration", "is required"),
        ("multi_prompt", [{**SHOT, "webhook": "x"}], "[0].webhook", "this field does not exist"),
        ("elements", ["e"], "[0]", "must be an object"),
        ("elements", [{}], "[0]", "must be an object with one of"),
        ("elements", [{"frontal_image_url": "http://10.0.0.1/a"}], "[0].frontal_image_url", "public address"),
        ("elements", [{"reference_image_urls": [None]}], "[0].reference_image_urls[0]", "not null"),
    ],
)
def test_a_value_of_another_shape_is_refused_by_its_path(name: str, value: object, path: str, message: str) -> None:
    own = f"provider_options.foxapi.{name}{path}"
    for body, param in (({"provider_options": {"foxapi": {name: value}}}, own), ({name: value}, name + path)):
        with pytest.raises(InvalidParameter) as caught:
            normalise(with_options({**BODY, **body}), str, option_shapes=SHAPES)
        assert caught.value.param == param
        assert caught.value.detail.startswith(f"`{param}`")
        assert message in caught.value.detail


def test_an_address_within_fetch_allow_is_sent() -> None:
    body = {**BODY, "provider_options": {"foxapi": {"video_url": "http://10.1.2.3/v.mp4"}}}
    allowed = [ip_network("10.0.0.0/8")]
    given = normalise(body, str, allowed, option_shapes=SHAPES).request.provider_options
    assert given == body["provider_options"]


def test_numbers_and_booleans_as_text_are_the_same_request() -> None:
    texts = {"multi_prompt": [{**SHOT, "duration": "5"}], "keep_audio": "true", "keep_original_sound": True}
    values = {"multi_prompt": [{**SHOT, "duration": 5.0}], "keep_audio": True, "keep_original_sound": "yes"}
    as_text, as_values = (
        normalise({**BODY, "provider_options": {"foxapi": own}}, str, option_shapes=SHAPES).request
        for own in (texts, values)
    )
    assert as_text == as_values


@pytest.mark.parametrize("shape", OPTIONS.values(), ids=OPTIONS)
def test_the_schema_of_a_shape_accepts_what_the_shape_accepts(shape: Option) -> None:
    examples = ["customize", "yes", "image", True, "https://a.example/v.mp4", ["v"], [SHOT], [{"video_url": URL}]]
    check = jsonschema.Draft202012Validator(schema_of(shape))

    def accepted(value: object) -> bool:
        try:
            return bool(
                read_option(shape, value, "o", lambda url: None if url.startswith("https") else "is wrong") or True
            )
        except OptionFault:
            return False

    taken = [value for value in examples if accepted(value)]
    assert taken
    assert all(check.is_valid(value) for value in taken)


def test_two_values_of_one_option_are_refused_by_the_clients_name() -> None:
    with pytest.raises(InvalidParameter, match=r"`voice_ids` and `provider_options\.foxapi\.voice_ids`") as caught:
        options_of(voice_ids=["a"], provider_options={"foxapi": {"voice_ids": ["b"]}})
    assert caught.value.param == "voice_ids"


def test_an_error_about_an_option_has_the_clients_name() -> None:
    normal = normalise(with_options({**BODY, "elements": [{"a": 1}]}), str)
    path = "provider_options.foxapi.elements"
    with pytest.raises(InvalidParameter) as caught, normal.named():
        raise InvalidParameter(f"`{path}`: this option does not exist", param=path)
    assert (caught.value.param, caught.value.detail) == ("elements", "`elements`: this option does not exist")


def test_a_client_that_used_our_path_is_answered_with_our_path() -> None:
    path = "provider_options.foxapi.elements"
    normal = normalise({**BODY, "provider_options": {"foxapi": {"elements": [{"a": 1}]}}}, str)
    with pytest.raises(InvalidParameter) as caught, normal.named():
        raise InvalidParameter(f"`{path}`: this option does not exist", param=path)
    assert (caught.value.param, caught.value.detail) == (path, f"`{path}`: this option does not exist")


def test_options_have_the_same_bound_by_either_name() -> None:
    with pytest.raises(InvalidParameter, match="at most 16 KB"):
        normalise([*map(Given, BODY, BODY.values()), Given("big", "x" * 20_000, "provider_options.foxapi.big")], str)
