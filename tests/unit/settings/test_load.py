"""The configuration is read strictly: an unknown, wrong or missing key stops the start with the path of the key."""

import copy
import ipaddress
import json
import pickle
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.adapter.contract import Polling
from gateway.domain.clients import key_digest, owner_of_key
from gateway.domain.errors import ConfigurationError
from gateway.domain.routing.price import Price
from gateway.settings.load import Secret, Settings, describe, load, read_configuration, table_of
from gateway.settings.secret_values import secret_values
from gateway.upstream.registry import load_adapters

from ...cases import every

PROVIDERS = load_adapters()
KEY = "vg_0123456789abcdef"
WEBHOOK = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(text: str, **environ: str) -> Settings:
    """The settings of a file with this text, and these variables."""
    Path("case.toml").write_text(text, encoding="utf-8")
    return load(Path("case.toml"), environ, PROVIDERS)


def refusal(text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parsed(text, **environ)
    return str(caught.value)


DOCUMENTED = """
[server]
host = "0.0.0.0"
port = 8080
public_url = "https://video.example.com"
api_keys = ["env:VIDEO_GATEWAY_API_KEY"]

[database]
url = "sqlite:///video-gateway.db"

[providers.foxapi]
api_key = "env:FOXAPI_API_KEY"
base_url = "https://api.foxapi.cc"
first_poll_seconds = 5
poll_seconds = 5
poll_max_seconds = 15
submit_timeout_seconds = 60
attempt_timeout_seconds = 1200
grace_seconds = 60
concurrency = 32

[models.hero]
routes = ["foxapi/kling-v3-image-to-video", "keevx/V"]
order = "priority"
adapt = "nearest"
on_ambiguous = "fall_back"
on_content_policy = "stop"

[fetch]
allow = []

[artifacts]
url = "file:./artifacts"
keep_days = 30

[webhooks]
secret = "env:VIDEO_GATEWAY_WEBHOOK_SECRET"
"""


def test_the_documented_file_is_read() -> None:
    loaded = parsed(
        DOCUMENTED,
        VIDEO_GATEWAY_API_KEY=KEY,
        FOXAPI_API_KEY="fox-key",
        KEEVX_API_KEY="keevx-key",
        VIDEO_GATEWAY_WEBHOOK_SECRET=WEBHOOK,
    )

    assert (loaded.server.host, loaded.server.port, loaded.server.auth) == ("0.0.0.0", 8080, "keys")
    assert loaded.server.api_keys[0].reveal() == KEY
    assert loaded.providers["foxapi"].api_key.reveal() == "fox-key"
    assert loaded.providers["foxapi"].poll_max_seconds == 15
    assert loaded.providers["keevx"].api_key.reveal() == "keevx-key"
    assert loaded.models["hero"].routes == ("foxapi/kling-v3-image-to-video", "keevx/V")
    assert loaded.webhooks.secret == Secret.of(WEBHOOK)
    assert loaded.file == Path("case.toml")
    assert loaded.warnings == ()


def test_the_environment_is_enough() -> None:
    environ = {
        "KEEVX_API_KEY": "keevx-key",
        "KLING_RELAY_API_KEY": "relay-key",
        "KLING_RELAY_BASE_URL": "https://relay.example/base/",
        "VIDEO_GATEWAY_DATABASE_URL": "sqlite:////var/lib/gateway/db.sqlite",
        "VIDEO_GATEWAY_API_KEY": KEY,
        "VIDEO_GATEWAY_HOST": "0.0.0.0",
        "VIDEO_GATEWAY_PORT": "9000",
        "VIDEO_GATEWAY_ARTIFACTS": "/srv/artifacts",
    }
    loaded = load(None, environ, PROVIDERS)

    assert set(loaded.providers) == {"keevx", "kling_relay"}
    assert loaded.providers["keevx"].base_url is None
    assert loaded.providers["kling_relay"].base_url == "https://relay.example/base"
    assert loaded.database.path == Path("/var/lib/gateway/db.sqlite")
    assert (loaded.server.host, loaded.server.port, loaded.server.auth) == ("0.0.0.0", 9000, "keys")
    assert loaded.artifacts.path == Path("/srv/artifacts")
    assert loaded.file is None


def test_nothing_at_all_has_the_documented_defaults() -> None:
    loaded = load(None, {}, PROVIDERS)

    assert (loaded.server.host, loaded.server.port, loaded.server.auth) == ("127.0.0.1", 8080, "none")
    assert (loaded.server.max_body_bytes, loaded.server.drain_seconds) == (29_360_128, None)
    assert (loaded.server.max_bodies_bytes, loaded.server.max_connections) == (268_435_456, 16_000)
    assert (loaded.server.max_long_polls, loaded.server.max_open_generations) == (5000, 50_000)
    assert (loaded.server.max_listeners, loaded.server.max_downloads) == (10_000, 512)
    assert loaded.database.path == Path("video-gateway.db")
    assert (loaded.artifacts.path, loaded.artifacts.keep_days) == (Path("artifacts"), 30)
    assert loaded.enabled == {}
    assert [warning.partition(":")[0] for warning in loaded.warnings] == ["providers"]


def test_the_environment_fills_only_what_the_file_leaves_out() -> None:
    loaded = parsed(
        '[server]\nport = 1\n[providers.foxapi]\nbase_url = "https://file.example"\n',
        VIDEO_GATEWAY_PORT="2",
        VIDEO_GATEWAY_HOST="::1",
        FOXAPI_API_KEY="fox-key",
        FOXAPI_BASE_URL="https://environ.example",
    )

    assert (loaded.server.port, loaded.server.host) == (1, "::1")
    assert loaded.providers["foxapi"].base_url == "https://file.example"
    assert loaded.providers["foxapi"].api_key.reveal() == "fox-key"


def test_an_empty_variable_is_none() -> None:
    loaded = load(None, {"VIDEO_GATEWAY_PORT": "", "KEEVX_API_KEY": "", "VIDEO_GATEWAY_API_KEY": ""}, PROVIDERS)

    assert (loaded.server.port, loaded.server.auth, dict(loaded.providers)) == (8080, "none", {})


def test_a_base_url_without_a_key_is_a_warning() -> None:
    loaded = load(None, {"KEEVX_BASE_URL": "https://keevx.example"}, PROVIDERS)

    assert any(warning.startswith("providers.keevx.base_url: KEEVX_BASE_URL") for warning in loaded.warnings)


@pytest.mark.parametrize(
    ("misspelt", "hint"),
    [
        ("VIDEO_GATEWAY_DATABSE_URL", "did you mean VIDEO_GATEWAY_DATABASE_URL?"),
        ("VIDEO_GATEWAY_API_KEYS", "did you mean VIDEO_GATEWAY_API_KEY?"),
        ("VIDEO_GATEWAY_KEY", "did you mean VIDEO_GATEWAY_API_KEY?"),
        ("VIDEO_GATEWAY_CONFIG_FILE", "did you mean VIDEO_GATEWAY_CONFIG?"),
        ("video_gateway_port", "did you mean VIDEO_GATEWAY_PORT?"),
        ("VIDEO_GATEWAY_ZZZ", "it reads VIDEO_GATEWAY_ADMIN_KEY, VIDEO_GATEWAY_API_KEY, VIDEO_GATEWAY_ARTIFACTS, "),
    ],
)
def test_a_variable_that_nothing_reads_is_reported_with_the_near_one(misspelt: str, hint: str) -> None:
    (warning,) = parsed(FOX, K="k", **{misspelt: "hush-hush", "VIDEO_GATEWAYS": "x"}).warnings

    assert warning.startswith(f"{misspelt}: the gateway does not read this variable; {hint}")
    assert "hush" not in warning


def test_the_keys_of_a_cloud_are_secrets_where_a_bucket_is_used() -> None:
    cloud = {"AWS_SECRET_ACCESS_KEY": "aws-secret-key", "AWS_ACCESS_KEY_ID": "shown in links", "AWS_REGION": "eu"}
    assert set(secret_values(parsed(FOX + "[artifacts]\nurl = 's3://b'\n", K="k", **cloud))) >= {"aws-secret-key"}
    assert "shown in links" not in secret_values(parsed(FOX + "[artifacts]\nurl = 's3://b'\n", K="k", **cloud))
    assert "aws-secret-key" not in secret_values(parsed(FOX, K="k", **cloud))


def test_more_connections_of_one_address_than_in_all_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"server\.max_connections_per_address: expected at most"):
        parsed(FOX + "[server]\nmax_connections = 10\nmax_connections_per_address = 11\n", K="k")


