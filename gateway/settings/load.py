"""The configuration: a TOML file and the environment, decoded into one frozen Struct.

The environment fills only what the file leaves out. The file names a secret as `env:NAME` or `file:PATH` and never
contains it. Relative paths are relative to the working directory. No message shows a value, because the value might be
a secret in the wrong place.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct, structs

from gateway.domain.errors import ConfigurationError
from gateway.domain.keyless_access import is_loopback
from gateway.settings.clients import CLIENT_KEY_MIN, BudgetSettings, ClientSettings, check_clients
from gateway.settings.environment import CONFIG_VARIABLE, ENVIRONMENT, fill, unread, variable_prefix
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
    TracingSettings,
    WebhookSettings,
)
from gateway.settings.toml import (
    Fault,
    HeaderValue,
    Host,
    HttpUrl,
    InvalidValue,
    KeyPath,
    Network,
    Secret,
    TomlReader,
    TomlValue,
    describe,
    nearest,
    parse,
    show_path,
)

__all__ = [  # the whole interface of the configuration, also where it is defined in a module beside this one
    "CONFIG_VARIABLE",
    "ENVIRONMENT",
    "ArtifactSettings",
    "BudgetSettings",
    "ClientSettings",
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
    "RetentionSettings",
    "Secret",
    "ServerSettings",
    "TomlValue",
    "TracingSettings",
    "WebhookSettings",
    "describe",
]

CONFIG_FILE = "video-gateway.toml"  # in the working directory; used if it exists and no other file is named
# Headers that the gateway sets itself, or that would change the meaning of a body.
OWN_HEADERS = frozenset(
    {"accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"host", "te", "trailer", "transfer-encoding", "upgrade"}
)


class _Sections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: ServerSettings = ServerSettings()
    clients: Mapping[str, ClientSettings] = {}
    budgets: BudgetSettings = BudgetSettings()
    database: DatabaseSettings = DatabaseSettings()
    providers: Mapping[str, ProviderSettings] = {}
    models: Mapping[str, ModelSettings] = {}
    fetch: FetchSettings = FetchSettings()
    files: FileSettings = FileSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    retention: RetentionSettings = RetentionSettings()
    webhooks: WebhookSettings = WebhookSettings()
    tracing: TracingSettings = TracingSettings()


class Settings(_Sections, frozen=True, kw_only=True):
    """The whole configuration, checked."""

    file: Path | None = None  # the file that was read; None: the environment alone
    # What is accepted but probably a mistake. Each begins with the path of its key, or the name of its variable.
    warnings: tuple[str, ...] = ()

    @property
    def own_url(self) -> str:
        """The begin of URLs in webhooks, where no request of a client shows it. Empty if only a proxy would know it."""
        if self.server.public_url is not None or not is_loopback(self.server.host):
            return self.server.public_url or ""
        host = f"[{self.server.host}]" if ":" in self.server.host else self.server.host
        return f"http://{host}:{self.server.port}"

    @property
    def enabled(self) -> dict[str, ProviderSettings]:
        """The providers that take new work."""
        return {name: provider for name, provider in self.providers.items() if provider.enabled}


class Reading(Struct, frozen=True, kw_only=True):
    """A configuration and everything that is wrong with it."""

    faults: tuple[Fault, ...]  # a start needs this to be empty
    # Without the tables of providers and models that have a fault. None if anything else has a fault.
    settings: Settings | None = None


# --- loading ----------------------------------------------------------------------------------------------------------


def load(path: Path | None, environ: Mapping[str, str], providers: Collection[str]) -> Settings:
    """The settings from a file and the environment; `providers` are the names of the installed adapters.

    Without a `path`, the variable `VIDEO_GATEWAY_CONFIG` names the file; without both, `video-gateway.toml` is read if
    it exists. Raises `ConfigurationError` for the first fault; its message begins with the path of the key.
    """
    reading = read_configuration(path, environ, providers)
    if reading.settings is None or reading.faults:
        raise ConfigurationError(str(reading.faults[0]))
    return reading.settings


def read_configuration(path: Path | None, environ: Mapping[str, str], providers: Collection[str]) -> Reading:
    """What `load` reads, with every fault instead of the first: for `video-gateway check`."""
    file = find_file(path, environ)
    try:
        tables = {} if file is None else parse(file)
    except ConfigurationError as error:
        return Reading(faults=(Fault((), str(error)),))
    warnings: list[str] = []
    reader = TomlReader(environ, fill(tables, environ, providers, warnings))
    warnings += unread(environ, tables)
    _drop_unknown_providers(tables, providers, reader)
    _normalise(tables, environ, reader, warnings)
    sections = reader.table(_Sections, tables, ())
    server = _check_server(sections, reader, warnings)
    _check_artifacts(sections.artifacts, reader)
    webhooks = sections.webhooks
    if webhooks.previous_secret is not None and webhooks.secret is None and not reader.has_faults("webhooks"):
        reader.report(("webhooks", "previous_secret"), "expected only beside secret; set webhooks.secret as well")
    _check_providers(sections.providers, reader, warnings)
    _check_models(sections, providers, reader, warnings)
    faults = tuple(reader.faults)
    if any(table_of(fault) is None for fault in faults):
        return Reading(faults=faults)
    sound = {
        name: {key: table for key, table in getattr(sections, name).items() if not reader.has_faults(name, key)}
        for name in ("providers", "models")
    }
    values = {**structs.asdict(sections), **sound, "server": server, "file": file, "warnings": tuple(warnings)}
    return Reading(faults=faults, settings=Settings(**values))


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The configuration file that a start reads: `path`, else the variable's, else the usual one; None without any."""
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None


