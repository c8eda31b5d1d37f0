"""What the environment says where the configuration file is silent."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gateway.failpoints import VARIABLE

PREFIX = "VIDEO_GATEWAY_"
CONFIG_VARIABLE = "VIDEO_GATEWAY_CONFIG"
# Variables and the key that each fills. Every provider has <NAME>_API_KEY and <NAME>_BASE_URL besides.
ENVIRONMENT = {
    "VIDEO_GATEWAY_HOST": ("server", "host"),
    "VIDEO_GATEWAY_PORT": ("server", "port"),
    "VIDEO_GATEWAY_API_KEY": ("server", "api_keys"),
    "VIDEO_GATEWAY_ADMIN_KEY": ("server", "admin_keys"),
    "VIDEO_GATEWAY_DATABASE_URL": ("database", "url"),
    "VIDEO_GATEWAY_ARTIFACTS": ("artifacts", "url"),
    "VIDEO_GATEWAY_WEBHOOK_SECRET": ("webhooks", "secret"),
}


def fill(
    tables: dict[str, Any], environ: Mapping[str, str], providers: Collection[str], warnings: list[str]
) -> dict[str, str]:
    """Puts the environment where the file says nothing; gives the variable of each key filled that way."""
    origins: dict[str, str] = {}

    def put(table: object, path: str, variable: str, value: object) -> None:
        key = path.rpartition(".")[2]
        if isinstance(table, dict) and key not in table:  # anything but a table is for the reader to refuse
            table[key] = value
            origins[path] = variable

    for variable, (section, key) in ENVIRONMENT.items():
        if value := environ.get(variable):
            put(tables.setdefault(section, {}), f"{section}.{key}", variable, _as_toml(variable, value))
    accounts = tables.get("providers", {})
    for name in sorted(providers) if isinstance(accounts, dict) else ():
        prefix = re.sub(r"\W", "_", name).upper()
        key_variable, url_variable = f"{prefix}_API_KEY", f"{prefix}_BASE_URL"
        if name not in accounts and environ.get(key_variable):
            accounts = tables.setdefault("providers", {})
            accounts[name] = {}
        if name not in accounts:
            if environ.get(url_variable):
                warnings.append(f"providers.{name}.base_url: {url_variable} is set, but no key turns the provider on")
            continue
        if environ.get(key_variable):
            put(accounts[name], f"providers.{name}.api_key", key_variable, f"env:{key_variable}")
        if url := environ.get(url_variable):
            put(accounts[name], f"providers.{name}.base_url", url_variable, url)
    return origins


def _as_toml(variable: str, value: str) -> object:
    """What the file would have for a variable."""
    match variable:
        case "VIDEO_GATEWAY_PORT":
            return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else value
        case "VIDEO_GATEWAY_API_KEY" | "VIDEO_GATEWAY_ADMIN_KEY":
            return [f"env:{variable}"]
        case "VIDEO_GATEWAY_WEBHOOK_SECRET":
            return f"env:{variable}"
        case "VIDEO_GATEWAY_ARTIFACTS":  # a folder may come bare; a scheme has two letters at least, a drive has one
            return value if re.match(r"[A-Za-z][A-Za-z0-9]+:", value) else f"file:{value}"
        case _:
            return value


def unread(environ: Mapping[str, str], tables: Mapping[str, Any]) -> list[str]:
    """A warning for each `VIDEO_GATEWAY_…` variable that nothing reads: misspelt, or another program's.

    A variable that the file names itself (`env:NAME`) is read.
    """
    known = {name.removeprefix(PREFIX): name for name in (CONFIG_VARIABLE, *ENVIRONMENT)}
    read = {
        VARIABLE,
        *known.values(),
        *(text.removeprefix("env:") for text in _strings(tables) if text.startswith("env:")),
    }
    warnings: list[str] = []
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and environ[name] and name not in read:
            # Compared without the prefix, which makes every two of them alike.
            close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), known, n=1)
            hint = f"did you mean {known[close[0]]}?" if close else f"known are {', '.join(sorted(known.values()))}"
            warnings.append(f"{name}: the gateway reads no such variable; {hint}")
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