def test_the_url_for_commands_may_be_set_where_the_gateway_starts() -> None:
    assert not parsed(FOX, K="k", VIDEO_GATEWAY_URL="http://127.0.0.1:8080").warnings


def test_a_variable_that_the_file_names_or_that_is_empty_is_not_reported() -> None:
    loaded = parsed(
        "[server]\napi_keys = ['env:VIDEO_GATEWAY_API_KEY_2']\n"
        + FOX.replace("env:K", "env:VIDEO_GATEWAY_FOX")
        + "enabled = false\nheaders = {source = 'env:VIDEO_GATEWAY_SOURCE'}",
        VIDEO_GATEWAY_API_KEY_2=KEY,
        VIDEO_GATEWAY_FOX="k",
        VIDEO_GATEWAY_SOURCE="s",
        VIDEO_GATEWAY_PROT="",
    )

    assert [warning for warning in loaded.warnings if warning.startswith("VIDEO_")] == []


def test_the_file_is_named_by_argument_then_variable_then_found_in_the_working_directory(workdir: Path) -> None:
    for port, name in enumerate(["argument.toml", "variable.toml", "video-gateway.toml"], start=1):
        (workdir / name).write_text(f"[server]\nport = {port}\n")
    variable = {"VIDEO_GATEWAY_CONFIG": "variable.toml"}

    assert load(Path("argument.toml"), variable, PROVIDERS).server.port == 1
    assert load(None, variable, PROVIDERS).server.port == 2
    assert load(None, {}, PROVIDERS).server.port == 3


