"""A configuration that is checked as a whole: the settings, and the accounts and models that they result in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import structs

from gateway.domain.adapter.contract import Adapter
from gateway.domain.errors import ConfigurationError
from gateway.domain.keyless_access import is_loopback
from gateway.domain.redaction import Redactor
from gateway.generations.catalog import Catalog
from gateway.settings.faults import all_faults
from gateway.settings.load import Reading, Settings, read_configuration
from gateway.settings.secret_values import redactor_of
from gateway.settings.toml import Fault
from gateway.upstream.provider import Provider, accepting, providers_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What the services work with. One value counts at a time, and a reload puts another one in its place."""

    settings: Settings
    providers: Mapping[str, Provider] = field(repr=False)
    catalog: Catalog = field(repr=False)
    redactor: Redactor = field(repr=False)  # of every secret that may still be echoed


def bound(
    settings: Settings,
    adapters: Mapping[str, Adapter],
    *,
    earlier: Mapping[str, Provider] | None = None,
    old_secrets: Collection[str | bytes] = (),
) -> Bound:
    """Bind the settings to the installed adapters. Raises `ConfigurationError` with every fault.

    This needs no ledger: a mistake in `[models]` is found before one is opened. `earlier` are the accounts so far:
    those that the settings do not have any more take no new work, and the tasks that they run are followed.
    `old_secrets` are hidden beside those of the settings.
    """
    providers = providers_of(settings, adapters)
    catalog = Catalog(accepting(providers), settings)
    removed = {name: provider for name, provider in (earlier or {}).items() if name not in providers}
    keys = [secret for provider in removed.values() for secret in provider.credential.values()]
    redactor = redactor_of(settings, [*old_secrets, *keys])
    every = {**providers, **{name: replace(provider, accepts_work=False) for name, provider in removed.items()}}
    return Bound(
        settings=settings,
        providers={name: replace(provider, redactor=redactor) for name, provider in every.items()},
        catalog=catalog,
        redactor=redactor,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a process has its configuration from: what a start and every reload read, by the same rules."""

    path: Path | None  # the file that was named at the start; None: the variable's, or the usual one
    environ: Mapping[str, str] = field(repr=False)
    adapters: Mapping[str, Adapter] = field(repr=False)
    host: str | None = None  # of the command line; it overrides the file
    port: int | None = None

    def read(self) -> Reading:
        """Read the file and the secrets, with every fault that the settings have by themselves."""
        reading = read_configuration(self.path, self.environ, self.adapters)
        if reading.settings is None:
            return reading
        server, faults = reading.settings.server, reading.faults
        if self.host is not None:
            if server.auth == "none" and not is_loopback(self.host):
                message = (
                    f'"none" is allowed on a loopback host only, and --host is {self.host}; '
                    "set server.api_keys or VIDEO_GATEWAY_API_KEY"
                )
                faults = (*faults, Fault(("server", "auth"), message))
            server = structs.replace(server, host=self.host)
        if self.port is not None:
            server = structs.replace(server, port=self.port)
        return structs.replace(reading, faults=faults, settings=structs.replace(reading.settings, server=server))


def settings_of(reading: Reading, adapters: Mapping[str, Adapter]) -> Settings:
    """The settings that were read. Raises `ConfigurationError` with every fault, also those that only binding finds."""
    with all_faults() as faults:
        faults.texts += map(str, reading.faults)
        if reading.faults and reading.settings is not None and reading.settings.providers:
            with faults.of_part():
                bound(reading.settings, adapters)
    if reading.settings is None:  # cannot happen: without settings there is a fault
        raise ConfigurationError("the configuration cannot be read")
    return reading.settings
