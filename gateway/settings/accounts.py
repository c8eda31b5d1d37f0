"""The rules for `[providers.<name>]` tables: which adapter each one uses, its name, and the secrets that it needs.

A table is one account. Any number of accounts may use the same adapter; a table without the key `adapter` uses the
adapter that has the table's own name.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from gateway.domain.adapter.contract import API_KEY, Adapter
from gateway.settings.environment import variable_prefix
from gateway.settings.sections import ProviderSettings
from gateway.settings.toml import TomlReader, nearest, show_path

NAME_MAX = 32  # characters of the name of an account
_NAME = re.compile(rf"[a-z][a-z0-9_-]{{0,{NAME_MAX - 1}}}")
# Names with another meaning in models: two virtual models, and the owner of all virtual models.
_TAKEN = frozenset({"auto", "kling", "video-gateway"})


def drop_unknown(tables: dict[str, Any], adapters: Mapping[str, Adapter], reader: TomlReader) -> set[str]:
    """Report and remove the tables that use no installed adapter, or whose name cannot be used.

    Returns the names that a route may begin with: those of the adapters, and those of the tables that name an adapter,
    also where such a table was removed because of another mistake.
    """
    accounts = tables.get("providers")
    named = set(adapters)
    if not isinstance(accounts, dict):
        return named
    for name, account in list(accounts.items()):
        if isinstance(account, dict) and "adapter" in account:
            named.add(name)
            faults = [*_adapter_faults(name, account["adapter"], adapters), *_name_faults(name, adapters)]
        else:
            faults = [] if name in adapters else [((), _unknown(name, adapters))]
        for keys, message in faults:
            reader.report(("providers", name, *keys), message)
        if faults:
            del accounts[name]
    return named


def _unknown(name: str, adapters: Collection[str]) -> str:
    return f'no such provider; {_installed(name, adapters)}; for an account with another name, add adapter = "…"'


def _installed(name: str, adapters: Collection[str]) -> str:
    """Which adapters there are, after the one that is most like a name."""
    close = "".join(f'did you mean "{match}"? ' for match in get_close_matches(name, adapters, n=1))
    return f"{close}installed are {', '.join(sorted(adapters))}"


def _adapter_faults(name: str, raw: object, adapters: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(raw, str):
        yield ("adapter",), f"expected the name of an adapter; installed are {', '.join(sorted(adapters))}"
    elif raw not in adapters:
        yield ("adapter",), f"no such adapter; {_installed(raw, adapters)}"
    elif name in adapters and raw != name:
        # Its variable, such as KEEVX_API_KEY, would give the key of one company to another one.
        yield ("adapter",), f'"{name}" is the name of another adapter; give the table another name'


def _name_faults(name: str, adapters: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    if name in adapters:
        return
    if not _NAME.fullmatch(name):
        made_of = f"at most {NAME_MAX} small letters, digits, _ and -, with a letter first"
        yield (), f"expected a name of {made_of}: it becomes a part of model names and URLs"
    elif name in _TAKEN:
        yield (), "this name has another meaning in model names; choose another one"


def check_secrets(tables: dict[str, Any], adapters: Mapping[str, Adapter], reader: TomlReader) -> None:
    """Report the secrets that an enabled account lacks, and those that its adapter does not know."""
    accounts = tables.get("providers")
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        declared = adapters[str(account.get("adapter", name))].secrets
        own = {key: required for key, required in declared.items() if key != API_KEY}
        given = account.get("secrets", {})
        if not isinstance(given, dict):
            continue  # the reader refuses anything that is not a table
        path = ("providers", name)
        if API_KEY in account and API_KEY not in declared:
            takes = " and ".join(f"secrets.{key}" for key in own) or "no key"
            reader.report((*path, API_KEY), f"this adapter takes no api_key; it takes {takes}")
        for key in given:
            if key not in own:
                hint = nearest(key, list(own)) if own else "this adapter takes api_key alone"
                reader.report((*path, "secrets", key), f"unknown secret; {hint}")
        if account.get("enabled") is False:
            continue
        if declared.get(API_KEY) and API_KEY not in account:
            variable = f", or set the variable {variable_prefix(name)}_API_KEY" if name in adapters else ""
            reader.report((*path, API_KEY), f"missing; set it to env:NAME or file:PATH{variable}")
        for key, required in own.items():
            if required and key not in given:
                reader.report((*path, "secrets", key), "missing; set it to env:NAME or file:PATH")


def same_accounts(accounts: Mapping[str, ProviderSettings], adapters: Mapping[str, Adapter]) -> list[str]:
    """A warning for each account with the adapter, the base URL and the secrets of an earlier one.

    The provider counts both as one: its limits and its credit are shared, and what it refuses to one it refuses to the
    other.
    """
    first: dict[tuple[Any, ...], str] = {}
    warnings: list[str] = []
    for name, account in accounts.items():
        if not account.has_key:
            continue
        adapter = account.adapter or name
        secrets = tuple(sorted((key, secret.reveal()) for key, secret in account.secrets.items()))
        identity = (adapter, account.base_url or adapters[adapter].base_url, account.api_key.reveal(), secrets)
        if (earlier := first.setdefault(identity, name)) != name:
            warnings.append(
                f"{show_path(('providers', name))}: the same account as providers.{earlier}: its base URL and its key"
                " are the same; remove one of the two, or give this one a key of its own"
            )
    return warnings
