"""Options of a provider that a client gives as fields of their own."""

import pytest

from gateway.api.generations.create_request import Given, normalise
from gateway.api.generations.foxapi_fields import with_options
from gateway.domain.errors import InvalidParameter

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