def test_a_named_file_must_be_there_and_be_toml(workdir: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^absent\.toml: .*No such file"):
        load(None, {"VIDEO_GATEWAY_CONFIG": "absent.toml"}, PROVIDERS)
    with pytest.raises(ConfigurationError, match=r"cannot be read"):
        load(workdir, {}, PROVIDERS)
    assert "not valid TOML (at line 2" in refusal("[server]\nport 80")
    Path("latin.toml").write_bytes(b'[server]\nhost = "\xff"\n')
    with pytest.raises(ConfigurationError, match=r"^latin\.toml: .*UTF-8"):
        load(Path("latin.toml"), {}, PROVIDERS)


FOX = '[providers.foxapi]\napi_key = "env:K"\n'


@every(
    ("text", "message"),
    [
        ("[server]\nprot = 1", 'server.prot: unknown key; did you mean "port"?'),
        ("[sever]\nport = 1", 'sever: unknown key; did you mean "server"?'),
        ("zzz = 1", "zzz: unknown key; expected one of artifacts, budgets, clients, database,"),
        ("server = 1", "server: expected a table, got an integer"),
        ("providers = 1", "providers: expected a table, got an integer"),
        ("[providers]\nfoxapi = 1", "providers.foxapi: expected a table, got an integer"),
        ("[providers.foxpai]\napi_key = 'env:K'", 'providers.foxpai: no such provider; did you mean "foxapi"?'),
        ('[server]\nport = "80"', "server.port: expected `int`, got `str`"),
        ("[server]\nport = true", "server.port: expected `int`, got `bool`"),
        ("[server]\nport = 65536", "server.port: expected `int` <= 65535"),
        ("[server]\nport = -1", "server.port: expected `int` >= 0"),
        ("[server]\nhost = 1", "server.host: expected a string, got an integer"),
        ('[server]\nhost = "127.0.0.1:80"', "server.host: expected a host name or an address, without a port"),
        ('[server]\npublic_url = "ftp://x"', "server.public_url: expected an http(s) URL"),
        ('[server]\napi_keys = "env:K"', "server.api_keys: expected an array, got a string"),
        ("[server]\napi_keys = [1]", "server.api_keys[0]: expected env:NAME or file:PATH"),
        ('[server]\nlog_format = "xml"', 'server.log_format: expected "json" or "console"'),
        ("[server]\ndrain_seconds = 0", "server.drain_seconds: expected `float` > 0.0"),
        ("[server]\ndrain_seconds = nan", "server.drain_seconds: expected `float` > 0.0"),
        ("[server]\ndrain_seconds = inf", "server.drain_seconds: expected `float` <= 86400.0"),
        ("[retention]\nmoney_days = 0", "retention.money_days: expected `float` > 0.0"),
        ("[server]\nmax_body_bytes = 99999999999999999999999", "server.max_body_bytes: "),
        ("[server]\nhost = 2026-01-01", "server.host: expected a string, got a date or time"),
        (
            '[database]\nurl = "postgresql://u:p@h/d"',
            "database.url: leave the password out of the URL: set `database.p",
        ),
        ('[database]\nurl = "postgresql://h/d?password=p"', "database.url: leave the password out of the URL"),
        ('[database]\nurl = "postgresql://h"', "database.url: expected sqlite:///PATH, such as sqlite:///video-gatewa"),
        ('[database]\nurl = "postgresql://@h/d"', "database.url: expected sqlite:///PATH"),
        ('[database]\nurl = "postgresql://h:x y/d"', "database.url: expected sqlite:///PATH"),
        (
            '[database]\nurl = "postgresql://h/d?options=-csynchronous_commit%3Doff"',
            "database.url: unknown option 'options'; a URL of PostgreSQL takes host, sslmode,",
        ),
        ('[database]\nurl = "postgresql://h/d?sslmode"', "database.url: expected sqlite:///PATH"),
        ('[database]\nurl = "postgresql://h/d"', "artifacts.url: with PostgreSQL each gateway has to find the"),
        ('[database]\npassword = "secret"', "database.password: expected env:NAME or file:PATH"),
        ('[database]\nurl = "mysql://h/d"', "database.url: expected sqlite:///PATH"),
        ('[database]\nurl = "sqlite://"', "database.url: expected sqlite:///PATH"),
        ('[database]\nurl = "sqlite:///:memory:"', "database.url: expected sqlite:///PATH"),
        ('[database]\nurl = "sqlite:///a.db?mode=ro"', "database.url: expected sqlite:///PATH"),
        (
            "[providers.foxapi]",
            "providers.foxapi.api_key: missing; set it to env:NAME or file:PATH, or set the variable FOXAPI_API_KEY",
        ),
        ("[providers.foxapi]\napi_key = 1", "providers.foxapi.api_key: expected env:NAME or file:PATH"),
        ("[providers.foxapi]\napi_key = 'env:NOT_SET'", "providers.foxapi.api_key: missing: the variable NOT_SET is"),
        (
            "[providers.foxapi]\napi_key = 'file:absent'",
            "providers.foxapi.api_key: missing: the file named here cannot",
        ),
        ("[providers.foxapi]\napi_key = 'env:SPACED'", "providers.foxapi.api_key: expected printable ASCII"),
        (FOX + "poll_seconds = 0", "providers.foxapi.poll_seconds: expected `float` > 0.0"),
        (FOX + "poll_seconds = 9\npoll_max_seconds = 5", "providers.foxapi.poll_max_seconds: expected at least poll_"),
        (FOX + "concurrency = 0", "providers.foxapi.concurrency: expected `int` >= 1"),
        (FOX + "base_url = 'https://u:p@h'", "providers.foxapi.base_url: expected an http(s) URL without credentials"),
        (FOX + "base_url = 'https://h/?a=1'", "providers.foxapi.base_url: expected an http(s) URL without"),
        (FOX + "base_url = 'https://h:99999'", "providers.foxapi.base_url: expected an http(s) URL"),
        (FOX + "base_url = 'api.foxapi.cc'", "providers.foxapi.base_url: expected an http(s) URL"),
        (FOX + "headers = {Authorization = 'x'}", "providers.foxapi.headers.Authorization: the gateway sets this"),
        (FOX + "headers = {'a b' = 'x'}", 'providers.foxapi.headers."a b": expected the name of a header'),
        (FOX + 'headers = {source = "a\\nb"}', "providers.foxapi.headers.source: expected printable ASCII"),
        (FOX + "models = [1]", "providers.foxapi.models[0]: expected the name of a model"),
        (FOX + "models = {a = {likes = 'b'}}", 'providers.foxapi.models.a.likes: unknown key; did you mean "like"?'),
        (FOX + "models = {'a.b' = 1}", 'providers.foxapi.models."a.b": expected a table, got an integer'),
        (FOX + "models = {a = {durations = [5, '5']}}", "providers.foxapi.models.a.durations[1]: expected `int`"),
        (FOX + "models = {a = {aspect_ratios = ['wide']}}", "providers.foxapi.models.a.aspect_ratios[0]: expected"),
        ("[models.a]", "models.a.routes: missing"),
        ("[models.a]\nroutes = []", "models.a.routes: expected `array` of length >= 1"),
        ("[models.a]\nroutes = ['foxapi']", 'models.a.routes[0]: expected "PROVIDER/MODEL"'),
        ("[models.a]\nroutes = ['foxpai/x']", 'models.a.routes[0]: no such provider; did you mean "foxapi"?'),
        ("[models.a]\nroutes = ['foxapi/x', 'foxapi/x']", "models.a.routes[1]: the same route is listed twice"),
        ("[models.a]\nroutes = ['foxapi/x', 1]", "models.a.routes[1]: expected `str`, got `int`"),
        ("[models.a]\nroutes = ['foxapi/x']\norder = 'best'", 'models.a.order: expected "priority" or "weighted"'),
        ("[models.'foxapi/x']\nroutes = ['foxapi/x']", 'models."foxapi/x": expected a name of its own'),
        ("[fetch]\nallow = ['10.1.2.3/16']", "fetch.allow[0]: expected a network"),
        ("[artifacts]\nurl = 'ftp://x'", "artifacts.url: expected file:PATH"),
        ("[artifacts]\nurl = 's3://key:word@bucket'", "artifacts.url: expected file:PATH"),
        ("[artifacts]\nkeep_days = 0", "artifacts.keep_days: expected `float` > 0.0"),
        ("[webhooks]\nsecret = 'env:K'", "webhooks.secret: expected whsec_ and base64"),
        ("[webhooks]\nprevious_secret = 'env:HOOK'", "webhooks.previous_secret: expected only beside secret"),
        ("[webhooks]\ntimeout_seconds = 61", "webhooks.timeout_seconds: "),
        ("[server]\nauth = 'keys'", 'server.auth: "keys" needs server.api_keys'),
        ("[server]\nhost = '0.0.0.0'", 'server.auth: "none" is allowed on a loopback host only'),
        ("[server]\nhost = '0.0.0.0'\nauth = 'none'\napi_keys = ['env:LONG']", 'server.auth: "none" is allowed on'),
        ("[server]\nauth = 'none'\npublic_url = 'https://x.example'", "server.public_url: a URL for others, beside"),
        ("[server]\npublic_url = 'https://x.example'", "server.public_url: a URL for others, beside a gateway without"),
        (
            "[server]\nauth = 'none'\nadmin_keys = ['env:LONG']",
            "server.admin_keys: rights of operators, beside a gateway without",
        ),
        (
            "[server]\nauth = 'none'\napi_keys = ['env:LONG']\nadmin_keys = ['env:OTHER']",
            "server.admin_keys: rights of",
        ),
        ("[server]\ncors_origins = ['https://x.example']", "server.cors_origins: web pages of other origins, beside"),
        *(
            (
                f"[server]\napi_keys = ['env:LONG']\ncors_origins = ['{origin}']",
                "server.cors_origins[0]: expected an origin",
            )
            for origin in (
                *("*", "null", "", "https://", "app.example.com", "https://*.example.com", "https://x.example/"),
                *(
                    "https://x.example/a",
                    "https://u@x.example",
                    "https://x.example?q",
                    "ftp://x.example",
                    "https://x:y",
                ),
                *("https://x.example:99999", "https://[::1", "https://[x]", "https://x.example ", "https://é.example"),
            )
        ),
        ("[server]\napi_keys = ['env:LONG', 'env:LONG']", "server.api_keys[1]: the same key is listed twice"),
        ("[[server.kling_keys]]\naccess_key = 'env:LONG'", "server.kling_keys[0].secret_key: missing"),
        (
            "[[server.kling_keys]]\naccess_key = 'env:LONG'\nsecret_key = 'env:K'",
            "server.kling_keys[0].secret_key: expected at least 32 characters",
        ),
        (
            """server.admin_keys = ['env:LONG']
            [[server.kling_keys]]
            access_key = 'env:LONG'
            secret_key = 'env:SIGNING'""",
            "server.kling_keys[0].access_key: the same key is an operator's",
        ),
        (
            "[[server.kling_keys]]\naccess_key = 'env:LONG'\nsecret_key = 'env:SIGNING'\n" * 2,
            "server.kling_keys[1].access_key: the same access key is listed twice",
        ),
        ("[clients.Shop]\nkeys = ['env:LONG']", "clients.Shop: expected another name: 1 to 63 lower case letters"),
        ("[clients.anonymous]", "clients.anonymous: expected another name"),
        ("[clients.client_x]", "clients.client_x: expected another name"),
        ("[clients.key_x]", "clients.key_x: expected another name"),
        (f"[clients.{'x' * 64}]", f"clients.{'x' * 64}: expected another name"),
        ("[clients.shop]\nkeys = ['not-named']", "clients.shop.keys[0]: expected env:NAME or file:PATH"),
        ("[clients.shop]\nkeys = ['env:SPACED']", "clients.shop.keys[0]: expected printable ASCII"),
        ("[clients.shop]\nsees = ['prices']", 'clients.shop.sees[0]: expected "provider" or "attempts" or "costs"'),
        ("[clients.shop]\nadopt = ['shop']", "clients.shop.adopt[0]: expected `str` matching regex"),
        ("[clients.shop]\nopen_generations = 0", "clients.shop.open_generations: expected `int` >= 1"),
        ("[clients.shop]\nbudgets = { week = 1 }", "clients.shop.budgets.week: unknown key"),
        ("[budgets]\nday = -1", "budgets.day: expected `float` >= 0.0"),
        ("[clients.shop]", 'server.auth: "keys" needs server.api_keys, keys of a client, or server.admin_keys'),
        (
            "server.api_keys = ['env:LONG']\n[clients.shop]\nkeys = ['env:OTHER', 'env:LONG']",
            "clients.shop.keys[1]: the same key is listed twice, also as server.api_keys[0]; remove one of the two",
        ),
        (
            "server.admin_keys = ['env:LONG']\n[clients.shop]\nkeys = ['env:LONG']",
            "clients.shop.keys[0]: the same key is listed twice, also as server.admin_keys[0]; remove",
        ),
        (
            "[clients.shop]\nkeys = ['env:LONG']\n[clients.studio]\nkeys = ['env:LONG']",
            "clients.studio.keys[0]: the same key is listed twice, also as clients.shop.keys[0]; remove",
        ),
        (
            """[clients.shop]
            keys = ['env:LONG']
            [[clients.studio.kling_keys]]
            access_key = 'env:LONG'
            secret_key = 'env:SIGNING'""",
            "clients.studio.kling_keys[0].access_key: the same key is listed twice, also as clients.shop.keys[0]; rem",
        ),
        (
            """[clients.shop]
            keys = ['env:LONG']
            adopt = ['key_0123456789abcdef01234567']
            [clients.studio]
            adopt = ['key_0123456789abcdef01234567']""",
            "clients.studio.adopt[0]: the same owner id is listed twice, also as clients.shop.adopt[0]; remove",
        ),
        (
            f"server.api_keys = ['env:LONG']\n[clients.shop]\nadopt = ['{owner_of_key(key_digest(KEY))}']",
            "clients.shop.adopt[0]: the key of this owner id is server.api_keys[0]; move it to keys of this client",
        ),
    ],
)
def test_a_mistake_is_reported_with_the_path_of_its_key(text: str, message: str) -> None:
    values = {
        "K": "a-fox-key",
        "LONG": KEY,
        "OTHER": KEY[::-1],
        "SPACED": "a key",
        "HOOK": WEBHOOK,
        "SIGNING": "s" * 32,
    }
    assert refusal(text, **values).startswith(message)


def test_origins_of_pages_are_written_as_browsers_send_them() -> None:
    names = ["HTTPS://App.Example.com", "https://app.example.com:443", "http://localhost:3000", "http://[::1]:80"]
    loaded = parsed(f"[server]\napi_keys = ['env:K']\ncors_origins = {names}", K=KEY)
    expected = ("https://app.example.com", "https://app.example.com", "http://localhost:3000", "http://[::1]")
    assert loaded.server.cors_origins == expected


MANY_FAULTS = """
zzz = 1
[server]
prot = 1
port = "80"
host = 5
[providers.foxapi]
poll_seconds = 0
models = ["a", 1]
[providers.nobody]
[providers.keevx]
api_key = "env:K"
headers = {host = "x", "a b" = "y"}
[models.a]
routes = ["foxapi", "nobody/x", "keevx/V", "keevx/V"]
weights = [1]
[models.b]
order = "best"
"""


def test_every_fault_is_collected_and_all_are_raised() -> None:
    Path("case.toml").write_text(MANY_FAULTS)
    reading = read_configuration(Path("case.toml"), {"K": "a-fox-key", "VIDEO_GATEWAY_ARTIFACTS": "ftp://x"}, PROVIDERS)

    assert [str(fault).partition(":")[0] for fault in reading.faults] == [
        "providers.nobody",
        "providers.foxapi.api_key",
        "providers.foxapi.models[1]",
        "zzz",
        "server.prot",
        "server.port",
        "server.host",
        "providers.foxapi.poll_seconds",
        "models.b.routes",
        "models.b.order",
        "artifacts.url",
        "providers.keevx.headers.host",
        'providers.keevx.headers."a b"',
        "models.a.weights",
        "models.a.routes[0]",
        "models.a.routes[1]",
        "models.a.routes[3]",
    ]
    assert str(reading.faults[10]).endswith(" (from VIDEO_GATEWAY_ARTIFACTS)")
    assert reading.settings is None
    with pytest.raises(ConfigurationError, match=r"^providers\.nobody: no such provider; ") as raised:
        load(Path("case.toml"), {"K": "a-fox-key", "VIDEO_GATEWAY_ARTIFACTS": "ftp://x"}, PROVIDERS)
    assert list(raised.value.args) == [str(fault) for fault in reading.faults]


def test_a_wrong_table_of_a_provider_or_model_leaves_the_others_usable() -> None:
    Path("case.toml").write_text(
        "[server]\nport = 81\n[providers.keevx]\napi_key = 'env:NOT_SET'\n[models.bad]\nroutes = 1\n"
        "[models.good]\nroutes = ['foxapi/x', 'keevx/V']\n" + FOX
    )
    reading = read_configuration(Path("case.toml"), {"K": "a-fox-key"}, PROVIDERS)

    assert [table_of(fault) for fault in reading.faults] == [("providers", "keevx"), ("models", "bad")]
    assert reading.settings is not None
    assert (list(reading.settings.providers), list(reading.settings.models)) == (["foxapi"], ["good"])
    assert (reading.settings.server.port, reading.settings.warnings) == (
        81,
        (),
    )  # keevx has an error, so no warning says that it is missing


def test_a_wrong_key_causes_no_second_fault() -> None:
    """The default in place of a wrong value must not be judged: it is not what the operator wrote."""
    for text in (
        "[server]\nhost = '0.0.0.0'\napi_keys = ['env:NOT_SET']",
        "[webhooks]\nsecret = 'env:K'\nprevious_secret = 'env:HOOK'",
        "[artifacts]\nurl = 'ftp://x'\nregion = 'eu'",
        FOX + "poll_seconds = 'often'\nheaders = {host = 'x'}",
    ):
        Path("case.toml").write_text(text)
        reading = read_configuration(Path("case.toml"), {"K": "a-fox-key", "HOOK": WEBHOOK}, PROVIDERS)
        assert len(reading.faults) == 1, reading.faults


def test_a_short_client_key_works_with_a_warning() -> None:
    loaded = load(None, {"VIDEO_GATEWAY_API_KEY": "short"}, PROVIDERS)

    assert loaded.server.auth == "keys"
    assert "server.api_keys[0]: under 16 characters, which can be guessed; use a longer key" in loaded.warnings
    assert not any("short" in warning for warning in loaded.warnings)


def test_a_wrong_variable_is_named_beside_its_key() -> None:
    with pytest.raises(ConfigurationError, match=r"^server\.port: .* \(from VIDEO_GATEWAY_PORT\)$"):
        load(None, {"VIDEO_GATEWAY_PORT": "eighty"}, PROVIDERS)
    with pytest.raises(ConfigurationError, match=r"^server\.api_keys\[0\]: .* \(from VIDEO_GATEWAY_API_KEY\)$"):
        load(None, {"VIDEO_GATEWAY_API_KEY": "with a space"}, PROVIDERS)
    with pytest.raises(ConfigurationError, match=r"^providers\.keevx\.base_url: .* \(from KEEVX_BASE_URL\)$"):
        load(None, {"KEEVX_API_KEY": "k", "KEEVX_BASE_URL": "keevx"}, PROVIDERS)


def test_a_secret_from_a_file_loses_one_newline_at_its_end(workdir: Path) -> None:
    (workdir / "key").write_bytes(b"fox-key\r\n")
    assert parsed('[providers.foxapi]\napi_key = "file:key"').providers["foxapi"].api_key.reveal() == "fox-key"

    (workdir / "key").write_bytes(b"\n")
    assert refusal('[providers.foxapi]\napi_key = "file:key"').startswith("providers.foxapi.api_key: missing")
    (workdir / "key").write_bytes(b"\xff\xfe")
    assert "UTF-8" in refusal('[providers.foxapi]\napi_key = "file:key"')
    (workdir / "key").write_bytes(b"fox-key\n\n")
    assert "printable ASCII" in refusal('[providers.foxapi]\napi_key = "file:key"')


def test_a_disabled_provider_needs_no_secret() -> None:
    loaded = parsed("[providers.foxapi]\nenabled = false\napi_key = 'env:NOT_SET'\n", FOXAPI_API_KEY="fox-key")

    assert loaded.enabled == {}
    assert not loaded.providers["foxapi"].api_key


def test_a_disabled_provider_keeps_the_key_that_its_running_tasks_are_read_with() -> None:
    text = "[providers.foxapi]\nenabled = false\napi_key = 'env:K'\nheaders = {x-team = 'env:TEAM'}\n"
    loaded = parsed(text + "[providers.keevx]\nenabled = false\n", K="fox-key", TEAM="blue", KEEVX_API_KEY="keevx-key")

    assert loaded.enabled == {}
    assert {name: account.api_key.reveal() for name, account in loaded.providers.items()} == {
        "foxapi": "fox-key",
        "keevx": "keevx-key",
    }
    assert loaded.providers["foxapi"].headers["x-team"].reveal() == "blue"


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("api_key = 'env:NOT_SET'", "api_key"),
        ("api_key = 'file:absent'", "api_key"),
        ("api_key = 'sk-plain-secret'", "api_key"),
        ("api_key = 1", "api_key"),
        ("api_key = 'env:K'\nheaders = {x-team = 'env:NOT_SET'}", "headers.x-team"),
    ],
)
def test_a_secret_of_a_disabled_provider_that_cannot_be_read_is_a_warning(lines: str, key: str) -> None:
    loaded = parsed(f"[providers.foxapi]\nenabled = false\n{lines}\n", K="fox-key")

    assert not loaded.providers["foxapi"].api_key
    (warning,) = [warning for warning in loaded.warnings if warning.startswith("providers.foxapi.")]
    assert warning.startswith(f"providers.foxapi.{key}: ")
    assert warning.endswith("its running tasks are not followed")
    assert "sk-plain" not in warning


