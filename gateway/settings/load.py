"""The configuration: a TOML file and the environment, decoded into one frozen Struct.

The environment fills only what the file leaves out. The file names a secret as `env:NAME` or `file:PATH` and never
contains it. Relative paths are relative to the working directory. No message shows a value, because the value might be
a secret in the wrong place.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from gateway.domain.adapter.contract import API_KEY, Adapter
from gateway.domain.errors import ConfigurationError
from gateway.domain.keyless_access import is_loopback
from gateway.settings.accounts import check_secrets, drop_unknown, same_accounts
from gateway.settings.checks import check_sections
from gateway.settings.clients import BudgetSettings, ClientSettings
from gateway.settings.environment import CONFIG_VARIABLE, ENVIRONMENT, cloud_secrets, fill, unread
from gateway.settings.sections import (
    ApiKey,
    ArtifactSettings,
    DatabaseSettings,
    FetchSettings,
    FileSettings,
    MetricsSettings,
    ModelSettings,
    NamedSecret,
    PollingSettings,
    ProviderModel,
    ProviderSettings,
    RetentionSettings,
    ServerSettings,
    TracingSettings,
    WebhookSettings,
)
from gateway.settings.tables import Sections
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
    parse,
    read_file,
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
    "MetricsSettings",
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


class Settings(Sections, frozen=True, kw_only=True):
    """The whole configuration, checked."""

    file: Path | None = None  # the file that was read; None: the environment alone
    sha256: str | None = None  # of the file, in hex
    of_cloud: tuple[Secret, ...] = ()  # what the library for buckets reads from the environment by itself
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
    files: tuple[
        Path, ...
    ] = ()  # the configuration and the secrets that it names by `file:`, also those without a file


# --- loading ----------------------------------------------------------------------------------------------------------


def load(path: Path | None, environ: Mapping[str, str], adapters: Mapping[str, Adapter]) -> Settings:
    """The settings from a file and the environment; `adapters` are the installed ones, by name.

    Without a `path`, the variable `VIDEO_GATEWAY_CONFIG` names the file; without both, `video-gateway.toml` is read if
    it exists. Raises `ConfigurationError` with every fault; each begins with the path of its key.
    """
    reading = read_configuration(path, environ, adapters)
    if reading.settings is None or reading.faults:
        raise ConfigurationError(*map(str, reading.faults))
    return reading.settings


def read_configuration(path: Path | None, environ: Mapping[str, str], adapters: Mapping[str, Adapter]) -> Reading:
    """What `load` reads, with the faults as values, and with what is sound beside them."""
    file = find_file(path, environ)
    files = () if file is None else (file,)
    try:
        content = None if file is None else read_file(file)
        tables = {} if file is None or content is None else parse(file, content)
    except ConfigurationError as error:
        return Reading(faults=(Fault((), str(error)),), files=files)
    warnings: list[str] = []
    with_key = [name for name, adapter in adapters.items() if API_KEY in adapter.secrets]
    reader = TomlReader(environ, fill(tables, environ, with_key, warnings))
    warnings += unread(environ, tables)
    named = drop_unknown(tables, adapters, reader)
    check_secrets(tables, adapters, reader)
    _normalise(tables, environ, reader, warnings)
    sections = reader.table(Sections, tables, ())
    server = check_sections(sections, named, reader, warnings)
    warnings += same_accounts(sections.providers, adapters)
    faults, files = tuple(reader.faults), (*files, *reader.files)
    if any(table_of(fault) is None for fault in faults):
        return Reading(faults=faults, files=files)
    sound = {
        name: {key: table for key, table in getattr(sections, name).items() if not reader.has_faults(name, key)}
        for name in ("providers", "models")
    }
    values = {**structs.asdict(sections), **sound, "server": server, "file": file, "warnings": tuple(warnings)}
    if sections.artifacts.is_bucket:
        values["of_cloud"] = cloud_secrets(environ)
    values["sha256"] = None if content is None else sha256(content).hexdigest()
    return Reading(faults=faults, settings=Settings(**values), files=files)


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


def _normalise(tables: dict[str, Any], environ: Mapping[str, str], reader: TomlReader, warnings: list[str]) -> None:
    """Turn short forms into long ones: a list of models into a table. Secrets of a disabled provider may be missing."""
    accounts = tables.get("providers")
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        if account.get("enabled") is False:
            _drop_unreadable_secrets(account, name, environ, reader, warnings)
        if isinstance(models := account.get("models"), list):
            for place, model in enumerate(models):
                if not isinstance(model, str) or not model:
                    reader.report(("providers", name, "models", place), "expected the name of a model")
            account["models"] = {model: {} for model in models if isinstance(model, str)}


def _drop_unreadable_secrets(
    account: dict[str, Any], name: str, environ: Mapping[str, str], reader: TomlReader, warnings: list[str]
) -> None:
    """Keep the key of a disabled provider, which its running tasks are polled with; a missing one only warns."""
    kinds = {"headers": HeaderValue, "secrets": NamedSecret}
    entries = {table: account[table] for table in kinds if isinstance(account.get(table), dict)}
    secrets: dict[KeyPath, tuple[Any, object]] = {
        ("providers", name, table, key): (kinds[table], value)
        for table, values in entries.items()
        for key, value in values.items()
    }
    if "api_key" in account:
        secrets["providers", name, "api_key"] = (ApiKey, account["api_key"])
    trial = TomlReader(environ, {})
    for path, (kind, raw) in secrets.items():
        try:
            trial.value(kind, raw, path)
        except InvalidValue:
            reader.files += trial.files
            for key in ("api_key", "secrets", "headers"):
                account.pop(key, None)
            warnings.append(
                f"{trial.faults[0]}; the provider is disabled, and without this its running tasks are not followed"
            )
            return
