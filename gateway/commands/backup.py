"""`backup`: a consistent copy of the ledger with a list of its files, also while a gateway works on it."""

import os
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from gateway.commands.terminal import say, warn
from gateway.domain.errors import ConfigurationError
from gateway.fsync import fsync_path
from gateway.settings.places import Places, places
from gateway.store.sqlite.backup import LedgerFacts, NamedFile, copy_ledger, facts_of, named_files
from gateway.store.sqlite.file import check_place

LEDGER, FILES, MANIFEST, CONTENT = "ledger.db", "files.jsonl", "manifest.json", "files"
FORMAT = 1
SHOWN = 10  # missing files that are named
_encode = msgspec.json.Encoder().encode


class Sealed(Struct, frozen=True):
    """A file of a backup, by which a change of it is noticed."""

    bytes: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """What a backup is."""

    format: int
    program: str  # the version that made it
    made_at: datetime
    ledger: LedgerFacts
    sealed: dict[str, Sealed]  # the ledger and the list of files
    results: int  # files of results that the ledger names
    inputs: int
    has_files: bool  # whether the files are in the backup, too


def backup(to: Path, config: Path | None, *, with_files: bool) -> int:
    """Make a backup in the new folder `to`. Returns the exit code. Raises `ConfigurationError`."""
    own = places(config, os.environ)
    check_place(own.ledger)
    to = to.absolute()
    _check_target(to, own, with_files=with_files)
    partial = to.with_name(f".{to.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(mode=0o700, parents=True)
        manifest, missing = _fill(partial, own, with_files=with_files)
        fsync_path(partial)
        partial.rename(to)
        fsync_path(to.parent)
    except (OSError, apsw.Error, ValueError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ConfigurationError(f"backup: {own.ledger} could not be copied to {to}: {error}") from error
    except BaseException:  # also Ctrl-C: half a backup must not stay
        shutil.rmtree(partial, ignore_errors=True)
        raise
    facts = manifest.ledger
    say(
        f"{to}: schema {facts.schema}, position {facts.position}, {facts.generations} generation(s);"
        f" {manifest.results} file(s) of results and {manifest.inputs} input(s)"
        + (" are in it" if with_files else " are listed, and not in it")
    )
    report_missing(missing)
    return 0


def report_missing(missing: list[NamedFile]) -> None:
    """Warn about files that the ledger names and that are not there."""
    for file in missing[:SHOWN]:
        warn(f"missing {file.kind}: {file.name}")
    if missing:
        warn(f"{len(missing)} file(s) that the ledger names are not in the artifact store, or are damaged")


def source_of(artifacts: Path, file: NamedFile) -> Path:
    """Where a file is in the folder of artifacts, and in the files of a backup."""
    if file.kind == "input":
        return artifacts / "inputs" / file.name[:2] / file.name
    return artifacts / "results" / file.name


def sealed(path: Path) -> Sealed:
    """The size and the hash of a file. Raises `OSError`."""
    with path.open("rb") as file:
        return Sealed(path.stat().st_size, file_digest(file, "sha256").hexdigest())


def put_file(source: Path, target: Path, file: NamedFile) -> bool:
    """Copy a file durably. False if it is missing, or is not what the ledger says about it. Raises `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(source, partial)
    except FileNotFoundError:
        return False
    if file.sha256 is not None and sealed(partial).sha256 != file.sha256:
        partial.unlink()
        return False
    fsync_path(partial)
    partial.rename(target)
    fsync_path(target.parent)
    return True


def _check_target(to: Path, own: Places, *, with_files: bool) -> None:
    if not own.ledger.exists():
        raise ConfigurationError(f"backup: there is no ledger at {own.ledger}")
    if to.exists():
        raise ConfigurationError(f"backup: {to} exists already; name a new folder, for example with the date")
    live = own.artifacts.path.resolve()
    if to.resolve() == own.ledger.parent or to.resolve().is_relative_to(live):
        raise ConfigurationError(f"backup: {to} is in the folder of the gateway's own files; name another place")
    if with_files and own.artifacts.is_bucket:
        raise ConfigurationError(
            "backup: --files copies from a folder, and artifacts.url is a bucket; protect the bucket by its own means,"
            " such as versions of objects, and make the backup without --files"
        )


def _fill(folder: Path, own: Places, *, with_files: bool) -> tuple[Manifest, list[NamedFile]]:
    ledger = folder / LEDGER
    copy_ledger(own.ledger, ledger)
    facts = facts_of(ledger)
    missing: list[NamedFile] = []
    counts = {"result": 0, "thumbnail": 0, "input": 0}
    with (folder / FILES).open("wb") as listed:
        for file in _listed(named_files(ledger), counts):
            listed.write(_encode(file) + b"\n")
            source, target = source_of(own.artifacts.path, file), source_of(folder / CONTENT, file)
            if with_files and not target.exists() and not put_file(source, target, file):
                missing.append(file)
    fsync_path(folder / FILES)
    manifest = Manifest(
        format=FORMAT,
        program=version("video-gateway"),
        made_at=datetime.now(UTC),
        ledger=facts,
        sealed={name: sealed(folder / name) for name in (LEDGER, FILES)},
        results=counts["result"],
        inputs=counts["input"],
        has_files=with_files,
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(_encode(manifest), indent=2) + b"\n")
    fsync_path(folder / MANIFEST)
    return manifest, missing


def _listed(files: Iterable[NamedFile], counts: dict[str, int]) -> Iterable[NamedFile]:
    for file in files:
        counts[file.kind] += 1
        yield file
