"""`check`: what a configuration comes to, and what is wrong with it. Nothing is sent to a provider, nothing is made."""

import asyncio
import fcntl
import os
import re
import socket
import ssl
import textwrap
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import apsw
from msgspec import Struct, structs

from gateway.app import UNFOLLOWED_SHOWN
from gateway.artifacts.bucket import bucket_of, probe
from gateway.build import providers_of
from gateway.clock import BEHIND_SECONDS
from gateway.commands.lenient import file_of, load_leniently
from gateway.commands.terminal import say
from gateway.domain.adapter.contract import Adapter, Polling
from gateway.domain.errors import ConfigurationError
from gateway.domain.ledger_clock import LedgerTime, clock_trouble, sweep_hold
from gateway.domain.routing.plan import Candidate
from gateway.domain.routing.price import Price
from gateway.drain import drain_of
from gateway.generations.catalog import Catalog
from gateway.settings.load import ProviderSettings, Settings
from gateway.store import migrations
from gateway.store.sqlite.attempts import UNFOLLOWED
from gateway.store.sqlite.clock import ledger_time
from gateway.store.sqlite.columns import to_json
from gateway.store.sqlite.file import check_place, kept_time
from gateway.upstream.provider import Provider, bind
from gateway.upstream.registry import load_adapters

STARTS, UNREACHABLE, STARTS_NOT = 0, 1, 2  # 1: it starts, but a provider or the bucket cannot be reached
CONNECT_SECONDS = 10.0
WIDTH = 100  # of a list's lines


@dataclass(slots=True)
class Report:
    """What was found; `errors` would stop a start."""

    errors: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)

    def error(self, name: str, told: object) -> None:
        """Something that stops the start."""
        self.errors.append(str(told))
        line(name, f"ERROR {told}")


def line(name: str, text: str) -> None:
    """One line of the report."""
    say(f"{name:<14} {text}")


def several(name: str, before: str, names: Iterable[str]) -> None:
    """A list of the report, over as many lines as it takes."""
    whole = [one.replace(" ", "\0") for one in names]  # a name and what stands beside it are not torn apart
    text = textwrap.fill(before + ", ".join(whole), WIDTH, break_long_words=False, break_on_hyphens=False)
    for one in text.replace("\0", " ").splitlines():
        line(name, one)
        name = ""


def check(config: Path | None, *, connect: bool) -> int:
    """Print what the configuration comes to; the exit code."""
    report = Report()
    adapters = load_adapters()
    settings, faults = load_leniently(config, adapters)
    for fault in faults:
        report.error(fault.name or "configuration", fault.told)
    broken = {fault.name for fault in faults if fault.section == "providers"}
    if settings is not None:
        line("configuration", str(file_of(config) or "no file; the environment alone"))
        _server(settings)
        warnings = _database(settings, report)
        _artifacts(settings, report, connect=connect)
        _choices(settings)
        found = dict(_providers(settings, adapters, broken, report))
        bound = {name: found[name] for name in settings.providers if name in found}  # the order of `auto`
        if connect:
            _connect(bound, report)
        warnings += _drain(bound, settings)
        _models(bound, structs.replace(settings, providers=dict.fromkeys(bound, ProviderSettings())), report)
        for warning in (*settings.warnings, *warnings):
            in_vain = warning.startswith("providers: ") and bool(report.errors)  # an error by now
            if not in_vain and not any(warning.startswith("models.") and name in warning for name in broken):
                line("warning", warning)
    if report.errors:
        line("result", f"does not start: {len(report.errors)} error{'s' * (len(report.errors) > 1)}")
        return STARTS_NOT
    if report.unreachable:
        line("result", f"starts, but cannot reach {', '.join(report.unreachable)}")
        return UNREACHABLE
    line("result", "good to start")
    return STARTS


def _server(settings: Settings) -> None:
    server = settings.server
    who = "anybody on this machine"
    if server.auth != "none":
        who = f"{_count(server.api_keys, 'client key')} and {_count(server.admin_keys, 'admin key')}"
    host = f"[{server.host}]" if ":" in server.host else server.host
    line("server", f"http://{host}:{server.port}, open to {who}")
    line("public_url", server.public_url or "not set: no callbacks, no signed links to inputs")