def table_of(fault: Fault) -> tuple[str, str] | None:
    """The table of one provider or model that has the fault, as `("models", "hero")`; `None` if it is elsewhere."""
    match fault.keys:
        case ("providers" | "models" as section, str() as name, *_):
            return section, name
    return None


def _drop_unknown_providers(tables: dict[str, Any], providers: Collection[str], reader: TomlReader) -> None:
    accounts = tables.get("providers")
    if not isinstance(accounts, dict):
        return
    for name in [name for name in accounts if name not in providers]:
        reader.report(("providers", name), f"no such provider; {nearest(name, providers)}")
        del accounts[name]


def _normalise(tables: dict[str, Any], environ: Mapping[str, str], reader: TomlReader, warnings: list[str]) -> None:
    """Turn short forms into long ones: a list of models into a table. Secrets of a disabled provider may be missing."""
    accounts = tables.get("providers")
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        if account.get("enabled") is False:
            _drop_unreadable_secrets(account, name, environ, warnings)
        elif "api_key" not in account:
            variable = f"{variable_prefix(name)}_API_KEY"
            reader.report(
                ("providers", name, "api_key"),
                f"missing; set it to env:NAME or file:PATH, or set the variable {variable}",
            )
        if isinstance(models := account.get("models"), list):
            for place, model in enumerate(models):
                if not isinstance(model, str) or not model:
                    reader.report(("providers", name, "models", place), "expected the name of a model")
            account["models"] = {model: {} for model in models if isinstance(model, str)}


def _drop_unreadable_secrets(
    account: dict[str, Any], name: str, environ: Mapping[str, str], warnings: list[str]
) -> None:
    """Keep the key of a disabled provider, which its running tasks are polled with; a missing one only warns."""
    headers = account.get("headers")
    secrets: dict[KeyPath, tuple[Any, object]] = {
        ("providers", name, "headers", header): (HeaderValue, value)
        for header, value in (headers.items() if isinstance(headers, dict) else ())
    }
    if "api_key" in account:
        secrets["providers", name, "api_key"] = (ApiKey, account["api_key"])
    trial = TomlReader(environ, {})
    for path, (kind, raw) in secrets.items():
        try:
            trial.value(kind, raw, path)
        except InvalidValue:
            account.pop("api_key", None)
            account.pop("headers", None)
            warnings.append(
                f"{trial.faults[0]}; the provider is disabled, and without this its running tasks are not followed"
            )
            return


# --- rules across keys ------------------------------------------------------------------------------------------------


