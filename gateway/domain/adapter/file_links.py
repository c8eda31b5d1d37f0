"""Turns the URL of a result, as providers write it, into a URL that can be fetched. Pure.

Browsers open links that a strict parser refuses: with a blank in the path, without a scheme, as a path on the
provider's own host, or within quotation marks. The result of such a link was paid for. Only the spelling is corrected
here: whether the gateway may connect to the host is decided in `gateway.fetch`.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from urllib.parse import quote, unquote, urljoin, urlsplit

from gateway.domain.adapter.decoding import text

LINK_MAX = 8192  # characters of a URL; longer ones are not fetched
_LINKS_MAX = 64  # links of one text
_VIDEO = "mp4|m4v|mov|webm|mkv|avi|mpe?g|flv|wmv|ogv|3gp"
_IMAGE = "jpe?g|png|webp|gif|bmp|avif|heic|tiff?"
_OTHER = "html?|json|txt|xml|md|vtt|srt|mp3|wav|m4a|aac|ogg|flac|m3u8|mpd|zip|pdf|svg|js|css"
_ENDING = {
    "video": re.compile(rf"\.(?:{_VIDEO})$", re.IGNORECASE),
    "image": re.compile(rf"\.(?:{_IMAGE})$", re.IGNORECASE),
}
_FOREIGN_ENDING = {
    "video": re.compile(rf"\.(?:{_IMAGE}|{_OTHER})$", re.IGNORECASE),
    "image": re.compile(rf"\.(?:{_VIDEO}|{_OTHER})$", re.IGNORECASE),
}
_EDGE = "".join(map(chr, range(0x21))) + "\x7f\xa0\u200b\u200c\u200d\u2060\u3000\ufeff"
_REMOVED = dict.fromkeys(map(ord, "\t\n\r\u200b\u2060\ufeff"))  # browsers ignore these characters within a URL
_PAIRS = {'"': '"', "'": "'", "`": "`", "<": ">", "(": ")", "“": "”", "‘": "’", "「": "」", "《": "》"}
# Possessive, without backtracking: a text with an open bracket would take a tenth of a second, and a reply may have
# hundreds of them.
_MARKDOWN = re.compile(r"!?\[[^\[\]]{0,500}+\]\(\s{0,9}+<?+([^()<>\s]{1,8192}+)>?+[^()]{0,500}+\)")
_ATTRIBUTE = re.compile(r"\b(?:src|href)\s{0,9}=\s{0,9}[\"']([^\"'<>]{1,8192})[\"']", re.IGNORECASE)
_BEGINS = re.compile(r"https?:[\\/]", re.IGNORECASE)
_NEXT = re.compile(r"[\s,;|]+(?=https?://)", re.IGNORECASE)
_IN_TEXT = re.compile(r"https?://[^\s\"'<>`()\[\]{}，。；、]{1,8192}", re.IGNORECASE)
_ESCAPED = re.compile(r"https?(?:%3a|:)%2f%2f", re.IGNORECASE)
_BLANK = re.compile(r"\s")
_LABEL = re.compile(r"[A-Za-z_ ]{1,20}[:=]\s{0,9}(?=https?://)", re.IGNORECASE)
_AMPERSAND = re.compile(r"&(?:amp|#38|#x26);|\\u0026", re.IGNORECASE)
_HTTP = re.compile(r"(https?):[\\/]+", re.IGNORECASE)
_HOST = re.compile(
    r"(?:localhost|\[[0-9a-f:.]{2,45}\]|\d{1,3}(?:\.\d{1,3}){3}|(?:[a-z0-9_](?:[a-z0-9_-]{0,62})\.)+[a-z]{2,24})(?::\d{1,5})?(?=[/?])",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_JPEG = re.compile(r"/9j/[A-Za-z0-9+/]{60,}+={0,2}")  # how every JPEG begins as base64 text: not a path
_UNSAFE = re.compile(r"[\x00-\x20\"<>\\^`{|}\x7f]")


def file_url(value: object, base_url: str = "") -> str | None:
    """The absolute http(s) URL in a value, else None.

    With a `base_url`, a link without a scheme or a host is completed: it belongs to the provider.
    """
    return next(iter(file_urls(value, base_url)), None)


def file_urls(value: object, base_url: str = "") -> list[str]:
    """Every URL in a value (a text may have several), in their order, without repetitions, at most 64."""
    words = text(value)
    if not words.strip(_EDGE) or len(words) > LINK_MAX * 2:
        return []
    return list(_urls(words, base_url))


# The readers of a reply try one text under several names, and a poll brings the same texts again.
@lru_cache(maxsize=128)
def _urls(words: str, base_url: str) -> tuple[str, ...]:
    urls = (_corrected(link, base_url) for link in islice(_links(words), _LINKS_MAX))
    return tuple(dict.fromkeys(url for url in urls if url is not None))


def is_media(url: str, kind: str) -> bool:
    """Whether the path of a URL has the ending of a file of this kind ("video" or "image")."""
    return _ENDING[kind].search(_path(url)) is not None


def is_foreign(url: str, kind: str) -> bool:
    """Whether the path of a URL has the ending of a file of another kind."""
    return _FOREIGN_ENDING[kind].search(_path(url)) is not None


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""


def _links(words: str) -> Iterator[str]:
    """The links in a text, as they are written. Nearly always the text is one link and nothing else."""
    link = _bare(words)
    label = _LABEL.match(link)
    link = link[label.end() :] if label else link
    if _BEGINS.match(link) or _ESCAPED.match(link):
        yield from _NEXT.split(link, _LINKS_MAX)[:_LINKS_MAX]
        return
    marked = [*_matches_of(_MARKDOWN, words), *_matches_of(_ATTRIBUTE, words)]
    if marked:
        yield from marked
        return
    if _BLANK.search(link):
        yield from (match[0].rstrip(".,;:!?") for match in _IN_TEXT.finditer(words))  # a sentence with links in it
    if not _IN_TEXT.search(words):
        yield link


def _matches_of(pattern: re.Pattern[str], words: str) -> list[str]:
    return [match[1] for match in islice(pattern.finditer(words), _LINKS_MAX)]


def _bare(words: str) -> str:
    """A text without the blanks and quotation marks around it."""
    link = words.strip(_EDGE)
    for _ in range(3):
        if len(link) > 1 and _PAIRS.get(link[0]) == link[-1]:
            link = link[1:-1].strip(_EDGE)
    return link


def _corrected(link: str, base_url: str) -> str | None:
    link = link.strip(_EDGE).translate(_REMOVED)
    if _ESCAPED.match(link):  # the whole link was percent-encoded
        link = unquote(link)
    link = _AMPERSAND.sub("&", link.replace("\\/", "/"))
    absolute = _absolute(link, base_url)
    if absolute is None:
        return None
    scheme, _, rest = absolute.partition("://")
    end = next((at for at, character in enumerate(rest) if character in "/\\?#"), len(rest))
    host, tail = rest[:end], rest[end:]
    path, mark, query = tail.partition("?")
    tail = path.replace("\\", "/") + mark + query
    url = f"{scheme}://{host}{_UNSAFE.sub(lambda match: quote(match[0], safe=''), _printable(tail))}"
    return url if len(url) <= LINK_MAX and _is_sound(url, host) else None


def _absolute(link: str, base_url: str) -> str | None:
    """The link with a scheme and a host; a relative link is completed with the provider's `base_url`."""
    http = _HTTP.match(link)
    if http:
        return f"{http[1]}://{link[http.end() :]}"
    scheme = urlsplit(base_url).scheme
    if not scheme or not link or _JPEG.fullmatch(link):
        return None
    if link[:2].replace("\\", "/") == "//":
        return f"{scheme}://{link[2:]}"
    if _HOST.match(link):
        return f"{scheme}://{link}"
    named = not _SCHEME.match(link) and any(ending.search(link.partition("?")[0]) for ending in _ENDING.values())
    if (len(link) > 1 and link[0] in "/\\") or (named and " " not in link.partition("/")[0]):
        try:
            return urljoin(f"{base_url.rstrip('/')}/", link.replace("\\", "/"))
        except ValueError:
            return None
    return None


def _printable(tail: str) -> str:
    if tail.isprintable():
        return tail
    return "".join(char if char.isprintable() else quote(char, safe="") for char in tail)


def _is_sound(url: str, host: str) -> bool:
    if not host.isprintable() or any(character in ' "<>^`{|}' for character in host):
        return False
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port or 0) >= 0  # an invalid port raises
    except ValueError:
        return False
