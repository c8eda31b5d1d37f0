"""An adapter with its account: what the configuration may change, and what it may not."""

from dataclasses import replace

import pytest

from gateway.domain.errors import ConfigurationError
from gateway.domain.routing.price import Price
from gateway.settings.load import ProviderModel, ProviderSettings, Secret, Settings
from gateway.upstream.provider import Provider, accepting, bind
from gateway.upstream.registry import load_adapters

ADAPTERS = load_adapters()


def bound(name: str, **account: object) -> Provider:
    settings = Settings(providers={name: ProviderSettings(**{"api_key": Secret.of("sk-upstream"), **account})})
    return bind(settings, ADAPTERS)[name]


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_without_configuration_every_value_is_the_adapters_own(name: str):
    provider, adapter = bound(name), ADAPTERS[name]
    assert (provider.name, provider.base_url, provider.variant) == (name, adapter.base_url, None)
    assert provider.credential.api_key == "sk-upstream"
    assert "sk-upstream" not in repr(provider)
    assert {model: model_value.capabilities for model, model_value in provider.models.items()} == dict(
        adapter.capabilities
    )
    for model in provider.models:
        assert provider.models[model].capability_name == model
        assert provider.polling(model) == adapter.polling_by_model.get(model, adapter.polling)


def test_only_enabled_providers_are_bound_in_the_order_of_the_configuration():
    accounts = {
        "foxapi": ProviderSettings(api_key=Secret.of("a")),
        "kling_relay": ProviderSettings(enabled=False),
        "keevx": ProviderSettings(api_key=Secret.of("b")),
    }
    assert list(bind(Settings(providers=accounts), ADAPTERS)) == ["foxapi", "keevx"]


def test_a_disabled_provider_with_a_key_is_polled_and_takes_no_work():
    accounts = {
        "foxapi": ProviderSettings(api_key=Secret.of("a"), enabled=False, base_url="https://fox.example"),
        "keevx": ProviderSettings(api_key=Secret.of("b")),
    }
    providers = bind(Settings(providers=accounts), ADAPTERS)
    assert {name: provider.accepts_work for name, provider in providers.items()} == {"foxapi": False, "keevx": True}
    assert (providers["foxapi"].credential.api_key, providers["foxapi"].base_url) == ("a", "https://fox.example")
    assert list(accepting(providers)) == ["keevx"]


def test_tasks_of_a_disabled_provider_are_polled_whatever_is_wrong_with_its_models():
    models = {"kling-v9": ProviderModel(like="nonesuch")}
    provider = bound("foxapi", enabled=False, form="odd", models=models, poll_seconds=20.0)
    assert (provider.accepts_work, provider.variant, provider.polling("kling-v9").poll_seconds) == (False, None, 20.0)


def test_the_account_changes_the_base_url_and_adds_headers():
    provider = bound("keevx", base_url="http://127.0.0.1:9", headers={"x-team": Secret.of("blue")}, concurrency=3)
    assert (provider.base_url, provider.headers, provider.concurrency) == ("http://127.0.0.1:9", {"x-team": "blue"}, 3)
    assert "blue" not in repr(provider)


def test_polling_is_overridden_by_the_account_and_then_by_the_model():
    provider = bound(
        "foxapi",
        poll_seconds=20.0,
        grace_seconds=7.0,
        models={"kling-v3-text-to-video": ProviderModel(grace_seconds=9.0, attempt_timeout_seconds=77.0)},
    )
    own = ADAPTERS["foxapi"].polling
    # The longest interval is never shorter than the first one.
    merged = replace(own, poll_seconds=20.0, poll_max_seconds=20.0, grace_seconds=7.0)
    assert provider.polling("kling-v3-image-to-video") == merged
    assert provider.polling("kling-v3-text-to-video") == replace(
        merged, grace_seconds=9.0, attempt_timeout_seconds=77.0
    )
    assert provider.polling("a model that is gone") == merged


