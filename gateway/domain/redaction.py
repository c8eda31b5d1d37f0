"""Finds the configured secrets in texts by their value, in whatever form somebody wrote them, and hides them.

Patterns (`secret_patterns`) find only what looks like a key. A provider that quotes the gateway's key in an error
quotes it in any shape: in base64, as hex, escaped for a URL, cut after ten characters. So the values themselves are
looked for. Pure: a `Redactor` is made once from the settings and never changes.

A text is first made canonical: escapes are undone, letters are in lower case, and both alphabets of base64 are one.
Then it is cut into words of 4 or 8 bytes, and each is looked up in a table of all such words of all forms. A run of 7
(or 15) bytes that a text and a secret have in common always contains one, so a text without secrets costs one look-up
for each 4 (or 8) bytes of it.
"""

import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from gateway.domain.secret_patterns import HIDDEN

PIECE = 256 * 1024  # bytes of a long text that are searched at a time, in memory and time that are about fixed
# Bytes that a secret may take for each byte of its forms: `%25255C` and the like, from three rounds of escapes.
_STRETCH = 24
SECRET_MIN = 8  # characters; a shorter secret would hide ordinary words, so it is not looked for
_LONG = 15  # bytes of a form that certainly contains a word of 8 bytes which begins at a multiple of 8
_REPEATS_MAX = 16  # places of one word in all forms: a secret that repeats itself must not make a text slow
_ROUNDS = 3  # how often escapes are undone: in an answer, JSON may contain JSON that contains a URL
_CANONICAL = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", b"abcdefghijklmnopqrstuvwxyz+/")
_ESCAPE = re.compile(
    rb"[%\\&](?:(?<=%)([0-9a-f]{2})|(?<=\\)(?:x([0-9a-f]{2})|u([0-9a-f]{4})|([\"'\\/]))"
    rb"|(?<=&)(?:#x([0-9a-f]{1,5})|#([0-9]{1,6})|(amp|quot|lt|gt));)",
    re.IGNORECASE,
)
_NAMED = {b"amp": b"&", b"quot": b'"', b"lt": b"<", b"gt": b">"}
_MASK = re.compile(r"[*•●·.…#]{2,}|[xX_-]{3,}|…")
_MASKED_MIN = 6  # characters of a secret beside a mask, both sides together: `sk-…abcd` shows seven
_MASKED_SIDE = 4  # or of one side alone: "the key that ends with ***abcd"
_SIDES = sorted(  # how much of its beginning and of its end a secret may show beside a mask, the most first
    (
        (head, tail)
        for head in range(SECRET_MIN)  # at most seven of either, since eight are hidden anyway
        for tail in range(SECRET_MIN)
        if head + tail >= _MASKED_MIN or max(head, tail) >= _MASKED_SIDE
    ),
    key=sum,
    reverse=True,
)
_SLICE = 16 * 1024  # words that are looked up in one call, during which no other thread runs
_DIGITS_MIN = 16  # digits within a longer number that are a part of a secret; ids of requests begin with a time of 14
_EDGE = (6, 7)  # characters of the beginning or the end of a secret that are hidden as a word of their own


class _Form(NamedTuple):
    """One way to write one secret, canonical."""

    text: bytes
    part_min: int  # bytes of it that show at least eight bytes of the secret


