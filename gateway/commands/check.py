"""`check`: shows what a configuration results in, and every fault. It creates no file.

It sends nothing to providers, except with `--connect` one read for each account, which costs nothing.
"""

import asyncio
import os
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from gateway.app import UNFOLLOWED_SHOWN
from gateway.buckets.opening import bucket_of, probe
from gateway.clients.directory import left_behind
from gateway.clock import BEHIND_SECONDS
from gateway.commands.connect import connect as connect_to
from gateway.commands.ledger_file import LedgerFile, inspect_ledger, inspect_server
from gateway.commands.terminal import line
from gateway.domain.adapter.contract import Adapter, Polling
from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime, clock_trouble, sweep_hold
from gateway.domain.routing.plan import Candidate
from gateway.domain.routing.price import Price
from gateway.drain import drain_of
from gateway.generations.catalog import Catalog
from gateway.inputs.disk_room import refuses_images
from gateway.settings.environment import variable_prefix
from gateway.settings.load import ProviderSettings, Settings, read_configuration, table_of
from gateway.settings.secret_values import redactor_of, too_short
from gateway.settings.toml import Fault
from gateway.upstream.provider import Provider, bind, providers_of
from gateway.upstream.registry import load_adapters

STARTS, UNUSABLE, STARTS_NOT = 0, 1, 2  # 1: the gateway starts, but cannot use a provider or the bucket
WIDTH = 100  # characters of a line of a list


@dataclass(slots=True)
class Report:
    """The findings: the `errors` would stop a start, the names in `unreachable` and `refused` would not."""

    errors: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # providers that refuse the key

    def error(self, name: str, fault: Fault | ConfigurationError) -> None:
        """Print and count what would stop a start: one fault, or several."""
        for message in fault.args if isinstance(fault, ConfigurationError) else (str(fault),):
            self.errors.append(message)
            line(name, f"ERROR {message}")


def several(name: str, before: str, names: Iterable[str]) -> None:
    """Print a list of the report, over as many lines as it needs."""
    unbroken = [entry.replace(" ", "\0") for entry in names]  # no line break between a route and its price
    text = textwrap.fill(before + ", ".join(unbroken), WIDTH, break_long_words=False, break_on_hyphens=False)
    for row in text.replace("\0", " ").splitlines():
        line(name, row)
        name = ""


def check(config: Path | None, *, connect: bool) -> int:
    """Print what the configuration results in and what is wrong with it. Returns the exit code."""
    report = Report()
    adapters = load_adapters()
    reading = read_configuration(config, os.environ, adapters)
    for fault in reading.faults:
        _, name = table_of(fault) or ("", "configuration")
        report.error(name, fault)
    if (settings := reading.settings) is not None:
        tables = [table_of(fault) or ("", "") for fault in reading.faults]
        broken = {name for section, name in tables if section == "providers"}
        line("configuration", str(settings.file or "no file; the environment alone"))
        _server(settings)
        warnings = _database(settings, report)
        _artifacts(settings, report, connect=connect)
        _choices(settings)
        providers = dict(_providers(settings, adapters, broken, report))
        bound = {name: providers[name] for name in settings.providers if name in providers}  # the order of `auto`
        if connect:
            unreachable, report.refused = connect_to(bound)
            report.unreachable += unreachable
        warnings += _drain(bound, settings)
        warnings += filter(None, [refuses_images(settings.artifacts)])
        _models(bound, structs.replace(settings, providers=dict.fromkeys(bound, ProviderSettings())), report)
        for warning in (*settings.warnings, *too_short(settings), *warnings):
            if not (warning.startswith("providers: ") and report.errors):  # already printed as an error
                line("warning", warning)
    if report.errors:
        line("result", f"does not start: {len(report.errors)} error{'s' * (len(report.errors) > 1)}")
        return STARTS_NOT
    troubles = {"cannot reach": report.unreachable, "the key is refused by": report.refused}
    if unusable := [f"{what} {', '.join(names)}" for what, names in troubles.items() if names]:
        line("result", f"starts, but {'; '.join(unusable)}")
        return UNUSABLE
    line("result", "good to start")
    return STARTS


