"""Reads the configuration again, and puts it in place as a whole or not at all."""

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Literal

import structlog
from msgspec import Struct, structs

from gateway.clock import Clock
from gateway.configuration.bound import Bound, Source, bound, settings_of
from gateway.domain.errors import ConfigurationError
from gateway.live import Live
from gateway.settings.changes import changed_keys, needs_restart
from gateway.settings.clients import alone, named_keys
from gateway.settings.load import Settings
from gateway.settings.secret_values import secret_values, too_short
from gateway.upstream.provider import other_adapters

log = structlog.get_logger()
ECHO_LIFE = timedelta(days=1)  # for so long a secret that was replaced is still hidden: somebody may echo it late
ECHOES_MAX = 1000  # secrets that are hidden in addition; the newest count
READS_MAX = 5  # of the files, until they are the same before and after they were read
FILE_MAX = 4 * 1024 * 1024  # bytes of a file that are compared
RESTART_NEEDED = (
    "{path}: only a new start can change this key; nothing was reloaded, and the value of the start is kept. Start the"
    " gateway again, or set the key back"
)
OWNS_ALREADY = (
    "{path}: this key was a client by itself, and only a new start gives what it owns to the client; nothing was"
    " reloaded. Start the gateway again, or leave the key in server.api_keys or server.kling_keys"
)
OTHER_TASKS = (
    "providers.{name}.adapter: the account of this name has another adapter so far, and its tasks are read with that;"
    " nothing was reloaded. Give the new account another name, or start the gateway again when no task is open"
)
Cause = Literal["signal", "file", "request"]
Fingerprint = tuple[tuple[Path, bytes | None], ...]  # each file with the digest of its bytes; None: it is not there


class State(Struct, frozen=True, kw_only=True):
    """Which configuration counts, and how the last reload went. It has no value of any key."""

    generation: int  # 1 at the start; each reload that changed something adds 1
    loaded_at: datetime
    settings: Settings
    changed: tuple[str, ...] = ()  # the keys that the last change has changed
    changed_since_start: tuple[str, ...] = ()  # the keys whose values differ from those of the start
    faults: tuple[str, ...] = ()  # why the last reload was refused; empty if it was not
    refused_at: datetime | None = None


class Reloader:
    """Reloads on demand, one reload after the other."""

    def __init__(self, live: Live[Bound], source: Source | None, clock: Clock) -> None:
        """Without a `source` nothing can be read again: the settings come from the program that started the gateway."""
        self._live = live
        self._source = source
        self._clock = clock
        self._first = live.current.settings
        self._alone = set(
            alone(self._first.server)
        )  # the keys that were clients by themselves at any time since the start
        self._turn = asyncio.Lock()
        self._old_secrets: dict[str | bytes, datetime] = {}  # with the time until which each is hidden
        self.read: Fingerprint | None = None  # the files, as the last reload has read them, also if it was refused
        self.state = State(generation=1, loaded_at=clock.now(), settings=self._first)

    async def reload(self, cause: Cause) -> tuple[str, ...]:
        """Read, check and bind the configuration, and put it in place. Returns the paths of the keys that changed.

        Raises `ConfigurationError` with every fault, and then nothing has changed.
        """
        async with self._turn:
            now = self._clock.now()
            try:
                changed, new, commit = await asyncio.to_thread(self._prepared, now)
            except ConfigurationError as error:
                self.state = structs.replace(self.state, faults=error.args, refused_at=now)
                _log_refusal(cause, error.args)
                raise
            if not changed:
                self.state = structs.replace(self.state, faults=(), refused_at=None)
                log.info("configuration_reloaded", cause=cause, generation=self.state.generation, changed=[])
                return ()
            for secret in set(secret_values(self._live.current.settings)) - set(secret_values(new.settings)):
                self._old_secrets[secret] = now + ECHO_LIFE
            commit()
            self._alone |= alone(new.settings.server).keys()
            self.state = State(
                generation=self.state.generation + 1,
                loaded_at=now,
                settings=new.settings,
                changed=changed,
                changed_since_start=changed_keys(self._first, new.settings),
            )
            log.info("configuration_reloaded", cause=cause, generation=self.state.generation, changed=list(changed))
            for warning in (*new.settings.warnings, *too_short(new.settings)):
                log.warning("configuration_warning", detail=warning)
            return changed

    def _prepared(self, now: datetime) -> tuple[tuple[str, ...], Bound, Callable[[], None]]:
        """What changes, and the call that puts it in place. Takes as long as a start takes to read; not on the loop."""
        if self._source is None:
            raise ConfigurationError(
                "configuration: this gateway was given its settings by another program, such as the demo, and cannot"
                " read them again; start it with `video-gateway serve`"
            )
        before = self._live.current
        settings = self._settings(self._source)
        changed = changed_keys(before.settings, settings)
        faults = [RESTART_NEEDED.format(path=path) for path in changed if needs_restart(path)]
        faults += [OWNS_ALREADY.format(path=path) for path in named_keys(settings.clients, self._alone)]
        if faults:
            raise ConfigurationError(*faults)
        self._old_secrets = dict(
            [(secret, until) for secret, until in self._old_secrets.items() if until > now][-ECHOES_MAX:]
        )
        hidden = [*self._old_secrets, *secret_values(before.settings)]
        new = bound(settings, self._source.adapters, earlier=before.providers, old_secrets=hidden)
        if others := other_adapters(before.providers, new.providers):
            raise ConfigurationError(*(OTHER_TASKS.format(name=name) for name in others))
        return changed, new, self._live.prepared(new)

    def _settings(self, source: Source) -> Settings:
        """The settings of one moment: no file has changed while the files were read."""
        seen = self.read
        for _ in range(READS_MAX):
            reading = source.read()
            self.read = fingerprint(reading.files)
            if self.read == seen:
                break
            seen = self.read
        return settings_of(reading, source.adapters)


def fingerprint(files: Collection[Path]) -> Fingerprint:
    """What the files contain, as digests. It waits for the disk, so it is not for the event loop."""
    return tuple((file, _digest(file)) for file in dict.fromkeys(files))


def _digest(file: Path) -> bytes | None:
    """The digest of a regular file, also at the end of links; `None` otherwise: a pipe is read only once."""
    try:
        if not S_ISREG(file.stat().st_mode):
            return None
        with file.open("rb") as opened:
            return sha256(opened.read(FILE_MAX)).digest()
    except (OSError, ValueError):
        return None


def _log_refusal(cause: Cause, faults: Collection[str]) -> None:
    for fault in faults:
        at, _, problem = fault.partition(": ")
        log.error("configuration_fault", at=at, problem=problem)
    log.error("configuration_not_reloaded", cause=cause, faults=len(faults))