def _check_server(sections: _Sections, reader: TomlReader, warnings: list[str]) -> ServerSettings:
    """The server with its `auth` decided. A wrong key ends the check, because its default could cause false reports."""
    server = sections.server
    if reader.has_faults("server") or reader.has_faults("clients"):
        return server
    lists = {"api_keys": server.api_keys, "admin_keys": server.admin_keys}
    for name, keys in lists.items():
        for place, key in enumerate(keys):
            if key in keys[:place]:
                first = show_path(("server", name, keys.index(key)))
                reader.report(("server", name, place), f"the same key is listed twice, also as {first}; remove one")
    for place, key in enumerate(server.admin_keys):
        if key in server.api_keys:
            client = show_path(("server", "api_keys", server.api_keys.index(key)))
            reader.report(("server", "admin_keys", place), f"the same key is a client's, {client}; use another one")
    _check_kling_keys(server, reader, warnings)
    check_clients(server, sections.clients, reader, warnings)
    # With an admin key alone, clients and their keys are made at run time.
    has_keys = bool(server.api_keys or server.kling_keys or server.admin_keys or sections.clients)
    auth = server.auth or ("keys" if has_keys else "none")
    configured = any(client.keys or client.kling_keys for client in sections.clients.values())
    if auth == "keys" and not (server.api_keys or server.kling_keys or server.admin_keys or configured):
        reader.report(
            ("server", "auth"),
            '"keys" needs server.api_keys, keys of a client, or server.admin_keys; or VIDEO_GATEWAY_API_KEY',
        )
    if auth == "none" and server.kling_keys:
        warnings.append('server.auth: "none" lets everybody in; server.kling_keys are ignored')
    if auth == "none" and sections.clients:
        warnings.append('server.auth: "none" lets everybody in; clients and their limits are ignored')
    if auth == "none" and not is_loopback(server.host):
        reader.report(
            ("server", "auth"),
            '"none" is allowed on a loopback host only; set server.api_keys or VIDEO_GATEWAY_API_KEY',
        )
    if auth == "none":
        _check_keyless(server, reader)
    if server.max_bodies_bytes < server.max_body_bytes:
        reader.report(("server", "max_bodies_bytes"), "expected at least max_body_bytes")
    for name, keys in lists.items():
        if auth == "none" and name == "api_keys" and keys:
            warnings.append('server.auth: "none" lets everybody in; server.api_keys are ignored')
        for place, key in enumerate(keys):
            if len(key.reveal()) < CLIENT_KEY_MIN:
                warnings.append(
                    f"server.{name}[{place}]: under {CLIENT_KEY_MIN} characters, which can be guessed; use a longer key"
                )
    if server.public_url is None and not is_loopback(server.host):
        warnings.append(
            "server.public_url: missing; webhooks contain paths instead of URLs, and no provider can call back"
        )
    return structs.replace(server, auth=auth)


def _check_keyless(server: ServerSettings, reader: TomlReader) -> None:
    """Refuse what a gateway without client keys would give to strangers: it serves its own machine alone."""
    purposes = {
        "public_url": "a URL for others",
        "admin_keys": "rights of operators",
        "cors_origins": "web pages of other origins",
    }
    for name, purpose in purposes.items():
        if getattr(server, name):
            reader.report(
                ("server", name),
                f"{purpose}, beside a gateway without client keys, which lets everybody in and serves its own machine"
                " alone; set server.api_keys or VIDEO_GATEWAY_API_KEY, or remove this",
            )


def _check_kling_keys(server: ServerSettings, reader: TomlReader, warnings: list[str]) -> None:
    access_keys = [pair.access_key for pair in server.kling_keys]
    for place, access_key in enumerate(access_keys):
        path = ("server", "kling_keys", place, "access_key")
        if access_key in access_keys[:place]:
            first = show_path(("server", "kling_keys", access_keys.index(access_key), "access_key"))
            reader.report(path, f"the same access key is listed twice, also as {first}; remove one")
        if access_key in server.admin_keys:
            admin = show_path(("server", "admin_keys", server.admin_keys.index(access_key)))
            reader.report(path, f"the same key is an operator's, {admin}; use another one")
        if access_key in server.api_keys:
            warnings.append(
                f"{show_path(path)}: the same key is in server.api_keys, and everybody who sees a JWT reads it there;"
                " use another one, unless the two have to share their generations"
            )


