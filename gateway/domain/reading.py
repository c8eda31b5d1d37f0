"""Tolerant reading of upstream replies: what is there is taken, what is odd is absent, nothing raises by surprise."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from gateway.domain.adapter import HttpReply
from gateway.domain.errors import UnreadableReply
from gateway.domain.loose_json import json_value
from gateway.domain.task import Failed, FailureKind

_DEPTH = 12  # of objects in one another: an envelope and its data, five more times nested


def read_json(reply: HttpReply) -> object:
    """The body as plain JSON values, dirt around one object passed over; `UnreadableReply` when it holds no JSON."""
    try:
        return json_value(reply.body)
    except ValueError as error:
        raise UnreadableReply(f"HTTP {reply.status}: the body is not JSON") from error


def json_or_none(reply: HttpReply) -> object:
    """The body as plain JSON values, `None` when it is no JSON: for error bodies, which may be anything."""
    try:
        return read_json(reply)
    except UnreadableReply:
        return None


def mapping(value: object) -> Mapping[str, object]:
    """The value when it is an object, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: object) -> Sequence[object]:
    """The value when it is an array, otherwise an empty one."""
    return value if isinstance(value, list) else []


def json_object(value: object) -> Mapping[str, object] | None:
    """The value when it is an object, also one that is written in a string; else `None`."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = json_or_none(HttpReply(status=200, body=text(value).encode()))
    return value if isinstance(value, Mapping) else None


def nested(value: object, inner: Callable[[Mapping[str, object]], object]) -> list[Mapping[str, object]]:
    """An object, the one that `inner` finds in it, the one in that, …: outermost first, at most 12."""
    found: list[Mapping[str, object]] = []
    layer = json_object(value)
    while layer is not None and len(found) < _DEPTH:
        found.append(layer)
        layer = json_object(inner(layer))
    return found


def text(value: object) -> str:
    """A string as it is, an integer in digits, anything else and what could not be decoded at all as `""`."""
    if isinstance(value, str):
        if value.isascii():
            return value
        return value.encode("utf-8", "replace").decode() if value.strip("\ufffd") else ""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def first_text(*values: object) -> str:
    """The first value that reads as a text with something in it, else `""`."""
    return next((found for found in map(text, values) if found.strip()), "")


def number(value: object) -> float | None:
    """A finite number, also from a string such as `"5.1"` or `"30%"`; else `None`."""
    if isinstance(value, bool):
        return None
    try:
        found = float(value.strip().removesuffix("%")) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """A positive whole number, else `None`: widths, heights, counts."""
    found = number(value)
    return int(found) if found is not None and 0 < found < 1e9 and found.is_integer() else None


def progress(value: object) -> float | None:
    """Per cent, as a number or as `"30%"`, to 0.0–1.0; else `None`."""
    found = number(value)
    return None if found is None or not 0 <= found <= 100 else found / 100


def http_url(value: object) -> str | None:
    """The value when it is an absolute http(s) URL with a host, else `None`."""
    url = text(value).strip()
    if any(character <= " " or character == "\x7f" for character in url):
        return None
    try:
        parts = urlsplit(url)
        return url if parts.scheme.lower() in {"http", "https"} and parts.hostname else None
    except ValueError:
        return None


# Messages of these kinds speak of the operator's account: a client gets our own words instead.
PRIVATE = {
    FailureKind.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    FailureKind.OUT_OF_CREDIT: "The gateway's account at the provider has no credit left.",
    FailureKind.RATE_LIMITED: "The provider is limiting the rate of requests.",
    FailureKind.UNAVAILABLE: "The provider cannot take the request now.",
    FailureKind.AMBIGUOUS: "The provider gave no clear answer; it may have accepted the request.",
    FailureKind.TASK_LOST: "The provider no longer knows the task.",
    FailureKind.TIMED_OUT: "The provider took too long.",
    FailureKind.RESULT_MISSING: "The provider reported success without a usable file.",
}
_HEX = "[0-9a-f]{1,4}"
_IPV6 = rf"(?:{_HEX}:){{4,7}}{_HEX}|(?:{_HEX}:){{1,6}}(?::{_HEX}){{1,6}}|:(?::{_HEX}){{1,7}}|(?:{_HEX}:){{1,6}}:"
_DOMAINS = (
    "com|cn|net|org|io|cc|ai|dev|app|cloud|info|biz|site|online|tech|top|vip|xyz|co|eu|uk|de|fr|jp|kr|hk|sg|tw|us|me"
    "|internal|intranet|local|localdomain|lan|corp|home|svc|cluster"
)
_NUMBER = r"-?\d++(?:[.,]\d++)*+"
_WORDS_BEFORE_NUMBERS = "code|error|status|max|min|limit|size|width|height|duration|length|line"  # a colon, yet no port
# ASCII throughout: in a Chinese sentence no edge parts a word from the address behind it, as `\b` would have it.
_SECRETS = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"\(?\s?(?:request|trace|log)[ _-]?id\s?[:=]\s?[^\s)]*\s?\)?",
        r"\bdial (?:tcp|udp).*|\blookup [!-~]+(?: on [!-~]+)?",  # Go on a connection: hosts inside the provider
        r"(?:\b[a-z][a-z0-9+.-]*+)?://[!-~]*|\bwww\.[!-~]+",  # without a scheme, too: what masking may leave
        r"\bauthorization[\"']?\s?[:=]\s?[!-~]+(?:\s[!-~]+)?",
        r"\bbearer\s[!-~]+|\bbasic\s[a-z0-9+/=]{12,}",
        r"(?:key|token|secret|password|passwd|signature|credential)s?[\"']?\s?[:=]\s?[!-~]+",
        r"\b(?:sk|pk|ak|key|api|token|vg)[-_][\w*.-]{3,}",
        r"\beyJ[\w-]+\.[\w.-]+",
        r"(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)(?::\d+)?",
        rf"(?<!\w)\[?(?:{_IPV6})(?:%\w+)?(?:\](?::\d+)?)?(?!\w)",
        rf"(?<![\w*.-])(?:[\w*-]++\.)+(?:{_DOMAINS})\b(?::\d+)?(?:/[!-~]*)?",
        r"(?<![\w.-])[a-z0-9-]++(?:\.[a-z0-9-]+)+:\d{2,5}\b",
        rf"(?<![\w.-])(?!(?:{_WORDS_BEFORE_NUMBERS}):)[a-z][a-z0-9-]*+:\d{{4,5}}(?:/[!-~]*)?",
        r"\blocalhost(?::\d+)?\b",
        rf"(?:[$＄¥￥€£]|\b(?:usd|eur|gbp|cny|rmb)\b)\s?{_NUMBER}",  # full-width signs are what the relay prints
        rf"(?:balance|credits?|quota|余额|额度|积分|点数)[^\d]{{0,20}}?{_NUMBER}",
        rf"(?<![\w.,]){_NUMBER}\s?(?:(?:usd|eur|gbp|cny|rmb|dollars?|yuan|credits?|points)\b|元|美元|积分|点数)",
        # What the request went through at the provider: of no use to a client.
        r"(?:\b(?:channel|group|user|token)(?:[ _]?id)?|渠道|分组|用户|令牌)\s?(?:id)?\s?[:：#＃=]+\s?[^\s,，;；)）]+",
        r"\bchannel\s#?\d+\b|\bunder group \S+|分组\s?\S+",
        r"(?:\b(?:quota|balance)|额度|余额)\s?[:：=]\s?\S+",
        r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"(?<![a-z0-9+=])(?=[a-z+=]*\d)(?=[0-9+=]*[a-z])[a-z0-9+=]{20,}",
        r"(?<![\w+/=-])[\w+/=-]{40,}",
    )
)
_MESSAGE_MAX = 300
_READ_MAX = 1000  # characters that are looked at: a hostile text must not keep the patterns busy
_ASCII_WORD = "".join(map(chr, range(0x21, 0x7F)))


def clean(message: str) -> str:
    """A provider's message without keys, ids, hosts, URLs, addresses, accounts and balances, at most 300 characters."""
    if len(message) > _READ_MAX:
        # Half a key, or a number without its currency, is one that no pattern knows: the last two words go.
        message = message[:_READ_MAX].rstrip(_ASCII_WORD).rstrip().rstrip(_ASCII_WORD)
    message = "".join(one if one.isprintable() else " " if one.isspace() else "" for one in message)
    message = " ".join(message.split())
    for secret in _SECRETS:
        message = secret.sub("…", message)
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"


def failed(
    kind: FailureKind, message: str = "", code: object = None, *, elsewhere: bool = False, of_model: bool = False
) -> Failed:
    """A failure with a message that a client may see: the provider's own where it tells of the input, else ours."""
    told = PRIVATE.get(kind) or clean(message) or "The provider reported no reason."
    named = text(code)
    return Failed(
        kind=kind,
        message=told,
        upstream_code=(clean(named)[:100] or None) if named else None,
        elsewhere=elsewhere,
        of_model=of_model,
    )
