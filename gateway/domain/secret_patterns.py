"""What a key or a password looks like within a text: one table for the log and for messages to clients.

The log hides the secret alone, because an operator needs the words around it. A message to a client loses the whole
match, and its patterns match more: the words of a provider about its own keys do not help a client. The table
has no hosts, balances or ids of providers: these are secret only from clients, see `gateway.domain.adapter.messages`.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

HIDDEN = "***"  # in the log, in place of a secret
KEY_PREFIXES = "sk|pk|rk|ak|vg|whsec"  # of keys in the style of OpenAI and Stripe, of our own keys and webhook secrets
SECRET_NAMES = "authorization|api[_-]?key|token|secret|passw[a-z]{0,4}|cookie|credential|signature"  # noqa: S105  # names

_TO_VALUE = r"(?:['\"]?\s*[:=]\s*|%3D|['\"]\s*,\s*)(?:b?['\"])?"  # as in a header, a query, JSON, a repr


class SecretPattern(NamedTuple):
    """One kind of secret."""

    name: str
    # What the log hides, and what it shows instead; None: nothing.
    in_log: tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]] | None
    in_message: str | None  # what a message to a client loses, without regard to case; read with `re.ASCII`


def _without_query(url: re.Match[str]) -> str:
    return f"{url[1]}?{HIDDEN}" if url[2] else url[1]


_JWT = r"\beyJ[\w-]{1,300}\.[\w.-]+"

# The order counts: what an earlier row hid, a later one does not see. A pattern may look at each character only a few
# times, because the texts come from strangers.
SECRET_PATTERNS = (
    # The query of a signed link opens its file to everybody. Every URL matches, so that a text which
    # repeats "https://" is read once.
    SecretPattern(
        "query of a URL", (re.compile(r"(https?://[^\s?'\"<>]*)(\?[^\s'\"<>]+)?", re.IGNORECASE), _without_query), None
    ),
    SecretPattern("authorization header", None, r"\bauthorization[\"']?\s?[:=]\s?[!-~]+(?:\s[!-~]+)?"),
    SecretPattern(
        "bearer and basic credentials",
        (re.compile(r"\b(bearer|basic)(\s+|%20)[^\s'\",;)\]}]+", re.IGNORECASE), rf"\1 {HIDDEN}"),
        r"\bbearer\s[!-~]+|\bbasic\s[a-z0-9+/=]{12,}",  # a "basic plan" is not a credential
    ),
    SecretPattern(
        "value after the name of a secret",
        (
            re.compile(
                rf"((?:{SECRET_NAMES})s?{_TO_VALUE})(?!b?['\"]?(?:bearer|basic)\b)[^\s'\"&,;)\]}}]+", re.IGNORECASE
            ),
            rf"\1{HIDDEN}",
        ),
        rf"(?:{SECRET_NAMES}|key)s?[\"']?\s?[:=]\s?[!-~]+",
    ),
    SecretPattern(
        "key with a prefix",
        (re.compile(rf"(?<![A-Za-z0-9])(?:{KEY_PREFIXES})[-_][A-Za-z0-9_./+=-]{{4,}}"), HIDDEN),
        rf"\b(?:{KEY_PREFIXES}|key|api|token)[-_][\w*.-]{{3,}}",  # also one that is masked: `sk-ab***yz`
    ),
    SecretPattern("JSON web token", (re.compile(_JWT), HIDDEN), _JWT),
    # A message to a client contains no URL at all.
    SecretPattern("password in a URL", (re.compile(r"(://)[^\s/@'\"]+@"), rf"\1{HIDDEN}@"), None),
    SecretPattern(
        "data URL", (re.compile(r"\bdata:[\w.+/-]*(?:;[\w=.+-]*)*,[^\s'\"]*", re.IGNORECASE), "data:…"), None
    ),
    # The log keeps ids of tasks, which have up to 100 characters; payloads in base64 are longer.
    SecretPattern("long run of letters", (re.compile(r"[A-Za-z0-9+/_=-]{200,}"), "…"), None),
)