def _server(settings: Settings) -> None:
    server = settings.server
    callers = "anybody on this machine"
    if server.auth != "none":
        kinds: list[tuple[Collection[object], str]] = [
            (server.api_keys, "client key"),
            (server.kling_keys, "Kling key"),
            (settings.clients, "named client"),
        ]
        clients = [_count(items, name) for items, name in kinds if items] or ["no client"]
        callers = f"{', '.join(clients)} and {_count(server.admin_keys, 'admin key')}"
    host = f"[{server.host}]" if ":" in server.host else server.host
    line("server", f"http://{host}:{server.port}, open to {callers}")
    line("public_url", server.public_url or "not set: no callbacks, no signed links to inputs")


def _drain(bound: Mapping[str, Provider], settings: Settings) -> list[str]:
    """Show how long a stop may take. Returns a warning if that is too short for a submit."""
    drain = drain_of(settings, bound)
    if not bound and settings.server.drain_seconds is None:
        return []  # the time is derived from the providers, and an error already says that one is missing
    supervisor = "the supervisor must wait longer (stop_grace_period, terminationGracePeriodSeconds, TimeoutStopSec)"
    line("drain_seconds", f"{drain.seconds:g}: a stop takes this long at most; {supervisor}")
    return [] if drain.warning is None else [drain.warning]


def _database(settings: Settings, report: Report) -> list[str]:
    """Show the ledger, and whether the system clock fits it. Returns the warnings."""
    path = settings.database.path
    followed = [name for name, account in settings.providers.items() if account.enabled or account.has_key]
    try:
        ledger = (
            inspect_server(settings.database, followed) if path is None else inspect_ledger(path.resolve(), followed)
        )
    except ConfigurationError as error:
        report.error("database", error)
        return []
    line("database", f"{settings.database.url if path is None else path.resolve()}: {ledger.state}")
    return [*_clock(ledger.time, report), *_unfollowed(ledger), *left_behind(settings, ledger.adopted)]


def _clock(ledger: LedgerTime, report: Report) -> list[str]:
    now = datetime.now(UTC)
    if (trouble := clock_trouble(now, ledger)) is not None:
        report.error("clock", trouble)
        return []
    if ledger.newest is None:
        return []
    line("clock", f"fits the ledger, whose newest time is {ledger.newest:%Y-%m-%d %H:%M:%S} UTC")
    if sweep_hold(now, ledger) is not None:
        days = (now - ledger.newest).days
        return [f"clock: {days} days ahead of the ledger; for the first day nothing is removed because of its age"]
    seconds_early = (ledger.newest - now).total_seconds()
    if seconds_early >= BEHIND_SECONDS:
        early = f"{seconds_early:,.0f} s earlier than the newest time in the ledger"
        return [f"clock: {early}; the gateway continues from the time in the ledger"]
    return []


def _unfollowed(ledger: LedgerFile) -> list[str]:
    by_provider: dict[str, list[str]] = {}
    for provider, generation in ledger.unfollowed:
        by_provider.setdefault(provider, []).append(generation)
    return [
        f"providers.{provider}: {len(ids)} open generation(s) that it works on cannot be followed without its key:"
        f" {', '.join(ids[:UNFOLLOWED_SHOWN])}{', …' * (len(ids) > UNFOLLOWED_SHOWN)}"
        for provider, ids in by_provider.items()
    ]


def _artifacts(settings: Settings, report: Report, *, connect: bool) -> None:
    folder = settings.artifacts.path.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        key = "folder" if settings.artifacts.is_bucket else "url"
        report.error("artifacts", Fault(("artifacts", key), f"{existing} is not a folder that can be written to"))
        return
    if not settings.artifacts.is_bucket:
        line("artifacts", str(folder))
        return
    try:
        bucket = bucket_of(settings.artifacts)
    except ConfigurationError as error:
        report.error("artifacts", error)
        return
    where = settings.artifacts.url
    if not connect:
        line("artifacts", f"{where} (not tried: --connect does); copies of inputs in {folder}")
    elif (reason := asyncio.run(probe(bucket))) is None:
        line("artifacts", f"{where} answers; copies of inputs in {folder}")
    else:
        report.unreachable.append("the bucket")
        at = f" at {settings.artifacts.endpoint}" if settings.artifacts.endpoint else ""
        line("artifacts", f"UNREACHABLE {where}{at}: {reason}")


