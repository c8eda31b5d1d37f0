"""The configuration: a TOML file and the environment, decoded into one frozen Struct.

The environment fills only what the file leaves out. A secret stands in the file as `env:NAME` or `file:PATH`, never as
itself. Relative paths are relative to the working directory. No message shows a value: it might be a misplaced secret.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, structs

from gateway.domain.errors import ConfigurationError
from gateway.settings.environment import CONFIG_VARIABLE, ENVIRONMENT, fill, unread
from gateway.settings.sections import (
    ApiKey,
    ArtifactSettings,
    DatabaseSettings,
    FetchSettings,
    FileSettings,
    ModelSettings,
    PollingSettings,
    ProviderModel,
    ProviderSettings,
    RetentionSettings,
    ServerSettings,
    WebhookSettings,
)
from gateway.settings.toml import (
    HeaderValue,
    Host,
    HttpUrl,
    Network,
    Read,
    Reader,
    Secret,
    describe,
    is_loopback,
    join,
    near,
    parse,
)

__all__ = [  # besides `Settings` and `load`: what belongs to the configuration and stands in modules of its own
    "CONFIG_VARIABLE",
    "ENVIRONMENT",
    "ArtifactSettings",
    "DatabaseSettings",
    "FetchSettings",
    "FileSettings",
    "HeaderValue",
    "Host",
    "HttpUrl",
    "ModelSettings",
    "Network",
    "PollingSettings",
    "ProviderModel",
    "ProviderSettings",
    "Read",
    "RetentionSettings",
    "Secret",
    "ServerSettings",
    "WebhookSettings",
    "describe",
    "is_loopback",
]

CONFIG_FILE = "video-gateway.toml"  # in the working directory; used when it exists and no other is named
CLIENT_KEY_MIN = 16  # characters; a shorter one is told of
# What the gateway sets by itself, or what would change the meaning of a body.
OWN_HEADERS = frozenset(
    {"accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"host", "te", "trailer", "transfer-encoding", "upgrade"}
)


class _Sections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    providers: Mapping[str, ProviderSettings] = {}
    models: Mapping[str, ModelSettings] = {}
    fetch: FetchSettings = FetchSettings()
    files: FileSettings = FileSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    retention: RetentionSettings = RetentionSettings()
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
    _normalise(tables, environ, warnings)
    sections = Reader(environ, origins).table(_Sections, tables, "")
    server = _checked_auth(sections.server, warnings)
    if server.max_bodies_bytes < server.max_body_bytes:
        raise ConfigurationError("server.max_bodies_bytes: expected at least max_body_bytes")
    if fault := sections.artifacts.fault():
        raise ConfigurationError(fault)
    if sections.webhooks.previous_secret is not None and sections.webhooks.secret is None:
        raise ConfigurationError("webhooks.previous_secret: expected only beside secret")
    if server.public_url is None and not is_loopback(server.host):
        warnings.append("server.public_url: missing; webhooks tell paths, not URLs, and no provider can call back")
    _check_providers(sections.providers, warnings)
    _check_models(sections, providers, warnings)
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


def _normalise(tables: dict[str, Any], environ: Mapping[str, str], warnings: list[str]) -> None:
    """Short forms to long ones: a list of models to a table; secrets of a disabled provider may be missing."""
    accounts = tables.get("providers")
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        if account.get("enabled") is False:
            _drop_unreadable_secrets(account, f"providers.{name}", Reader(environ, {}), warnings)
        elif "api_key" not in account:
            variable = f"{re.sub(r'[^A-Za-z0-9_]', '_', name).upper()}_API_KEY"
            raise ConfigurationError(f"providers.{name}.api_key: missing; expected env:NAME, file:PATH or {variable}")
        if isinstance(models := account.get("models"), list):
            for place, model in enumerate(models):
                if not isinstance(model, str) or not model:
                    raise ConfigurationError(f"providers.{name}.models[{place}]: expected the name of a model")
            account["models"] = {model: {} for model in models}


def _drop_unreadable_secrets(account: dict[str, Any], path: str, reader: Reader, warnings: list[str]) -> None:
    """A disabled provider keeps its key, so that its running tasks are followed; a missing one stops no start."""
    headers = account.get("headers")
    secrets = {join(f"{path}.headers", name): (HeaderValue, value) for name, value in _items(headers)}
    if "api_key" in account:
        secrets[f"{path}.api_key"] = (ApiKey, account["api_key"])
    for where, (kind, value) in secrets.items():
        try:
            reader.value(kind, value, where)
        except ConfigurationError as error:
            account.pop("api_key", None)
            account.pop("headers", None)
            warnings.append(f"{error}; the provider is disabled, and without this its running tasks are not followed")
            return


def _items(table: object) -> Iterator[tuple[str, Any]]:
    if isinstance(table, dict):
        yield from table.items()


# --- rules across keys ------------------------------------------------------------------------------------------------


def _checked_auth(server: ServerSettings, warnings: list[str]) -> ServerSettings:
    """The server with its `auth` decided."""
    lists = {"api_keys": server.api_keys, "admin_keys": server.admin_keys}
    for name, keys in lists.items():
        if len(set(keys)) < len(keys):
            twin = next(place for place, key in enumerate(keys) if key in keys[:place])
            raise ConfigurationError(f"server.{name}[{twin}]: the same key stands there twice")
    for place, key in enumerate(server.admin_keys):
        if key in server.api_keys:
            client = server.api_keys.index(key)
            raise ConfigurationError(
                f"server.admin_keys[{place}]: the same key is a client's, server.api_keys[{client}]"
            )
    auth = server.auth or ("keys" if server.api_keys else "none")
    if auth == "keys" and not server.api_keys:
        raise ConfigurationError('server.auth: "keys" needs server.api_keys, or the variable VIDEO_GATEWAY_API_KEY')
    if auth == "none" and not is_loopback(server.host):
        raise ConfigurationError(
            'server.auth: "none" is allowed on a loopback host only; set server.api_keys or VIDEO_GATEWAY_API_KEY'
        )
    for name, keys in lists.items():
        if auth == "none" and keys:
            warnings.append(f'server.auth: "none" lets everybody in; server.{name} are not asked for')
        for place, key in enumerate(keys):
            if len(key.reveal()) < CLIENT_KEY_MIN:
                warnings.append(f"server.{name}[{place}]: under {CLIENT_KEY_MIN} characters, which can be guessed")
    return structs.replace(server, auth=auth)


def _check_providers(accounts: Mapping[str, ProviderSettings], warnings: list[str]) -> None:
    if not any(account.enabled for account in accounts.values()):
        state = "enabled" if accounts else "configured"
        warnings.append(f"providers: none is {state}; no generation can be made")
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
        if (account.enabled or account.api_key) and url.scheme == "http" and not is_loopback(url.hostname or ""):
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
