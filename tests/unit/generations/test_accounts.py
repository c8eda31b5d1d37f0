"""Several accounts of one adapter in the catalog and in a plan: model names, and the options for an account."""

import pytest

from gateway.domain.adapter.options import options_of
from gateway.domain.adapter.request import TextInput
from gateway.domain.errors import ModelNotFound
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.routing.plan import Planned, plan
from gateway.generations.catalog import Catalog, Model
from gateway.settings.load import ModelSettings, ProviderModel, ProviderSettings, Secret, Settings
from gateway.upstream.provider import accepting, bind
from gateway.upstream.registry import load_adapters

ADAPTERS = load_adapters()


def relay(key: str, **more: object) -> ProviderSettings:
    return ProviderSettings(adapter="kling_relay", api_key=Secret.of(key), **more)  # type: ignore[arg-type]  # a test's own values


def catalog(models: dict[str, ModelSettings] | None = None, **accounts: ProviderSettings) -> Catalog:
    every = {"relay_b": relay("b"), "kling_relay": relay("a"), "foxapi": ProviderSettings(api_key=Secret.of("f"))}
    settings = Settings(providers=every | accounts, models=models or {})
    return Catalog(accepting(bind(settings, ADAPTERS)), settings)


def routes(model: Model) -> list[str]:
    return [f"{candidate.provider}/{candidate.model}" for candidate in model.candidates]


def test_a_bare_name_leads_to_every_account_in_the_order_of_the_configuration() -> None:
    listing = catalog()
    model = listing.resolve("kling-v1")

    assert routes(model) == ["relay_b/kling-v1", "kling_relay/kling-v1"]
    assert (model.name, model.owned_by) == ("kling-v1", "video-gateway")
    assert routes(listing.resolve("relay_b/kling-v1")) == ["relay_b/kling-v1"]
    assert listing.resolve("relay_b/kling-v1").owned_by == "relay_b"
    assert [name for name in (each.name for each in listing.listed()) if name.endswith("kling-v1")] == [
        "relay_b/kling-v1",
        "kling_relay/kling-v1",
        "kling-v1",
    ]


def test_a_bare_name_of_two_adapters_stays_ambiguous() -> None:
    fox = ProviderSettings(api_key=Secret.of("f"), models={"kling-v1": ProviderModel(like="kling-v3-text-to-video")})

    with pytest.raises(ModelNotFound, match="use relay_b/kling-v1 or kling_relay/kling-v1 or foxapi/kling-v1"):
        catalog(foxapi=fox).resolve("kling-v1")


def test_the_built_in_models_have_the_accounts_in_their_order() -> None:
    listing = catalog()

    for name in ("kling", "auto"):
        of_relays = [route for route in routes(listing.resolve(name)) if route.endswith("/kling-v2-master")]
        assert of_relays == ["relay_b/kling-v2-master", "kling_relay/kling-v2-master"]


def test_a_disabled_account_takes_no_part() -> None:
    assert routes(catalog(relay_b=relay("b", enabled=False)).resolve("kling-v1")) == ["kling_relay/kling-v1"]


def test_a_configured_model_goes_before_the_name_that_accounts_share() -> None:
    models = {"kling-v1": ModelSettings(routes=("kling_relay/kling-v1", "relay_b/kling-v1"), order="cheapest")}

    assert routes(catalog(models).resolve("kling-v1")) == ["kling_relay/kling-v1", "relay_b/kling-v1"]


def test_options_for_an_adapter_are_for_all_its_accounts_and_an_accounts_own_win() -> None:
    given = {"kling_relay": {"external_task_id": "all", "static_mask": "m"}, "relay_b": {"external_task_id": "own"}}

    assert options_of(given, "kling_relay", "relay_b") == {"external_task_id": "own", "static_mask": "m"}
    assert options_of(given, "kling_relay", "relay_c") == given["kling_relay"]
    assert options_of(given, "foxapi", "foxapi") == {}


def planned(**options: dict[str, object]) -> Planned:
    request = GenerationRequest(model="kling-v1", input=TextInput(), prompt="a boat", provider_options=options)
    return plan(request, catalog().candidates(request)[1])


def test_a_route_is_judged_by_the_options_that_it_would_get() -> None:
    both_given = planned(kling_relay={"external_task_id": "x"}, relay_b={"external_task_id": "y"})
    unknown_at_one = planned(relay_b={"colour": "red"})
    all_left_out = planned(kling_relay={"colour": "red"})

    assert [route.provider for route in both_given.routes] == ["relay_b", "kling_relay"]
    assert [route.service for route in both_given.routes] == ["", "relay_b"]
    assert [route.provider for route in unknown_at_one.routes] == ["kling_relay"]
    assert [reason.param for left in unknown_at_one.left_out for reason in left.reasons] == ["provider_options.relay_b"]
    assert [reason.param for left in all_left_out.left_out for reason in left.reasons] == [
        "provider_options.kling_relay"
    ] * 2


def test_the_shapes_of_options_are_found_under_both_names() -> None:
    shapes = catalog().option_shapes

    assert shapes["relay_b"] == shapes["kling_relay"]
    assert "external_task_id" in shapes["relay_b"]