def test_models_of_a_provider_are_a_list_of_names_or_tables() -> None:
    named = parsed(FOX + "models = ['kling-v9', 'kling-v8']", K="k").providers["foxapi"].models
    tables = parsed(FOX + "[providers.foxapi.models.'kling-v9']\nlike = 'a'\ndurations = [5]\npoll_seconds = 3", K="k")

    assert list(named) == ["kling-v9", "kling-v8"]
    model = tables.providers["foxapi"].models["kling-v9"]
    assert (model.like, model.durations, model.resolutions, model.poll_seconds) == ("a", (5,), None, 3)


def test_polling_takes_what_is_said_and_leaves_the_rest_to_the_adapter() -> None:
    account = parsed(FOX + "poll_seconds = 20", K="k").providers["foxapi"]
    polling = account.over(Polling(first_poll_seconds=5, poll_seconds=5, poll_max_seconds=15, grace_seconds=7))

    assert polling == Polling(first_poll_seconds=5, poll_seconds=20, poll_max_seconds=20, grace_seconds=7)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://relay.example", True),
        ("http://10.0.0.1:3000/v1", True),
        ("http://127.0.0.1:3000", False),
        ("http://[::1]:3000", False),
        ("http://localhost", False),
        ("https://relay.example", False),
    ],
)
def test_http_beyond_this_machine_is_a_warning(url: str, warned: bool) -> None:
    loaded = parsed(FOX + f"base_url = '{url}/'", K="k")

    assert loaded.providers["foxapi"].base_url == url
    assert any(warning.startswith("providers.foxapi.base_url: ") for warning in loaded.warnings) is warned


