"""Base64 text as clients really send it: both alphabets, with or without padding, folded, escaped, or damaged.

A form decoder on the way turns every `+` into a blank. Blanks that are dropped then give other bytes than were meant,
which may still look like an image, and be paid for. So each blank is either known to be white space, or known to be the
`+` that it was; text for which neither is certain is refused.
"""

import binascii
import re

_PIECE = 4 * 2**18  # characters decoded in one go, in which no other thread runs
_LINES_MAX = 600_000  # of folded text; 20 MB in lines of 60 characters are 470,000
_LINE_WIDTHS = (60, 64, 72, 76)  # at which encoders break lines
_SHORTEST_FOLD = 3  # blanks at one distance, from which on they cannot be by chance
_OUTER = b" \t\r\n\f\v"
_NOT_BLANK = b"\t\r\n\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")
# Only what an encoder has a reason to escape in base64. Unescaping all there is could be made to take gigabytes.
_ESCAPES = {
    escape: character
    for code, character in {
        b"2B": b"+",
        b"2F": b"/",
        b"3D": b"=",
        b"2D": b"-",
        b"5F": b"_",
        b"0D": b"\r",
        b"0A": b"\n",
        b"09": b"\t",
        b"20": b" ",
    }.items()
    for escape in (b"%" + code, b"%" + code.lower())
}
_FOREIGN = re.compile(rf"%(?!{'|'.join(escape[1:].decode() for escape in _ESCAPES)})|[^A-Za-z0-9+/=_\- \t\r\n\f\v%]")
_TABBED = re.compile(rb"(?<! ) *[\t\f\v][ \t\f\v]*")
_AMBIGUOUS = (
    "has blanks in it that may be white space, or a `+` each that became a blank on the way; send it without blanks "
    "(in an HTML form or a query a `+` is written `%2B`)"
)


class NotBase64(ValueError):
    """The text is not base64, or has two readings; the message stands after its subject."""


class TooLong(ValueError):
    """There are more bytes than are taken."""


def decode_base64(value: str, limit: int, start: int = 0) -> bytes:
    """The bytes that the text from `start` on stands for, at most `limit`. Raises `NotBase64` or `TooLong`."""
    if not value.isascii():
        raise _foreign(value, start)
    text = value[start:].encode() if start else value.encode()
    if b"%" in text:
        for escape, character in _ESCAPES.items():
            text = text.replace(escape, character)
    if any(space in text for space in _OUTER):
        text = _without_white_space(text)
    if b"-" in text or b"_" in text:
        text = text.translate(_STANDARD)
    padding = len(text) - len(text.rstrip(b"="))
    digits = len(text) - padding
    if digits * 3 // 4 > limit:
        raise TooLong
    if not _fits(len(text), padding):
        # A stray character is the better explanation, where there is one.
        raise _foreign(
            value, start, f"has {digits:,} characters and {padding} `=` of padding: it is cut off or damaged"
        )
    if not padding:
        text += b"=" * (-len(text) % 4)
    try:
        if len(text) <= _PIECE:
            return binascii.a2b_base64(text, strict_mode=True)
        pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
        return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in pieces)
    except binascii.Error as error:
        raise _foreign(value, start) from error


def _fits(length: int, padding: int) -> bool:
    """Whether base64 can have so many characters, those of its padding included."""
    return padding <= 2 and length % 4 == 0 if padding else length % 4 != 1


def _foreign(value: str, start: int, otherwise: str = "is not base64") -> NotBase64:
    """The first character at fault, by its place in what the client sent."""
    match = _FOREIGN.search(value, start)
    if match is not None:
        shown = f"'{match[0]}'" if match[0].isprintable() else f"U+{ord(match[0]):04X}"
        return NotBase64(f"is not base64: character {shown} at position {match.start():,}")
    inner = value.find("=", start)
    if inner >= 0 and value[inner:].strip("= \t\r\n\f\v"):
        return NotBase64(f"is not base64: character '=' at position {inner:,}, before the end")
    return NotBase64(otherwise)