def _choices(settings: Settings) -> None:
    """Show settings that matter, also if the configuration does not mention them."""
    results, files = settings.artifacts.keep_days, settings.files.keep_days
    line("keep_days", f"results {results:g}, uploaded files {files:g}")
    line("fetch", ", ".join(["public addresses", *map(str, settings.fetch.allow)]))
    webhooks = settings.webhooks
    configured = "configured" + ", beside the previous one" * (webhooks.previous_secret is not None)
    line("webhooks", "a secret for each client key" if webhooks.secret is None else f"the secret is {configured}")


def _providers(
    settings: Settings, adapters: Mapping[str, Adapter], broken: set[str], report: Report
) -> Iterator[tuple[str, Provider]]:
    unused = set(adapters) - {account.adapter or name for name, account in settings.providers.items()} - broken
    for name in sorted(unused) if settings.enabled else ():  # otherwise an error names all of them
        variable = f"{variable_prefix(name)}_API_KEY"
        line(name, f"not configured; {variable} or a table [providers.{name}] turns it on")
    for name, account in settings.providers.items():
        adapter = adapters[account.adapter or name]
        if not account.enabled:
            followed = "the tasks that it runs are followed" if account.has_key else "without a key to follow its tasks"
            line(name, f"off: enabled = false, {followed}")
            continue
        try:
            provider = bind(structs.replace(settings, providers={name: account}), adapters)[name]
            provider = replace(provider, redactor=redactor_of(settings))
        except ConfigurationError as error:
            report.error(name, error)
            continue
        through = f"an account of {adapter.name}, " if adapter.name != name else ""
        line(
            name,
            f"{through}{provider.base_url}" + (", " if account.base_url else " (the adapter's own), ") + "key present",
        )
        several("  models", "", provider.models)
        usual = account.over(adapter.polling)
        line("  polling", _polling(usual))
        for model in provider.models.values():
            if model.polling != usual:
                line("", f"{model.name}: {_polling(model.polling)}")
        yield name, provider
    if not settings.enabled and not broken:
        try:
            providers_of(settings, adapters)
        except ConfigurationError as error:
            report.error("providers", error)


def _polling(polling: Polling) -> str:
    return (
        f"first after {polling.first_poll_seconds:g} s, then every {polling.poll_seconds:g} s, at most "
        f"{polling.poll_max_seconds:g} s apart; a submit has {polling.submit_timeout_seconds:g} s, "
        f"an attempt {polling.attempt_timeout_seconds:g} s"
    )


def _models(bound: Mapping[str, Provider], settings: Settings, report: Report) -> None:
    try:
        catalog = Catalog(bound, settings)
    except ConfigurationError as error:
        report.error("models", error)
        return
    plain = 0
    for model in catalog.listed():
        if model.owned_by in bound:
            plain += 1
            continue
        order = "" if model.order == "priority" else f", {model.order}"
        several("model", f"{model.name}, {_count(model.candidates, 'route')}{order}: ", map(_route, model.candidates))
    if plain:
        line("models", f"and {plain} more, one for each route: `video-gateway models` lists them")


def _route(candidate: Candidate) -> str:
    kinds = {capability.kind for capability in candidate.capabilities}
    priced = (
        f" ({_prices(candidate.prices, 'an image' if kinds == {'image'} else 'a clip')})" if candidate.prices else ""
    )
    return f"{candidate.provider}/{candidate.model}{priced}"


def _count(items: Collection[object], name: str) -> str:
    return f"{len(items) or 'no'} {name}{'s' * (len(items) > 1)}"


def _prices(prices: Sequence[Price], output: str) -> str:
    """A price table on one line; `output` names what `per_clip` is the price of."""
    rows = []
    for price in prices:
        sums = {
            output: price.per_clip,
            "a second": price.per_second,
            "a failed task": price.per_failure,
            "a refusal": price.per_refusal,
        }
        amounts = " and ".join(f"{usd:g} USD {unit}" for unit, usd in sums.items() if usd is not None)
        sound = {True: "with audio", False: "silent", None: ""}[price.generate_audio]
        rows.append(" ".join(filter(None, (amounts, price.resolution, price.quality, price.mode, sound))))
    return ", else ".join(rows)