def test_a_route_to_a_provider_that_is_not_configured_is_reported() -> None:
    loaded = parsed(FOX + "[models.a]\nroutes = ['foxapi/x', 'keevx/V']", K="k")

    assert [warning.partition(":")[0] for warning in loaded.warnings] == ["models.a.routes[1]"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_no_keys_are_needed_on_loopback(host: str) -> None:
    assert parsed(f"[server]\nhost = '{host}'").server.auth == "none"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "video.example.com", "localhost.example.com"])
def test_keys_are_needed_elsewhere(host: str) -> None:
    assert refusal(f"[server]\nhost = '{host}'").startswith("server.auth: ")
    assert parsed(f"[server]\nhost = '{host}'", VIDEO_GATEWAY_API_KEY=KEY).server.auth == "keys"


def test_networks_of_the_fetcher_are_read() -> None:
    assert parsed("[fetch]\nallow = ['10.1.0.0/16', 'fd00::/8', '192.0.2.1']").fetch.allow == (
        ipaddress.ip_network("10.1.0.0/16"),
        ipaddress.ip_network("fd00::/8"),
        ipaddress.ip_network("192.0.2.1/32"),
    )


def test_a_secret_never_prints() -> None:
    secret = Secret.of("hush-hush")

    assert f"{secret} {secret!r} {[secret]} {secret!s:>5}" == "*** *** [***]   ***"
    assert b"hush" not in msgspec.json.encode(secret) + msgspec.msgpack.encode({"a": [secret]})
    assert msgspec.to_builtins(secret) == {"shown": "***"}
    assert (secret == Secret.of("hush-hush"), secret == Secret.of("hush"), secret == "hush-hush") == (
        True,
        False,
        False,
    )
    assert copy.deepcopy(secret).reveal() == "hush-hush"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_the_description_is_plain_and_whole() -> None:
    loaded = parsed(FOX + "headers = {source = 'hush'}\n[fetch]\nallow = ['10.0.0.0/8']", K="fox-key")
    described = json.loads(json.dumps(describe(loaded)))

    assert described["providers"]["foxapi"]["api_key"] == "***"
    assert described["providers"]["foxapi"]["headers"] == {"source": "***"}
    assert described["fetch"]["allow"] == ["10.0.0.0/8"]
    assert described["server"]["port"] == 8080
    assert "hush" not in repr(loaded)


