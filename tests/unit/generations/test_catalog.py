"""Which model names a client can use, and which routes each of them has."""

import pytest

from gateway.domain.adapter.request import FramesInput, Kind, TextInput
from gateway.domain.errors import ConfigurationError, ModelNotFound
from gateway.domain.generation.model import GenerationRequest
from gateway.domain.routing.plan import plan
from gateway.domain.routing.price import Price
from gateway.generations.catalog import Catalog, Model
from gateway.settings.load import ModelSettings, ProviderModel, ProviderSettings, Secret, Settings
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters

ADAPTERS = load_adapters()
KEY = Secret.of("sk-upstream")
ALL = ("keevx", "kling_relay", "foxapi")


def catalog(*providers: str, models: dict[str, ModelSettings] | None = None, **accounts: ProviderSettings) -> Catalog:
    settings = Settings(
        providers={name: ProviderSettings(api_key=KEY) for name in providers or ALL} | accounts, models=models or {}
    )
    return Catalog(bind(settings, ADAPTERS), settings)


def routes(model: Model) -> list[str]:
    return [f"{candidate.provider}/{candidate.model}" for candidate in model.candidates]


def test_every_upstream_model_has_its_full_name():
    listing = catalog()
    for name in ALL:
        for model in ADAPTERS[name].capabilities:
            resolved = listing.resolve(f"{name}/{model}")
            assert routes(resolved) == [f"{name}/{model}"]
            assert resolved.owned_by == name
            assert resolved.candidates[0].capabilities == ADAPTERS[name].capabilities[model]


@pytest.mark.parametrize(
    ("bare", "full"),
    [
        ("V", "keevx/V"),
        ("image", "keevx/image"),
        ("kling-v1", "kling_relay/kling-v1"),
        ("kling-v3-text-to-video", "foxapi/kling-v3-text-to-video"),
    ],
)
def test_a_bare_name_works_where_it_is_unique(bare: str, full: str):
    assert routes(catalog().resolve(bare)) == [full]


def test_a_bare_name_of_two_providers_names_them_both():
    listing = catalog(foxapi=ProviderSettings(api_key=KEY, models={"V": ProviderModel(like="kling-v3-text-to-video")}))
    with pytest.raises(ModelNotFound, match="keevx/V or foxapi/V") as error:
        listing.resolve("V")
    assert error.value.param == "model"
    assert routes(listing.resolve("foxapi/V")) == ["foxapi/V"]


def test_auto_is_every_route_and_kling_every_kling_route_newest_first():
    listing = catalog()
    assert routes(listing.resolve("auto")) == [
        f"{name}/{model}" for name in ALL for model in ADAPTERS[name].capabilities
    ]
    kling = routes(listing.resolve("kling"))
    assert sorted(kling) == sorted(name for name in routes(listing.resolve("auto")) if "/kling-" in name)
    assert kling[0].startswith("foxapi/kling-v3-") or kling[0].startswith("foxapi/kling-o3-")
    assert kling[-1] == "kling_relay/kling-v1"
    assert kling.index("kling_relay/kling-v2-master") < kling.index("kling_relay/kling-v1-6")
    assert kling.index("foxapi/kling-v2-6-motion-control") < kling.index("kling_relay/kling-v2-master")


def test_without_a_kling_route_there_is_no_kling():
    listing = catalog("keevx")
    assert [model.name for model in listing.listed()] == ["auto", "keevx/V", "keevx/KL", "keevx/image"]
    with pytest.raises(ModelNotFound):
        listing.resolve("kling")


def test_a_disabled_provider_has_no_models():
    listing = catalog("keevx", foxapi=ProviderSettings(enabled=False))
    assert routes(listing.resolve("auto")) == ["keevx/V", "keevx/KL", "keevx/image"]


def test_a_configured_model_has_its_routes_in_order_and_its_policy():
    hero = ModelSettings(
        routes=("foxapi/kling-v3-image-to-video", "keevx/V"),
        adapt="nearest",
        on_ambiguous="hold",
        on_content_policy="fall_back",
        attempt_timeout_seconds=90,
    )
    model = catalog(models={"hero": hero}).resolve("hero")
    assert routes(model) == ["foxapi/kling-v3-image-to-video", "keevx/V"]
    assert (model.adapt, model.owned_by) == ("nearest", "video-gateway")
    assert {candidate.attempt_timeout_seconds for candidate in model.candidates} == {90}
    assert (model.policy.on_ambiguous, model.policy.on_content_policy) == ("hold", "fall_back")


def test_a_configured_model_goes_before_a_built_in_and_a_bare_name():
    models = {"kling": ModelSettings(routes=("keevx/V",)), "KL": ModelSettings(routes=("keevx/V",))}
    listing = catalog(models=models)
    assert routes(listing.resolve("kling")) == routes(listing.resolve("KL")) == ["keevx/V"]
    assert routes(listing.resolve("keevx/KL")) == ["keevx/KL"]
    assert len([model for model in listing.listed() if model.name == "kling"]) == 1


def test_routes_of_a_provider_without_a_key_are_left_out():
    models = {
        "some": ModelSettings(routes=("foxapi/kling-v3-image-to-video", "keevx/V")),
        "none": ModelSettings(routes=("foxapi/kling-v3-image-to-video",)),
    }
    listing = catalog("keevx", models=models)
    assert routes(listing.resolve("some")) == ["keevx/V"]
    with pytest.raises(ModelNotFound):
        listing.resolve("none")


def test_a_route_that_does_not_exist_stops_the_start_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"^models\.m\.routes\[1\]: .*kling-v3-image-to-video"):
        catalog(models={"m": ModelSettings(routes=("keevx/V", "foxapi/kling-v3-image-to-vidoe"))})


