"""`restore`: puts a backup in the place of the ledger. The next start buys nothing by itself."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import apsw
import msgspec

from gateway.commands.backup import (
    CONTENT,
    FILES,
    FORMAT,
    LEDGER,
    MANIFEST,
    Manifest,
    put_file,
    report_missing,
    sealed,
    source_of,
)
from gateway.commands.terminal import say
from gateway.domain.errors import ConfigurationError
from gateway.domain.lineage import RESTORED, Marker
from gateway.fsync import fsync_path
from gateway.settings.places import places
from gateway.store import migrations
from gateway.store.sqlite.backup import NamedFile, facts_of
from gateway.store.sqlite.file import check_place, take_lock
from gateway.store.sqlite.marker import write_marker

_SIDES = ("", "-wal", "-shm")


def restore(source: Path, config: Path | None, *, replace: bool) -> int:
    """Restore a backup. Everything is checked before anything is replaced. Raises `ConfigurationError`."""
    own = places(config, os.environ)
    check_place(own.ledger)
    manifest = _checked(source)
    lock = take_lock(own.ledger)
    try:
        if own.ledger.exists() and not replace:
            raise ConfigurationError(
                f"restore: there is a ledger at {own.ledger}; --replace puts it aside, under another name in its folder"
            )
        aside = _put_in_place(source / LEDGER, own.ledger)
        missing = [] if own.artifacts.is_bucket else _files(source, manifest, own.artifacts.path)
    except OSError as error:
        raise ConfigurationError(f"restore: {own.ledger}: {error}") from error
    finally:
        lock.close()
    if aside is not None:
        say(f"the ledger that was there is {aside} now")
    say(
        f"{own.ledger}: as it was at {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, schema {manifest.ledger.schema},"
        f" {manifest.ledger.generations} generation(s). The next start holds the open ones: what was bought since is"
        " not in this ledger, so nothing is bought for them until you release them (`video-gateway restored`)"
    )
    if own.artifacts.is_bucket:
        say("the files of results are in a bucket and were not compared with the ledger")
    report_missing(missing)
    return 0


def _checked(source: Path) -> Manifest:
    """The manifest of a backup whose files are all unchanged. Raises `ConfigurationError`."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
        if manifest.format != FORMAT:
            raise ConfigurationError(f"restore: {source} has the format {manifest.format}; run the newer program")
        for name, seal in manifest.sealed.items():
            if sealed(source / name) != seal:
                raise ConfigurationError(f"restore: {source / name} is not what the manifest says; it was changed")
        facts = facts_of(source / LEDGER)
        if manifest.has_files:
            for file in _listed(source):
                path = source_of(source / CONTENT, file)
                if file.sha256 is not None and path.exists() and sealed(path).sha256 != file.sha256:
                    raise ConfigurationError(f"restore: {path} is damaged; nothing was replaced")
    except (OSError, msgspec.DecodeError, apsw.Error, ValueError) as error:
        raise ConfigurationError(f"restore: {source} is not a whole backup: {error}") from error
    newest = len(migrations.load("sqlite"))
    if facts.schema > newest:
        raise ConfigurationError(
            f"restore: the backup has schema {facts.schema}, this program knows {newest}; run the newer program"
        )
    return manifest


def _put_in_place(backup: Path, ledger: Path) -> Path | None:
    """Put the copy in the place of the ledger, and a marker beside it that no ledger has. Returns the old one's path.

    The marker comes first: a kill in between leaves a ledger that is held, never one that buys again.
    """
    partial = ledger.with_name(ledger.name + ".partial")
    partial.unlink(missing_ok=True)
    partial.touch(0o600)
    shutil.copyfile(backup, partial)
    fsync_path(partial)
    aside: Path | None = None
    write_marker(ledger, Marker(lineage=RESTORED, position=0))
    if ledger.exists():
        aside = ledger.with_name(f"{ledger.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        for side in reversed(_SIDES):
            path = ledger.with_name(ledger.name + side)
            if path.exists():
                path.rename(aside.with_name(aside.name + side))
    partial.rename(ledger)
    fsync_path(ledger.parent)
    return aside


def _listed(source: Path) -> Iterator[NamedFile]:
    with (source / FILES).open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=NamedFile)


def _files(source: Path, manifest: Manifest, artifacts: Path) -> list[NamedFile]:
    """Put the files of the backup where they are missing; returns those that are in neither place."""
    missing: list[NamedFile] = []
    for file in _listed(source):
        path = source_of(artifacts, file)
        if path.exists() and (file.bytes is None or path.stat().st_size == file.bytes):
            continue
        if not (manifest.has_files and put_file(source_of(source / CONTENT, file), path, file)):
            missing.append(file)
    return missing