class _Table:
    """All words of some forms, with their places, for the search of these forms in a text."""

    def __init__(self, code: Literal["I", "Q"], forms: Iterable[_Form]) -> None:
        """`code` is that of `memoryview.cast`: words of 4 bytes ("I") or of 8 ("Q")."""
        self._code = code
        self._size = 4 if code == "I" else 8
        self._places: dict[int, list[tuple[_Form, int]]] = {}
        for form in forms:
            for place in range(len(form.text) - self._size + 1):
                word = int.from_bytes(form.text[place : place + self._size], sys.byteorder)
                places = self._places.setdefault(word, [])
                if len(places) < _REPEATS_MAX:
                    places.append((form, place))
        self._words = frozenset(self._places)

    def scan(self, text: bytes, *, whole: bool) -> list[tuple[int, int]]:
        """The places of whole forms in a canonical text, or also those of parts of them."""
        if not self._words:
            return []
        words = memoryview(text.ljust(-(-len(text) // self._size) * self._size, b"\0")).cast(self._code)
        if all(self._words.isdisjoint(words[at : at + _SLICE]) for at in range(0, len(words), _SLICE)):
            return []
        spans: list[tuple[int, int]] = []
        done = 0
        for number, word in enumerate(words):
            place = number * self._size
            if place < done or word not in self._words:
                continue
            for form, at in self._places[word]:
                start, stop = _common_run(text, place, form.text, at, self._size)
                is_whole = stop - start == len(form.text)
                if is_whole or (not whole and _is_telling(text, start, stop, form.part_min)):
                    spans.append((start, stop))
                    done = max(done, stop - self._size)
        return spans


class Redactor:
    """Hides the secrets that it was made with. Those of fewer than `SECRET_MIN` characters are left out."""

    def __init__(self, secrets: Iterable[str | bytes] = ()) -> None:
        """Each secret is text, or the bytes of a key. The halves of `id:secret` count as secrets of their own."""
        values = {_bytes(secret) for secret in secrets}
        values |= {half for value in values for half in value.split(b":", 1)}
        self._values = sorted(value for value in values if len(value) >= SECRET_MIN)
        forms = [form for value in self._values for form in _forms(value)]
        self._parts = (_Table("I", forms),)
        self._whole = (
            _Table("Q", [form for form in forms if len(form.text) >= _LONG]),
            _Table("I", [form for form in forms if len(form.text) < _LONG]),
        )
        self._reach = _STRETCH * max((len(form.text) for form in forms), default=0)
        texts = [value.decode("utf-8", "replace") for value in self._values]
        # A look-up for each of `_SIDES`, because a gateway may have a thousand keys and a message hundreds of masks.
        self._beside_masks = {(text[:head], text[len(text) - tail :]) for text in texts for head, tail in _SIDES}
        self._edges = _any_word({edge for text in texts for edge in _edges(text)})

    def text(self, text: str) -> str:
        """The text with `***` in place of every whole secret, for texts whose other words have to stay."""
        return self._replaced(text, whole=True)

    def words(self, text: str) -> str:
        """The text with `***` also in place of parts and masked forms of secrets, for what strangers wrote.

        Hidden are eight or more characters in a row, the first or last six as a word of their own, and the beginning
        or the end of a secret beside a mask such as `…` or `***`. The text should be short: a message, a code.
        """
        if not self._values:
            return text
        text = self._replaced(text, whole=False)
        text = self._without_masked(text)
        return text if self._edges is None else self._edges.sub(HIDDEN, text)

    def body(self, body: bytes) -> bytes:
        """The bytes with `*` in place of each byte of a whole secret, so that their number stays the same."""
        return starred(body, self.places(body, range(0, len(body), PIECE)))

    def places(self, body: bytes, begins: Iterable[int]) -> list[tuple[int, int]]:
        """Where whole secrets are, as far as they begin within `PIECE` bytes from one of `begins`.

        A piece takes some milliseconds, and a hundred if its sender has made it of escapes.
        """
        return [
            (begin + start, begin + stop)
            for begin in begins
            for start, stop in self._hidden_in(body[begin : begin + PIECE + self._reach], whole=True)
        ]

    def _replaced(self, text: str, *, whole: bool) -> str:
        if len(text) < SECRET_MIN or not self._values:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        hidden = self._hidden_in(raw, whole=whole)
        if not hidden:
            return text
        parts, end = [], 0
        for start, stop in hidden:
            parts.append(raw[end:start])
            end = stop
        return HIDDEN.join(part.decode("utf-8", "replace") for part in [*parts, raw[end:]])

    def _hidden_in(self, raw: bytes, *, whole: bool) -> list[tuple[int, int]]:
        """The places of secrets in the bytes as they came, ordered and without overlaps."""
        if not self._values:
            return []
        spans = self._places(raw, whole=whole)
        origin: list[int] | None = None  # the places are followed back only if there is something to hide
        texts = [raw]
        while len(texts) <= _ROUNDS and _ESCAPE.search(texts[-1]):
            texts.append(_ESCAPE.sub(_unescaped, texts[-1]))
            if hits := self._places(texts[-1], whole=whole):
                origin = None
                for text in texts[:-1]:
                    origin = _origin(text, origin)
                spans += [(origin[start], origin[stop]) for start, stop in hits if origin]
        return _merged(spans)

    def _places(self, text: bytes, *, whole: bool) -> list[tuple[int, int]]:
        canonical = text.translate(_CANONICAL)
        tables = self._whole if whole else self._parts
        return [span for table in tables for span in table.scan(canonical, whole=whole)]

    def _without_masked(self, text: str) -> str:
        """The text without the beginnings and ends of secrets that are beside a mask."""
        parts, end = [], 0
        for mask in _MASK.finditer(text):
            head, tail = self._shown_beside(text[end : mask.start()][1 - SECRET_MIN :], text[mask.end() :][:SECRET_MIN])
            if head or tail:
                parts.append(text[end : mask.start() - head])
                end = mask.end() + tail
        return HIDDEN.join([*parts, text[end:]]) if parts else text

    def _shown_beside(self, before: str, after: str) -> tuple[int, int]:
        """How many characters of one secret a text shows before a mask, and after it; 0 and 0 if these are too few."""
        for head, tail in _SIDES:
            if head <= len(before) and tail <= len(after):
                shown = before[len(before) - head :], after[:tail]
                if shown in self._beside_masks:
                    return head, tail
        return 0, 0


def starred(body: bytes, places: list[tuple[int, int]]) -> bytes:
    """The bytes with `*` in place of each byte at these places."""
    if not places:
        return body
    shown = bytearray(body)
    for start, stop in places:
        shown[start:stop] = b"*" * (stop - start)
    return bytes(shown)


def _is_telling(text: bytes, start: int, stop: int, least: int) -> bool:
    """Whether what a text has in common with a secret from `start` to `stop` is a part of the secret.

    It is, if it has `least` bytes. Ids and times may have some digits in common with a secret by chance, in the middle
    of a longer number. So digits count only as a number of their own, or if they are too many for chance.
    """
    size = stop - start
    if not text[start:stop].isdigit():
        return size >= least
    is_inside = text[start - 1 : start].isdigit() or text[stop : stop + 1].isdigit()
    return size >= (max(least, _DIGITS_MIN) if is_inside else least)


def _common_run(text: bytes, place: int, form: bytes, at: int, size: int) -> tuple[int, int]:
    """The longest run around `place` that a text has in common with a form, of which `size` bytes are known."""
    start, before = place, at
    while start and before and text[start - 1] == form[before - 1]:
        start, before = start - 1, before - 1
    stop, after = place + size, at + size
    while stop < len(text) and after < len(form) and text[stop] == form[after]:
        stop, after = stop + 1, after + 1
    return start, stop


def _bytes(secret: str | bytes) -> bytes:
    return secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret


def _forms(value: bytes) -> Iterator[_Form]:
    """Every form of a secret: as it is, backwards, in hex, and in base64 at each of the three alignments."""
    for text in {value, value[::-1], value.hex().encode(), *(_in_base64(value, shift) for shift in range(3))}:
        if len(text) >= SECRET_MIN:
            yield _Form(text.translate(_CANONICAL), max(SECRET_MIN, -(-SECRET_MIN * len(text) // len(value))))


def _in_base64(value: bytes, shift: int) -> bytes:
    """The part of the base64 of a longer text that depends on `value` alone, if `shift` bytes come before it."""
    encoded = b64encode(bytes(shift) + value).rstrip(b"=")
    whole = (shift + len(value)) * 8 // 6
    return encoded[-(-shift * 8 // 6) : whole]


def _unescaped(match: re.Match[bytes]) -> bytes:
    kind = match.lastindex or 0
    digits = match[kind]
    match kind:
        case 1 | 2:
            return bytes([int(digits, 16)])
        case 4:
            return digits
        case 7:
            return _NAMED[digits.lower()]
        case _:
            return chr(int(digits, 10 if kind == 6 else 16)).encode("utf-8", "surrogatepass")


def _origin(raw: bytes, before: list[int] | None) -> list[int]:
    """For each byte of the text without its escapes, and for its end, the place in the bytes as they came."""
    earlier = list(range(len(raw) + 1)) if before is None else before
    origin: list[int] = []
    end = 0
    for match in _ESCAPE.finditer(raw):
        origin += earlier[end : match.start()]
        origin += [earlier[match.start()]] * len(_unescaped(match))
        end = match.end()
    return origin + earlier[end:]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _edges(secret: str) -> Iterator[str]:
    """The first and the last six or seven characters, if they do not look like a word of a language."""
    for size in _EDGE:
        for edge in (secret[:size], secret[-size:]):
            if any(char.isdigit() for char in edge) or not (edge.islower() or edge.isupper()):
                yield edge


def _any_word(words: Iterable[str]) -> re.Pattern[str] | None:
    longest_first = sorted(words, key=len, reverse=True)
    if not longest_first:
        return None
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])", re.IGNORECASE)


NO_SECRETS = Redactor()