def _check_artifacts(artifacts: ArtifactSettings, reader: TomlReader) -> None:
    if not reader.has_faults("artifacts") and (problem := artifacts.problem()):
        key, message = problem
        reader.report(("artifacts", key), message)


def _check_providers(accounts: Mapping[str, ProviderSettings], reader: TomlReader, warnings: list[str]) -> None:
    if not any(account.enabled for account in accounts.values()) and not reader.has_faults("providers"):
        state, remedy = ("enabled", "remove enabled = false") if accounts else ("configured", "set the key of one")
        warnings.append(f"providers: none is {state}; no generation can be made; {remedy}")
    for name, account in accounts.items():
        if reader.has_faults("providers", name):
            continue
        _check_intervals(account, ("providers", name), reader)
        for model, polling in account.models.items():
            _check_intervals(polling, ("providers", name, "models", model), reader)
        for header in account.headers:
            path = ("providers", name, "headers", header)
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", header):
                reader.report(path, "expected the name of a header")
            if header.lower() in OWN_HEADERS:
                reader.report(path, "the gateway sets this header itself; remove it")
        url = urlsplit(account.base_url or "")
        if (account.enabled or account.api_key) and url.scheme == "http" and not is_loopback(url.hostname or ""):
            warnings.append(
                f"providers.{name}.base_url: http; the key and every prompt travel unencrypted to {url.hostname}"
            )


def _check_intervals(polling: PollingSettings, path: KeyPath, reader: TomlReader) -> None:
    interval, ceiling = polling.poll_seconds, polling.poll_max_seconds
    if interval is not None and ceiling is not None and ceiling < interval:
        reader.report((*path, "poll_max_seconds"), "expected at least poll_seconds")


def _check_models(sections: _Sections, providers: Collection[str], reader: TomlReader, warnings: list[str]) -> None:
    for name, model in sections.models.items():
        if reader.has_faults("models", name):
            continue
        path = ("models", name)
        if not name.strip() or name.partition("/")[0] in providers:
            reader.report(path, "expected a name of its own, not that of a provider's model")
        _check_order(model, path, reader)
        if model.order == "cheapest":
            warnings += [
                f"{show_path((*path, 'routes', place))}: has no price, so it comes last; set prices for it"
                for place in _unpriced(sections, model)
            ]
        for place, route in enumerate(model.routes):
            where = (*path, "routes", place)
            if (problem := _route_problem(route, providers)) is not None:
                reader.report(where, problem)
                continue
            if route in model.routes[:place]:
                reader.report(where, "the same route is listed twice; remove one")
            provider = route.partition("/")[0]
            account = sections.providers.get(provider)
            if (account is None or not account.enabled) and not reader.has_faults("providers", provider):
                warnings.append(
                    f"{show_path(where)}: {provider} is not configured, so the route is left out; set its key"
                )


def _check_order(model: ModelSettings, path: KeyPath, reader: TomlReader) -> None:
    if model.weights and model.order != "weighted":
        reader.report((*path, "weights"), 'expected only beside order = "weighted"')
    elif model.order == "weighted" and (len(model.weights) != len(model.routes) or not any(model.weights)):
        count = len(model.routes)
        reader.report((*path, "weights"), f"expected a number for each of the {count} routes, not all of them 0")


def _unpriced(sections: _Sections, model: ModelSettings) -> Iterator[int]:
    """The positions of the routes without a price."""
    for place, route in enumerate(model.routes):
        provider, _, upstream_model = route.partition("/")
        account = sections.providers.get(provider)
        if account is not None and not account.models.get(upstream_model, ProviderModel()).prices:
            yield place


def _route_problem(route: str, providers: Collection[str]) -> str | None:
    provider, _, upstream_model = route.partition("/")
    if not provider or not upstream_model:
        return 'expected "PROVIDER/MODEL"'
    if provider not in providers:
        return f"no such provider; {nearest(provider, providers)}"
    return None
