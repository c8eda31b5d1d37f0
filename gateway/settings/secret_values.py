"""Every secret of a configuration, for what hides them in all that leaves the gateway."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct, structs

from gateway.domain.redaction import SECRET_MIN, Redactor
from gateway.domain.secret_patterns import SECRET_NAMES
from gateway.settings.load import Settings
from gateway.settings.toml import Identifier, KeyPath, Secret, show_path

_SECRET_HEADER = re.compile(rf"{SECRET_NAMES}|key|auth", re.IGNORECASE)
_LOOKS_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z]).{16,}")


def redactor_of(settings: Settings) -> Redactor:
    """The redactor of every secret of a configuration; all that use it share one, because its tables are large."""
    return _redactor(frozenset(secret_values(settings)))


@lru_cache(maxsize=1)
def _redactor(secrets: frozenset[str | bytes]) -> Redactor:
    return Redactor(secrets)


def secret_values(settings: Settings) -> list[str | bytes]:
    """The values to hide. A header that does not name a secret has only words that look like a key in the list."""
    values: list[str | bytes] = []
    for path, secret in _secrets(settings, ()):
        text = secret.reveal()
        if _is_header(path):
            named = _SECRET_HEADER.search(str(path[-1])) is not None
            values += [word for word in text.split() if named or _LOOKS_RANDOM.fullmatch(word)]
        elif path[0] == "webhooks":  # the signature is made with the bytes
            plain = text.removeprefix("whsec_")
            values += [plain, b64decode(plain)]
        else:
            values.append(text)
    return values


def too_short(settings: Settings) -> list[str]:
    """A warning for each secret that is too short to be looked for, because it would hide ordinary words.

    No colon follows the path: the log would hide the word after `api_key:` as if it were the key.
    """
    return [
        f"{show_path(path)} has under {SECRET_MIN} characters, so it cannot be hidden where somebody quotes it in an"
        " answer or in the log; use a longer one"
        for path, secret in _secrets(settings, ())
        if 0 < len(secret.reveal()) < SECRET_MIN and (not _is_header(path) or _SECRET_HEADER.search(str(path[-1])))
    ]


def _is_header(path: KeyPath) -> bool:
    return path[0] == "providers" and path[2] == "headers"


def _secrets(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Secret]]:
    """Every secret with its place."""
    match value:
        case Identifier():
            return
        case Secret():
            yield path, value
        case Struct():
            yield from _secrets(structs.asdict(value), path)
        case Mapping():
            for key, inner in value.items():
                yield from _secrets(inner, (*path, key))
        case tuple():
            for place, inner in enumerate(value):
                yield from _secrets(inner, (*path, place))