# A file with a valid value for most keys.
WHOLE: dict[str, Any] = tomllib.loads(
    DOCUMENTED
    + """
[providers.kling_relay]
api_key = "env:KLING_RELAY_API_KEY"
headers = {source = "env:HEADER"}
form = "number"
models = {a = {like = "kling-v1", durations = [5], resolutions = ["720p"], aspect_ratios = ["1:1"]}}
"""
)
TOKENS = st.text("abcdefXYZ0123456789_-+/=.", min_size=12, max_size=30)
ODD = st.text("abcXYZ09_ \n'\"\\é:/@#?", max_size=20)
SECRETS = st.builds("q7{}Zx9".format, TOKENS | TOKENS | ODD)


def places(value: Any, steps: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [steps, *(place for key, inner in children for place in places(inner, (*steps, key)))]


@settings(max_examples=150)
@given(
    keys=st.lists(SECRETS, min_size=5, max_size=5, unique=True),
    prefix=st.sampled_from(["", "env:", "file:"]),
    data=st.data(),
)
def test_no_secret_shows_whatever_happens(keys: list[str], prefix: str, data: st.DataObject) -> None:
    """Neither a secret in its own place, nor one in the place of another value, where it stops the start."""
    variables = ["FOXAPI_API_KEY", "KLING_RELAY_API_KEY", "VIDEO_GATEWAY_API_KEY", "HEADER", "KEEVX_API_KEY"]
    environ = {**dict(zip(variables, keys, strict=True)), "VIDEO_GATEWAY_WEBHOOK_SECRET": WEBHOOK}
    file = copy.deepcopy(WHOLE)
    misplaced = data.draw(st.none() | st.sampled_from(places(file)[1:]))
    if misplaced is not None:
        table = file
        for step in misplaced[:-1]:
            table = table[step]
        table[misplaced[-1]] = prefix + keys[0]
    try:
        loaded = parsed(as_toml(file), **environ)
    except ConfigurationError as error:
        shown = str(error)
    else:
        shown = " ".join(
            [
                repr(loaded.server.api_keys),
                repr(loaded.providers),
                repr(loaded.webhooks),
                repr(describe(loaded)),
                *loaded.warnings,
            ]
        )
        keys = (
            keys[1:] if misplaced is not None else keys
        )  # a misplaced key may be a valid host or name, which is shown
    for key in [*keys, WEBHOOK]:
        assert key not in shown


def as_toml(value: Any) -> str:
    """A TOML document with inline values only."""
    return "\n".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items())


