"""Checks that an http(s) URL that a stranger named is well-formed and has one meaning only (SSRF)."""

import re
from urllib.parse import urlsplit

_NETLOC = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]@<>\"{}|^`%:]+)(?::[0-9]*)?")


def url_fault(value: str, limit: int) -> str | None:
    """What is wrong with an http(s) URL of at most `limit` characters, or `None`.

    The text continues a sentence that begins with the name of the URL: "is not a valid URL". The host is not resolved
    here: `fetcher.py` decides which addresses may be reached.
    """
    if len(value) > limit:
        return f"is a URL of {len(value)} characters; at most {limit} are taken"
    if " " in value or "\\" in value or not value.isprintable():
        return "is a URL with a space, a backslash or a control character in it"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.scheme.lower() not in {"http", "https"}:
        return "is not an http(s) URL"
    if "@" in parts.netloc:
        return "is a URL with credentials in it"
    if not (parts.hostname or "").strip(".") or _NETLOC.fullmatch(parts.netloc) is None:
        return "is a URL without a valid host"
    return "is a URL with port 0" if port == 0 else None