def test_a_model_in_no_table_follows_the_model_that_it_is_like():
    provider = bound("foxapi", models={"kling-v9": ProviderModel(like="kling-v3-text-to-video")})
    model = provider.models["kling-v9"]
    assert (model.name, model.capability_name) == ("kling-v9", "kling-v3-text-to-video")
    assert model.capabilities == ADAPTERS["foxapi"].capabilities["kling-v3-text-to-video"]
    assert "kling-v3-text-to-video" in provider.models


def test_a_model_in_no_table_follows_the_default_if_the_adapter_has_one():
    provider = bound("kling_relay", models={"kling-v9": ProviderModel()})
    assert provider.models["kling-v9"].capability_name == ADAPTERS["kling_relay"].default_capability_name


@pytest.mark.parametrize("said", [ProviderModel(), ProviderModel(like="kling-v2-6")])
def test_a_model_that_only_some_accounts_have_is_offered_where_it_is_named(said: ProviderModel):
    adapter, name = ADAPTERS["kling_relay"], "mine" if said.like else "kling-v2-6"
    model = bound("kling_relay", models={name: said}).models[name]
    assert (model.capability_name, model.capabilities) == ("kling-v2-6", adapter.configurable["kling-v2-6"])
    assert "kling-v2-6" not in bound("kling_relay").models


def test_a_capability_whose_default_mode_makes_a_forbidden_resolution_is_left_out():
    narrow = ProviderModel(resolutions=("720p",))
    [left] = bound("kling_relay", models={"kling-v1": narrow}).models["kling-v1"].capabilities
    assert (left.last_frame, left.resolutions) == (False, {"720p"})
    with pytest.raises(ConfigurationError, match=r"kling-v2-master\.resolutions: .*makes only 1080p; add it"):
        bound("kling_relay", models={"kling-v2-master": narrow})


@pytest.mark.parametrize("said", [ProviderModel(), ProviderModel(like="nonesuch")])
def test_a_model_in_no_table_that_is_like_no_other_stops_the_start(said: ProviderModel):
    with pytest.raises(ConfigurationError, match=r"^providers\.foxapi\.models\.kling-v9\.like: .*kling-v3-text"):
        bound("foxapi", models={"kling-v9": said})


def test_capabilities_are_narrowed_and_widened():
    said = ProviderModel(
        durations=(3, 7), resolutions=("720p",), aspect_ratios=("4:3",), prompt_max=10, generate_audio=False
    )
    [capability] = (
        bound("foxapi", models={"kling-v3-text-to-video": said}).models["kling-v3-text-to-video"].capabilities
    )
    [original] = ADAPTERS["foxapi"].capabilities["kling-v3-text-to-video"]
    assert capability == replace(
        original,
        durations=frozenset({3, 7}),
        resolutions=frozenset({"720p"}),
        aspect_ratios=frozenset({"4:3"}),
        prompt_max=10,
        generate_audio=False,
    )


def test_a_form_is_one_of_the_adapters():
    assert bound("kling_relay", form="number").variant == "number"
    with pytest.raises(ConfigurationError, match=r"^providers\.kling_relay\.form: 'text'; expected string, number"):
        bound("kling_relay", form="text")
    with pytest.raises(ConfigurationError, match=r"^providers\.keevx\.form: .*one form"):
        bound("keevx", form="number")


# Prices


def test_prices_are_those_of_their_model():
    prices = (Price(per_second=0.2, resolution="1080p", generate_audio=True), Price(per_clip=0.5))
    models = bound("foxapi", models={"kling-v3-text-to-video": ProviderModel(prices=prices)}).models
    assert models["kling-v3-text-to-video"].prices == prices
    assert models["kling-v3-image-to-video"].prices == ()