def test_an_order_goes_with_every_route_of_the_model():
    hero = ModelSettings(routes=("foxapi/kling-v3-image-to-video", "keevx/V"), order="cheapest")
    listing = catalog(models={"hero": hero})
    model = listing.resolve("hero")
    assert model.order == "cheapest"
    assert [(candidate.order, candidate.weight) for candidate in model.candidates] == [("cheapest", 1.0)] * 2
    assert listing.resolve("keevx/V").candidates[0].order == "priority", "it is the model's, not the route's"


def test_weights_stay_with_their_routes_when_others_are_left_out():
    routed = ("foxapi/kling-v3-image-to-video", "keevx/V", "keevx/KL")
    hero = ModelSettings(routes=routed, order="weighted", weights=(5.0, 2.0, 1.0))
    weighted = catalog("keevx", models={"hero": hero}).resolve("hero").candidates
    assert [(candidate.model, candidate.weight) for candidate in weighted] == [("V", 2.0), ("KL", 1.0)]


def test_prices_go_with_the_route_under_every_name():
    prices = (Price(per_second=0.07),)
    account = ProviderSettings(api_key=KEY, models={"V": ProviderModel(prices=prices)})
    listing = catalog(keevx=account, models={"hero": ModelSettings(routes=("keevx/KL", "keevx/V"))})
    for name in ("auto", "keevx/V", "V", "hero"):
        prices_by_model = {
            candidate.model: candidate.prices
            for candidate in listing.resolve(name).candidates
            if candidate.provider == "keevx"
        }
        assert prices_by_model["V"] == prices
        assert prices_by_model.get("KL", ()) == ()


@pytest.mark.parametrize(
    ("name", "near"), [("kling-v3-txt-to-video", "kling-v3-text-to-video"), ("v", "V"), ("KEEVX/kl", "keevx/KL")]
)
def test_an_unknown_name_is_refused_with_similar_names(name: str, near: str):
    with pytest.raises(ModelNotFound, match="Did you mean") as error:
        catalog().resolve(name)
    assert near in error.value.detail


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(ModelNotFound, match="GET /v1/models"):
        catalog().resolve("§" * 1000)


def test_models_to_fall_back_to_come_later_and_each_route_once():
    listing = catalog()
    request = GenerationRequest(
        model="keevx/V", input=TextInput(), fallback=("keevx/KL", "keevx/V", "foxapi/kling-v3-text-to-video")
    )
    model, candidates = listing.candidates(request)
    assert model.name == "keevx/V"
    assert [candidate.model for candidate in candidates] == ["V", "KL", "kling-v3-text-to-video"]


@pytest.mark.parametrize("kind", ["image", "video"])
def test_auto_has_only_the_routes_that_make_what_is_wanted(kind: Kind):
    _, candidates = catalog().candidates(GenerationRequest(model="auto", kind=kind, input=TextInput()))
    assert {capability.kind for candidate in candidates for capability in candidate.capabilities} == {kind}
    assert ("image" in [candidate.model for candidate in candidates]) is (kind == "image")


def test_every_model_to_fall_back_to_is_a_group_of_its_own_order():
    hero = ModelSettings(routes=("keevx/V", "foxapi/kling-v3-text-to-video"), order="fastest")
    other = ModelSettings(routes=("keevx/V", "keevx/KL", "kling_relay/kling-v1"), order="cheapest")
    listing = catalog(models={"hero": hero, "other": other})
    request = GenerationRequest(model="hero", input=TextInput(), fallback=("other", "kling_relay/kling-v1-6"))

    _, candidates = listing.candidates(request)

    assert [(candidate.group, candidate.order, candidate.model) for candidate in candidates] == [
        (0, "fastest", "V"),
        (0, "fastest", "kling-v3-text-to-video"),
        (1, "cheapest", "KL"),
        (1, "cheapest", "kling-v1"),
        (2, "priority", "kling-v1-6"),
    ]
    assert {candidate.group for candidate in listing.resolve("other").candidates} == {0}, (
        "the model itself stays as it is"
    )


@pytest.mark.parametrize("fallback", [True, False])
def test_without_a_list_there_is_one_group(fallback: bool):
    request = GenerationRequest(model="auto", input=TextInput(), fallback=fallback)
    _, candidates = catalog().candidates(request)
    assert {candidate.group for candidate in candidates} == {0}


def test_main_model_stays_before_cheaper_ones_to_fall_back_to():
    def account(model: str, cost: float) -> ProviderSettings:
        prices = (Price(per_clip=cost),)
        return ProviderSettings(api_key=KEY, models={model: ProviderModel(prices=prices)})

    listing = catalog(
        keevx=account("V", 9.0),
        foxapi=account("kling-v3-image-to-video", 1.0),
        models={"hero": ModelSettings(routes=("keevx/V",), order="cheapest")},
    )
    frame = FramesInput(first_frame="https://example.com/a.png")
    request = GenerationRequest(model="hero", input=frame, prompt="a boat", fallback=("kling-v3-image-to-video",))
    _, candidates = listing.candidates(request)
    assert [(route.provider, route.cost_usd) for route in plan(request, candidates).routes] == [
        ("keevx", 9),
        ("foxapi", 1),
    ]


def test_an_unknown_fallback_is_refused():
    request = GenerationRequest(model="keevx/V", input=TextInput(), fallback=("nonesuch",))
    with pytest.raises(ModelNotFound):
        catalog().candidates(request)


def test_each_model_is_listed_once_virtual_ones_first():
    listing = catalog(models={"hero": ModelSettings(routes=("keevx/V",))})
    names = [model.name for model in listing.listed()]
    assert names[:3] == ["auto", "kling", "hero"]
    assert len(names) == len(set(names)) == 3 + sum(len(ADAPTERS[name].capabilities) for name in ALL)
