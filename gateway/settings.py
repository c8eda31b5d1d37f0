"""The configuration: a TOML file and the environment, decoded into one frozen Struct.

The environment fills only what the file leaves out. A secret stands in the file as `env:NAME` or `file:PATH`, never as
itself. Relative paths are relative to the working directory. No message shows a value: it might be a misplaced secret.
"""

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, structs

from gateway.domain.adapter import Polling
from gateway.domain.errors import ConfigurationError
from gateway.domain.ordering import Order
from gateway.domain.price import Price
from gateway.environment import CONFIG_VARIABLE, ENVIRONMENT, fill, unread
from gateway.toml import (
    HeaderValue,
    Host,
    HttpUrl,
    Network,
    Read,
    Reader,
    Secret,
    describe,
    in_header,
    is_loopback,
    join,
    near,
    parse,
    plain_text,
)

__all__ = [  # besides the sections: what belongs to the configuration and stands in modules of its own
    "CONFIG_VARIABLE",
    "ENVIRONMENT",
    "HeaderValue",
    "Host",
    "HttpUrl",
    "Network",
    "Read",
    "Secret",
    "describe",
    "is_loopback",
]

CONFIG_FILE = "video-gateway.toml"  # in the working directory; used when it exists and no other is named
# What a database URL of each scheme must look like, or why there is none.
DATABASES: dict[str, re.Pattern[str] | str] = {
    "sqlite": re.compile(r"sqlite:///(?!:memory:)[^?#]*[^?#/]"),
    "postgres": "PostgreSQL is not supported",
    "postgresql": "PostgreSQL is not supported",
}
ARTIFACT_STORES = re.compile(r"file:(?!//[^/]).*[^/].*|(?:s3|gs|az)://[\w.-]+(?:/[^@?#\s]*)?")
CLIENT_KEY_MIN = 16  # characters; a shorter one is told of
WEBHOOK_SECRET_MIN = 24  # bytes; Standard Webhooks, "Signature scheme"
NOT_YET = {  # keys that are read and checked, and do not do yet what their names promise
    "fetch.allow": "it only widens what a webhook_url may lead to; nothing is fetched from these networks yet",
    "artifacts.keep_days": "results are not kept by the gateway yet; they last as long as the providers' links",
    "webhooks.secret": "webhooks are not delivered yet; nothing is signed",
}
# What the gateway sets by itself, or what would change the meaning of a body.
OWN_HEADERS = frozenset(
    {"accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"host", "te", "trailer", "transfer-encoding", "upgrade"}
)


# --- single values ----------------------------------------------------------------------------------------------------


def _database_url(raw: object, _: "Reader") -> str:
    url = plain_text(raw)
    rule = DATABASES.get(url.partition(":")[0])
    if isinstance(rule, str):
        raise ValueError(f"{rule}; expected sqlite:///PATH")  # noqa: TRY004  # the value is wrong, not its type
    if rule is None or not rule.fullmatch(url):
        raise ValueError("expected sqlite:///PATH, such as sqlite:///video-gateway.db")
    return url


def _artifacts_url(raw: object, _: "Reader") -> str:
    url = plain_text(raw)
    if not ARTIFACT_STORES.fullmatch(url):
        raise ValueError("expected file:PATH, s3://BUCKET/PREFIX, gs://… or az://…, without credentials and query")
    return url


def _webhook_secret(raw: object, reader: "Reader") -> Secret:
    secret = reader.secret(raw)
    try:
        size = len(base64.b64decode(secret.reveal().removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("expected whsec_ and base64") from None
    if size < WEBHOOK_SECRET_MIN:
        raise ValueError(f"expected whsec_ and the base64 of at least {WEBHOOK_SECRET_MIN} bytes")
    return secret


DatabaseUrl = Annotated[str, Read(_database_url)]
ArtifactsUrl = Annotated[str, Read(_artifacts_url)]
ApiKey = Annotated[Secret, Read(in_header)]
WebhookSecret = Annotated[Secret, Read(_webhook_secret)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
Text = Annotated[str, Meta(min_length=1)]
Ratio = Annotated[str, Meta(pattern=r"^\d+:\d+$|^auto$")]


# --- sections ---------------------------------------------------------------------------------------------------------


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: what the gateway listens on, and who may call."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080  # 0: any free one
    public_url: HttpUrl | None = None  # how clients and providers reach the gateway; without a trailing slash
    api_keys: tuple[ApiKey, ...] = ()  # static client keys
    auth: Literal["keys", "none"] | None = None  # never None once loaded: "keys" where there are some, else "none"
    max_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 29_360_128  # of a request, images in base64 included
    drain_seconds: Seconds = 35  # from SIGTERM to the exit, at most
    log_format: Literal["json", "console"] | None = None  # None: console on a terminal, else json
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class DatabaseSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[database]`: where the ledger is."""

    url: DatabaseUrl = "sqlite:///video-gateway.db"  # three slashes and a path; four for an absolute one

    @property
    def path(self) -> Path:
        """The file of the database."""
        return Path(self.url.removeprefix("sqlite:///"))


class PollingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to read a task, in seconds; `None` leaves it to the adapter."""

    first_poll_seconds: Seconds | None = None  # from the submit to the first poll
    poll_seconds: Seconds | None = None  # between polls
    poll_max_seconds: Seconds | None = None  # between polls of a task that takes long, or after polls that failed
    submit_timeout_seconds: Seconds | None = None  # read time-out of a submit
    attempt_timeout_seconds: Seconds | None = None  # after it the next route is tried
    grace_seconds: Seconds | None = None  # for "not found" just after a submit, and "completed" without a URL

    def over(self, polling: Polling) -> Polling:
        """`polling` with what is said here; the ceiling is never below the interval."""
        said = {name: getattr(self, name) for name in PollingSettings.__struct_fields__}
        merged = replace(polling, **{name: value for name, value in said.items() if value is not None})
        return replace(merged, poll_max_seconds=max(merged.poll_max_seconds, merged.poll_seconds))


class ProviderModel(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>.models.<model>]`: an upstream model without a row in the adapter, or one read otherwise.

    What is `None` is as in the row that the model follows.
    """

    like: Text | None = None  # the model of the adapter's tables that this one follows
    durations: tuple[Annotated[int, Meta(ge=1, le=3600)], ...] | None = None  # seconds
    resolutions: tuple[Text, ...] | None = None  # 720p, 1080p, 4k
    aspect_ratios: tuple[Ratio, ...] | None = None
    prompt_max: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None  # characters
    generate_audio: bool | None = None  # whether sound can be asked for
    prices: tuple[Price, ...] = ()  # of one output, in USD; the first row that applies counts


class ProviderSettings(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>]`: an account at a provider."""

    api_key: ApiKey = Secret.of("")  # empty only where `enabled` is false
    base_url: HttpUrl | None = None  # without a trailing slash; None: the adapter's own
    enabled: bool = True  # false: no new work and no polls; its secrets are not looked up
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 32  # calls at once
    form: str | None = None  # the form of a submit that this account takes; None: found out by trying
    headers: Mapping[str, HeaderValue] = {}  # sent with every call; a value may be env:NAME or file:PATH
    models: Mapping[str, ProviderModel] = {}  # by the upstream's own name; a plain list of names in the file will do


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models.<name>]`: a public name for some routes."""

    routes: Annotated[tuple[Text, ...], Meta(min_length=1)]  # "provider/upstream model", best first
    order: Order = "priority"
    weights: tuple[Annotated[float, Meta(ge=0, le=1_000_000)], ...] = ()  # of `weighted`: one for each route
    adapt: Literal["none", "nearest"] = "none"  # where a request does not say
    on_ambiguous: Literal["fall_back", "fail", "hold"] = "fall_back"  # after a submit without a clear answer
    on_content_policy: Literal["stop", "fall_back"] = "stop"
    attempt_timeout_seconds: Seconds | None = None  # over the provider's


class FetchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[fetch]`: what the guarded fetcher may reach."""

    allow: tuple[Network, ...] = ()  # networks besides the public ones


class ArtifactSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[artifacts]`: where results are kept."""

    url: ArtifactsUrl = "file:./artifacts"
    keep_days: Days = 30  # from the end of a generation

    @property
    def path(self) -> Path | None:
        """The folder; `None` for an object store."""
        if not self.url.startswith("file:"):
            return None
        return Path(self.url.removeprefix("file:").removeprefix("//"))


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[webhooks]`: how deliveries are signed."""

    secret: WebhookSecret | None = None  # whsec_…; for generations that name their own `webhook_url`


class _Sections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    providers: Mapping[str, ProviderSettings] = {}
    models: Mapping[str, ModelSettings] = {}
    fetch: FetchSettings = FetchSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    webhooks: WebhookSettings = WebhookSettings()


class Settings(_Sections, frozen=True, kw_only=True):
    """The whole configuration, checked."""

    file: Path | None = None  # where it came from; None: the environment alone
    warnings: tuple[str, ...] = ()  # what starts, but is hardly meant; each begins with the path of its key

    @property
    def enabled(self) -> dict[str, ProviderSettings]:
        """The providers that take work."""
        return {name: provider for name, provider in self.providers.items() if provider.enabled}


# --- loading ----------------------------------------------------------------------------------------------------------


def load(path: Path | None, environ: Mapping[str, str], providers: Collection[str]) -> Settings:
    """The settings from a file and the environment; `providers` are the names of the installed adapters.

    Without a `path` the variable `VIDEO_GATEWAY_CONFIG` names the file, then `video-gateway.toml` is used where it
    exists. Raises `ConfigurationError`, whose message begins with the path of the key.
    """
    file = _find(path, environ)
    tables = {} if file is None else parse(file)
    warnings: list[str] = []
    origins = fill(tables, environ, providers, warnings)
    warnings += unread(environ, tables)
    _check_names(tables, providers)
    _normalise(tables)
    sections = Reader(environ, origins).table(_Sections, tables, "")
    server = _checked_auth(sections.server, warnings)
    _check_providers(sections.providers, warnings)
    _check_models(sections, providers, warnings)
    for key, told in NOT_YET.items():
        section, _, name = key.partition(".")
        if tables.get(section, {}).get(name):
            warnings.append(f"{key}: {told}")
    return Settings(**{**structs.asdict(sections), "server": server, "file": file, "warnings": tuple(warnings)})


def _find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None


def _check_names(tables: dict[str, Any], providers: Collection[str]) -> None:
    accounts = tables.get("providers")
    for name in accounts if isinstance(accounts, dict) else ():
        if name not in providers:
            raise ConfigurationError(f"{join('providers', name)}: no such provider; {near(name, providers)}")


def _normalise(tables: dict[str, Any]) -> None:
    """Short forms to long ones: a list of models to a table; a disabled provider is spared its secrets."""
    accounts = tables.get("providers")
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        if account.get("enabled") is False:
            account.pop("api_key", None)
            account.pop("headers", None)
        elif "api_key" not in account:
            variable = f"{re.sub(r'[^A-Za-z0-9_]', '_', name).upper()}_API_KEY"
            raise ConfigurationError(f"providers.{name}.api_key: missing; expected env:NAME, file:PATH or {variable}")
        if isinstance(models := account.get("models"), list):
            for place, model in enumerate(models):
                if not isinstance(model, str) or not model:
                    raise ConfigurationError(f"providers.{name}.models[{place}]: expected the name of a model")
            account["models"] = {model: {} for model in models}


# --- rules across keys ------------------------------------------------------------------------------------------------


def _checked_auth(server: ServerSettings, warnings: list[str]) -> ServerSettings:
    """The server with its `auth` decided."""
    if len(set(server.api_keys)) < len(server.api_keys):
        twin = next(place for place, key in enumerate(server.api_keys) if key in server.api_keys[:place])
        raise ConfigurationError(f"server.api_keys[{twin}]: the same key stands there twice")
    auth = server.auth or ("keys" if server.api_keys else "none")
    if auth == "keys" and not server.api_keys:
        raise ConfigurationError('server.auth: "keys" needs server.api_keys, or the variable VIDEO_GATEWAY_API_KEY')
    if auth == "none" and not is_loopback(server.host):
        raise ConfigurationError(
            'server.auth: "none" is allowed on a loopback host only; set server.api_keys or VIDEO_GATEWAY_API_KEY'
        )
    if auth == "none" and server.api_keys:
        warnings.append('server.auth: "none" lets everybody in; server.api_keys are not asked for')
    for place, key in enumerate(server.api_keys):
        if len(key.reveal()) < CLIENT_KEY_MIN:
            warnings.append(f"server.api_keys[{place}]: under {CLIENT_KEY_MIN} characters, which can be guessed")
    return structs.replace(server, auth=auth)


def _check_providers(accounts: Mapping[str, ProviderSettings], warnings: list[str]) -> None:
    if not any(account.enabled for account in accounts.values()):
        warnings.append("providers: none is configured; no generation can be made")
    for name, account in accounts.items():
        path = f"providers.{name}"
        _check_intervals(account, path)
        for model, said in account.models.items():
            _check_intervals(said, join(f"{path}.models", model))
        for header in account.headers:
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", header):
                raise ConfigurationError(f"{join(path + '.headers', header)}: expected the name of a header")
            if header.lower() in OWN_HEADERS:
                raise ConfigurationError(f"{join(path + '.headers', header)}: the gateway sets this header itself")
        url = urlsplit(account.base_url or "")
        if account.enabled and url.scheme == "http" and not is_loopback(url.hostname or ""):
            warnings.append(f"{path}.base_url: http; the key and every prompt travel unencrypted to {url.hostname}")


def _check_intervals(said: PollingSettings, path: str) -> None:
    interval, ceiling = said.poll_seconds, said.poll_max_seconds
    if interval is not None and ceiling is not None and ceiling < interval:
        raise ConfigurationError(f"{path}.poll_max_seconds: expected at least poll_seconds")


def _check_models(sections: _Sections, providers: Collection[str], warnings: list[str]) -> None:
    for name, model in sections.models.items():
        path = join("models", name)
        if not name.strip() or name.partition("/")[0] in providers:
            raise ConfigurationError(f"{path}: expected a name of its own, not that of a provider's model")
        _check_order(model, path)
        if model.order == "cheapest":
            warnings += [f"{path}.routes[{place}]: has no price; it comes last" for place in _unpriced(sections, model)]
        for place, route in enumerate(model.routes):
            for told in _wrong_with(route, providers):
                raise ConfigurationError(f"{path}.routes[{place}]: {told}")
            if route in model.routes[:place]:
                raise ConfigurationError(f"{path}.routes[{place}]: the same route stands there twice")
            provider = route.partition("/")[0]
            if provider not in sections.providers or not sections.providers[provider].enabled:
                warnings.append(
                    f"{path}.routes[{place}]: the provider {provider} is not configured; the route is left out"
                )


def _check_order(model: ModelSettings, path: str) -> None:
    if model.weights and model.order != "weighted":
        raise ConfigurationError(f'{path}.weights: expected only beside order = "weighted"')
    if model.order == "weighted" and (len(model.weights) != len(model.routes) or not any(model.weights)):
        count = len(model.routes)
        raise ConfigurationError(f"{path}.weights: expected a number for each of the {count} routes, not all of them 0")


def _unpriced(sections: _Sections, model: ModelSettings) -> Iterator[int]:
    """The places of the routes without a price."""
    for place, route in enumerate(model.routes):
        provider, _, upstream = route.partition("/")
        account = sections.providers.get(provider)
        if account is not None and not account.models.get(upstream, ProviderModel()).prices:
            yield place


def _wrong_with(route: str, providers: Collection[str]) -> Iterator[str]:
    provider, _, upstream = route.partition("/")
    if not provider or not upstream:
        yield 'expected "PROVIDER/MODEL"'
    elif provider not in providers:
        yield f"no such provider; {near(provider, providers)}"
