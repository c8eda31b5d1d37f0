"""Environment variables as configuration: they fill the keys that the file does not set."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.failpoints import VARIABLE
from gateway.settings.toml import KeyPath, Secret

PREFIX = "VIDEO_GATEWAY_"
CONFIG_VARIABLE = "VIDEO_GATEWAY_CONFIG"
# Of Amazon, Google and Microsoft, as `obstore` names them.
_OF_CLOUD = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_SERVICE_ACCOUNT_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
    *("AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_TOKEN", "AZURE_CLIENT_SECRET"),
    *("AZURE_STORAGE_CLIENT_SECRET", "AZURE_STORAGE_SAS_TOKEN"),
)
OF_COMMANDS = frozenset({"VIDEO_GATEWAY_URL"})  # read by commands that call a gateway, not by the gateway
# Each variable and the key that it fills. Every provider also has <NAME>_API_KEY and <NAME>_BASE_URL.
ENVIRONMENT = {
    "VIDEO_GATEWAY_HOST": ("server", "host"),
    "VIDEO_GATEWAY_PORT": ("server", "port"),
    "VIDEO_GATEWAY_API_KEY": ("server", "api_keys"),
    "VIDEO_GATEWAY_ADMIN_KEY": ("server", "admin_keys"),
    "VIDEO_GATEWAY_DATABASE_URL": ("database", "url"),
    "VIDEO_GATEWAY_DATABASE_PASSWORD": ("database", "password"),
    "VIDEO_GATEWAY_ARTIFACTS": ("artifacts", "url"),
    "VIDEO_GATEWAY_WEBHOOK_SECRET": ("webhooks", "secret"),
}


def fill(
    tables: dict[str, Any], environ: Mapping[str, str], providers: Collection[str], warnings: list[str]
) -> dict[KeyPath, str]:
    """Fill keys that the file does not set from the environment. Returns the variable of each key that was filled."""
    origins: dict[KeyPath, str] = {}

    def put(table: object, path: KeyPath, variable: str, value: object) -> None:
        if isinstance(table, dict) and path[-1] not in table:  # the reader refuses anything that is not a table
            table[path[-1]] = value
            origins[path] = variable

    for variable, (section, key) in ENVIRONMENT.items():
        if value := environ.get(variable):
            put(tables.setdefault(section, {}), (section, key), variable, _as_toml(variable, value))
    accounts = tables.get("providers", {})
    for name in sorted(providers) if isinstance(accounts, dict) else ():
        key_variable, url_variable = f"{variable_prefix(name)}_API_KEY", f"{variable_prefix(name)}_BASE_URL"
        if name not in accounts and environ.get(key_variable):
            accounts = tables.setdefault("providers", {})
            accounts[name] = {}
        if name not in accounts:
            if environ.get(url_variable):
                warnings.append(
                    f"providers.{name}.base_url: {url_variable} is set, but the provider is off without {key_variable}"
                )
            continue
        if environ.get(key_variable):
            put(accounts[name], ("providers", name, "api_key"), key_variable, f"env:{key_variable}")
        if url := environ.get(url_variable):
            put(accounts[name], ("providers", name, "base_url"), url_variable, url)
    return origins


def variable_prefix(provider: str) -> str:
    """How the names of a provider's variables begin: `kling_relay` has `KLING_RELAY_API_KEY`."""
    return re.sub(r"[^A-Za-z0-9_]", "_", provider).upper()


def _as_toml(variable: str, value: str) -> object:
    """The value that the file would contain instead of the variable."""
    match variable:
        case "VIDEO_GATEWAY_PORT":
            return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else value
        case "VIDEO_GATEWAY_API_KEY" | "VIDEO_GATEWAY_ADMIN_KEY":
            return [f"env:{variable}"]
        case "VIDEO_GATEWAY_WEBHOOK_SECRET" | "VIDEO_GATEWAY_DATABASE_PASSWORD":
            return f"env:{variable}"
        case "VIDEO_GATEWAY_ARTIFACTS":  # a plain path is allowed; one letter before the colon is a drive, not a scheme
            return value if re.match(r"[A-Za-z][A-Za-z0-9]+:", value) else f"file:{value}"
        case _:
            return value


def cloud_secrets(environ: Mapping[str, str]) -> tuple[Secret, ...]:
    """The secrets for buckets that the library reads from the variables of the three clouds by itself."""
    return tuple(Secret.of(environ[name]) for name in _OF_CLOUD if environ.get(name))


def unread(environ: Mapping[str, str], tables: Mapping[str, Any]) -> list[str]:
    """A warning for each `VIDEO_GATEWAY_…` variable that nothing reads: it is misspelt, or another program's.

    A variable that the file itself names (`env:NAME`) is read.
    """
    names = {name.removeprefix(PREFIX): name for name in (CONFIG_VARIABLE, *ENVIRONMENT)}
    read = {
        VARIABLE,
        *OF_COMMANDS,
        *names.values(),
        *(text.removeprefix("env:") for text in _strings(tables) if text.startswith("env:")),
    }
    warnings: list[str] = []
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and environ[name] and name not in read:
            # Compared without the prefix: with it, any two names would look alike.
            close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), names, n=1)
            hint = f"did you mean {names[close[0]]}?" if close else f"it reads {', '.join(sorted(names.values()))}"
            warnings.append(f"{name}: the gateway does not read this variable; {hint}")
    return warnings


def _strings(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _strings(inner)
        case list():
            for inner in value:
                yield from _strings(inner)
