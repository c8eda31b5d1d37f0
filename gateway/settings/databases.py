"""The URL of a database: which forms it may have."""

import re
from urllib.parse import parse_qsl, urlsplit

from gateway.settings.toml import TomlReader, plain_text

SQLITE = "sqlite:///"
POSTGRES = ("postgresql://", "postgres://")
# What may follow the `?` in the URL of PostgreSQL: how to reach the server, and nothing that changes how it works.
POSTGRES_OPTIONS = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs")
_SQLITE = re.compile(r"sqlite:///(?!:memory:)[^?#]*[^?#/]")
_EXPECTED = "expected sqlite:///PATH, such as sqlite:///video-gateway.db, or postgresql://USER@HOST:PORT/DATABASE"


def database_url(raw: object, _: TomlReader) -> str:
    """The URL of SQLite or PostgreSQL. Raises `ValueError`; the text never repeats what may be a password."""
    url = plain_text(raw)
    if url.startswith(POSTGRES):
        _check_postgres(url)
    elif not _SQLITE.fullmatch(url):
        raise ValueError(_EXPECTED)
    return url


def _check_postgres(url: str) -> None:
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError(_EXPECTED) from None
    user, at, _ = parts.netloc.rpartition("@")
    if ":" in user or "password" in options:
        raise ValueError(
            "leave the password out of the URL: set `database.password` to env:NAME or file:PATH, or the variable"
            " VIDEO_GATEWAY_DATABASE_PASSWORD"
        )
    if not re.fullmatch(r"[\x21-\x7e]+", url) or parts.fragment or not re.fullmatch(r"/[^/]+", parts.path):
        raise ValueError(_EXPECTED)
    if at and not user:
        raise ValueError(_EXPECTED)
    unknown = sorted(set(options) - set(POSTGRES_OPTIONS))
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r}; a URL of PostgreSQL takes {', '.join(POSTGRES_OPTIONS)}")