@pytest.mark.parametrize(
    ("price", "message"),
    [
        (Price(), r"\[1\]: expected per_second or per_clip"),
        (Price(resolution="1080p"), r"\[1\]: expected per_second or per_clip"),
        (Price(per_clip=1, resolution="8k"), r"\[1\]\.resolution: '8k'; expected .*1080p, .*720p"),
        (Price(per_clip=1, mode="pro"), r"\[1\]\.mode: 'pro'; expected no value: the model has none; remove the key"),
    ],
)
def test_a_price_that_can_never_apply_stops_the_start(price: Price, message: str):
    said = ProviderModel(prices=(Price(per_clip=1, generate_audio=True), price))
    path = r"^providers\.foxapi\.models\.kling-v3-text-to-video\.prices"
    with pytest.raises(ConfigurationError, match=path + message):
        bound("foxapi", models={"kling-v3-text-to-video": said})


@pytest.mark.parametrize(
    ("prices", "place"),
    [
        ((Price(per_second=1), Price(per_second=2, generate_audio=True)), 0),
        ((Price(per_second=1, resolution="720p"), Price(per_second=2, resolution="720p")), 0),
        ((Price(per_clip=3, resolution="4k"), Price(per_clip=1), Price(per_clip=2, resolution="1080p")), 1),
    ],
)
def test_a_price_after_one_that_covers_it_stops_the_start(prices: tuple[Price, ...], place: int):
    last = len(prices) - 1
    message = (
        rf"^providers\.foxapi\.models\.kling-v3-text-to-video\.prices\[{last}\]: .* because prices\[{place}\] .*; put"
    )
    with pytest.raises(ConfigurationError, match=message):
        bound("foxapi", models={"kling-v3-text-to-video": ProviderModel(prices=prices)})
    turned = prices[::-1] if len(prices) == 2 else (prices[0], prices[2], prices[1])
    if not turned[0].covers(turned[1]):  # the remedy in the message works
        models = bound("foxapi", models={"kling-v3-text-to-video": ProviderModel(prices=turned)}).models
        assert models["kling-v3-text-to-video"].prices == turned


@pytest.mark.parametrize(
    ("provider", "model", "price", "message"),
    [
        ("foxapi", "kling-v3-motion-control", Price(per_second=1), r"\.per_second: the model has no `duration`"),
        (
            "keevx",
            "KL",
            Price(per_clip=1, generate_audio=True),
            r"\.generate_audio: the model makes no sound; remove this row",
        ),
    ],
)
def test_a_price_for_a_value_that_cannot_be_requested_stops_the_start(
    provider: str, model: str, price: Price, message: str
):
    with pytest.raises(ConfigurationError, match=message):
        bound(provider, models={model: ProviderModel(prices=(price,))})


def test_a_price_names_a_mode_or_the_resolution_that_it_means():
    prices = (Price(per_clip=2, resolution="1080p"), Price(per_clip=1, mode="std"))
    provider = bound("kling_relay", models={"kling-v1": ProviderModel(prices=prices)})
    assert provider.models["kling-v1"].prices == prices
    with pytest.raises(ConfigurationError, match=r"prices\[0\]\.mode: 'max'; expected pro, std"):
        bound("kling_relay", models={"kling-v1": ProviderModel(prices=(Price(per_clip=1, mode="max"),))})


def test_a_price_names_the_resolution_of_a_mode_if_no_resolution_can_be_requested():
    model = "kling-v3-motion-control"
    [capability] = ADAPTERS["foxapi"].capabilities[model]
    assert (capability.resolutions, capability.modes["pro"]) == (frozenset(), "1080p")
    prices = (Price(per_clip=2, resolution="1080p"),)
    assert bound("foxapi", models={model: ProviderModel(prices=prices)}).models[model].prices == prices


def test_a_price_for_a_resolution_that_the_configuration_removed_stops_the_start():
    said = ProviderModel(resolutions=("720p",), prices=(Price(per_clip=1, resolution="1080p"),))
    with pytest.raises(ConfigurationError, match=r"prices\[0\]\.resolution: '1080p'; expected 720p$"):
        bound("foxapi", models={"kling-v3-text-to-video": said})
