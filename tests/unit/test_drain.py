"""How long a stop may take: derived from the submits that it must wait for."""

import pytest

from gateway.drain import MARGIN_SECONDS, drain_of
from gateway.settings.load import ProviderModel, ProviderSettings, Secret, ServerSettings, Settings
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters

ADAPTERS = load_adapters()
FOX, RELAY = "kling-v3-text-to-video", "kling-v1"


def drain(drain_seconds: float | None = None, **providers: dict[str, object]):
    accounts = {name: ProviderSettings(api_key=Secret.of("sk"), **said) for name, said in providers.items()}
    settings = Settings(server=ServerSettings(drain_seconds=drain_seconds), providers=accounts)
    return drain_of(settings, bind(settings, ADAPTERS))


@pytest.mark.parametrize(
    ("providers", "longest", "route"),
    [
        ({"foxapi": {}}, 60, "foxapi/"),
        ({"foxapi": {}, "kling_relay": {}}, 120, "kling_relay/"),
        ({"foxapi": {"submit_timeout_seconds": 300.0}, "kling_relay": {}}, 300, "foxapi/"),
        ({"kling_relay": {"submit_timeout_seconds": 20.0}}, 20, "kling_relay/"),
        ({"foxapi": {"models": {FOX: ProviderModel(submit_timeout_seconds=77.0)}}}, 77, f"foxapi/{FOX}"),
        (
            {"kling_relay": {"models": {"new": ProviderModel(like=RELAY, submit_timeout_seconds=400.0)}}},
            400,
            "kling_relay/new",
        ),
        ({"foxapi": {}, "kling_relay": {"enabled": False}}, 60, "foxapi/"),
    ],
)
def test_by_default_a_stop_waits_for_the_longest_submit_in_use(providers, longest: float, route: str):
    result = drain(**providers)
    assert (result.submit_seconds, result.seconds, result.warning) == (longest, longest + MARGIN_SECONDS, None)
    assert result.submit_route.startswith(route)


@pytest.mark.parametrize("configured", [1.0, 35.0, 120.0, 124.9])
def test_a_shorter_time_is_kept_with_a_warning_that_names_both(configured: float):
    result = drain(configured, kling_relay={})
    assert result.seconds == configured
    assert result.warning is not None
    assert result.warning.startswith(f"server.drain_seconds: {configured:g} s is shorter than the 125 s")
    assert "120 s (kling_relay/" in result.warning


@pytest.mark.parametrize("configured", [125.0, 600.0])
def test_a_time_that_is_long_enough_is_not_a_warning(configured: float):
    result = drain(configured, kling_relay={})
    assert (result.seconds, result.warning) == (configured, None)
