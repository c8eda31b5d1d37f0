"""Provider tables: any number of accounts of one adapter, their names, and the secrets that an adapter declares."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.adapter.contract import Adapter
from gateway.domain.errors import ConfigurationError
from gateway.settings.accounts import NAME_MAX, drop_unknown
from gateway.settings.load import Reading, Settings, read_configuration
from gateway.settings.secret_values import secret_values
from gateway.settings.toml import TomlReader
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters

from ...cases import every

BUILT_IN = load_adapters()
SIGNING = replace(BUILT_IN["foxapi"], name="acme", secrets={"access_key": True, "secret_key": True, "region": False})
ADAPTERS: Mapping[str, Adapter] = {**BUILT_IN, "acme": SIGNING}
KEYS = {"A": "a-relay-key", "B": "b-relay-key", "S": "a secret with spaces"}
RELAY = 'adapter = "kling_relay"\napi_key = "env:A"\n'


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reading(text: str, **environ: str) -> Reading:
    Path("case.toml").write_text(text, encoding="utf-8")
    return read_configuration(Path("case.toml"), KEYS | environ, ADAPTERS)


def loaded(text: str, **environ: str) -> Settings:
    read = reading(text, **environ)
    assert read.settings is not None
    assert not read.faults, [str(fault) for fault in read.faults]
    return read.settings


def test_each_table_is_an_account_of_its_own() -> None:
    settings = loaded(
        "[providers.relay_b]\nadapter = 'kling_relay'\napi_key = 'env:B'\nbase_url = 'https://b.example'\n"
        "concurrency = 2\nform = 'number'\npoll_seconds = 20\nheaders = {x-team = 'b'}\n"
        "models = {kling-v1 = {prices = [{per_clip = 0.5}]}}\n[providers.relay_c]\n" + RELAY,
        KLING_RELAY_API_KEY="the-first-relay-key",
    )
    providers = bind(settings, ADAPTERS)

    assert list(providers) == ["relay_b", "relay_c", "kling_relay"]
    assert {provider.adapter.name for provider in providers.values()} == {"kling_relay"}
    b, c, own = providers.values()
    assert [provider.name for provider in (b, c, own)] == list(providers)
    assert [provider.credential.api_key for provider in (b, c, own)] == [
        "b-relay-key",
        "a-relay-key",
        "the-first-relay-key",
    ]
    assert (b.base_url, b.concurrency, b.variant, b.headers) == ("https://b.example", 2, "number", {"x-team": "b"})
    assert (b.polling("kling-v1").poll_seconds, c.polling("kling-v1").poll_seconds) == (20, 15)
    assert (b.models["kling-v1"].prices[0].per_clip, c.models["kling-v1"].prices) == (0.5, ())
    assert [provider.service for provider in (b, c, own)] == ["", "", "relay_c"]
    assert settings.warnings == ()


@every(
    ("text", "message"),
    [
        (
            "[providers.relay_b]\napi_key = 'env:A'",
            "providers.relay_b: no such provider; installed are acme, foxapi, keevx, kling_relay; for an account",
        ),
        (
            "[providers.kling_rely]\napi_key = 'env:A'",
            'providers.kling_rely: no such provider; did you mean "kling_relay"? installed are acme, foxapi, ',
        ),
        (
            "[providers.relay_b]\nadapter = 'klingrelay'\napi_key = 'env:A'",
            'providers.relay_b.adapter: no such adapter; did you mean "kling_relay"? installed are acme, foxapi, ',
        ),
        ("[providers.relay_b]\nadapter = 7", "providers.relay_b.adapter: expected the name of an adapter; installed"),
        ("[providers.keevx]\n" + RELAY, 'providers.keevx.adapter: "keevx" is the name of another adapter; give'),
        ("[providers.Relay]\n" + RELAY, "providers.Relay: expected a name of at most 32 small letters, digits, _ and"),
        ("[providers.'a/b']\n" + RELAY, 'providers."a/b": expected a name of at most 32'),
        (f"[providers.{'a' * 33}]\n" + RELAY, f"providers.{'a' * 33}: expected a name of at most 32"),
        ("[providers.auto]\n" + RELAY, "providers.auto: this name has another meaning in model names; choose another"),
        (
            "[providers.relay_b]\nadapter = 'kling_relay'",
            "providers.relay_b.api_key: missing; set it to env:NAME or file:PATH",
        ),
        (
            "[models.a]\nroutes = ['relay_d/kling-v1']\n[providers.relay_b]\n" + RELAY,
            'models.a.routes[0]: no such provider; did you mean "relay_b"?',
        ),
        ("[models.'relay_b/x']\nroutes = ['relay_b/x']\n[providers.relay_b]\n" + RELAY, 'models."relay_b/x": expected'),
        (
            "[providers.acme]\napi_key = 'env:A'\nsecrets = {access_key = 'env:A', secret_key = 'env:S'}",
            "providers.acme.api_key: this adapter takes no api_key; it takes secrets.access_key and secrets.secret_key",
        ),
        (
            "[providers.acme]\nsecrets = {access_key = 'env:A'}",
            "providers.acme.secrets.secret_key: missing; set it to env:NAME or file:PATH",
        ),
        ("[providers.acme]", "providers.acme.secrets.access_key: missing; set it to env:NAME or file:PATH"),
        (
            "[providers.acme]\nsecrets = {acces_key = 'env:A', access_key = 'env:A', secret_key = 'env:S'}",
            'providers.acme.secrets.acces_key: unknown secret; did you mean "access_key"?',
        ),
        (
            "[providers.keevx]\napi_key = 'env:A'\nsecrets = {access_key = 'env:A'}",
            "providers.keevx.secrets.access_key: unknown secret; this adapter takes api_key alone",
        ),
        (
            "[providers.acme]\nsecrets = {access_key = 'env:A', secret_key = 'env:NOWHERE'}",
            "providers.acme.secrets.secret_key: missing: the variable NOWHERE is not set or empty",
        ),
        (
            "[providers.acme]\nsecrets = {access_key = 'env:A', secret_key = 'plain'}",
            "providers.acme.secrets.secret_key: expected env:NAME or file:PATH",
        ),
        ("[providers.acme]\nsecrets = 'env:A'", "providers.acme.secrets: expected a table, got a string"),
    ],
)
def test_a_mistake_names_the_key_and_the_remedy(text: str, message: str) -> None:
    faults = [str(fault) for fault in reading(text).faults]

    assert faults, text
    assert faults[0].startswith(message), faults


def test_a_broken_account_makes_no_second_fault_of_the_routes_to_it() -> None:
    text = "[providers.relay_b]\nadapter = 'kling_relay'\n[models.a]\nroutes = ['relay_b/kling-v1']"

    assert [str(fault).partition(":")[0] for fault in reading(text).faults] == ["providers.relay_b.api_key"]


def test_the_secrets_of_an_account_reach_its_credential_and_are_hidden_everywhere() -> None:
    text = "[providers.headers]\nadapter = 'acme'\nsecrets = {access_key = 'env:A', secret_key = 'env:S'}"
    settings = loaded(text)
    provider = bind(settings, ADAPTERS)["headers"]

    assert provider.credential.secrets == {"access_key": "a-relay-key", "secret_key": "a secret with spaces"}
    assert provider.credential.api_key == ""
    assert {"a-relay-key", "a secret with spaces"} <= set(secret_values(settings))
    assert "a-relay-key" not in repr(provider) + repr(settings)


def test_a_disabled_account_with_an_unreadable_secret_only_warns() -> None:
    settings = loaded(
        "[providers.acme]\nenabled = false\nsecrets = {access_key = 'env:A', secret_key = 'env:NOWHERE'}\n"
        "[providers.relay_b]\n" + RELAY
    )

    assert not settings.providers["acme"].has_key
    assert any(text.startswith("providers.acme.secrets.secret_key: missing: ") for text in settings.warnings)
    assert list(bind(settings, ADAPTERS)) == ["relay_b"]


@every(
    ("other", "is_same"),
    [
        ("api_key = 'env:A'", True),
        ("api_key = 'env:A'\nbase_url = 'https://api.xiexus.cn/'", True),
        ("api_key = 'env:A'\nbase_url = 'https://b.example'", False),
        ("api_key = 'env:B'", False),
    ],
)
def test_two_accounts_with_one_key_at_one_address_are_warned_about(other: str, is_same: bool) -> None:
    settings = loaded(f"[providers.relay_a]\n{RELAY}[providers.relay_b]\nadapter = 'kling_relay'\n{other}")

    warned = [
        text
        for text in settings.warnings
        if text.startswith("providers.relay_b: the same account as providers.relay_a")
    ]
    assert len(warned) == is_same, settings.warnings
    assert "a-relay-key" not in str(settings.warnings)


@given(st.text(max_size=NAME_MAX + 2))
@example("relay-b")
def test_every_name_that_is_taken_is_safe_in_a_url_and_in_a_model_name(name: str) -> None:
    tables = {"providers": {name: {"adapter": "kling_relay", "api_key": "env:A"}}}

    reader = TomlReader(KEYS, {})
    drop_unknown(tables, ADAPTERS, reader)

    if tables["providers"]:
        assert 0 < len(name) <= NAME_MAX
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    else:
        assert reader.faults


def test_a_wrong_form_names_the_account() -> None:
    settings = loaded("[providers.relay_b]\nform = 'nothing'\n" + RELAY)

    with pytest.raises(ConfigurationError, match=r"^providers\.relay_b\.form: 'nothing'; expected"):
        bind(settings, ADAPTERS)