def _without_white_space(text: bytes) -> bytes:
    trimmed = text.strip(_OUTER)
    ends_with_blank = text.rstrip(_NOT_BLANK).endswith(b" ")
    trimmed = _restore(_unfold(trimmed)) if b" " in trimmed else trimmed.translate(None, _NOT_BLANK)
    if ends_with_blank and len(trimmed) % 4 and not trimmed.endswith(b"="):
        raise NotBase64(_AMBIGUOUS)  # the padding was left out, or the last digits were `+`
    return trimmed


def _unfold(text: bytes) -> bytes:
    """One line of folded text; what indents or trails its lines is dropped, other blanks are left."""
    if any(space in text for space in b"\t\f\v"):  # blanks beside them were typed: no decoder makes those of `+`
        text = _TABBED.sub(b"", text)
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    count = text.count(b"\n") + 1
    if count == 1:
        return text
    if count > _LINES_MAX:
        raise NotBase64(f"has more than {_LINES_MAX:,} lines")
    lines = text.split(b"\n")
    stripped = [line.strip(b" ") for line in lines]
    if stripped == lines:
        return b"".join(lines)
    before = min(len(line) - len(line.lstrip(b" ")) for line in lines[1:])
    behind = min(len(line) - len(line.rstrip(b" ")) for line in lines[:-1])
    befores, behinds = _by_chance(before, len(lines) - 1), _by_chance(behind, len(lines) - 1)
    readings = [stripped, *(_levelled(lines, left, right) for left in befores for right in behinds)]
    for header_shares_first_line in (False, True):
        found = {
            b"".join(reading)
            for reading in readings
            if _is_folded(reading, shorter_first=header_shares_first_line) and _may_be(b"".join(reading))
        }
        if len(found) == 1:
            return found.pop()
        if found:
            break
    raise NotBase64(_AMBIGUOUS)


def _by_chance(blanks: int, joints: int) -> set[int]:
    """How many of the blanks at each of so many line ends were white space, if the others were a `+` by chance."""
    return {blanks - plus for plus in range(blanks + 1) if plus == 0 or plus * joints < _SHORTEST_FOLD}


def _levelled(lines: list[bytes], before: int, behind: int) -> list[bytes]:
    """The lines without so many characters where each begins (not the first) and where each ends (not the last)."""
    shorter = [lines[0], *(line[before:] for line in lines[1:])]
    return [*(line[: len(line) - behind] for line in shorter[:-1]), shorter[-1]]


def _is_folded(lines: list[bytes], *, shorter_first: bool) -> bool:
    """Whether all lines are equally long but the last, and the first where a header shares its line."""
    widths = {len(line) for line in lines[1 if shorter_first else 0 : -1]} or {len(lines[0])}
    width = max(widths)
    return len(widths) == 1 and len(lines[-1]) <= width and len(lines[0]) <= width


def _may_be(text: bytes) -> bool:
    return _fits(len(text), len(text) - len(text.rstrip(b"=")))


def _restore(text: bytes) -> bytes:
    """One line whose blanks are the `+` they were, or are gone where they were white space."""
    count = text.count(b" ")
    if count == 0:
        return text
    dropped = text.replace(b" ", b"")
    if _is_regular(text, count) and _may_be(dropped):
        return dropped
    if any(_may_be_joined(text, width) for width in _LINE_WIDTHS):
        raise NotBase64(_AMBIGUOUS)  # some of the blanks may have been line ends
    restored = text.replace(b" ", b"+")
    if b"-" in text or b"_" in text:  # an alphabet without `+`
        raise NotBase64(_AMBIGUOUS)
    if not _may_be(restored):
        if _may_be(dropped):
            return dropped
        raise NotBase64(_AMBIGUOUS)
    if b"+" in text and _may_be(dropped):  # what takes one `+` takes them all
        raise NotBase64(_AMBIGUOUS)
    return restored


def _may_be_joined(text: bytes, width: int) -> bool:
    """Whether there is a blank wherever lines of this width would have been joined."""
    places = text[width :: width + 1]
    return bool(places) and places.count(b" ") == len(places)


def _is_regular(text: bytes, count: int) -> bool:
    """Whether the blanks stand where lines of equal length were joined."""
    width = text.index(b" ")
    places = text[width :: width + 1]
    return (
        count >= _SHORTEST_FOLD
        and width > 0
        and width % 4 == 0
        and len(places) == count
        and places.count(b" ") == count
        and len(text) - count * (width + 1) <= width
    )