def _drain(bound: Mapping[str, Provider], settings: Settings) -> list[str]:
    """Show how long a stop may take; the warning when that is too short for a submit."""
    drain = drain_of(settings, bound)
    if not bound and settings.server.drain_seconds is None:
        return []  # without a provider there is no time to derive, and the error about that is shown
    supervisor = "the supervisor must wait longer (stop_grace_period, terminationGracePeriodSeconds, TimeoutStopSec)"
    line("drain_seconds", f"{drain.seconds:g}: a stop takes this long at most; {supervisor}")
    return [] if drain.warning is None else [drain.warning]


class Ledger(Struct, frozen=True, kw_only=True):
    """What a database file says of itself."""

    state: str
    time: LedgerTime = LedgerTime(newest=None, has_open=False)
    unfollowed: tuple[tuple[str, str], ...] = ()  # providers that cannot be followed, each with an open generation


def _database(settings: Settings, report: Report) -> list[str]:
    """Show the ledger, and whether the clock fits it; the warnings."""
    path = settings.database.path.resolve()
    followed = [name for name, account in settings.providers.items() if account.enabled or account.api_key]
    try:
        ledger = _ledger(path, followed)
    except ConfigurationError as error:
        report.error("database", error)
        return []
    line("database", f"{path}: {ledger.state}")
    return [*_clock(ledger.time, report), *_unfollowed(ledger)]


def _clock(ledger: LedgerTime, report: Report) -> list[str]:
    now = datetime.now(UTC)
    if (trouble := clock_trouble(now, ledger)) is not None:
        report.error("clock", trouble)
        return []
    if ledger.newest is None:
        return []
    line("clock", f"fits the ledger, whose newest moment is {ledger.newest:%Y-%m-%d %H:%M:%S} UTC")
    if sweep_hold(now, ledger) is not None:
        days = (now - ledger.newest).days
        return [f"clock: {days} days ahead of the ledger; for the first day nothing is removed by its time"]
    behind = (ledger.newest - now).total_seconds()
    if behind >= BEHIND_SECONDS:
        return [f"clock: {behind:,.0f} s behind the ledger; the gateway goes on from the ledger's newest moment"]
    return []


def _unfollowed(ledger: Ledger) -> list[str]:
    by_provider: dict[str, list[str]] = {}
    for provider, generation in ledger.unfollowed:
        by_provider.setdefault(provider, []).append(generation)
    return [
        f"providers.{provider}: {len(ids)} open generation(s) that it works on cannot be followed without its key:"
        f" {', '.join(ids[:UNFOLLOWED_SHOWN])}{', …' * (len(ids) > UNFOLLOWED_SHOWN)}"
        for provider, ids in by_provider.items()
    ]


def _ledger(path: Path, providers: Sequence[str]) -> Ledger:
    """How a database file is; nothing is left behind, and a gateway that runs on it is not disturbed."""
    check_place(path)
    lock_path = path.with_name(path.name + "-lock")
    if not path.exists():
        return Ledger(state="will be made at the first start", time=_time_beside(lock_path))
    running = _is_locked(lock_path)
    # Where nobody else has it open, a reader that may not write would leave its side files behind.
    flags = apsw.SQLITE_OPEN_READONLY if running else apsw.SQLITE_OPEN_READWRITE
    try:
        connection = apsw.Connection(str(path), flags=flags)
        try:
            connection.set_busy_timeout(2000)
            has_schema = "select count(*) from sqlite_schema where name = 'schema_migrations'"
            applied: dict[int, str] = {}
            if connection.execute(has_schema).get:
                applied = dict(connection.execute("select number, checksum from schema_migrations"))
            to_come = migrations.pending(migrations.load("sqlite"), applied)
            rows = [] if to_come else connection.execute(UNFOLLOWED, (to_json(list(providers)),)).fetchall()
            with lock_path.open("rb") if lock_path.exists() else nullcontext() as lock:
                time = ledger_time(connection, lock)
        finally:
            connection.close()
    except apsw.Error as error:
        raise ConfigurationError(f"database.url: cannot use {path}: {error}") from error
    state = f"schema {max(applied, default=0)}" + (f", {len(to_come)} migration(s) to come" if to_come else "")
    state += ", a gateway is running on it" if running else ", can be opened"
    unfollowed = tuple((str(provider), str(generation)) for provider, generation in rows)
    return Ledger(state=state, time=time, unfollowed=unfollowed)


