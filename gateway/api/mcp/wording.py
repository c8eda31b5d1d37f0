"""Texts of the HTTP API in the words of the tools: a caller of tools has no paths or headers."""

import re

_TOOLS = (
    (re.compile(r"`?POST /v1/(image|video)s/generations\b`?"), r"create_generation with the kind `\1`"),
    (re.compile(r"`?GET /v1/(?:image|video)s/generations/[\w{}]+/events\b`?"), "wait_for_generation"),
    (re.compile(r"`?GET /v1/(?:image|video)s/generations/([\w{}]+)`?"), r"read_generation with the id `\1`"),
    (re.compile(r"`?GET /v1/models\b`?"), "list_models"),
    (re.compile(r"\bIdempotency-Key\b"), "idempotency_key"),
)


def for_tools(text: str) -> str:
    """The text with the names of tools and of their arguments in place of paths and headers."""
    for path, tool in _TOOLS:
        text = path.sub(tool, text)
    return text
