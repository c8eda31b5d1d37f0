"""Makes messages of providers safe for clients: removes secrets, hosts, balances and internal words."""

import re

from gateway.domain.adapter.decoding import text
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.task import Failed
from gateway.domain.secret_patterns import SECRET_PATTERNS

# Failures of these kinds are about the operator's account or about the provider. A client gets these messages instead
# of the provider's words.
PRIVATE = {
    FailureKind.CREDENTIAL_REFUSED: "The provider refused the gateway's credential.",
    FailureKind.OUT_OF_CREDIT: "The gateway's account at the provider has no credit left.",
    FailureKind.RATE_LIMITED: "The provider is limiting the rate of requests.",
    FailureKind.UNAVAILABLE: "The provider cannot take the request now.",
    FailureKind.AMBIGUOUS: "The provider gave no clear answer; it may have accepted the request.",
    FailureKind.TASK_LOST: "The provider no longer knows the task.",
    FailureKind.TIMED_OUT: "The provider took too long.",
    FailureKind.RESULT_MISSING: "The provider reported success without a usable file.",
    FailureKind.ADAPTER_FAILED: "The gateway's adapter for the provider failed; the request is not the cause.",
}
_HEX = "[0-9a-f]{1,4}"
_IPV6 = rf"(?:{_HEX}:){{4,7}}{_HEX}|(?:{_HEX}:){{1,6}}(?::{_HEX}){{1,6}}|:(?::{_HEX}){{1,7}}|(?:{_HEX}:){{1,6}}:"
_DOMAINS = (
    "com|cn|net|org|io|cc|ai|dev|app|cloud|info|biz|site|online|tech|top|vip|xyz|co|eu|uk|de|fr|jp|kr|hk|sg|tw|us|me"
    "|internal|intranet|local|localdomain|lan|corp|home|svc|cluster"
)
_NUMBER = r"-?\d++(?:[.,]\d++)*+"
# After one of these words and a colon, a number is not a port.
_WORDS_BEFORE_NUMBERS = "code|error|status|max|min|limit|size|width|height|duration|length|line"
# All patterns are ASCII: Unicode sees no `\b` between a Chinese word and the address after it.
_SECRETS = tuple(
    re.compile(pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        r"\(?\s?(?:request|trace|log)[ _-]?id\s?[:=]\s?[^\s)]*\s?\)?",
        r"\bdial (?:tcp|udp).*|\blookup [!-~]+(?: on [!-~]+)?",  # errors of Go with hosts inside the provider
        r"(?:\b[a-z][a-z0-9+.-]*+)?://[!-~]*|\bwww\.[!-~]+",  # also without a scheme, which masking may leave
        *(row.in_message for row in SECRET_PATTERNS if row.in_message is not None),
        r"(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)(?::\d+)?",
        rf"(?<!\w)\[?(?:{_IPV6})(?:%\w+)?(?:\](?::\d+)?)?(?!\w)",
        rf"(?<![\w*.-])(?:[\w*-]++\.)+(?:{_DOMAINS})\b(?::\d+)?(?:/[!-~]*)?",
        r"(?<![\w.-])[a-z0-9-]++(?:\.[a-z0-9-]+)+:\d{2,5}\b",
        rf"(?<![\w.-])(?!(?:{_WORDS_BEFORE_NUMBERS}):)[a-z][a-z0-9-]*+:\d{{4,5}}(?:/[!-~]*)?",
        r"\blocalhost(?::\d+)?\b",
        rf"(?:[$＄¥￥€£]|\b(?:usd|eur|gbp|cny|rmb)\b)\s?{_NUMBER}",  # the relay prints full-width signs
        rf"(?:balance|credits?|quota|余额|额度|积分|点数)[^\d]{{0,20}}?{_NUMBER}",
        rf"(?<![\w.,]){_NUMBER}\s?(?:(?:usd|eur|gbp|cny|rmb|dollars?|yuan|credits?|points)\b|元|美元|积分|点数)",
        # Internal names of the provider that the request passed through: they do not help a client.
        r"(?:\b(?:channel|group|user|token)(?:[ _]?id)?|渠道|分组|用户|令牌)\s?(?:id)?\s?[:：#＃=]+\s?[^\s,，;；)）]+",
        r"\bchannel\s#?\d+\b|\bunder group \S+|分组\s?\S+",
        r"(?:\b(?:quota|balance)|额度|余额)\s?[:：=]\s?\S+",
        r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        r"(?<![a-z0-9+=])(?=[a-z+=]*\d)(?=[0-9+=]*[a-z])[a-z0-9+=]{20,}",
        r"(?<![\w+/=-])[\w+/=-]{40,}",
    )
)
_MESSAGE_MAX = 300
_READ_MAX = 1000  # characters that are searched: a hostile text must not make the patterns slow
_ASCII_WORD = "".join(map(chr, range(0x21, 0x7F)))


def clean(message: str) -> str:
    """A provider's message without keys, ids, hosts, URLs, addresses, accounts and balances.

    Each removed part becomes "…". The result has at most 300 printable characters.
    """
    if len(message) > _READ_MAX:
        # The cut may leave half a key, or a number without its currency, which no pattern matches. So the last two
        # words are removed.
        message = message[:_READ_MAX].rstrip(_ASCII_WORD).rstrip().rstrip(_ASCII_WORD)
    message = "".join(char if char.isprintable() else " " if char.isspace() else "" for char in message)
    message = " ".join(message.split())
    for secret in _SECRETS:
        message = secret.sub("…", message)
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"


def failed(
    kind: FailureKind, message: str = "", code: object = None, *, elsewhere: bool = False, of_model: bool = False
) -> Failed:
    """A failure that is safe to show to a client.

    The message is the provider's own, cleaned, if it is about the client's input or the task; for the kinds of
    `PRIVATE` it is the gateway's own. `code` is the provider's code, a string or an integer; `elsewhere` and `of_model`
    are those of `Failed`.
    """
    return Failed(
        kind=kind,
        message=PRIVATE.get(kind) or clean(message) or "The provider reported no reason.",
        upstream_code=clean(text(code))[:100] or None,
        elsewhere=elsewhere,
        of_model=of_model,
    )