def _inline(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_inline, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


# Orders, weights, prices

WEIGHTED = "[models.a]\nroutes = ['foxapi/x', 'keevx/V']\norder = 'weighted'\n"
PRICED = FOX + "[providers.foxapi.models.x]\nprices = [{per_clip = 1}, %s]"


def test_weights_and_orders_are_read() -> None:
    loaded = parsed(FOX + WEIGHTED + "weights = [3, 0.5]\n[models.b]\nroutes = ['foxapi/x']\norder = 'fastest'", K="k")

    assert (loaded.models["a"].order, loaded.models["a"].weights) == ("weighted", (3.0, 0.5))
    assert (loaded.models["b"].order, loaded.models["b"].weights) == ("fastest", ())


def test_prices_are_read() -> None:
    row = "{per_second = 0.07, resolution = '720p', mode = 'std', generate_audio = false}"
    model = parsed(PRICED % row, K="k").providers["foxapi"].models["x"]

    assert model.prices == (
        Price(per_clip=1),
        Price(per_second=0.07, resolution="720p", mode="std", generate_audio=False),
    )


@every(
    ("text", "message"),
    [
        (WEIGHTED, "models.a.weights: expected a number for each of the 2 routes"),
        (WEIGHTED + "weights = [1]", "models.a.weights: expected a number for each of the 2 routes"),
        (WEIGHTED + "weights = [1, 2, 3]", "models.a.weights: expected a number for each of the 2 routes"),
        (WEIGHTED + "weights = [0, 0]", "models.a.weights: expected a number for each of the 2 routes, not all of"),
        (WEIGHTED + "weights = [1, -1]", "models.a.weights[1]: expected `float` >= 0.0"),
        (WEIGHTED + "weights = [1, inf]", "models.a.weights[1]: expected `float` <= 1000000.0"),
        (WEIGHTED + "weights = [1, nan]", "models.a.weights[1]: expected `float`"),
        (WEIGHTED + "weights = [1, '1']", "models.a.weights[1]: expected `float`, got `str`"),
        ("[models.a]\nroutes = ['foxapi/x']\nweights = [1]", "models.a.weights: expected only beside order ="),
        (
            "[models.a]\nroutes = ['foxapi/x']\norder = 'cheapest'\nweights = [1]",
            "models.a.weights: expected only beside order =",
        ),
        ("[models.a]\nroutes = ['foxapi/x']\norder = 'cheap'", 'models.a.order: expected "priority" or "weighted"'),
        (PRICED % "{per_clip = -1}", "providers.foxapi.models.x.prices[1].per_clip: expected `float` >= 0.0"),
        (PRICED % "{per_second = 100001}", "providers.foxapi.models.x.prices[1].per_second: expected `float` <= 100"),
        (PRICED % "{per_second = '1'}", "providers.foxapi.models.x.prices[1].per_second: expected `float`, got `str`"),
        (PRICED % "{per_minute = 1}", "providers.foxapi.models.x.prices[1].per_minute: unknown key"),
        (PRICED % "1", "providers.foxapi.models.x.prices[1]: expected a table, got an integer"),
        (FOX + "models = {x = {prices = {per_clip = 1}}}", "providers.foxapi.models.x.prices: expected an array"),
    ],
)
def test_a_wrong_order_or_price_is_reported_with_its_path(text: str, message: str) -> None:
    assert refusal(text, K="a-fox-key").startswith(message)


def test_routes_without_a_price_are_reported_where_the_cheapest_is_first() -> None:
    text = PRICED % "{per_clip = 2}" + "\n[models.a]\nroutes = ['foxapi/y', 'foxapi/x']\norder = '%s'"

    (warning,) = parsed(text % "cheapest", K="k").warnings
    assert warning == "models.a.routes[0]: has no price, so it comes last; set prices for it"
    assert parsed(text % "priority", K="k").warnings == ()


def test_kling_keys_make_the_gateway_ask_for_keys() -> None:
    variables = {"ACCESS": "access-" + "a" * 16, "SIGNING": "s" * 32}
    pair = '[[server.kling_keys]]\naccess_key = "env:ACCESS"\nsecret_key = "env:SIGNING"\n'
    Path("case.toml").write_text(f"{FOX}{pair}")
    loaded = load(Path("case.toml"), {"K": "a-fox-key", **variables}, PROVIDERS)

    assert loaded.server.auth == "keys"
    assert loaded.server.kling_keys[0].secret_key.reveal() == "s" * 32
    assert variables["SIGNING"] not in repr(loaded)


def test_an_access_key_that_is_a_key_as_well_causes_a_warning() -> None:
    pair = '[[server.kling_keys]]\naccess_key = "env:LONG"\nsecret_key = "env:SIGNING"\n'
    Path("case.toml").write_text(f'server.api_keys = ["env:LONG"]\n{FOX}{pair}')
    loaded = load(Path("case.toml"), {"K": "a-fox-key", "LONG": KEY, "SIGNING": "s" * 32}, PROVIDERS)

    assert any(
        warning.startswith("server.kling_keys[0].access_key: the same key is in server.api_keys")
        for warning in loaded.warnings
    )


def test_a_client_has_keys_limits_and_budgets() -> None:
    loaded = parsed(
        """
        [clients.shop]
        keys = ["env:SHOP_KEY", "env:SHOP_KEY_OLD"]
        models = ["kling", "keevx/*"]
        requests_per_minute = 600
        open_generations = 200
        budgets = { day = 50, month = 1000 }
        sees = ["costs"]
        [budgets]
        total = 10000
        """,
        SHOP_KEY="vg_0123456789abcdef",
        SHOP_KEY_OLD="short",
    )
    shop = loaded.clients["shop"]
    assert [key.reveal() for key in shop.keys] == ["vg_0123456789abcdef", "short"]
    assert (shop.limits.requests_per_minute, shop.limits.open_generations, shop.limits.outputs_per_day) == (
        600,
        200,
        None,
    )
    assert (shop.budgets.day, shop.budgets.month, shop.budgets.total, loaded.budgets.total) == (50, 1000, None, 10000)
    assert (shop.models, shop.sees) == (("kling", "keevx/*"), ("costs",))
    assert loaded.server.auth == "keys"
    assert "clients.shop.keys[1]: under 16 characters, which can be guessed; use a longer key" in loaded.warnings


def test_with_an_admin_key_alone_clients_are_made_at_run_time() -> None:
    assert parsed("server.admin_keys = ['env:ADMIN']", ADMIN="vg_0123456789abcdef").server.auth == "keys"


@pytest.mark.parametrize("artifacts", ["shared = true", 'url = "s3://bucket"'])
def test_postgresql_needs_a_bucket_or_a_folder_that_all_gateways_have(artifacts: str) -> None:
    settings = parsed(f'[database]\nurl = "postgresql://h/d"\n[artifacts]\n{artifacts}')
    assert settings.database.path is None
    assert parsed("[artifacts]\nshared = true").artifacts.shared, "with SQLite it is allowed, and changes nothing"