def _time_beside(lock_path: Path) -> LedgerTime:
    """The time that a process on the ledger noted, where the ledger itself is gone."""
    if not lock_path.exists():
        return LedgerTime(newest=None, has_open=False)
    with lock_path.open("rb") as lock:
        return LedgerTime(newest=kept_time(lock), has_open=False)


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise ConfigurationError(f"database.url: cannot open {path}: {error.strerror}") from error
    return False


def _artifacts(settings: Settings, report: Report, *, connect: bool) -> None:
    folder = settings.artifacts.path.resolve()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        key = "folder" if settings.artifacts.is_bucket else "url"
        report.error("artifacts", f"artifacts.{key}: {there} cannot be written to")
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
        line("artifacts", f"{where} (not tried: --connect does); inputs in {folder}")
    elif (reason := asyncio.run(probe(bucket))) is None:
        line("artifacts", f"{where} answers; inputs in {folder}")
    else:
        report.unreachable.append("the bucket")
        at = f" at {settings.artifacts.endpoint}" if settings.artifacts.endpoint else ""
        line("artifacts", f"UNREACHABLE {where}{at}: {reason}")


def _choices(settings: Settings) -> None:
    """What is so without a word in the configuration, and matters."""
    results, files = settings.artifacts.keep_days, settings.files.keep_days
    line("keep_days", f"results {results:g}, uploaded files {files:g}")
    line("fetch", ", ".join(["public addresses", *map(str, settings.fetch.allow)]))
    webhooks = settings.webhooks
    configured = "configured" + ", beside the previous one" * (webhooks.previous_secret is not None)
    line("webhooks", "a secret for each client key" if webhooks.secret is None else f"the secret is {configured}")


def _providers(
    settings: Settings, adapters: Mapping[str, Adapter], broken: set[str], report: Report
) -> Iterator[tuple[str, Provider]]:
    for name, adapter in adapters.items():
        account = settings.providers.get(name)
        if name in broken:
            continue
        if account is None:
            if settings.enabled:  # else the error names them all
                variable = re.sub(r"\W", "_", name).upper() + "_API_KEY"
                line(name, f"not configured; {variable} or a table [providers.{name}] turns it on")
            continue
        if not account.enabled:
            followed = "the tasks that it runs are followed" if account.api_key else "without a key to follow its tasks"
            line(name, f"off: enabled = false, {followed}")
            continue
        try:
            provider = bind(structs.replace(settings, providers={name: account}), adapters)[name]
        except ConfigurationError as error:
            report.error(name, error)
            continue
        line(name, provider.base_url + (", " if account.base_url else " (the adapter's own), ") + "key present")
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


def _connect(bound: Mapping[str, Provider], report: Report) -> None:
    for name, provider in bound.items():
        begun = time.monotonic()
        try:
            how = _reach(provider.base_url)
        except (OSError, UnicodeError) as error:
            report.unreachable.append(name)
            line(name, f"UNREACHABLE {provider.base_url}: no connection: {error}")
        else:
            line(name, f"reached by {how} in {(time.monotonic() - begun) * 1000:.0f} ms")


def _reach(url: str) -> str:
    """Open a connection as a call would, and close it: no request is sent."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as plain:
        if parts.scheme == "http":
            return "TCP"
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secure:
            return secure.version() or "TLS"


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
        line("models", f"these, and {plain} with the one route of their name: video-gateway models shows them")


def _route(candidate: Candidate) -> str:
    priced = f" ({_prices(candidate.prices)})" if candidate.prices else ""
    return f"{candidate.provider}/{candidate.model}{priced}"


def _count(things: Collection[object], name: str) -> str:
    return f"{len(things) or 'no'} {name}{'s' * (len(things) > 1)}"


def _prices(prices: Sequence[Price]) -> str:
    """A price table in a line."""
    rows = []
    for price in prices:
        sums = {"a clip": price.per_clip, "a second": price.per_second}
        amounts = " and ".join(f"{usd:g} USD {unit}" for unit, usd in sums.items() if usd is not None)
        sound = {True: "with audio", False: "silent", None: ""}[price.generate_audio]
        rows.append(" ".join(filter(None, (amounts, price.resolution, price.mode, sound))))
    return ", else ".join(rows)
