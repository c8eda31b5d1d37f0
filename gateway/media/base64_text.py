"""Decodes base64 text as clients really send it: both alphabets, with or without padding, folded, escaped, or damaged.

A form decoder between client and gateway may turn every `+` into a blank. To drop such blanks would give other bytes
than the client meant, which may still look like an image and be paid for. So each blank must certainly be white space,
or certainly have been a `+`; a text for which neither is certain is refused.
"""

import binascii
import re

_PIECE = 4 * 2**18  # characters that are decoded in one call, during which no other thread runs
_LINES_MAX = 600_000  # of folded text; 20 MB in lines of 60 characters are 470,000 lines
_LINE_WIDTHS = (60, 64, 72, 76)  # at which encoders break lines
_SHORTEST_FOLD = 3  # this many blanks at equal distances, or more, cannot be chance
# Escapes and tabs that a text may have, and after that one for each so many characters. An encoder escapes one
# character in 32, and the ends of lines.
_ESCAPES_FREE, _CHARACTERS_PER_ESCAPE = 100_000, 12
_OUTER = b" \t\r\n\f\v"
_NOT_BLANK = b"\t\r\n\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")
# Only the characters that an encoder may escape in base64. General unescaping could be made to take gigabytes.
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
    "has blanks in it that may be white space, or may each have been a `+` before; send it without blanks "
    "(in an HTML form or a query a `+` is written `%2B`)"
)


class NotBase64(ValueError):
    """The text is not base64, or has two meanings. The message continues a sentence about the text: "is not base64"."""


class TooLong(ValueError):
    """The text has more bytes than the limit."""


def decode_base64(value: str, limit: int, start: int = 0) -> bytes:
    """Decode the text from position `start` on, to at most `limit` bytes. Raises `NotBase64` or `TooLong`."""
    if not value.isascii():
        raise _foreign(value, start)
    text = value[start:].encode() if start else value.encode()
    if text.count(b"%") + text.count(b"\t") > _ESCAPES_FREE + len(text) // _CHARACTERS_PER_ESCAPE:
        raise NotBase64(f"has more than {_ESCAPES_FREE:,} escapes and tabs; send it without them")
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
        # A foreign character, where there is one, explains it better than the length.
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
    """True if base64 can have this length, which includes the padding."""
    return padding <= 2 and length % 4 == 0 if padding else length % 4 != 1


def _foreign(value: str, start: int, otherwise: str = "is not base64") -> NotBase64:
    """The error that names the first wrong character and its position in the client's text."""
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
        raise NotBase64(_AMBIGUOUS)  # either the padding was left out, or the last characters were `+`
    return trimmed


def _unfold(text: bytes) -> bytes:
    """The lines of folded text joined. Blanks that indent or end lines are dropped, other blanks stay."""
    if any(space in text for space in b"\t\f\v"):  # blanks next to a tab were typed, and have never been a `+`
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
    indent = min(len(line) - len(line.lstrip(b" ")) for line in lines[1:])
    trail = min(len(line) - len(line.rstrip(b" ")) for line in lines[:-1])
    indents, trails = _possible_blanks(indent, len(lines) - 1), _possible_blanks(trail, len(lines) - 1)
    readings = [stripped, *(_without_ends(lines, left, right) for left in indents for right in trails)]
    for header_shares_first_line in (False, True):
        meanings = {
            b"".join(reading)
            for reading in readings
            if _is_folded(reading, shorter_first=header_shares_first_line) and _may_be(b"".join(reading))
        }
        if len(meanings) == 1:
            return meanings.pop()
        if meanings:
            break
    raise NotBase64(_AMBIGUOUS)


def _possible_blanks(blanks: int, joints: int) -> set[int]:
    """How many of the `blanks` at each of `joints` line ends can be white space.

    The others would each have been a `+`, which can happen by chance at a few line ends, but not at many.
    """
    return {blanks - plus for plus in range(blanks + 1) if plus == 0 or plus * joints < _SHORTEST_FOLD}


def _without_ends(lines: list[bytes], start: int, end: int) -> list[bytes]:
    """The lines without their first `start` characters (not the first line) and last `end` ones (not the last line)."""
    shorter = [lines[0], *(line[start:] for line in lines[1:])]
    return [*(line[: len(line) - end] for line in shorter[:-1]), shorter[-1]]


def _is_folded(lines: list[bytes], *, shorter_first: bool) -> bool:
    """True if all lines are equally long, except the last; with `shorter_first` also except the first."""
    widths = {len(line) for line in lines[1 if shorter_first else 0 : -1]} or {len(lines[0])}
    width = max(widths)
    return len(widths) == 1 and len(lines[-1]) <= width and len(lines[0]) <= width


def _may_be(text: bytes) -> bool:
    """True if base64 can have the length of this text."""
    return _fits(len(text), len(text) - len(text.rstrip(b"=")))


def _restore(text: bytes) -> bytes:
    """One line of text, with its blanks turned into `+`, or dropped if they are white space."""
    count = text.count(b" ")
    if count == 0:
        return text
    dropped = text.replace(b" ", b"")
    if _is_regular(text, count) and _may_be(dropped):
        return dropped
    if any(_may_be_joined(text, width) for width in _LINE_WIDTHS):
        raise NotBase64(_AMBIGUOUS)  # some of the blanks may have been line ends
    restored = text.replace(b" ", b"+")
    if b"-" in text or b"_" in text:  # the URL-safe alphabet has no `+`
        raise NotBase64(_AMBIGUOUS)
    if not _may_be(restored):
        if _may_be(dropped):
            return dropped
        raise NotBase64(_AMBIGUOUS)
    if b"+" in text and _may_be(dropped):  # a decoder that turns `+` into a blank leaves no `+`
        raise NotBase64(_AMBIGUOUS)
    return restored


def _may_be_joined(text: bytes, width: int) -> bool:
    """True if there is a blank at each place where lines of this width would have been joined."""
    places = text[width :: width + 1]
    return bool(places) and places.count(b" ") == len(places)


def _is_regular(text: bytes, count: int) -> bool:
    """True if the blanks are exactly where lines of equal length were joined."""
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
